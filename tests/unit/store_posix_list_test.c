/* store_posix_list.c through store.h: every key once, in the byte order of whole keys. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/store_dir.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Few letters, and those around the slash in the table, so that folders and names meet in every order. */
static void random_key(unsigned *seed, char *out)
{
    static const char letters[] = "ab-0~ ,";
    size_t n = 0, parts = 1 + (unsigned)rand_r(seed) % 4;
    for (size_t p = 0; p < parts; p++) {
        size_t len = 1 + (unsigned)rand_r(seed) % 3;
        if (p > 0)
            out[n++] = '/';
        for (size_t i = 0; i < len; i++)
            out[n++] = letters[(unsigned)rand_r(seed) % (sizeof letters - 1)];
    }
    out[n] = '\0';
}

/* Nothing is both object and folder: an object store could, a directory cannot. */
static size_t make_random_keys(struct tide_store *s, unsigned *seed, char **keys, size_t n)
{
    size_t made = 0;
    for (size_t i = 0; i < n; i++) {
        char key[64];
        random_key(seed, key);
        if (store_put(s, key, "", 0, NULL) == TIDE_OK)
            keys[made++] = strdup(key);
    }
    qsort(keys, made, sizeof *keys, by_bytes);
    return made;
}

static void listing_is_in_byte_order_of_whole_keys(void **state)
{
    struct store_dir *f = *state;
    unsigned seed = 20261122;
    char *keys[250];
    size_t n = make_random_keys(f->store, &seed, keys, 250);
    assert_true(n > 100);
    store_dir_assert_list(f->store, "", NULL, 0, keys, n);
    for (int i = 0; i < 150; i++) {
        char after[64];
        uint64_t limit = (unsigned)rand_r(&seed) % 20;
        random_key(&seed, after); /* there or not */
        size_t from = 0;
        while (from < n && strcmp(keys[from], after) <= 0)
            from++;
        size_t count = limit != 0 && limit < n - from ? limit : n - from;
        store_dir_assert_list(f->store, "", after, limit, keys + from, count);
    }
    for (int i = 0; i < 50; i++) {
        char prefix[64];
        random_key(&seed, prefix);
        strcat(prefix, "/");
        size_t from = 0, end;
        while (from < n && strcmp(keys[from], prefix) < 0)
            from++;
        for (end = from; end < n && strncmp(keys[end], prefix, strlen(prefix)) == 0;)
            end++;
        store_dir_assert_list(f->store, prefix, NULL, 0, keys + from, end - from);
    }
    for (size_t i = 0; i < n; i++)
        free(keys[i]);
}

/* Past two batches of names, in an order that is not the directory's. */
static void a_folder_of_many_names_comes_in_order_and_once(void **state)
{
    struct store_dir *f = *state;
    char path[160];
    store_dir_put(f->store, "many/00000", "");
    for (unsigned i = 1; i < 8000; i++) {
        (void)snprintf(path, sizeof path, "%s/many/%05u", f->root, i * 7919 % 8000);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    char last[64] = "";
    uint64_t total = 0;
    for (;;) { /* pages, as a caller reads them */
        TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
        assert_int_equal(store_list(f->store, "many/", *last ? last : NULL, 3000, seen_add, &seen, NULL), TIDE_OK);
        for (size_t i = 0; i < seen.n; i++) {
            (void)snprintf(path, sizeof path, "many/%05u", (unsigned)(total + i));
            assert_string_equal(seen.keys[i], path);
        }
        total += seen.n;
        if (seen.n == 0)
            break;
        strcpy(last, seen.keys[seen.n - 1]);
    }
    assert_int_equal(total, 8000);
}

static tide_status count_in_order(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    uint64_t *n = ctx;
    char want[32];
    (void)snprintf(want, sizeof want, "many/%05u", (unsigned)(*n)++);
    assert_string_equal(e->key, want);
    return TIDE_OK;
}

static void a_listing_without_limit_goes_through_every_batch(void **state)
{
    struct store_dir *f = *state;
    char path[160];
    store_dir_put(f->store, "many/00000", "");
    for (unsigned i = 19999; i > 0; i--) {
        (void)snprintf(path, sizeof path, "%s/many/%05u", f->root, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    uint64_t n = 0;
    assert_int_equal(store_list(f->store, "", NULL, 0, count_in_order, &n, NULL), TIDE_OK);
    assert_int_equal(n, 20000);
    assert_int_equal(store_counters(f->store).lists, 20); /* pages of 1,000, as an S3 store would ask */
}

static void the_callback_ends_a_listing_with_its_status(void **state)
{
    struct store_dir *f = *state;
    store_dir_put(f->store, "a/1", "");
    store_dir_put(f->store, "a/2", "");
    store_dir_put(f->store, "b", "");
    TIDE_AUTO(seen_clear) struct seen seen = {.stop_at = 2};
    assert_int_equal(store_list(f->store, "", NULL, 0, seen_add, &seen, NULL), TIDE_EXISTS);
    assert_int_equal(seen.n, 2);
}

static void a_folder_shows_names_and_folders_that_hold_something(void **state)
{
    struct store_dir *f = *state;
    char path[160];
    store_dir_put(f->store, "i/b/x/1", "");
    store_dir_put(f->store, "i/a", "one");
    store_dir_put(f->store, "i/c/2", "");
    (void)snprintf(path, sizeof path, "%s/i/empty", f->root);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/i/empty/inner", f->root);
    assert_int_equal(mkdir(path, 0700), 0);
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    assert_int_equal(store_list_folder(f->store, "i/", seen_add, &seen, NULL), TIDE_OK);
    assert_int_equal(seen.n, 3);
    assert_string_equal(seen.keys[0], "i/a");
    assert_string_equal(seen.keys[1], "i/b/");
    assert_string_equal(seen.keys[2], "i/c/");
    store_dir_assert_list(f->store, "none/", NULL, 0, NULL, 0);
}

static void what_is_not_ours_is_not_listed(void **state)
{
    struct store_dir *f = *state;
    char path[160], *want[] = {(char[]){"a"}};
    store_dir_put(f->store, "a", "");
    static const char *const foreign[] = {".nfs0001", ".tmp/left", "lost+found"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->root, foreign[i]);
        assert_int_equal(tide_file_replace(path, "x", 1, 0600, NULL), TIDE_OK);
    }
    (void)snprintf(path, sizeof path, "%s/%s", f->root, foreign[2]);
    assert_int_equal(mkdir(path, 0), 0);
    store_dir_assert_list(f->store, "", NULL, 0, want, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_dir_set_up, store_dir_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(listing_is_in_byte_order_of_whole_keys),
        TEST(a_folder_of_many_names_comes_in_order_and_once),
        TEST(a_listing_without_limit_goes_through_every_batch),
        TEST(the_callback_ends_a_listing_with_its_status),
        TEST(a_folder_shows_names_and_folders_that_hold_something),
        TEST(what_is_not_ours_is_not_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
