/* blockmap.c: map leaves and patches, to bytes and back, and what is not one. */

#include "orchestrator/repository/blockmap.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static struct pack_ref ref_of(unsigned pack, unsigned frame)
{
    struct pack_ref r = {.frame = {.number = frame, .stored = 1000 + frame, .offset = UINT64_C(100000) * frame}};
    memset(r.pack, (int)pack, sizeof r.pack);
    memset(r.hash, (int)(frame * 7 + 1), sizeof r.hash);
    return r;
}

/* Zero, base and patched blocks in turn, over some packs. */
static struct leaf *make_leaf(uint32_t n, unsigned packs)
{
    struct leaf *l = calloc(1, sizeof *l);
    l->n = n;
    for (uint32_t i = 0; i < n; i++) {
        l->blocks[i].kind = (uint8_t)(i % 3);
        if (i % 3 != BLOCK_ZERO)
            l->blocks[i].base = ref_of(1 + i % packs, i);
        if (i % 3 == BLOCK_PATCHED)
            l->blocks[i].patch = ref_of(1 + (i + 1) % packs, i + 1000);
    }
    return l;
}

static void assert_same_leaf(const struct leaf *a, const struct leaf *b)
{
    assert_int_equal(a->n, b->n);
    for (uint32_t i = 0; i < a->n; i++)
        assert_memory_equal(&a->blocks[i], &b->blocks[i], sizeof a->blocks[i]);
}

static void leaves_come_back(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {1, 2, 3, 100, 511, 512};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_buf b = TIDE_BUF_INIT(1 << 20);
        struct leaf *l = make_leaf(sizes[i], 5), *back = calloc(1, sizeof *back);
        leaf_encode(l, &b);
        ok(leaf_decode(b.data, b.len, back, &err), &err);
        assert_same_leaf(l, back);
        tide_buf_clear(&b);
        free(l);
        free(back);
    }
}

static void every_cut_leaf_is_corrupt(void **state)
{
    (void)state;
    struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct leaf *l = make_leaf(7, 3), *back = calloc(1, sizeof *back);
    leaf_encode(l, &b);
    for (size_t len = 0; len < b.len; len++) {
        struct tide_err err = TIDE_ERR_INIT;
        uint8_t *copy = malloc(len == 0 ? 1 : len); /* of its exact size, so that the sanitizer sees a step too far */
        memcpy(copy, b.data, len);
        assert_int_equal(leaf_decode(copy, len, back, &err), TIDE_CORRUPT);
        free(copy);
    }
    tide_buf_u8(&b, 0);
    assert_int_equal(leaf_decode(b.data, b.len, back, NULL), TIDE_CORRUPT);
    tide_buf_clear(&b);
    free(l);
    free(back);
}

static void impossible_leaves_are_refused(void **state)
{
    (void)state;
    struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct leaf *l = make_leaf(4, 1), *back = calloc(1, sizeof *back);
    const struct {
        size_t at;
        uint8_t value;
        tide_status want;
    } cases[] = {
        {0, 2, TIDE_UNSUPPORTED}, /* version */
        {1, 1, TIDE_CORRUPT},     /* reserved */
        {2, 3, TIDE_CORRUPT},     /* 772 blocks */
        {3, 0, TIDE_CORRUPT},     /* none */
        {3, 3, TIDE_CORRUPT},     /* one too few: bytes behind it */
        {5, 0, TIDE_CORRUPT},     /* no packs */
        {6, 1, TIDE_CORRUPT},     /* reserved */
        {24, 3, TIDE_CORRUPT},    /* kind */
        {26, 9, TIDE_CORRUPT},    /* pack out of range */
    };
    leaf_encode(l, &b);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t before = b.data[cases[i].at];
        b.data[cases[i].at] = cases[i].value;
        assert_int_equal(leaf_decode(b.data, b.len, back, NULL), cases[i].want);
        b.data[cases[i].at] = before;
    }
    ok(leaf_decode(b.data, b.len, back, NULL), NULL);
    tide_buf_clear(&b);
    free(l);
    free(back);
}

/* A block whose pages `changed` differ from the base's; both lengths as given. */
static void patch_round_trip(size_t base_len, size_t block_len, uint32_t page_size, unsigned step)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t *base = malloc(TREE_BLOCK), *block = malloc(TREE_BLOCK), hash[FRAME_HASH_SIZE] = "fifteen letters";
    struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct patch p;
    unsigned changed = 0;
    for (size_t i = 0; i < TREE_BLOCK; i++)
        base[i] = (uint8_t)(i * 31 + i / 256);
    memset(block, 0, TREE_BLOCK);
    memcpy(block, base, base_len < block_len ? base_len : block_len);
    for (size_t at = 0; at < block_len; at += (size_t)step * page_size, changed++)
        block[at] ^= 0x55;
    patch_encode(base, base_len, hash, block, block_len, page_size, &b);
    ok(patch_decode(b.data, b.len, &p, &err), &err);
    assert_int_equal(p.block_len, block_len);
    assert_int_equal(p.page_size, page_size);
    assert_true(p.n_pages == changed);
    assert_memory_equal(p.base_hash, hash, sizeof hash);
    patch_apply(&p, base, base_len);
    assert_memory_equal(base, block, block_len);
    tide_buf_clear(&b);
    free(base);
    free(block);
}

static void patches_make_the_block_from_its_base(void **state)
{
    (void)state;
    patch_round_trip(TREE_BLOCK, TREE_BLOCK, 8192, 4);
    patch_round_trip(TREE_BLOCK, TREE_BLOCK, 8192, 1);
    patch_round_trip(TREE_BLOCK, TREE_BLOCK, 512, 3);
    patch_round_trip(TREE_BLOCK, TREE_BLOCK, TREE_BLOCK, 1);
    patch_round_trip(40960, TREE_BLOCK, 8192, 2); /* the file grew */
    patch_round_trip(TREE_BLOCK, 40000, 8192, 2); /* it shrank, to no whole page */
    patch_round_trip(1, 8191, 4096, 1);
}

static void impossible_patches_are_refused(void **state)
{
    (void)state;
    static uint8_t base[TREE_BLOCK], block[TREE_BLOCK];
    uint8_t hash[FRAME_HASH_SIZE] = {0};
    struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct patch p;
    block[5 * 8192] = 1;
    patch_encode(base, 6 * 8192, hash, block, 6 * 8192, 8192, &b);
    assert_int_equal(patch_decode(b.data, b.len, &p, NULL), TIDE_OK);
    const struct {
        size_t at;
        uint8_t value;
        tide_status want;
    } cases[] = {
        {0, 2, TIDE_UNSUPPORTED}, {1, 8, TIDE_CORRUPT},     {1, 18, TIDE_CORRUPT},    {3, 2, TIDE_CORRUPT},
        {4, 1, TIDE_CORRUPT},     {24, 0x21, TIDE_CORRUPT}, {24, 0x40, TIDE_CORRUPT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t before = b.data[cases[i].at];
        b.data[cases[i].at] = cases[i].value;
        assert_int_equal(patch_decode(b.data, b.len, &p, NULL), cases[i].want);
        b.data[cases[i].at] = before;
    }
    for (size_t len = 0; len < b.len; len++)
        assert_int_equal(patch_decode(b.data, len, &p, NULL), TIDE_CORRUPT);
    tide_buf_clear(&b);
}

static void blocks_outside_leaves_come_back(void **state)
{
    (void)state;
    for (unsigned kind = BLOCK_ZERO; kind <= BLOCK_PATCHED; kind++) {
        struct block_entry e = {.kind = (uint8_t)kind}, back;
        struct tide_buf b = TIDE_BUF_INIT(1024);
        if (kind != BLOCK_ZERO)
            e.base = ref_of(3, 4);
        if (kind == BLOCK_PATCHED)
            e.patch = ref_of(5, 6);
        block_entry_encode(&e, &b);
        assert_int_equal(b.len, 1 + kind * PACK_REF_SIZE);
        struct tide_cursor c = tide_cursor_of(b.data, b.len);
        assert_true(block_entry_read(&c, &back));
        assert_false(c.bad);
        assert_int_equal(c.left, 0);
        assert_memory_equal(&e.base, &back.base, sizeof e.base);
        assert_memory_equal(&e.patch, &back.patch, sizeof e.patch);
        tide_buf_clear(&b);
    }
}

static void zeros_are_recognised(void **state)
{
    (void)state;
    static uint8_t data[4096];
    assert_true(block_is_zero(data, 0));
    for (size_t i = 0; i < sizeof data; i += 97) {
        assert_true(block_is_zero(data, i + 1));
        data[i] = 1;
        assert_false(block_is_zero(data, i + 1));
        data[i] = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_come_back),
        cmocka_unit_test(every_cut_leaf_is_corrupt),
        cmocka_unit_test(impossible_leaves_are_refused),
        cmocka_unit_test(patches_make_the_block_from_its_base),
        cmocka_unit_test(impossible_patches_are_refused),
        cmocka_unit_test(blocks_outside_leaves_come_back),
        cmocka_unit_test(zeros_are_recognised),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
