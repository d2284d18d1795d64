// LDFLAGS: -Wl,--wrap=pwrite
/* tree_verify.c and tree_extract.c: what is damaged is found and named, what is full is told, what was begun goes on.
 */

#include "tests/support/fault.h"
#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEYS_MAX 64u

struct fixture {
    struct test_repo *t;
    char source[128], target[128];
    struct backup b;
    char keys[KEYS_MAX][REPO_KEY_MAX];
    unsigned n_keys;
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static tide_status note_key(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct fixture *f = ctx;
    (void)err;
    assert_true(f->n_keys < KEYS_MAX);
    (void)snprintf(f->keys[f->n_keys++], REPO_KEY_MAX, "%s", e->key);
    return TIDE_OK;
}

static int set_up_with(void **state, bool encrypted)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(encrypted);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    trees_make(f->source, 30, 21);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &f->b, &err), &err);
    ok(store_list(repo_store(f->t->repo), "instances/shop/packs/", NULL, 0, note_key, f, &err), &err);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, true);
}

static int set_up_plain(void **state)
{
    return set_up_with(state, false);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    backup_clear(&f->b);
    test_repo_free(f->t);
    free(f);
    return 0;
}

struct bad {
    unsigned n, missing;
    char keys[KEYS_MAX][REPO_KEY_MAX];
    char file[256];
};

static void note_bad(void *ctx, const char *key, const char *file, const struct tide_err *why)
{
    struct bad *b = ctx;
    assert_true(b->n < KEYS_MAX);
    for (unsigned i = 0; i < b->n; i++)
        assert_string_not_equal(b->keys[i], key); /* once each */
    (void)snprintf(b->keys[b->n++], REPO_KEY_MAX, "%s", key);
    (void)snprintf(b->file, sizeof b->file, "%s", file == NULL ? "" : file);
    b->missing += why->status == TIDE_NOT_FOUND;
    assert_true(why->msg[0] != '\0');
}

static tide_status verify(struct fixture *f, unsigned percent, struct bad *bad, uint64_t *bytes)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_reader *t = NULL;
    *bad = (struct bad){.n = 0};
    ok(tree_reader_open(f->t->repo, "shop", &f->b, 2, &t, &err), &err);
    tide_status s = tree_verify(t, percent, note_bad, bad, bytes, &err);
    tree_reader_close(t);
    return s;
}

static void a_whole_backup_verifies(void **state)
{
    struct fixture *f = *state;
    struct bad bad;
    uint64_t all = 0, some = 0;
    assert_int_equal(verify(f, 100, &bad, &all), TIDE_OK);
    assert_int_equal(bad.n, 0);
    assert_true(all > f->b.totals.bytes / 2 && all <= f->b.totals.bytes); /* holes are not read */
    assert_int_equal(verify(f, 10, &bad, &some), TIDE_OK);
    assert_true(some > 0 && some < all / 2);
}

static void what_was_proved_is_not_read_again(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_proved *proved = NULL;
    struct backup second = {.lineage = 0};
    uint64_t bytes[3] = {0};
    trees_write(f->source, "d0/added", 0, "some bytes", 10);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source, .parent = &f->b};
    ok(trees_run(&o, &second, &err), &err);
    const struct backup *const order[] = {&f->b, &second, &f->b};
    ok(tree_proved_new(&proved, &err), &err);
    for (unsigned i = 0; i < 3; i++) {
        struct tree_reader *t = NULL;
        struct bad bad = {.n = 0};
        ok(tree_reader_open(f->t->repo, "shop", order[i], 2, &t, &err), &err);
        ok(tree_verify_once(t, 100, proved, note_bad, &bad, &bytes[i], &err), &err);
        tree_reader_close(t);
        if (i == 1) { /* damage of what was proved is not seen by this set, but by a new one */
            struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
            test_raw_read(f->t, f->keys[0], &raw);
            raw.data[raw.len / 3] ^= 1;
            test_raw_write(f->t, f->keys[0], raw.data, raw.len);
            tide_buf_clear(&raw);
        }
    }
    assert_true(bytes[0] > 1000000);
    assert_int_equal(bytes[1], 10);
    assert_int_equal(bytes[2], 0);
    struct bad bad;
    assert_int_equal(verify(f, 100, &bad, &bytes[0]), TIDE_CORRUPT);
    tree_proved_free(proved);
    backup_clear(&second);
}

static void damage_that_two_backups_share_is_told_for_both(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_proved *proved = NULL;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
    test_raw_read(f->t, f->keys[0], &raw);
    raw.data[raw.len / 3] ^= 1;
    test_raw_write(f->t, f->keys[0], raw.data, raw.len);
    tide_buf_clear(&raw);
    ok(tree_proved_new(&proved, &err), &err);
    for (unsigned i = 0; i < 2; i++) {
        struct tree_reader *t = NULL;
        struct bad bad = {.n = 0};
        uint64_t bytes = 0;
        ok(tree_reader_open(f->t->repo, "shop", &f->b, 2, &t, &err), &err);
        assert_int_equal(tree_verify_once(t, 100, proved, note_bad, &bad, &bytes, &err), TIDE_CORRUPT);
        assert_int_equal(bad.n, 1);
        tree_reader_close(t);
    }
    tree_proved_free(proved);
}

/* In every part of a pack: header, frames, index, trailer. */
static void every_flipped_byte_is_found(void **state)
{
    struct fixture *f = *state;
    struct trees_random r = {.state = 98};
    for (unsigned i = 0; i < 24; i++) {
        struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
        struct bad bad;
        uint64_t bytes = 0;
        const char *key = f->keys[trees_below(&r, f->n_keys)];
        test_raw_read(f->t, key, &raw);
        size_t at = i < 6    ? (size_t)(const unsigned[]){8, 15, 22, 45, 70, 100}[i]
                    : i < 12 ? raw.len - 1 - 5 * (i - 6)
                    : i < 16 ? raw.len - 200 - 100 * (i - 12)
                             : (size_t)trees_below(&r, raw.len);
        uint8_t wrong = raw.data[at] ^ (uint8_t)(1u << trees_below(&r, 8));
        trees_write(f->t->root, key, at, &wrong, 1);
        tide_status s = verify(f, 100, &bad, &bytes);
        trees_write(f->t->root, key, at, &raw.data[at], 1);
        if (s != TIDE_CORRUPT || bad.n != 1 || strcmp(bad.keys[0], key) != 0)
            fail_msg("byte %zu of %zu in \"%s\": %s, %u bad, \"%s\"", at, raw.len, key, tide_status_name(s), bad.n,
                     bad.keys[0]);
        tide_buf_clear(&raw);
    }
}

static void missing_packs_are_named_and_nothing_is_restored_from_them(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < f->n_keys; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
        struct bad bad;
        uint64_t bytes = 0;
        test_raw_read(f->t, f->keys[i], &raw);
        ok(store_delete(repo_store(f->t->repo), f->keys[i], &err), &err);
        assert_int_equal(verify(f, 100, &bad, &bytes), TIDE_CORRUPT);
        assert_true(bad.n >= 1);
        bool named = false;
        for (unsigned k = 0; k < bad.n; k++)
            named = named || strcmp(bad.keys[k], f->keys[i]) == 0;
        assert_true(named);
        assert_true(bad.missing >= 1 || bad.n == 1);
        assert_int_equal(trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err), TIDE_CORRUPT);
        assert_non_null(strstr(err.msg, f->keys[i]));
        test_raw_write(f->t, f->keys[i], raw.data, raw.len);
        tide_buf_clear(&raw);
    }
}

static void damage_stops_a_restore(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
    test_raw_read(f->t, f->keys[0], &raw);
    raw.data[raw.len / 2] ^= 4;
    test_raw_write(f->t, f->keys[0], raw.data, raw.len);
    assert_int_equal(trees_extract(f->t->repo, "shop", &f->b, f->target, false, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, f->keys[0]));
    tide_buf_clear(&raw);
}

/* ------------------------------------------------------------------ going on */

static void a_restore_goes_on_where_it_was_cut(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[512], other[512];
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, false, &err), &err);
    uint64_t whole = store_counters(repo_store(f->t->repo)).bytes_in;
    /* as a cut leaves it: a file missing, one short, one with wrong bytes, one too long, one that is a link */
    (void)snprintf(path, sizeof path, "%s/link", f->target);
    assert_int_equal(unlink(path), 0);
    struct trees_random r = {.state = 1};
    unsigned touched = 0;
    for (unsigned i = 0; i < 30; i++) {
        for (unsigned d = 0; d < 4; d++) {
            (void)snprintf(path, sizeof path, "%s/d%u/f%05u", f->target, d, i);
            struct stat st;
            if (stat(path, &st) != 0 || st.st_size < 10)
                continue;
            switch (touched++ % 6) {
            case 0:
                assert_int_equal(unlink(path), 0);
                break;
            case 1:
                assert_int_equal(truncate(path, st.st_size / 2), 0);
                break;
            case 2:
                trees_write(f->target, path + strlen(f->target) + 1, trees_below(&r, (uint64_t)st.st_size - 8),
                            "wrong", 5);
                break;
            case 3:
                assert_int_equal(truncate(path, st.st_size + 100000), 0);
                break;
            case 4:
                (void)snprintf(other, sizeof other, "%s/elsewhere", f->t->dir);
                assert_int_equal(rename(path, other), 0);
                assert_int_equal(symlink(other, path), 0);
                break;
            default:
                break;
            }
        }
    }
    assert_true(touched > 20);
    uint64_t before = store_counters(repo_store(f->t->repo)).bytes_in;
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
    assert_true(store_counters(repo_store(f->t->repo)).bytes_in - before < whole);
    /* nothing to do: only tables and leaves are read */
    before = store_counters(repo_store(f->t->repo)).bytes_in;
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err), &err);
    assert_true(store_counters(repo_store(f->t->repo)).bytes_in - before < whole / 10);
}

static void a_new_restore_does_not_write_through_links(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[512], victim[512];
    char folder[256];
    (void)snprintf(victim, sizeof victim, "%s/victim", f->t->dir);
    trees_write(f->t->dir, "victim", 0, "precious", 8);
    for (unsigned d = 0; d < 4; d++) {
        (void)snprintf(folder, sizeof folder, "%s/d%u", f->target, d);
        ok(tide_mkdirs(folder, 0700, &err), &err);
        (void)snprintf(path, sizeof path, "%s/f00010", folder);
        assert_int_equal(symlink(victim, path), 0);
    }
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, false, &err), &err);
    struct tide_buf back = TIDE_BUF_INIT(100);
    ok(tide_file_read(victim, &back, &err), &err);
    assert_string_equal(tide_buf_cstr(&back), "precious");
    tide_buf_clear(&back);
}

/* ------------------------------------------------------------------ full disks */

static void a_full_target_is_told_as_full(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 1; n < 60; n += 6) {
        struct tide_err err = TIDE_ERR_INIT;
        fault_arm(n, ENOSPC, true);
        tide_status s = trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err);
        bool fired = fault_disarm();
        if (fired) {
            assert_int_equal(s, TIDE_FULL);
            assert_non_null(strstr(err.msg, f->target));
        } else {
            ok(s, &err);
        }
    }
    struct tide_err err = TIDE_ERR_INIT;
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

static void a_full_repository_is_told_as_full_and_commits_nothing(void **state)
{
    struct fixture *f = *state;
    char url[256];
    (void)snprintf(url, sizeof url, "faulty+%s?fault=put~/packs/=full", f->t->url);
    struct repo_options o = f->t->options;
    struct repo *r = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    struct backup b = {.lineage = 0};
    o.url = url;
    ok(repo_open(&o, &r, &err), &err);
    const struct trees_backup t = {.repo = r, .instance = "other", .dir = f->source};
    assert_int_equal(trees_run(&t, &b, &err), TIDE_FULL);
    repo_close(r);
    struct backup_list l;
    ok(backup_list_load(f->t->repo, "other", &l, &err), &err);
    assert_int_equal(l.n, 0);
    assert_int_equal(l.n_bad, 0);
    backup_list_clear(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_whole_backup_verifies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_proved_is_not_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_that_two_backups_share_is_told_for_both, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_is_found, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(missing_packs_are_named_and_nothing_is_restored_from_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_stops_a_restore, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_stops_a_restore, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_restore_goes_on_where_it_was_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_restore_does_not_write_through_links, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_full_target_is_told_as_full, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_full_repository_is_told_as_full_and_commits_nothing, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
