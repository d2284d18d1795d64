/* logobject_*.c through logobject.h: names, sealing, reading back, and every way to damage one. */

#include "orchestrator/repository/logobject_internal.h"
#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/crypto.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

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

static char events[] = "[{\"kind\":\"restore_point\",\"name\":\"before\"}]";

static struct log_info info_of(uint64_t start, uint64_t len)
{
    return (struct log_info){
        .name = {.lineage = 2,
                 .start = {0, start},
                 .end = {0, start + len},
                 .min_us = 1700000000000000,
                 .max_us = 1700000001500000,
                 .back_ms = 12,
                 .marks = LOG_MARK_RESTORE_POINT},
        .bytes = len,
        .n_commits = 3,
        .last_commit_start = {0, start + 1},
        .last_commit_end = {0, start + 2},
        .first_record = {0, start},
        .last_record_start = {0, start + 3},
        .received_us = 1700000002000000,
        .n_events = 1,
        .events_json = events,
    };
}

static uint8_t *make_content(size_t len)
{
    uint8_t *p = malloc(len);
    assert_non_null(p);
    uint32_t x = 99;
    for (size_t i = 0; i < len; i++) {
        if (i % 16 == 0)
            x = x * 1664525u + 1013904223u;
        p[i] = (uint8_t)(x >> (8 * (i % 3)));
    }
    return p;
}

static struct tide_block_ref *make_refs(size_t n)
{
    struct tide_block_ref *refs = calloc(n + 1, sizeof(*refs));
    assert_non_null(refs);
    for (size_t i = 0; i < n; i++)
        refs[i] = (struct tide_block_ref){.space = 1663,
                                          .database = 5 + (uint32_t)(i / 5000),
                                          .relation = 16384 + (uint32_t)(i % 5000 / 50),
                                          .fork = i % 50 >= 40,
                                          .block = (uint32_t)(i % 50 * 3)};
    if (n > 1)
        refs[n - 1] = (struct tide_block_ref){UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX};
    return refs;
}

static void put(struct test_repo *t, const struct log_info *i, const void *content, size_t n_refs,
                char key[REPO_KEY_MAX])
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = make_refs(n_refs);
    ok(log_name_key("shop", &i->name, key, &err), &err);
    ok(log_object_put(t->repo, "shop", i, content, refs, n_refs, &err), &err);
}

/* ---- names */

static void names_are_fixed_width_hex(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(0x1000000, 0x2000);
    struct log_name back;
    char key[REPO_KEY_MAX];
    ok(log_name_key("shop", &i.name, key, &err), &err);
    assert_string_equal(key, "instances/shop/log/00000002/0/00000000000000000000000001000000-"
                             "00000000000000000000000001002000-00060a24181e4000-00060a2418352360-0000000c-01");
    assert_true(log_name_parse(key, &back));
    assert_true(log_name_equal(&i.name, &back));

    i.name.min_us = i.name.max_us = TIDE_TIME_NONE;
    i.name.back_ms = 0;
    ok(log_name_key("shop", &i.name, key, &err), &err);
    assert_non_null(strstr(key, "-0000000000000000-0000000000000000-00000000-01"));
    assert_true(log_name_parse(key, &back));
    assert_true(log_name_equal(&i.name, &back));
}

static void impossible_names_are_refused(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name good = info_of(100, 100).name, n;
    char key[REPO_KEY_MAX];
    n = good;
    n.lineage = 0;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    n = good;
    n.level = LOG_LEVEL_MAX + 1;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    n = good;
    n.end = n.start;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    n = good;
    n.min_us = n.max_us + 1;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    n = good;
    n.min_us = TIDE_TIME_NONE;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    n = good;
    n.min_us = -5;
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_INVALID);
    assert_int_equal(log_name_key("Shop", &good, key, &err), TIDE_INVALID);
}

static void every_changed_character_of_a_name_is_another_name_or_none(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name good = info_of(100, 100).name, n;
    char key[REPO_KEY_MAX], instance[REPO_NAME_MAX];
    ok(log_name_key("shop", &good, key, &err), &err);
    size_t len = strlen(key);
    for (size_t i = 0; i < len; i++) {
        char was = key[i];
        for (const char *c = "0fgAF/-x"; *c != '\0'; c++) {
            if (*c == was)
                continue;
            key[i] = *c;
            if (log_name_parse_key(key, instance, &n))
                assert_true(!log_name_equal(&n, &good) || strcmp(instance, "shop") != 0);
        }
        key[i] = '\0';
        assert_false(log_name_parse(key, &n));
        key[i] = was;
    }
    key[len] = '0';
    key[len + 1] = '\0';
    assert_false(log_name_parse(key, &n));
    assert_false(log_name_parse("", &n));
    assert_false(log_name_parse("tidemark.json", &n));
}

struct search {
    struct tide_pos pos;
    bool found;
};

static tide_status contains(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    struct search *s = ctx;
    struct log_name n;
    if (log_name_parse(e->key, &n) && tide_pos_cmp(n.start, s->pos) <= 0 && tide_pos_cmp(s->pos, n.end) < 0)
        s->found = true;
    return TIDE_OK;
}

static void listing_after_a_position_finds_every_object_with_it(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const struct {
        struct tide_pos start, end, pos;
    } cases[] = {
        {{0, 1}, {0, 1 + LOG_OBJECT_MAX_BYTES}, {0, LOG_OBJECT_MAX_BYTES}},
        {{0, 5}, {0, 6}, {0, 5}},
        {{3, 0x7fffffff}, {4, 100}, {4, 99}}, /* over the end of a file */
        {{10, 1000}, {17, 4}, {17, 3}},       /* over seven of them */
        {{UINT64_MAX, 0}, {UINT64_MAX, 9}, {UINT64_MAX, 8}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        struct log_name n = {.lineage = 2,
                             .level = 1,
                             .start = cases[i].start,
                             .end = cases[i].end,
                             .min_us = TIDE_TIME_NONE,
                             .max_us = TIDE_TIME_NONE};
        char key[REPO_KEY_MAX], after[REPO_KEY_MAX], folder[REPO_KEY_MAX];
        ok(log_name_key("shop", &n, key, &err), &err);
        test_raw_write(t, key, "x", 1);
        struct search s = {.pos = cases[i].pos};
        log_level_folder("shop", 2, 1, folder);
        log_level_after("shop", 2, 1, s.pos, after);
        ok(store_list(repo_store(t->repo), folder, after, 0, contains, &s, &err), &err);
        if (!s.found)
            fail_msg("case %zu: \"%s\" is not after \"%s\"", i, key, after);
    }
}

/* ---- content */

static void content_and_description_come_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const size_t lengths[] = {4, 8192, LOG_FRAME_PLAIN - 1, LOG_FRAME_PLAIN, LOG_FRAME_PLAIN + 1, 5000000};
    for (size_t k = 0; k < sizeof(lengths) / sizeof(*lengths); k++) {
        struct log_info i = info_of(1000 + k * 100000000, lengths[k]);
        TIDE_AUTO(tide_freep) uint8_t *content = make_content(lengths[k]);
        TIDE_AUTO(tide_buf_clear) struct tide_buf back = TIDE_BUF_INIT(8 << 20);
        TIDE_AUTO(log_info_clear) struct log_info found = {0}, alone = {0};
        TIDE_AUTO(tide_freep) struct tide_block_ref *refs = NULL;
        size_t n = 9;
        char key[REPO_KEY_MAX];
        put(t, &i, content, 0, key);
        tide_buf_str(&back, "before");
        ok(log_object_read(t->repo, key, &found, &back, &err), &err);
        assert_int_equal(back.len, 6 + lengths[k]);
        assert_memory_equal(back.data, "before", 6);
        assert_memory_equal(back.data + 6, content, lengths[k]);

        uint8_t digest[32];
        ok(crypto_sha256(content, lengths[k], digest, &err), &err);
        assert_memory_equal(found.digest, digest, 32);
        assert_true(log_name_equal(&found.name, &i.name));
        assert_int_equal(found.bytes, lengths[k]);
        assert_int_equal(found.n_commits, 3);
        assert_int_equal(found.last_commit_start.lo, i.last_commit_start.lo);
        assert_int_equal(found.last_commit_end.lo, i.last_commit_end.lo);
        assert_int_equal(found.first_record.lo, i.first_record.lo);
        assert_int_equal(found.last_record_start.lo, i.last_record_start.lo);
        assert_int_equal(found.received_us, i.received_us);
        assert_int_equal(found.n_events, 1);
        assert_string_equal(found.events_json, events);
        ok(log_object_info(t->repo, key, &alone, &err), &err);
        assert_memory_equal(alone.digest, digest, 32);
        ok(log_object_refs(t->repo, key, &refs, &n, &err), &err);
        assert_int_equal(n, 0);
        ok(log_object_verify(t->repo, key, NULL, &err), &err);
    }
}

static void block_references_come_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_freep) uint8_t *content = make_content(100);
    static const size_t counts[] = {1, 2, 1000, 400000};
    for (size_t k = 0; k < sizeof(counts) / sizeof(*counts); k++) {
        TIDE_AUTO(tide_freep) struct tide_block_ref *want = calloc(counts[k], sizeof(*want));
        TIDE_AUTO(tide_freep) struct tide_block_ref *got = NULL;
        size_t n = 0;
        for (size_t i = 0; i < counts[k]; i++) /* far apart, so that they fill more than a frame */
            want[i] = (struct tide_block_ref){(uint32_t)i * 7, UINT32_MAX, (uint32_t)i, 0, UINT32_MAX - (uint32_t)i};
        struct log_info i = info_of(1000 * (k + 1), 100);
        char key[REPO_KEY_MAX];
        ok(log_name_key("shop", &i.name, key, &err), &err);
        ok(log_object_put(t->repo, "shop", &i, content, want, counts[k], &err), &err);
        ok(log_object_refs(t->repo, key, &got, &n, &err), &err);
        assert_int_equal(n, counts[k]);
        assert_memory_equal(got, want, n * sizeof(*want));
        ok(log_object_verify(t->repo, key, NULL, &err), &err);
    }
}

static void unsorted_references_are_invalid(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(1000, 4);
    struct tide_block_ref refs[2] = {{1, 1, 1, 1, 5}, {1, 1, 1, 1, 5}};
    assert_int_equal(log_object_put(t->repo, "shop", &i, "abcd", refs, 2, &err), TIDE_INVALID);
    refs[1].block = 4;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "abcd", refs, 2, &err), TIDE_INVALID);
}

static void extents_must_cover_the_range(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(log_info_clear) struct log_info back = {0};
    char key[REPO_KEY_MAX];
    struct log_info i = info_of(1000, 10);
    i.name.end = (struct tide_pos){1, 4};
    assert_int_equal(log_object_put(t->repo, "shop", &i, "0123456789", NULL, 0, &err), TIDE_INVALID);
    i.n_extents = 2;
    i.extents[0] = (struct log_extent){{0, 1000}, {1, 0}, 6}; /* the file ended at 1006 */
    i.extents[1] = (struct log_extent){{1, 0}, {1, 4}, 4};
    ok(log_object_put(t->repo, "shop", &i, "0123456789", NULL, 0, &err), &err);
    ok(log_name_key("shop", &i.name, key, &err), &err);
    ok(log_object_info(t->repo, key, &back, &err), &err);
    assert_int_equal(back.n_extents, 2);
    assert_memory_equal(back.extents, i.extents, sizeof(i.extents));

    i.name.lineage = 3;
    i.extents[1].len = 5;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "0123456789", NULL, 0, &err), TIDE_INVALID);
    i.extents[0].len = 5;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "0123456789", NULL, 0, &err), TIDE_INVALID);
    i.extents[1].start.lo = 1;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "0123456789", NULL, 0, &err), TIDE_INVALID);
}

static void nonsense_is_not_stored(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(1000, 4);
    i.bytes = 0;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "abcd", NULL, 0, &err), TIDE_INVALID);
    i = info_of(1000, 4);
    i.n_commits = 0;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "abcd", NULL, 0, &err), TIDE_INVALID);
    i = info_of(1000, 4);
    i.bytes = 5;
    assert_int_equal(log_object_put(t->repo, "shop", &i, "abcde", NULL, 0, &err), TIDE_INVALID);
}

static void same_name_is_success_with_the_same_content_only(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(1000, 8);
    char key[REPO_KEY_MAX];
    put(t, &i, "contents", 5, key);
    put(t, &i, "contents", 0, key); /* sealed under another salt, and yet the same */
    assert_int_equal(log_object_put(t->repo, "shop", &i, "Contents", NULL, 0, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, key));
    TIDE_AUTO(tide_buf_clear) struct tide_buf back = TIDE_BUF_INIT(8);
    ok(log_object_read(t->repo, key, NULL, &back, &err), &err);
    assert_memory_equal(back.data, "contents", 8);

    test_raw_write(t, key, "x", 1); /* a damaged one is no proof of anything */
    assert_int_equal(log_object_put(t->repo, "shop", &i, "contents", NULL, 0, &err), TIDE_CORRUPT);
}

static void description_costs_two_requests_and_content_a_few(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_freep) uint8_t *content = make_content(16 << 20);
    TIDE_AUTO(log_info_clear) struct log_info found = {0};
    TIDE_AUTO(tide_buf_clear) struct tide_buf back = TIDE_BUF_INIT(16 << 20);
    TIDE_AUTO(tide_freep) char *many = malloc(600000);
    struct log_info i = info_of(1000, 16 << 20);
    char key[REPO_KEY_MAX];
    for (size_t k = 0; k < 599999; k++)
        many[k] = (char)('a' + (k * k >> 7) % 26);
    many[599999] = '\0';
    i.events_json = many; /* larger than what the first request brings */
    put(t, &i, content, 100000, key);

    struct store_counters a = store_counters(repo_store(t->repo));
    ok(log_object_info(t->repo, key, &found, &err), &err);
    struct store_counters b = store_counters(repo_store(t->repo));
    assert_true(b.gets - a.gets <= 2);
    assert_int_equal(b.lists + b.heads - a.lists - a.heads, 0);
    assert_string_equal(found.events_json, many);
    ok(log_object_read(t->repo, key, NULL, &back, &err), &err);
    struct store_counters c = store_counters(repo_store(t->repo));
    assert_true(c.gets - b.gets <= 5);
    assert_int_equal(back.len, 16 << 20);
}

/* ---- damage */

static bool damaged(tide_status s)
{
    return s == TIDE_CORRUPT || s == TIDE_UNSUPPORTED || s == TIDE_DENIED;
}

static void every_flipped_byte_is_found(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_freep) uint8_t *content = make_content(600);
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    TIDE_AUTO(tide_buf_clear) struct tide_buf back = TIDE_BUF_INIT(600);
    struct log_info i = info_of(1000, 600);
    char key[REPO_KEY_MAX];
    put(t, &i, content, 50, key);
    test_raw_read(t, key, &raw);
    for (size_t k = 0; k < raw.len; k++) {
        raw.data[k] ^= (uint8_t)(1u << (k % 8));
        test_raw_write(t, key, raw.data, raw.len);
        tide_status s = log_object_verify(t->repo, key, NULL, &err);
        if (!damaged(s))
            fail_msg("byte %zu flipped: %s", k, tide_status_name(s));
        /* Reading the content alone either finds it or gives the right bytes. */
        tide_buf_reset(&back);
        s = log_object_read(t->repo, key, NULL, &back, &err);
        if (s == TIDE_OK)
            assert_memory_equal(back.data, content, 600);
        else
            assert_true(damaged(s) && back.len == 0);
        raw.data[k] ^= (uint8_t)(1u << (k % 8));
    }
}

static void cut_or_lengthened_object_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    struct log_info i = info_of(1000, 8);
    char key[REPO_KEY_MAX];
    put(t, &i, "contents", 3, key);
    test_raw_read(t, key, &raw);
    for (size_t len = 0; len < raw.len; len++) {
        test_raw_write(t, key, raw.data, len);
        assert_int_equal(log_object_verify(t->repo, key, NULL, &err), TIDE_CORRUPT);
    }
    tide_buf_u8(&raw, 0);
    test_raw_write(t, key, raw.data, raw.len);
    assert_int_equal(log_object_verify(t->repo, key, NULL, &err), TIDE_CORRUPT);
}

static void object_under_another_name_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    struct log_info i = info_of(1000, 8);
    struct log_name names[8];
    char key[REPO_KEY_MAX];
    put(t, &i, "contents", 0, key);
    test_raw_read(t, key, &raw);
    for (size_t k = 0; k < 8; k++)
        names[k] = i.name;
    names[0].lineage++;
    names[1].level++;
    names[2].start.lo--;
    names[3].end.lo++;
    names[4].min_us++;
    names[5].max_us++;
    names[6].back_ms++;
    names[7].marks = 0;
    for (size_t k = 0; k < 9; k++) {
        struct log_info found = {0};
        ok(log_name_key(k < 8 ? "shop" : "crm", k < 8 ? &names[k] : &i.name, key, &err), &err);
        test_raw_write(t, key, raw.data, raw.len);
        assert_int_equal(log_object_info(t->repo, key, &found, &err), TIDE_CORRUPT);
        assert_non_null(strstr(err.msg, key));
    }
    assert_int_equal(log_object_info(t->repo, "instances/shop/log/x", &(struct log_info){0}, &err), TIDE_INVALID);
}

static void absent_object_is_not_found(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(1000, 8);
    char key[REPO_KEY_MAX];
    ok(log_name_key("shop", &i.name, key, &err), &err);
    assert_int_equal(log_object_info(t->repo, key, &i, &err), TIDE_NOT_FOUND);
}

static void small_room_for_the_content_is_told(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_info i = info_of(1000, 8);
    char key[REPO_KEY_MAX];
    put(t, &i, "contents", 0, key);
    TIDE_AUTO(tide_buf_clear) struct tide_buf back = TIDE_BUF_INIT(7);
    assert_int_equal(log_object_read(t->repo, key, NULL, &back, &err), TIDE_INVALID);
}

/* ---- decoders on bytes that no proof protects */

static void reference_decoder_takes_no_nonsense(void **state)
{
    (void)state;
    static const struct {
        uint8_t bytes[12];
        size_t len;
    } bad[] = {
        {{5, 1}, 2},                                  /* no such number */
        {{4}, 1},                                     /* cut */
        {{0, 1, 1, 1, 1}, 5},                         /* cut */
        {{4, 0xff, 0xff, 0xff, 0xff, 0x1f}, 6},       /* more than 32 bits */
        {{4, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, 7}, /* too long */
        {{4, 5, 4, 0}, 4},                            /* twice the same */
        {{4, 5, 4, 0xff, 0xff, 0xff, 0xff, 0x0f}, 8}, /* runs over */
    };
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_block_ref refs[4];
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        size_t n = 0;
        assert_int_equal(log_refs_decode(bad[i].bytes, bad[i].len, refs, &n, 4, &err), TIDE_CORRUPT);
    }
    size_t n = 0;
    static const uint8_t three[] = {4, 5, 4, 1, 4, 1};
    assert_int_equal(log_refs_decode(three, sizeof(three), refs, &n, 2, &err), TIDE_CORRUPT);
    n = 0;
    ok(log_refs_decode(three, sizeof(three), refs, &n, 3, &err), &err);
    assert_int_equal(refs[2].block, 7);
}

static void description_decoder_survives_every_change(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint32_t stored[3] = {40, 50, 60};
    struct log_meta m = {
        .info = info_of(5, 8), .instance = "shop", .n_log = 2, .n_ref = 1, .n_refs = 7, .stored = stored};
    m.info.n_extents = 2;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(4096);
    log_meta_encode(&m, &out);
    for (size_t i = 0; i < out.len; i++) {
        for (unsigned v = 0; v < 256; v += 51) {
            uint8_t was = out.data[i];
            struct log_meta back = {0};
            out.data[i] = (uint8_t)v;
            tide_status s = log_meta_decode(out.data, out.len, &back, &err);
            assert_true(s == TIDE_OK || s == TIDE_CORRUPT);
            log_meta_clear(&back);
            out.data[i] = was;
        }
        struct log_meta cut = {0};
        assert_int_equal(log_meta_decode(out.data, i, &cut, &err), TIDE_CORRUPT);
    }
}

#define BOTH(test)                                                                                                   \
    {"plain: " #test, test, set_up_plain, tear_down, NULL},                                                          \
    {                                                                                                                \
        "sealed: " #test, test, set_up_sealed, tear_down, NULL                                                       \
    }
#define PLAIN(test) cmocka_unit_test_setup_teardown(test, set_up_plain, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_fixed_width_hex),
        cmocka_unit_test(impossible_names_are_refused),
        cmocka_unit_test(every_changed_character_of_a_name_is_another_name_or_none),
        PLAIN(listing_after_a_position_finds_every_object_with_it),
        BOTH(content_and_description_come_back),
        BOTH(block_references_come_back),
        PLAIN(unsorted_references_are_invalid),
        PLAIN(extents_must_cover_the_range),
        PLAIN(nonsense_is_not_stored),
        BOTH(same_name_is_success_with_the_same_content_only),
        BOTH(description_costs_two_requests_and_content_a_few),
        BOTH(every_flipped_byte_is_found),
        BOTH(cut_or_lengthened_object_is_corrupt),
        BOTH(object_under_another_name_is_corrupt),
        BOTH(absent_object_is_not_found),
        PLAIN(small_room_for_the_content_is_told),
        cmocka_unit_test(reference_decoder_takes_no_nonsense),
        cmocka_unit_test(description_decoder_survives_every_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
