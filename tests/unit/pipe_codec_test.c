/* codec.c: what expands must be exactly what was announced. */

#include "orchestrator/pipe/codec.h"

#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static struct codec *codec(enum frame_codec kind)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct codec *c = NULL;
    assert_int_equal(codec_new(kind, 1, &c, &err), TIDE_OK);
    assert_int_equal(codec_kind(c), kind);
    return c;
}

static void what_saves_less_than_a_64th_is_not_compressed(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    for (int kind = FRAME_STORED; kind <= FRAME_LZ4; kind++) {
        struct codec *c = codec((enum frame_codec)kind);
        uint8_t noise[256], out[256];
        for (unsigned i = 0; i < sizeof(noise); i++)
            noise[i] = (uint8_t)i; /* every byte once */
        size_t got = 1;
        assert_int_equal(codec_compress(c, noise, sizeof(noise), out, &got, &err), TIDE_OK);
        assert_int_equal(got, 0);
        codec_free(c);
    }
}

static void wrong_length_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    for (int kind = FRAME_ZSTD; kind <= FRAME_LZ4; kind++) {
        struct codec *c = codec((enum frame_codec)kind);
        uint8_t text[256] = {0}, packed[256], back[300];
        size_t got = 0;
        assert_int_equal(codec_compress(c, text, sizeof(text), packed, &got, &err), TIDE_OK);
        assert_true(got > 0 && got < 100);
        for (size_t len = 250; len < 260; len++)
            assert_int_equal(codec_expand(c, (enum frame_codec)kind, packed, got, back, len, &err),
                             len == 256 ? TIDE_OK : TIDE_CORRUPT);
        for (size_t cut = 0; cut < got; cut++)
            assert_int_equal(codec_expand(c, (enum frame_codec)kind, packed, cut, back, 256, &err), TIDE_CORRUPT);
        codec_free(c);
    }
}

static void unknown_codec_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct codec *c = codec(FRAME_ZSTD);
    uint8_t back[10];
    assert_int_equal(codec_expand(c, (enum frame_codec)7, "abc", 3, back, 10, &err), TIDE_CORRUPT);
    codec_free(c);
    codec_free(NULL);
}

/* What came before decides how long zstd searches; it must never decide what comes back. */
static void blocks_of_all_sorts_come_back(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct codec *c = codec(FRAME_ZSTD);
    static uint8_t block[65536], packed[65536], back[65536];
    uint32_t x = 1;
    for (unsigned i = 0; i < 24; i++) {
        for (size_t k = 0; k < sizeof(block); k++) {
            x = x * 1664525u + 1013904223u;
            block[k] = (uint8_t)(i % 3 == 0 ? k / 512 : i % 3 == 1 ? x >> 24 : (x >> 28) + (k & 3u));
        }
        size_t got = 0, len = sizeof(block) - (i & 1u);
        assert_int_equal(codec_compress(c, block, len, packed, &got, &err), TIDE_OK);
        assert_int_equal(got == 0, i % 3 == 1);
        if (got == 0)
            continue;
        assert_true(got < len * 3 / 4);
        assert_int_equal(codec_expand(c, FRAME_ZSTD, packed, got, back, len, &err), TIDE_OK);
        assert_memory_equal(back, block, len);
    }
    codec_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_saves_less_than_a_64th_is_not_compressed),
        cmocka_unit_test(wrong_length_is_corrupt),
        cmocka_unit_test(blocks_of_all_sorts_come_back),
        cmocka_unit_test(unknown_codec_is_corrupt),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
