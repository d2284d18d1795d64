/* object_*.c through object.h: sealed objects, small and large, and every way to damage them. */

#include "orchestrator/repository/object_internal.h"
#include "tests/support/repository.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY "instances/shop/thing"

static int set_up_plain(void **state)
{
    *state = test_repo_new(false);
    return 0;
}

static int set_up_sealed(void **state)
{
    *state = test_repo_new(true);
    return 0;
}

static int tear_down(void **state)
{
    test_repo_free(*state);
    return 0;
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static void put_text(struct repo *r, const char *key, const char *text)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct object_small o = {.key = key, .type = OBJECT_INTENT, .ext = "ext", .ext_len = 3};
    ok(object_put(r, &o, text, strlen(text), &err), &err);
}

static tide_status get(struct repo *r, const char *key, enum object_type type)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    tide_status s = object_get(r, key, type, &out, NULL, &err);
    if (s != TIDE_OK) {
        assert_int_equal(out.len, 0);
        assert_non_null(strstr(err.msg, key));
    }
    return s;
}

static void small_object_comes_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    put_text(t->repo, KEY, "hello hello hello hello hello hello");
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1 << 20);
    struct object_header h;
    tide_buf_str(&out, "> ");
    ok(object_get(t->repo, KEY, OBJECT_INTENT, &out, &h, &err), &err);
    assert_string_equal(tide_buf_cstr(&out), "> hello hello hello hello hello hello");
    assert_int_equal(h.ext_len, 3);
    assert_memory_equal(h.ext, "ext", 3);
    assert_int_equal(h.epoch, repo_is_encrypted(t->repo) ? 1 : 0);
}

static void empty_object_comes_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct object_small o = {.key = KEY, .type = OBJECT_INTENT};
    ok(object_put(t->repo, &o, NULL, 0, &err), &err);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_OK);
}

static void taken_key_is_not_overwritten(void **state)
{
    struct test_repo *t = *state;
    put_text(t->repo, KEY, "first");
    struct tide_err err = TIDE_ERR_INIT;
    struct object_small o = {.key = KEY, .type = OBJECT_INTENT};
    assert_int_equal(object_put(t->repo, &o, "second", 6, &err), TIDE_EXISTS);
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
    ok(object_get(t->repo, KEY, OBJECT_INTENT, &out, NULL, &err), &err);
    assert_string_equal(tide_buf_cstr(&out), "first");
}

static void absent_object_is_not_found(void **state)
{
    struct test_repo *t = *state;
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_NOT_FOUND);
}

static void object_of_another_type_is_refused(void **state)
{
    struct test_repo *t = *state;
    put_text(t->repo, KEY, "hello");
    assert_int_equal(get(t->repo, KEY, OBJECT_BACKUP), TIDE_CORRUPT);
}

static void object_larger_than_the_caller_bears_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    put_text(t->repo, KEY, "0123456789");
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(9);
    assert_int_equal(object_get(t->repo, KEY, OBJECT_INTENT, &out, NULL, &err), TIDE_CORRUPT);
}

static void every_flipped_bit_of_a_small_object_is_found(void **state)
{
    struct test_repo *t = *state;
    put_text(t->repo, KEY, "some text that is compressed: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(4096);
    test_raw_read(t, KEY, &raw);
    for (size_t i = 0; i < raw.len * 8; i++) {
        raw.data[i / 8] ^= (uint8_t)(1u << (i % 8));
        test_raw_write(t, KEY, raw.data, raw.len);
        tide_status s = get(t->repo, KEY, OBJECT_INTENT);
        /* A version, a feature or an epoch that we do not have may be what the flipped bit seems to mean. */
        if (s != TIDE_CORRUPT && s != TIDE_UNSUPPORTED && s != TIDE_DENIED)
            fail_msg("bit %zu flipped: %s", i, tide_status_name(s));
        if (i / 8 >= OBJECT_HEADER_SIZE)
            assert_int_equal(s, TIDE_CORRUPT);
        raw.data[i / 8] ^= (uint8_t)(1u << (i % 8));
    }
    test_raw_write(t, KEY, raw.data, raw.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_OK);
}

static void cut_or_lengthened_small_object_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    put_text(t->repo, KEY, "some text");
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(4096);
    test_raw_read(t, KEY, &raw);
    for (size_t len = 0; len < raw.len; len++) {
        test_raw_write(t, KEY, raw.data, len);
        assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_CORRUPT);
    }
    tide_buf_u8(&raw, 0);
    test_raw_write(t, KEY, raw.data, raw.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_CORRUPT);
}

static void unknown_incompatible_feature_is_unsupported(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct object_header h;
    ok(object_header_new(t->repo, OBJECT_INTENT, NULL, 0, &h, &err), &err);
    h.incompatible = 1;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(4096);
    ok(object_small_seal(t->repo, &h, "x", 1, &out, &err), &err);
    test_raw_write(t, KEY, out.data, out.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_UNSUPPORTED);

    h.incompatible = 0;
    h.compatible = h.read_only = UINT64_MAX;
    tide_buf_reset(&out);
    ok(object_small_seal(t->repo, &h, "x", 1, &out, &err), &err);
    test_raw_write(t, KEY, out.data, out.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_OK);
}

static void impossible_headers_are_refused(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const struct {
        size_t at;
        uint8_t value;
        tide_status want;
    } changes[] = {
        {0, 't', TIDE_CORRUPT},    {9, 2, TIDE_UNSUPPORTED},  {8, 1, TIDE_UNSUPPORTED}, {11, 2, TIDE_CORRUPT},
        {23, 1, TIDE_UNSUPPORTED}, {16, 1, TIDE_UNSUPPORTED}, {31, 1, TIDE_OK},         {39, 1, TIDE_OK},
        {88, 2, TIDE_CORRUPT},     {89, 4, TIDE_CORRUPT},     {90, 1, TIDE_CORRUPT},    {91, 1, TIDE_CORRUPT},
        {92, 1, TIDE_CORRUPT},     {95, 1, TIDE_CORRUPT},
    };
    struct object_header h;
    TIDE_AUTO(tide_buf_clear) struct tide_buf good = TIDE_BUF_INIT(4096);
    ok(object_header_new(t->repo, OBJECT_PACK, "abc", 3, &h, &err), &err);
    object_header_encode(&h, &good);
    assert_int_equal(good.len, OBJECT_HEADER_SIZE + 3);
    for (size_t i = 0; i < sizeof(changes) / sizeof(*changes); i++) {
        uint8_t was = good.data[changes[i].at];
        good.data[changes[i].at] = changes[i].value;
        if (object_header_decode(good.data, good.len, &h, &err) != changes[i].want)
            fail_msg("byte %zu: %s", changes[i].at, err.msg);
        good.data[changes[i].at] = was;
    }
    for (size_t len = 0; len < good.len; len++)
        assert_int_equal(object_header_decode(good.data, len, &h, &err), TIDE_CORRUPT);
    good.data[11] ^= 1; /* the cipher without its epoch, or the other way round */
    assert_int_equal(object_header_decode(good.data, good.len, &h, &err), TIDE_CORRUPT);
}

static void object_without_encryption_is_refused_in_an_encrypted_repository(void **state)
{
    struct test_repo *t = *state;
    struct test_repo *plain = test_repo_new(false);
    put_text(plain->repo, KEY, "forged");
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(4096);
    test_raw_read(plain, KEY, &raw);
    test_raw_write(t, KEY, raw.data, raw.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_CORRUPT);
    test_repo_free(plain);
}

static void object_of_another_repository_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct test_repo *other = test_repo_new(true); /* the same key file, another epoch key */
    put_text(other->repo, KEY, "foreign");
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(4096);
    test_raw_read(other, KEY, &raw);
    test_raw_write(t, KEY, raw.data, raw.len);
    assert_int_equal(get(t->repo, KEY, OBJECT_INTENT), TIDE_CORRUPT);
    test_repo_free(other);
}

/* ---- large objects */

struct large {
    struct frame_coder *coder;
    struct frame_ref refs[5];
};

static void make_large(struct test_repo *t, const char *key, struct large *l)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct object_writer *w = NULL;
    static const uint8_t id[OBJECT_ID_SIZE] = {1, 2, 3};
    char text[4000];
    if (l->coder == NULL)
        ok(frame_coder_new(FRAME_ZSTD, 3, &l->coder, &err), &err);
    struct object_small o = {.key = key, .type = OBJECT_PACK};
    ok(object_writer_begin(t->repo, &o, id, l->coder, &w, &err), &err);
    for (uint32_t i = 0; i < 5; i++) {
        memset(text, 'a' + (int)i, sizeof(text));
        ok(object_writer_frame(w, FRAME_DATA, text, 1000 * i, &l->refs[i], &err), &err);
        assert_int_equal(l->refs[i].number, i);
    }
    uint64_t before = object_writer_size(w), size = 0;
    assert_int_equal(object_writer_frames(w), 5);
    ok(object_writer_commit(w, &size, &err), &err);
    assert_true(size > before + OBJECT_TRAILER_SIZE);
}

/* Everything there is to prove in it. */
static tide_status read_large(struct test_repo *t, const char *key, struct large *l)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct object_reader *o = NULL;
    tide_status s = object_reader_open(t->repo, key, OBJECT_PACK, &o, &err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(tide_freep) struct frame_ref *refs = NULL;
    size_t n = 0;
    s = object_reader_index(o, l->coder, &refs, &n, &err);
    if (s == TIDE_OK && n != 5)
        s = TIDE_INVALID;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1 << 20);
    for (size_t i = 0; s == TIDE_OK && i < n; i++) {
        struct frame_info info;
        tide_buf_reset(&out);
        s = object_reader_frame(o, l->coder, &refs[i], &out, &info, &err);
        if (s == TIDE_OK && (out.len != 1000 * i || (i > 0 && out.data[0] != 'a' + (int)i)))
            s = TIDE_INVALID;
    }
    object_reader_close(o);
    return s;
}

static void large_object_comes_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct large l = {0};
    make_large(t, KEY, &l);
    assert_int_equal(read_large(t, KEY, &l), TIDE_OK);

    struct object_reader *o = NULL;
    ok(object_reader_open(t->repo, KEY, OBJECT_PACK, &o, &err), &err);
    assert_int_equal(object_reader_size(o), 0);
    assert_string_equal(object_reader_key(o), KEY);
    static const uint8_t id[OBJECT_ID_SIZE] = {1, 2, 3};
    assert_memory_equal(object_reader_header(o)->id, id, sizeof(id));
    TIDE_AUTO(tide_freep) struct frame_ref *refs = NULL;
    size_t n = 0;
    ok(object_reader_index(o, l.coder, &refs, &n, &err), &err);
    assert_int_equal(n, 5);
    assert_memory_equal(refs, l.refs, sizeof(l.refs));
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    test_raw_read(t, KEY, &raw);
    assert_int_equal(object_reader_size(o), raw.len);
    object_reader_close(o);
    frame_coder_free(l.coder);
}

static void every_flipped_byte_of_a_large_object_is_found(void **state)
{
    struct test_repo *t = *state;
    struct large l = {0};
    make_large(t, KEY, &l);
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    test_raw_read(t, KEY, &raw);
    for (size_t i = 0; i < raw.len; i++) {
        raw.data[i] ^= (uint8_t)(1u << (i % 8));
        test_raw_write(t, KEY, raw.data, raw.len);
        tide_status s = read_large(t, KEY, &l);
        if (s != TIDE_CORRUPT && s != TIDE_UNSUPPORTED && s != TIDE_DENIED)
            fail_msg("byte %zu flipped: %s", i, tide_status_name(s));
        raw.data[i] ^= (uint8_t)(1u << (i % 8));
    }
    frame_coder_free(l.coder);
}

static void cut_large_object_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct large l = {0};
    make_large(t, KEY, &l);
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    test_raw_read(t, KEY, &raw);
    for (size_t len = 0; len < raw.len; len++) {
        test_raw_write(t, KEY, raw.data, len);
        assert_int_equal(read_large(t, KEY, &l), TIDE_CORRUPT);
    }
    frame_coder_free(l.coder);
}

static void frames_at_each_others_place_are_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct large l = {0}, other = {0};
    make_large(t, KEY, &l);
    make_large(t, KEY "2", &other);
    struct object_reader *o = NULL;
    ok(object_reader_open(t->repo, KEY, OBJECT_PACK, &o, &err), &err);
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1 << 20);
    struct frame_ref swapped = l.refs[1];
    swapped.number = 2;
    assert_int_equal(object_reader_frame(o, l.coder, &swapped, &out, NULL, &err), TIDE_CORRUPT);
    ok(object_reader_frame(o, l.coder, &l.refs[1], &out, NULL, &err), &err);

    /* The same frame of another object: same id, number and content, but another header. */
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    TIDE_AUTO(tide_buf_clear) struct tide_buf foreign = TIDE_BUF_INIT(1 << 20);
    test_raw_read(t, KEY, &raw);
    test_raw_read(t, KEY "2", &foreign);
    assert_int_equal(l.refs[1].stored, other.refs[1].stored);
    memcpy(raw.data + l.refs[1].offset, foreign.data + other.refs[1].offset, l.refs[1].stored);
    test_raw_write(t, KEY, raw.data, raw.len);
    assert_int_equal(object_reader_frame(o, l.coder, &l.refs[1], &out, NULL, &err), TIDE_CORRUPT);
    object_reader_close(o);
    frame_coder_free(l.coder);
    frame_coder_free(other.coder);
}

static void aborted_large_object_leaves_nothing(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct frame_coder *coder = NULL;
    struct object_writer *w = NULL;
    ok(frame_coder_new(FRAME_LZ4, 1, &coder, &err), &err);
    struct object_small o = {.key = KEY, .type = OBJECT_PACK};
    ok(object_writer_begin(t->repo, &o, NULL, coder, &w, &err), &err);
    ok(object_writer_frame(w, FRAME_DATA, "x", 1, NULL, &err), &err);
    object_writer_abort(w);
    object_writer_abort(NULL);
    assert_int_equal(get(t->repo, KEY, OBJECT_PACK), TIDE_NOT_FOUND);
    frame_coder_free(coder);
}

static void small_and_large_objects_are_not_taken_for_each_other(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct large l = {0};
    make_large(t, KEY, &l);
    assert_int_equal(get(t->repo, KEY, OBJECT_PACK), TIDE_CORRUPT);
    struct object_small o = {.key = KEY "2", .type = OBJECT_PACK};
    ok(object_put(t->repo, &o, "x", 1, &err), &err);
    assert_int_equal(read_large(t, KEY "2", &l), TIDE_CORRUPT);
    frame_coder_free(l.coder);
}

#define BOTH(test)                                                                                                   \
    {"plain: " #test, test, set_up_plain, tear_down, NULL},                                                          \
    {                                                                                                                \
        "sealed: " #test, test, set_up_sealed, tear_down, NULL                                                       \
    }
#define SEALED(test)                                                                                                 \
    {                                                                                                                \
#test, test, set_up_sealed, tear_down, NULL                                                                  \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(small_object_comes_back),
        BOTH(empty_object_comes_back),
        BOTH(taken_key_is_not_overwritten),
        BOTH(absent_object_is_not_found),
        BOTH(object_of_another_type_is_refused),
        BOTH(object_larger_than_the_caller_bears_is_corrupt),
        BOTH(every_flipped_bit_of_a_small_object_is_found),
        BOTH(cut_or_lengthened_small_object_is_corrupt),
        BOTH(unknown_incompatible_feature_is_unsupported),
        BOTH(impossible_headers_are_refused),
        SEALED(object_without_encryption_is_refused_in_an_encrypted_repository),
        SEALED(object_of_another_repository_is_corrupt),
        BOTH(large_object_comes_back),
        BOTH(every_flipped_byte_of_a_large_object_is_found),
        BOTH(cut_large_object_is_corrupt),
        BOTH(frames_at_each_others_place_are_corrupt),
        BOTH(aborted_large_object_leaves_nothing),
        BOTH(small_and_large_objects_are_not_taken_for_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
