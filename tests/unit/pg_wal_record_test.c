// OBJECTS: plugins/postgresql/wal_record.c plugins/postgresql/wal_layout.c plugins/postgresql/wal_crc.c
#include "plugins/postgresql/wal_record.h"
#include "tests/support/wal_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct seen {
    size_t n, calls;
    struct tide_block_ref refs[700];
};

static int on_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    struct seen *seen = ctx;

    (void)err;
    assert_true(seen->n + n <= sizeof seen->refs / sizeof seen->refs[0]);
    memcpy(seen->refs + seen->n, refs, n * sizeof *refs);
    seen->n += n;
    seen->calls++;
    return TIDE_OK;
}

/* A record whose body is given; have 0: all of it in memory. */
struct walk {
    int major;
    const uint8_t *body;
    size_t len;
    uint32_t have;
};

static int walk(const struct walk *w, struct wal_blocks *blocks, struct wal_main *main_data, const char **why)
{
    uint32_t total = WAL_RECORD_HEADER + (uint32_t)w->len;
    uint32_t have = w->have != 0 ? w->have : total;
    /* No byte more than is said to be there, so that a sanitizer sees what reads on. */
    uint8_t *raw = calloc(1, have);

    assert_non_null(raw);
    (void)wal_put32(raw, total);
    raw[17] = 10;
    memcpy(raw + WAL_RECORD_HEADER, w->body, have - WAL_RECORD_HEADER);
    const struct wal_record r = {
        .layout = wal_layout_of_major(w->major), .start = 64, .end = 128, .data = raw, .have = have, .total = total};
    int s = wal_record_walk(&r, blocks, main_data, why, NULL);
    main_data->data = NULL;
    free(raw);
    return s;
}

/* The parts of a block header. */
struct block {
    uint8_t id, fork_flags;
    uint16_t data_len;
    uint16_t image_len;
    uint8_t image_bits;
    bool hole_len; /* a length of the hole is stored */
    uint32_t relation, number;
};

static uint8_t *put_block(uint8_t *p, const struct block *b)
{
    *p++ = b->id;
    *p++ = b->fork_flags;
    p = wal_put16(p, b->data_len);
    if (b->fork_flags & 0x10) {
        p = wal_put16(wal_put16(p, b->image_len), 100);
        *p++ = b->image_bits;
        if (b->hole_len)
            p = wal_put16(p, 500);
    }
    if (!(b->fork_flags & 0x80))
        p = wal_put32(wal_put32(wal_put32(p, 1663), 5), b->relation);
    return wal_put32(p, b->number);
}

static struct seen seen;

static int walk_bytes(int major, const uint8_t *body, const uint8_t *end, size_t payload, struct wal_main *main_data)
{
    struct wal_blocks blocks = {.sink = on_blocks, .ctx = &seen};
    const char *why;

    memset(&seen, 0, sizeof seen);
    int s = walk(&(struct walk){.major = major, .body = body, .len = (size_t)(end - body) + payload}, &blocks,
                 main_data, &why);
    assert_true((s == TIDE_CORRUPT) == (why != NULL));
    assert_int_equal(wal_blocks_flush(&blocks, NULL), TIDE_OK);
    return s;
}

static void blocks_are_found_with_images_of_every_major(void **state)
{
    (void)state;
    for (int major = 14; major <= 18; major++) {
        uint8_t body[20000] = {0}, *p = body;
        /* 14 has one bit for compressed, 0x02; later it means "apply", and 0x04, 0x08, 0x10 name the method. */
        uint8_t compressed = major == 14 ? 0x02 : 0x08, apply = major == 14 ? 0x04 : 0x02;
        struct wal_main main_data;

        p = put_block(p, &(struct block){.id = 0, .fork_flags = 0x20, .data_len = 9, .relation = 16384, .number = 7});
        p = put_block(p, &(struct block){.id = 1,
                                         .fork_flags = 0x80 | 0x10 | 0x02,
                                         .image_len = 3000,
                                         .image_bits = (uint8_t)(0x01 | compressed | apply),
                                         .hole_len = true,
                                         .number = 8});
        p = put_block(p, &(struct block){.id = 2,
                                         .fork_flags = 0x10,
                                         .image_len = 8000,
                                         .image_bits = (uint8_t)(0x01 | apply),
                                         .relation = 16390,
                                         .number = 9});
        *p++ = 253; /* origin */
        p = wal_put16(p, 3);
        *p++ = 252; /* transaction of the top level */
        p = wal_put32(p, 99);
        *p++ = 255;
        *p++ = 20;
        assert_int_equal(walk_bytes(major, body, p, 9 + 3000 + 8000 + 20, &main_data), TIDE_OK);
        assert_int_equal(seen.n, 3);
        const struct tide_block_ref want[] = {{1663, 5, 16384, 0, 7}, {1663, 5, 16384, 2, 8}, {1663, 5, 16390, 0, 9}};
        assert_memory_equal(seen.refs, want, sizeof want);
        assert_int_equal(main_data.len, 20);
        assert_int_equal(main_data.have, 20);
        /* One byte more or less does not add up. */
        assert_int_equal(walk_bytes(major, body, p, 9 + 3000 + 8000 + 21, &main_data), TIDE_CORRUPT);
    }
}

static void the_bits_of_14_are_not_those_of_15(void **state)
{
    uint8_t body[9000] = {0}, *p;
    struct wal_main main_data;

    (void)state;
    p = put_block(body, &(struct block){.fork_flags = 0x10, .image_len = 5000, .image_bits = 0x03, .hole_len = true});
    assert_int_equal(walk_bytes(14, body, p, 5000, &main_data), TIDE_OK);
    assert_int_equal(walk_bytes(15, body, p, 5000, &main_data), TIDE_CORRUPT);
    p = put_block(body, &(struct block){.fork_flags = 0x10, .image_len = 5000, .image_bits = 0x03});
    assert_int_equal(walk_bytes(15, body, p, 5000, &main_data), TIDE_OK);
}

static void the_same_page_in_a_row_is_told_once(void **state)
{
    struct wal_blocks blocks = {.sink = on_blocks, .ctx = &seen};
    uint8_t body[64];
    struct wal_main main_data;
    const char *why;

    (void)state;
    memset(&seen, 0, sizeof seen);
    for (uint32_t i = 0; i < 1200; i++) {
        uint8_t *end = put_block(body, &(struct block){.relation = 16384, .number = i / 2});
        assert_int_equal(
            walk(&(struct walk){.major = 15, .body = body, .len = (size_t)(end - body)}, &blocks, &main_data, &why),
            TIDE_OK);
    }
    assert_int_equal(wal_blocks_flush(&blocks, NULL), TIDE_OK);
    assert_int_equal(seen.n, 600);
    assert_true(seen.calls >= 3);
    for (uint32_t i = 0; i < 600; i++)
        assert_int_equal(seen.refs[i].block, i);
}

static void nonsense_in_a_header_is_damage(void **state)
{
    uint8_t body[10000] = {0}, *p;
    struct wal_main main_data;

    (void)state;
    /* an id that means nothing */
    body[0] = 60;
    assert_int_equal(walk_bytes(15, body, body + 1, 20, &main_data), TIDE_CORRUPT);
    /* the relation of a block before it, without one */
    p = put_block(body, &(struct block){.fork_flags = 0x80});
    assert_int_equal(walk_bytes(15, body, p, 0, &main_data), TIDE_CORRUPT);
    /* blocks out of order */
    p = put_block(body, &(struct block){.id = 3, .relation = 1});
    p = put_block(p, &(struct block){.id = 3, .relation = 2});
    assert_int_equal(walk_bytes(15, body, p, 0, &main_data), TIDE_CORRUPT);
    /* data without a length, a length without data */
    p = put_block(body, &(struct block){.fork_flags = 0x20});
    assert_int_equal(walk_bytes(15, body, p, 0, &main_data), TIDE_CORRUPT);
    p = put_block(body, &(struct block){.data_len = 4});
    assert_int_equal(walk_bytes(15, body, p, 4, &main_data), TIDE_CORRUPT);
    /* an image larger than a page */
    p = put_block(body, &(struct block){.fork_flags = 0x10, .image_len = 9000});
    assert_int_equal(walk_bytes(15, body, p, 9000, &main_data), TIDE_CORRUPT);
    /* main data longer than the record */
    body[0] = 254;
    p = wal_put32(body + 1, 0xffffffffu);
    assert_int_equal(walk_bytes(15, body, p, 50, &main_data), TIDE_CORRUPT);
    assert_int_equal(seen.n, 0);
}

static void a_header_may_be_cut_anywhere(void **state)
{
    uint8_t body[300] = {0}, *p = body;
    struct wal_blocks blocks = {.sink = on_blocks, .ctx = &seen};
    struct wal_main main_data;
    const char *why;

    (void)state;
    memset(&seen, 0, sizeof seen);
    p = put_block(p, &(struct block){.fork_flags = 0x10, .image_len = 50, .image_bits = 0x09, .hole_len = true});
    p = put_block(p, &(struct block){.id = 1, .fork_flags = 0xa0, .data_len = 10});
    *p++ = 253;
    p = wal_put16(p, 1);
    *p++ = 252;
    p = wal_put32(p, 1);
    *p++ = 254;
    p = wal_put32(p, 60);
    size_t headers = (size_t)(p - body), len = headers + 120;
    for (uint32_t have = WAL_RECORD_HEADER; have <= WAL_RECORD_HEADER + len; have++) {
        int s = walk(&(struct walk){.major = 15, .body = body, .len = len, .have = have}, &blocks, &main_data, &why);
        assert_int_equal(s, have < WAL_RECORD_HEADER + headers ? TIDE_CORRUPT : TIDE_OK);
    }
    assert_int_equal(main_data.have, 60);
    /* And the whole record may end inside of it. */
    for (size_t cut = 1; cut < headers; cut++) {
        int s = walk(&(struct walk){.major = 15, .body = body, .len = cut}, &blocks, &main_data, &why);
        assert_int_equal(s, TIDE_CORRUPT);
    }
}

static void both_checksums_agree(void **state)
{
    struct wal_crc fast, slow;
    uint8_t data[4099];

    (void)state;
    assert_true(wal_crc_init(&fast, false) && wal_crc_init(&slow, true));
    assert_int_equal(slow.update(&slow, WAL_CRC_INIT, "123456789", 9) ^ WAL_CRC_INIT, 0xe3069283u);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * i + 7 * i);
    for (size_t at = 0; at < 9; at++)
        for (size_t len = 0; at + len <= sizeof data; len = len * 2 + 1)
            assert_int_equal(fast.update(&fast, WAL_CRC_INIT, data + at, len),
                             slow.update(&slow, WAL_CRC_INIT, data + at, len));
    /* In two parts as in one. */
    assert_int_equal(fast.update(&fast, fast.update(&fast, WAL_CRC_INIT, data, 1001), data + 1001, 99),
                     fast.update(&fast, WAL_CRC_INIT, data, 1100));
    wal_crc_clear(&fast);
    wal_crc_clear(&slow);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_are_found_with_images_of_every_major),
        cmocka_unit_test(the_bits_of_14_are_not_those_of_15),
        cmocka_unit_test(the_same_page_in_a_row_is_told_once),
        cmocka_unit_test(nonsense_in_a_header_is_damage),
        cmocka_unit_test(a_header_may_be_cut_anywhere),
        cmocka_unit_test(both_checksums_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
