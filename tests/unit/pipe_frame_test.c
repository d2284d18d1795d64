/* frame.c, codec.c and frame_cipher.c through frame.h: sealing, opening, and every way to damage a frame. */

#include "orchestrator/pipe/frame.h"
#include "orchestrator/pipe/frame_cipher.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (128u << 10)

static const struct frame_seal plain_seal = {.header_digest = {9, 9, 9}};
static const struct frame_seal keyed_seal = {.encrypted = true, .key = {1, 2, 3}, .header_digest = {9, 9, 9}};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static struct frame_coder *coder(enum frame_codec codec, int level)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = NULL;
    ok(frame_coder_new(codec, level, &c, &err), &err);
    return c;
}

static void fill_random(uint8_t *p, size_t len)
{
    uint32_t x = 12345;
    for (size_t i = 0; i < len; i++) {
        x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> 24);
    }
}

/* Seals and opens; returns the stored payload's length. */
static uint32_t round_trip(struct frame_coder *c, const struct frame_seal *s, const uint8_t *data, size_t len)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_info info = {.number = 7, .kind = FRAME_DATA, .flags = FRAME_LAST}, got;
    TIDE_AUTO(tide_freep) uint8_t *stored = malloc(frame_bound(len));
    TIDE_AUTO(tide_freep) uint8_t *back = malloc(len + 1);
    size_t total = 0;
    ok(frame_seal_bytes(c, s, &info, data, len, stored, &total, &err), &err);
    assert_true(total <= frame_bound(len));
    assert_int_equal(total, FRAME_HEADER_SIZE + info.stored_len);
    ok(frame_open_bytes(c, s, stored, total, 7, back, len, &got, &err), &err);
    assert_int_equal(got.stored_len, info.stored_len);
    assert_int_equal(got.number, 7);
    assert_int_equal(got.codec, info.codec);
    assert_int_equal(got.kind, FRAME_DATA);
    assert_int_equal(got.flags, FRAME_LAST);
    assert_int_equal(got.plain_len, len);
    if (len > 0)
        assert_memory_equal(back, data, len);
    return info.stored_len;
}

static void all_codecs_bring_all_lengths_back(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 2, 63, 64, 65, 1000, BLOCK - 1, BLOCK, FRAME_MAX_PLAIN};
    static const struct {
        enum frame_codec codec;
        int level;
    } codecs[] = {{FRAME_STORED, 0}, {FRAME_ZSTD, 1}, {FRAME_ZSTD, 3}, {FRAME_LZ4, 1}, {FRAME_LZ4, 9}};
    TIDE_AUTO(tide_freep) uint8_t *text = malloc(FRAME_MAX_PLAIN);
    TIDE_AUTO(tide_freep) uint8_t *noise = malloc(FRAME_MAX_PLAIN);
    for (size_t i = 0; i < FRAME_MAX_PLAIN; i++)
        text[i] = (uint8_t)((size_t) "the quick brown fox "[i % 20] + (i / 4096) % 3);
    fill_random(noise, FRAME_MAX_PLAIN);

    for (size_t k = 0; k < sizeof(codecs) / sizeof(*codecs); k++) {
        struct frame_coder *c = coder(codecs[k].codec, codecs[k].level);
        for (size_t i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
            for (int sealed = 0; sealed < 2; sealed++) {
                const struct frame_seal *s = sealed ? &keyed_seal : &plain_seal;
                uint32_t n = round_trip(c, s, text, lengths[i]);
                if (codecs[k].codec != FRAME_STORED && lengths[i] >= 1000)
                    assert_true(n < lengths[i] / 2);
                assert_int_equal(round_trip(c, s, noise, lengths[i]), lengths[i]);
            }
        }
        frame_coder_free(c);
    }
}

static void frame_is_opened_by_a_coder_of_another_codec(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *lz4 = coder(FRAME_LZ4, 1), *zstd = coder(FRAME_ZSTD, 3);
    uint8_t text[500], stored[600], back[500];
    memset(text, 'x', sizeof(text));
    struct frame_info info = {.kind = FRAME_TABLE};
    size_t total = 0;
    ok(frame_seal_bytes(lz4, &keyed_seal, &info, text, sizeof(text), stored, &total, &err), &err);
    assert_int_equal(info.codec, FRAME_LZ4);
    ok(frame_open_bytes(zstd, &keyed_seal, stored, total, 0, back, sizeof(back), &info, &err), &err);
    assert_memory_equal(text, back, sizeof(text));
    frame_coder_free(lz4);
    frame_coder_free(zstd);
}

static size_t sealed_text(struct frame_coder *c, const struct frame_seal *s, uint32_t number, uint8_t *out)
{
    struct tide_err err = TIDE_ERR_INIT;
    char text[100];
    memset(text, 'y', sizeof(text));
    memcpy(text, "begin", 5);
    struct frame_info info = {.number = number, .kind = FRAME_LEAF};
    size_t total = 0;
    ok(frame_seal_bytes(c, s, &info, text, sizeof(text), out, &total, &err), &err);
    return total;
}

static tide_status open_at(struct frame_coder *c, const struct frame_seal *s, const uint8_t *stored, size_t total,
                           uint32_t number)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_info info;
    uint8_t back[100];
    return frame_open_bytes(c, s, stored, total, number, back, sizeof(back), &info, &err);
}

static void every_flipped_bit_is_found(void **state)
{
    (void)state;
    const struct frame_seal *seals[] = {&plain_seal, &keyed_seal};
    enum frame_codec codecs[] = {FRAME_STORED, FRAME_ZSTD, FRAME_LZ4};
    for (unsigned k = 0; k < 6; k++) {
        struct frame_coder *c = coder(codecs[k / 2], 1);
        uint8_t stored[200];
        size_t total = sealed_text(c, seals[k % 2], 3, stored);
        for (size_t i = 0; i < total * 8; i++) {
            stored[i / 8] ^= (uint8_t)(1u << (i % 8));
            assert_int_equal(open_at(c, seals[k % 2], stored, total, 3), TIDE_CORRUPT);
            stored[i / 8] ^= (uint8_t)(1u << (i % 8));
        }
        assert_int_equal(open_at(c, seals[k % 2], stored, total, 3), TIDE_OK);
        frame_coder_free(c);
    }
}

static void cut_or_lengthened_frame_is_corrupt(void **state)
{
    (void)state;
    struct frame_coder *c = coder(FRAME_ZSTD, 3);
    uint8_t stored[200] = {0};
    size_t total = sealed_text(c, &keyed_seal, 0, stored);
    for (size_t len = 0; len <= total + 10; len++)
        assert_int_equal(open_at(c, &keyed_seal, stored, len, 0), len == total ? TIDE_OK : TIDE_CORRUPT);
    frame_coder_free(c);
}

static void frame_of_another_place_object_or_key_is_corrupt(void **state)
{
    (void)state;
    struct frame_coder *c = coder(FRAME_ZSTD, 3);
    for (int sealed = 0; sealed < 2; sealed++) {
        const struct frame_seal *s = sealed ? &keyed_seal : &plain_seal;
        uint8_t stored[200];
        size_t total = sealed_text(c, s, 4, stored);
        assert_int_equal(open_at(c, s, stored, total, 4), TIDE_OK);
        assert_int_equal(open_at(c, s, stored, total, 5), TIDE_CORRUPT);
        struct frame_seal other = *s;
        other.header_digest[31] ^= 1;
        assert_int_equal(open_at(c, &other, stored, total, 4), TIDE_CORRUPT);
        other = *s;
        other.encrypted = !other.encrypted;
        assert_int_equal(open_at(c, &other, stored, total, 4), TIDE_CORRUPT);
        if (!sealed)
            continue;
        other = *s;
        other.key[31] ^= 1;
        assert_int_equal(open_at(c, &other, stored, total, 4), TIDE_CORRUPT);
        assert_int_equal(open_at(c, s, stored, total, 4), TIDE_OK);
    }
    frame_coder_free(c);
}

static void forged_frame_leaves_no_plain_bytes(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = coder(FRAME_STORED, 0);
    uint8_t stored[200], back[100];
    struct frame_info info;
    size_t total = sealed_text(c, &keyed_seal, 0, stored);
    stored[total - 1] ^= 1;
    memset(back, 7, sizeof(back));
    assert_int_equal(frame_open_bytes(c, &keyed_seal, stored, total, 0, back, sizeof(back), &info, &err),
                     TIDE_CORRUPT);
    assert_int_equal(back[0], 0);
    frame_coder_free(c);
}

static void frame_larger_than_the_room_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = coder(FRAME_ZSTD, 3);
    uint8_t stored[200], back[99];
    struct frame_info info;
    size_t total = sealed_text(c, &plain_seal, 0, stored);
    assert_int_equal(frame_open_bytes(c, &plain_seal, stored, total, 0, back, sizeof(back), &info, &err),
                     TIDE_CORRUPT);
    frame_coder_free(c);
}

static void plain_bytes_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = coder(FRAME_ZSTD, 3);
    TIDE_AUTO(tide_freep) uint8_t *big = calloc(1, FRAME_MAX_PLAIN + 1);
    TIDE_AUTO(tide_freep) uint8_t *out = malloc(frame_bound(FRAME_MAX_PLAIN + 1));
    struct frame_info info = {.kind = FRAME_DATA};
    size_t total = 0;
    assert_int_equal(frame_seal_bytes(c, &plain_seal, &info, big, FRAME_MAX_PLAIN + 1, out, &total, &err),
                     TIDE_INVALID);
    frame_coder_free(c);
}

static void impossible_headers_are_corrupt(void **state)
{
    (void)state;
    static const struct {
        uint32_t stored, plain;
        uint8_t codec, flags, kind, reserved;
    } bad[] = {
        {5, FRAME_MAX_PLAIN + 1, 1, 0, 1, 0}, /* too large */
        {5, 6, 0, 0, 1, 0},                   /* stored, of another length */
        {6, 6, 1, 0, 1, 0},                   /* compressed, and not smaller */
        {0, 6, 1, 0, 1, 0},                   /* something out of nothing */
        {5, 6, 3, 0, 1, 0},                   /* unknown codec */
        {6, 6, 0, 2, 1, 0},                   /* unknown flag */
        {6, 6, 0, 0, 0, 0},                   /* no kind */
        {6, 6, 0, 0, 1, 1},                   /* reserved */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct frame_info info;
        uint8_t h[FRAME_HEADER_SIZE] = {0};
        tide_put_be32(h, bad[i].stored);
        tide_put_be32(h + 4, bad[i].plain);
        h[8] = bad[i].codec;
        h[9] = bad[i].flags;
        h[10] = bad[i].kind;
        h[11] = bad[i].reserved;
        assert_int_equal(frame_parse_header(h, &info, &err), TIDE_CORRUPT);
    }
}

/* A proved frame whose compressed bytes are wrong: only a faulty writer makes one, and it must not do harm. */
static void bytes_that_do_not_expand_are_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = coder(FRAME_STORED, 0);
    struct frame_cipher *cipher = NULL;
    ok(frame_cipher_new(&cipher, &err), &err);
    uint8_t stored[200], back[200];
    for (uint8_t codec = FRAME_ZSTD; codec <= FRAME_LZ4; codec++) {
        struct frame_info info = {.kind = FRAME_DATA};
        size_t total = 0;
        ok(frame_seal_bytes(c, &plain_seal, &info, "no compressed bytes at all", 26, stored, &total, &err), &err);
        stored[8] = codec;
        tide_put_be32(stored + 4, 100);
        assert_int_equal(open_at(c, &plain_seal, stored, total, 0), TIDE_CORRUPT);
        ok(frame_cipher_digest(cipher, &plain_seal, stored, stored + FRAME_HEADER_SIZE, 26, stored + FRAME_COVERED,
                               &err),
           &err);
        assert_int_equal(frame_open_bytes(c, &plain_seal, stored, total, 0, back, sizeof(back), &info, &err),
                         TIDE_CORRUPT);
        assert_null(strstr(err.msg, "digest"));
    }
    frame_cipher_free(cipher);
    frame_coder_free(c);
}

static void many_keys_in_turn_are_kept_apart(void **state)
{
    (void)state;
    struct frame_coder *c = coder(FRAME_ZSTD, 3);
    uint8_t stored[20][200];
    size_t total[20];
    for (unsigned round = 0; round < 3; round++) {
        for (uint8_t i = 0; i < 20; i++) {
            struct frame_seal s = keyed_seal;
            s.key[5] = i;
            total[i] = sealed_text(c, &s, i, stored[i]);
        }
        for (uint8_t i = 0; i < 20; i++) {
            struct frame_seal s = keyed_seal;
            s.key[5] = (uint8_t)(19 - i);
            assert_int_equal(open_at(c, &s, stored[19 - i], total[19 - i], 19u - i), TIDE_OK);
            s.key[5]++;
            assert_int_equal(open_at(c, &s, stored[19 - i], total[19 - i], 19u - i), TIDE_CORRUPT);
        }
    }
    frame_coder_free(c);
}

static void derived_keys_differ_by_salt_type_and_version(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t epoch[32] = {1}, salt[32] = {2}, other[32] = {3}, k[5][32];
    ok(frame_derive_key(epoch, salt, 1, 1, k[0], &err), &err);
    ok(frame_derive_key(epoch, salt, 2, 1, k[1], &err), &err);
    ok(frame_derive_key(epoch, salt, 1, 2, k[2], &err), &err);
    ok(frame_derive_key(epoch, other, 1, 1, k[3], &err), &err);
    ok(frame_derive_key(other, salt, 1, 1, k[4], &err), &err);
    for (unsigned i = 0; i < 5; i++)
        for (unsigned j = 0; j < i; j++)
            assert_memory_not_equal(k[i], k[j], 32);
    ok(frame_derive_key(epoch, salt, 1, 1, k[4], &err), &err);
    assert_memory_equal(k[0], k[4], 32);
}

static void hash_depends_on_seed_and_is_big_endian(void **state)
{
    (void)state;
    uint8_t a[FRAME_HASH_SIZE], b[FRAME_HASH_SIZE];
    char hex[2 * FRAME_HASH_SIZE + 1];
    frame_hash(0, "", 0, a);
    tide_hex(a, sizeof(a), hex);
    assert_string_equal(hex, "99aa06d3014798d86001c324468d497f"); /* XXH3-128 of nothing, canonical */
    frame_hash(1, "", 0, b);
    assert_memory_not_equal(a, b, sizeof(a));
}

static void impossible_codecs_are_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *c = NULL;
    assert_int_equal(frame_coder_new(FRAME_ZSTD, 0, &c, &err), TIDE_INVALID);
    assert_int_equal(frame_coder_new(FRAME_ZSTD, 99, &c, &err), TIDE_INVALID);
    assert_int_equal(frame_coder_new((enum frame_codec)9, 1, &c, &err), TIDE_INVALID);
    assert_null(c);
    frame_coder_free(NULL);
}

static void lent_buffer_grows(void **state)
{
    (void)state;
    struct frame_coder *c = coder(FRAME_STORED, 0);
    assert_non_null(frame_coder_buffer(c, 0));
    memset(frame_coder_buffer(c, 100), 1, 100);
    void *big = frame_coder_buffer(c, 100000);
    memset(big, 1, 100000);
    assert_ptr_equal(frame_coder_buffer(c, 10), big);
    frame_coder_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_codecs_bring_all_lengths_back),
        cmocka_unit_test(frame_is_opened_by_a_coder_of_another_codec),
        cmocka_unit_test(every_flipped_bit_is_found),
        cmocka_unit_test(cut_or_lengthened_frame_is_corrupt),
        cmocka_unit_test(frame_of_another_place_object_or_key_is_corrupt),
        cmocka_unit_test(forged_frame_leaves_no_plain_bytes),
        cmocka_unit_test(frame_larger_than_the_room_is_corrupt),
        cmocka_unit_test(plain_bytes_beyond_the_limit_are_refused),
        cmocka_unit_test(impossible_headers_are_corrupt),
        cmocka_unit_test(bytes_that_do_not_expand_are_corrupt),
        cmocka_unit_test(many_keys_in_turn_are_kept_apart),
        cmocka_unit_test(derived_keys_differ_by_salt_type_and_version),
        cmocka_unit_test(hash_depends_on_seed_and_is_big_endian),
        cmocka_unit_test(impossible_codecs_are_refused),
        cmocka_unit_test(lent_buffer_grows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
