/* repo.c, repo_descriptor.c, repo_document.c, repo_spool.c, keys.c: making and opening repositories. */

#include "orchestrator/repository/repo_internal.h"
#include "tests/support/repository.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/record.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLOT "keys/00000001/00000001/00000001"

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

static tide_status open_with(const struct test_repo *t, const char *key, struct tide_err *err)
{
    struct tide_secret secret = TIDE_SECRET_INIT;
    struct repo_options o = t->options;
    TIDE_AUTO(test_repo_closep) struct repo *r = NULL;
    if (key != NULL)
        ok(tide_secret_set(&secret, key, strlen(key), err), err);
    o.key = &secret;
    tide_status s = repo_open(&o, &r, err);
    tide_secret_clear(&secret);
    return s;
}

#define RIGHT "0123456789abcdef0123456789ABCDEF"

static void repository_is_made_once(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(test_repo_closep) struct repo *again = NULL;
    bool created = true;
    ok(repo_init(&t->options, &created, &again, &err), &err);
    assert_false(created);
    assert_string_equal(repo_id(again), repo_id(t->repo));
    assert_int_equal(strlen(repo_id(again)), 32);
    assert_int_equal(repo_epoch(again), repo_is_encrypted(again) ? 1 : 0);
    assert_false(repo_is_read_only(again));
}

static void wrong_or_missing_key_is_denied(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    ok(open_with(t, RIGHT, &err), &err);
    assert_int_equal(open_with(t, "0123456789abcdef0123456789ABCDEG", &err), TIDE_DENIED);
    assert_null(strstr(err.msg, "ABCDEG"));
    assert_int_equal(open_with(t, RIGHT "\n", &err), TIDE_DENIED);
    assert_int_equal(open_with(t, NULL, &err), TIDE_DENIED);
}

static void key_for_a_plain_repository_is_refused(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_REFUSED);
    assert_int_equal(open_with(t, NULL, &err), TIDE_OK);
}

static void short_key_makes_no_repository(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_secret secret = TIDE_SECRET_INIT;
    struct repo *r = NULL;
    char url[200];
    bool created;
    ok(tide_secret_set(&secret, "fifteen bytes..", 15, &err), &err);
    (void)snprintf(url, sizeof(url), "file://%s/other", t->dir);
    struct repo_options o = {.url = url, .key = &secret, .codec = FRAME_ZSTD, .level = 3};
    assert_int_equal(repo_init(&o, &created, &r, &err), TIDE_INVALID);
    tide_secret_clear(&secret);
    assert_int_equal(access(url + 7, F_OK), -1);
}

static void missing_descriptor_is_not_found_and_nothing_is_written(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct repo *r = NULL;
    char url[200];
    bool empty = false;
    (void)snprintf(url, sizeof(url), "file://%s/unmounted", t->dir);
    ok(tide_mkdirs(url + 7, 0755, &err), &err);
    struct repo_options o = {.url = url, .codec = FRAME_ZSTD, .level = 3};
    assert_int_equal(repo_open(&o, &r, &err), TIDE_NOT_FOUND);
    assert_non_null(strstr(err.hint, "mounted"));
    ok(tide_dir_is_empty(url + 7, &empty, &err), &err);
    assert_true(empty);
}

static void objects_without_descriptor_refuse_init(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct repo *r = NULL;
    char path[4096];
    bool created;
    test_raw_write(t, "instances/shop/instance.json", "x", 1);
    test_raw_path(t, REPO_DESCRIPTOR, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(repo_init(&t->options, &created, &r, &err), TIDE_REFUSED);
    assert_int_equal(access(path, F_OK), -1);
}

static void interrupted_init_is_completed(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[4096];
    bool created = false;
    test_raw_path(t, SLOT, path);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_DENIED);
    assert_non_null(strstr(err.hint, "init"));

    TIDE_AUTO(test_repo_closep) struct repo *r = NULL;
    ok(repo_init(&t->options, &created, &r, &err), &err);
    assert_true(created);
    assert_int_equal(repo_epoch(r), 1);
}

static void lost_keys_are_never_made_anew(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct repo *r = NULL;
    char path[4096];
    bool created;
    test_raw_path(t, SLOT, path);
    assert_int_equal(unlink(path), 0);
    test_raw_write(t, "instances/shop/instance.json", "x", 1);
    assert_int_equal(repo_init(&t->options, &created, &r, &err), TIDE_DENIED);
    assert_int_equal(access(path, F_OK), -1);
}

static void every_flipped_bit_of_descriptor_and_slot_is_found(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *keys[] = {REPO_DESCRIPTOR, SLOT};
    for (size_t k = 0; k < (repo_is_encrypted(t->repo) ? 2 : 1); k++) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
        test_raw_read(t, keys[k], &raw);
        for (size_t i = 0; i < raw.len; i++) {
            raw.data[i] ^= (uint8_t)(1u << (i % 8));
            test_raw_write(t, keys[k], raw.data, raw.len);
            tide_status s = open_with(t, repo_is_encrypted(t->repo) ? RIGHT : NULL, &err);
            if (s != TIDE_CORRUPT)
                fail_msg("\"%s\", byte %zu: %s", keys[k], i, tide_status_name(s));
            raw.data[i] ^= (uint8_t)(1u << (i % 8));
        }
        for (size_t len = 0; len < raw.len; len++) {
            test_raw_write(t, keys[k], raw.data, len);
            assert_int_equal(open_with(t, repo_is_encrypted(t->repo) ? RIGHT : NULL, &err), TIDE_CORRUPT);
        }
        test_raw_write(t, keys[k], raw.data, raw.len);
    }
}

/* Puts another text into a document, with a check that fits. */
static void replace_in(struct test_repo *t, const char *key, const char *from, const char *to)
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536), out = TIDE_BUF_INIT(65536);
    test_raw_read(t, key, &raw);
    char *text = (char *)raw.data, *at = strstr(text, from), *check = strstr(text, "  \"check\"");
    assert_non_null(at);
    assert_non_null(check);
    tide_buf_append(&out, text, (size_t)(at - text));
    tide_buf_str(&out, to);
    tide_buf_append(&out, at + strlen(from), (size_t)(check - at) - strlen(from));
    uint8_t digest[32];
    char hex[65];
    ok(crypto_sha256(out.data, out.len, digest, &err), &err);
    tide_hex(digest, 32, hex);
    tide_buf_printf(&out, "  \"check\": \"%s\"\n}\n", hex);
    test_raw_write(t, key, out.data, out.len);
}

static void unknown_versions_features_and_ciphers_are_unsupported(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const char *const changes[][3] = {
        {"\"version\": 1", "\"version\": 2", "\"version\": 1"},
        {"\"incompatible\": \"0000", "\"incompatible\": \"0001", "\"incompatible\": \"0000"},
        {"\"cipher\": \"none\"", "\"cipher\": \"rot13\"", "\"cipher\": \"none\""},
    };
    for (size_t i = 0; i < 3; i++) {
        replace_in(t, REPO_DESCRIPTOR, changes[i][0], changes[i][1]);
        assert_int_equal(open_with(t, NULL, &err), TIDE_UNSUPPORTED);
        replace_in(t, REPO_DESCRIPTOR, changes[i][1], changes[i][2]);
        assert_int_equal(open_with(t, NULL, &err), TIDE_OK);
    }
    replace_in(t, REPO_DESCRIPTOR, "tidemark repository", "something else here");
    assert_int_equal(open_with(t, NULL, &err), TIDE_CORRUPT);
}

static void unknown_read_only_feature_allows_reading_only(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    json_t *doc = json_pack("{s:i}", "a", 1), *back = NULL;
    ok(record_put(t->repo, "instances/shop/a", OBJECT_INTENT, doc, &err), &err);
    replace_in(t, REPO_DESCRIPTOR, "\"read_only_compatible\": \"0000", "\"read_only_compatible\": \"0001");
    test_repo_reopen(t);
    assert_true(repo_is_read_only(t->repo));
    ok(record_get(t->repo, "instances/shop/a", OBJECT_INTENT, &back, &err), &err);
    assert_int_equal(record_put(t->repo, "instances/shop/b", OBJECT_INTENT, doc, &err), TIDE_REFUSED);
    json_decref(doc);
    json_decref(back);
}

static void unknown_compatible_feature_does_not_matter(void **state)
{
    struct test_repo *t = *state;
    replace_in(t, REPO_DESCRIPTOR, "\"compatible\": \"0000", "\"compatible\": \"ffff");
    test_repo_reopen(t);
    assert_false(repo_is_read_only(t->repo));
}

/* ---- slots */

static void second_slot_opens_by_its_own_key(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_secret other = TIDE_SECRET_INIT;
    uint8_t key[32], id[16];
    ok(tide_secret_set(&other, "another key file of some length", 31, &err), &err);
    ok(repo_epoch_key(t->repo, 1, key, &err), &err);
    assert_true(tide_unhex(repo_id(t->repo), id, 16));
    struct key_slot_name name = {.epoch = 1, .slot = 2, .generation = 1};
    ok(keys_put_slot(repo_store(t->repo), id, &name, key, &other, &err), &err);
    assert_int_equal(keys_put_slot(repo_store(t->repo), id, &name, key, &other, &err), TIDE_EXISTS);
    assert_int_equal(open_with(t, "another key file of some length", &err), TIDE_OK);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_OK);

    /* A damaged slot is no obstacle while another opens, and is named when none does. */
    test_raw_write(t, "keys/00000001/00000002/00000001", "x", 1);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_OK);
    assert_int_equal(open_with(t, "another key file of some length", &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, "keys/00000001/00000002/00000001"));
    tide_secret_clear(&other);
}

static void highest_generation_of_a_slot_counts(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_secret other = TIDE_SECRET_INIT;
    uint8_t key[32], id[16];
    ok(tide_secret_set(&other, "another key file of some length", 31, &err), &err);
    ok(repo_epoch_key(t->repo, 1, key, &err), &err);
    assert_true(tide_unhex(repo_id(t->repo), id, 16));
    struct key_slot_name name = {.epoch = 1, .slot = 1, .generation = 2};
    ok(keys_put_slot(repo_store(t->repo), id, &name, key, &other, &err), &err);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_DENIED);
    assert_int_equal(open_with(t, "another key file of some length", &err), TIDE_OK);

    replace_in(t, "keys/00000001/00000001/00000002", "\"keyfile\"", "\"removed\"");
    assert_int_equal(open_with(t, "another key file of some length", &err), TIDE_DENIED);
    tide_secret_clear(&other);
}

static void unknown_slot_kinds_are_skipped(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    test_raw_read(t, SLOT, &raw);
    test_raw_write(t, "keys/00000001/00000002/00000001", raw.data, raw.len);
    replace_in(t, "keys/00000001/00000002/00000001", "\"slot\": 1", "\"slot\": 2");
    replace_in(t, "keys/00000001/00000002/00000001", "\"keyfile\"", "\"quantum\"");
    test_raw_write(t, "keys/00000001/00000003/00000001", raw.data, raw.len);
    replace_in(t, "keys/00000001/00000003/00000001", "\"version\": 1", "\"version\": 9");
    test_raw_write(t, "keys/README", "hello", 5);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_OK);
}

static void slot_at_another_place_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    test_raw_read(t, SLOT, &raw);
    /* Only the copy is left to open the newest epoch, and it says another one. */
    test_raw_write(t, "keys/00000002/00000001/00000001", raw.data, raw.len);
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, "keys/00000002"));
    /* Saying the right epoch does not help: the wrapping covers it. */
    replace_in(t, "keys/00000002/00000001/00000001", "\"epoch\": 1", "\"epoch\": 2");
    assert_int_equal(open_with(t, RIGHT, &err), TIDE_DENIED);
}

static void newest_epoch_is_written_and_older_ones_are_read(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t id[16], one[32], two[32];
    json_t *doc = json_pack("{s:i}", "a", 1), *back = NULL;
    ok(record_put(t->repo, "instances/shop/a", OBJECT_INTENT, doc, &err), &err);
    json_decref(doc);
    assert_true(tide_unhex(repo_id(t->repo), id, 16));
    ok(keys_make_epoch(repo_store(t->repo), id, 2, &t->key, &err), &err);
    test_repo_reopen(t);
    assert_int_equal(repo_epoch(t->repo), 2);
    ok(repo_epoch_key(t->repo, 1, one, &err), &err);
    ok(repo_epoch_key(t->repo, 2, two, &err), &err);
    assert_memory_not_equal(one, two, 32);
    assert_int_equal(repo_epoch_key(t->repo, 3, two, &err), TIDE_DENIED);
    ok(record_get(t->repo, "instances/shop/a", OBJECT_INTENT, &back, &err), &err);
    json_decref(back);
    uint64_t s1 = 0, s2 = 0;
    ok(repo_hash_seed(t->repo, 1, &s1, &err), &err);
    ok(repo_hash_seed(t->repo, 2, &s2, &err), &err);
    assert_true(s1 != s2);
}

/* ---- spool */

static void spool_shares_the_keys(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char dir[200];
    (void)snprintf(dir, sizeof(dir), "%s/sp%%ool/deep", t->dir);
    TIDE_AUTO(test_repo_closep) struct repo *spool = NULL;
    ok(repo_open_spool(t->repo, dir, &spool, &err), &err);
    json_t *doc = json_pack("{s:i}", "a", 1), *back = NULL;
    ok(record_put(spool, "instances/shop/a", OBJECT_INTENT, doc, &err), &err);
    json_decref(doc);
    repo_close(TIDE_TAKE(spool));
    ok(repo_open_spool(t->repo, dir, &spool, &err), &err);
    ok(record_get(spool, "instances/shop/a", OBJECT_INTENT, &back, &err), &err);
    json_decref(back);
    struct stat sb;
    assert_int_equal(stat(dir, &sb), 0);
    assert_int_equal(sb.st_mode & 0777, 0700);

    /* The bytes can be moved over as they are. */
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    ok(store_get_all(repo_store(spool), "instances/shop/a", &raw, &err), &err);
    ok(store_put(repo_store(t->repo), "instances/shop/a", raw.data, raw.len, &err), &err);
    ok(record_get(t->repo, "instances/shop/a", OBJECT_INTENT, &back, &err), &err);
    json_decref(back);
}

static void spool_of_another_repository_is_refused(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct test_repo *other = test_repo_new(false);
    char dir[200];
    (void)snprintf(dir, sizeof(dir), "%s/spool", t->dir);
    TIDE_AUTO(test_repo_closep) struct repo *spool = NULL;
    ok(repo_open_spool(t->repo, dir, &spool, &err), &err);
    repo_close(TIDE_TAKE(spool));
    assert_int_equal(repo_open_spool(other->repo, dir, &spool, &err), TIDE_REFUSED);
    assert_int_equal(repo_open_spool(other->repo, "relative", &spool, &err), TIDE_INVALID);
    test_repo_free(other);
}

#define BOTH(test)                                                                                                   \
    {"plain: " #test, test, set_up_plain, tear_down, NULL},                                                          \
    {                                                                                                                \
        "sealed: " #test, test, set_up_sealed, tear_down, NULL                                                       \
    }
#define PLAIN(test)  cmocka_unit_test_setup_teardown(test, set_up_plain, tear_down)
#define SEALED(test) cmocka_unit_test_setup_teardown(test, set_up_sealed, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(repository_is_made_once),
        SEALED(wrong_or_missing_key_is_denied),
        PLAIN(key_for_a_plain_repository_is_refused),
        PLAIN(short_key_makes_no_repository),
        PLAIN(missing_descriptor_is_not_found_and_nothing_is_written),
        BOTH(objects_without_descriptor_refuse_init),
        SEALED(interrupted_init_is_completed),
        SEALED(lost_keys_are_never_made_anew),
        BOTH(every_flipped_bit_of_descriptor_and_slot_is_found),
        PLAIN(unknown_versions_features_and_ciphers_are_unsupported),
        BOTH(unknown_read_only_feature_allows_reading_only),
        PLAIN(unknown_compatible_feature_does_not_matter),
        SEALED(second_slot_opens_by_its_own_key),
        SEALED(highest_generation_of_a_slot_counts),
        SEALED(unknown_slot_kinds_are_skipped),
        SEALED(slot_at_another_place_is_corrupt),
        SEALED(newest_epoch_is_written_and_older_ones_are_read),
        BOTH(spool_shares_the_keys),
        PLAIN(spool_of_another_repository_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
