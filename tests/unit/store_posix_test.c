/* store.c and store_posix*.c through store.h: what an object store must do on a directory. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_KEYS 4000

struct fixture {
    char dir[64], root[80], url[96];
    struct tide_store *store;
};

static struct tide_store *open_store(const char *url, bool create)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_store *s = NULL;
    if (store_open(&(struct store_options){.url = url, .create = create}, &s, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return s;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->dir, "/tmp/tide-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->root, sizeof f->root, "%s/repo", f->dir);
    (void)snprintf(f->url, sizeof f->url, "file://%s", f->root);
    f->store = open_store(f->url, true);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    store_close(f->store);
    assert_int_equal(tide_remove_tree(f->dir, NULL), TIDE_OK);
    free(f);
    return 0;
}

static void put(struct tide_store *s, const char *key, const char *text)
{
    struct tide_err err = TIDE_ERR_INIT;
    if (store_put(s, key, text, strlen(text), &err) != TIDE_OK)
        fail_msg("%s", err.msg);
}

static void assert_holds(struct tide_store *s, const char *key, const char *text)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    if (store_get_all(s, key, &b, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(tide_buf_cstr(&b), text);
}

static void what_was_put_is_read_back(void **state)
{
    struct fixture *f = *state;
    put(f->store, "instances/shop/backups/1", "commit");
    put(f->store, "empty", "");
    assert_holds(f->store, "instances/shop/backups/1", "commit");
    assert_holds(f->store, "empty", "");
    uint64_t size = 99;
    int64_t mtime = 0;
    assert_int_equal(store_head(f->store, "instances/shop/backups/1", &size, &mtime, NULL), TIDE_OK);
    assert_int_equal(size, 6);
    assert_true(llabs(mtime - tide_now_us()) < 60 * TIDE_SECOND_US);
}

static void put_never_replaces(void **state)
{
    struct fixture *f = *state;
    put(f->store, "a/b", "first");
    assert_int_equal(store_put(f->store, "a/b", "second", 6, NULL), TIDE_EXISTS);
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "a/b", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "third", 5, NULL), TIDE_OK);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_EXISTS);
    assert_holds(f->store, "a/b", "first");
}

static unsigned files_in_tmp(const struct fixture *f)
{
    char command[160];
    (void)snprintf(command, sizeof command, "find %s/.tmp -type f 2>/dev/null | wc -l", f->root);
    FILE *p = popen(command, "r");
    unsigned n = 99;
    assert_int_equal(fscanf(p, "%u", &n), 1);
    (void)pclose(p);
    return n;
}

static void nothing_is_visible_before_commit_and_after_abort(void **state)
{
    struct fixture *f = *state;
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "packs/1", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "data", 4, NULL), TIDE_OK);
    assert_int_equal(store_head(f->store, "packs/1", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(files_in_tmp(f), 1);
    store_writer_abort(w);
    assert_int_equal(store_head(f->store, "packs/1", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(files_in_tmp(f), 0);
    put(f->store, "packs/1", "data");
    assert_int_equal(store_put(f->store, "packs/1", "data", 4, NULL), TIDE_EXISTS);
    assert_int_equal(files_in_tmp(f), 0);
}

static void ranges_end_at_the_end(void **state)
{
    struct fixture *f = *state;
    char buf[16] = "";
    size_t got = 99;
    uint64_t size = 0;
    put(f->store, "k", "0123456789");
    assert_int_equal(store_get(f->store, "k", 3, buf, 4, &got, NULL), TIDE_OK);
    assert_int_equal(got, 4);
    assert_memory_equal(buf, "3456", 4);
    assert_int_equal(store_get(f->store, "k", 8, buf, 4, &got, NULL), TIDE_OK);
    assert_int_equal(got, 2);
    assert_int_equal(store_get(f->store, "k", 10, buf, 4, &got, NULL), TIDE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(store_get(f->store, "k", 1000, buf, 4, &got, NULL), TIDE_OK);
    assert_int_equal(got, 0);
    assert_int_equal(store_get_tail(f->store, "k", buf, 3, &got, &size, NULL), TIDE_OK);
    assert_int_equal(got, 3);
    assert_int_equal(size, 10);
    assert_memory_equal(buf, "789", 3);
    assert_int_equal(store_get_tail(f->store, "k", buf, sizeof buf, &got, &size, NULL), TIDE_OK);
    assert_int_equal(got, 10);
}

static void an_object_larger_than_its_bound_is_corrupt(void **state)
{
    struct fixture *f = *state;
    put(f->store, "k", "0123456789");
    TIDE_AUTO(tide_buf_clear) struct tide_buf fits = TIDE_BUF_INIT(10);
    TIDE_AUTO(tide_buf_clear) struct tide_buf small = TIDE_BUF_INIT(9);
    assert_int_equal(store_get_all(f->store, "k", &fits, NULL), TIDE_OK);
    assert_int_equal(fits.len, 10);
    assert_int_equal(store_get_all(f->store, "k", &small, NULL), TIDE_CORRUPT);
    assert_int_equal(small.len, 0);
}

static void a_large_object_is_read_whole(void **state)
{
    struct fixture *f = *state;
    size_t len = 3 * 1000 * 1000 + 7;
    TIDE_AUTO(tide_freep) uint8_t *data = malloc(len);
    assert_non_null(data);
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 + i / 251);
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "big", &w, NULL), TIDE_OK);
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < 65521 ? len - at : 65521;
        assert_int_equal(store_writer_write(w, data + at, n, NULL), TIDE_OK);
    }
    assert_int_equal(store_writer_commit(w, NULL), TIDE_OK);
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1 << 26);
    assert_int_equal(store_get_all(f->store, "big", &b, NULL), TIDE_OK);
    assert_int_equal(b.len, len);
    assert_memory_equal(b.data, data, len);
}

static void keys_that_could_leave_the_root_are_invalid(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",     "/etc/x", "a//b", "a/",   "..",    "../x",   "a/../b",
                                      "a/..", ".tmp/x", "a/.b", "a\nb", "a/./b", ".hidden"};
    char longest[1100];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(store_put(f->store, bad[i], "x", 1, NULL), TIDE_INVALID);
        assert_int_equal(store_head(f->store, bad[i], NULL, NULL, NULL), TIDE_INVALID);
        assert_int_equal(store_delete(f->store, bad[i], NULL), TIDE_INVALID);
    }
    assert_int_equal(store_put(f->store, longest, "x", 1, NULL), TIDE_INVALID);
    assert_int_equal(store_list(f->store, "no-slash", NULL, 0, NULL, NULL, NULL), TIDE_INVALID);
    assert_int_equal(store_list(f->store, "../", NULL, 0, NULL, NULL, NULL), TIDE_INVALID);
}

static void absent_is_not_found_and_deleting_it_is_fine(void **state)
{
    struct fixture *f = *state;
    char c;
    size_t got;
    put(f->store, "file", "x");
    put(f->store, "folder/x", "x");
    assert_int_equal(store_get(f->store, "no", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_get(f->store, "file/below", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_get(f->store, "folder", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_head(f->store, "folder", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_delete(f->store, "no", NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "no/where", NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "file", NULL), TIDE_OK);
    assert_int_equal(store_head(f->store, "file", NULL, NULL, NULL), TIDE_NOT_FOUND);
}

/* ------------------------------------------------------------------ races */

#define RACERS 16

struct racer {
    struct fixture *f;
    pthread_barrier_t *start;
    char name[16];
    tide_status result;
};

static void *race(void *arg)
{
    struct racer *r = arg;
    (void)pthread_barrier_wait(r->start);
    r->result = store_put(r->f->store, "instances/x/leases/ship/00000001", r->name, strlen(r->name), NULL);
    return NULL;
}

static void one_of_racing_threads_wins(void **state)
{
    struct fixture *f = *state;
    struct racer racers[RACERS];
    pthread_t threads[RACERS];
    pthread_barrier_t start;
    assert_int_equal(pthread_barrier_init(&start, NULL, RACERS), 0);
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (struct racer){.f = f, .start = &start};
        (void)snprintf(racers[i].name, sizeof racers[i].name, "racer %d", i);
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    int winner = -1, winners = 0;
    for (int i = 0; i < RACERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        if (racers[i].result == TIDE_OK) {
            winner = i;
            winners++;
        } else {
            assert_int_equal(racers[i].result, TIDE_EXISTS);
        }
    }
    pthread_barrier_destroy(&start);
    assert_int_equal(winners, 1);
    assert_holds(f->store, "instances/x/leases/ship/00000001", racers[winner].name);
    assert_int_equal(files_in_tmp(f), 0);
}

static void one_of_racing_processes_wins(void **state)
{
    struct fixture *f = *state;
    int gate[2];
    pid_t pids[RACERS];
    assert_int_equal(pipe(gate), 0);
    for (int i = 0; i < RACERS; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            struct tide_store *s = NULL;
            char c;
            (void)close(gate[1]);
            if (store_open(&(struct store_options){.url = f->url, .create = true}, &s, NULL) != TIDE_OK ||
                read(gate[0], &c, 1) != 0)
                _exit(2);
            tide_status st = store_put(s, "deep/er/key", "x", 1, NULL);
            _exit(st == TIDE_OK ? 0 : st == TIDE_EXISTS ? 1 : 2);
        }
    }
    (void)close(gate[0]);
    (void)close(gate[1]); /* go */
    int winners = 0;
    for (int i = 0; i < RACERS; i++) {
        int status;
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_in_range(WEXITSTATUS(status), 0, 1);
        winners += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(winners, 1);
}

/* ---------------------------------------------------------------- listing */

struct seen {
    char *keys[MAX_KEYS];
    size_t n, stop_at;
};

static tide_status remember(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct seen *s = ctx;
    assert_true(s->n < MAX_KEYS);
    s->keys[s->n++] = strdup(e->key);
    return s->stop_at != 0 && s->n == s->stop_at ? tide_fail(err, TIDE_EXISTS, "enough") : TIDE_OK;
}

static void seen_clear(struct seen *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->keys[i]);
    s->n = 0;
}

static void assert_list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, char **want,
                        size_t n)
{
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    struct tide_err err = TIDE_ERR_INIT;
    if (store_list(s, prefix, after, limit, remember, &seen, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < seen.n && i < n; i++)
        assert_string_equal(seen.keys[i], want[i]);
    assert_int_equal(seen.n, n);
}

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
    struct fixture *f = *state;
    unsigned seed = 20261122;
    char *keys[300];
    size_t n = make_random_keys(f->store, &seed, keys, 300);
    assert_true(n > 100);
    assert_list(f->store, "", NULL, 0, keys, n);
    for (int i = 0; i < 400; i++) {
        char after[64];
        uint64_t limit = (unsigned)rand_r(&seed) % 20;
        random_key(&seed, after); /* there or not */
        size_t from = 0;
        while (from < n && strcmp(keys[from], after) <= 0)
            from++;
        size_t count = limit != 0 && limit < n - from ? limit : n - from;
        assert_list(f->store, "", after, limit, keys + from, count);
    }
    for (int i = 0; i < 100; i++) {
        char prefix[64];
        random_key(&seed, prefix);
        strcat(prefix, "/");
        size_t from = 0, end;
        while (from < n && strcmp(keys[from], prefix) < 0)
            from++;
        for (end = from; end < n && strncmp(keys[end], prefix, strlen(prefix)) == 0;)
            end++;
        assert_list(f->store, prefix, NULL, 0, keys + from, end - from);
    }
    for (size_t i = 0; i < n; i++)
        free(keys[i]);
}

/* Past two batches of names, in an order that is not the directory's. */
static void a_folder_of_many_names_comes_in_order_and_once(void **state)
{
    struct fixture *f = *state;
    char path[160];
    put(f->store, "many/00000", "");
    for (unsigned i = 1; i < 40000; i++) {
        (void)snprintf(path, sizeof path, "%s/many/%05u", f->root, i * 7919 % 40000);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    char last[64] = "";
    uint64_t total = 0;
    for (;;) { /* pages, as a caller reads them */
        TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
        assert_int_equal(store_list(f->store, "many/", *last ? last : NULL, 3000, remember, &seen, NULL), TIDE_OK);
        for (size_t i = 0; i < seen.n; i++) {
            (void)snprintf(path, sizeof path, "many/%05u", (unsigned)(total + i));
            assert_string_equal(seen.keys[i], path);
        }
        total += seen.n;
        if (seen.n == 0)
            break;
        strcpy(last, seen.keys[seen.n - 1]);
    }
    assert_int_equal(total, 40000);
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
    struct fixture *f = *state;
    char path[160];
    put(f->store, "many/00000", "");
    for (unsigned i = 39999; i > 0; i--) {
        (void)snprintf(path, sizeof path, "%s/many/%05u", f->root, i);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
    uint64_t n = 0;
    assert_int_equal(store_list(f->store, "", NULL, 0, count_in_order, &n, NULL), TIDE_OK);
    assert_int_equal(n, 40000);
    assert_int_equal(store_counters(f->store).lists, 40); /* pages of 1,000, as an S3 store would ask */
}

static void the_callback_ends_a_listing_with_its_status(void **state)
{
    struct fixture *f = *state;
    put(f->store, "a/1", "");
    put(f->store, "a/2", "");
    put(f->store, "b", "");
    TIDE_AUTO(seen_clear) struct seen seen = {.stop_at = 2};
    assert_int_equal(store_list(f->store, "", NULL, 0, remember, &seen, NULL), TIDE_EXISTS);
    assert_int_equal(seen.n, 2);
}

static void a_folder_shows_names_and_folders_that_hold_something(void **state)
{
    struct fixture *f = *state;
    char path[160];
    put(f->store, "i/b/x/1", "");
    put(f->store, "i/a", "one");
    put(f->store, "i/c/2", "");
    (void)snprintf(path, sizeof path, "%s/i/empty", f->root);
    assert_int_equal(mkdir(path, 0700), 0);
    (void)snprintf(path, sizeof path, "%s/i/empty/inner", f->root);
    assert_int_equal(mkdir(path, 0700), 0);
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    assert_int_equal(store_list_folder(f->store, "i/", remember, &seen, NULL), TIDE_OK);
    assert_int_equal(seen.n, 3);
    assert_string_equal(seen.keys[0], "i/a");
    assert_string_equal(seen.keys[1], "i/b/");
    assert_string_equal(seen.keys[2], "i/c/");
    assert_list(f->store, "none/", NULL, 0, NULL, 0);
}

static void what_is_not_ours_is_not_listed(void **state)
{
    struct fixture *f = *state;
    char path[160], *want[] = {(char[]){"a"}};
    put(f->store, "a", "");
    static const char *const foreign[] = {".nfs0001", ".tmp/left", "lost+found"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->root, foreign[i]);
        assert_int_equal(tide_file_replace(path, "x", 1, 0600, NULL), TIDE_OK);
    }
    (void)snprintf(path, sizeof path, "%s/%s", f->root, foreign[2]);
    assert_int_equal(mkdir(path, 0), 0);
    assert_list(f->store, "", NULL, 0, want, 1);
}

/* ------------------------------------------------------ the root and the disk */

static void a_directory_that_vanished_is_unavailable_not_empty(void **state)
{
    struct fixture *f = *state;
    char away[96], c;
    size_t got;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t now;
    put(f->store, "tidemark.json", "{\"id\":1}");
    (void)snprintf(away, sizeof away, "%s/away", f->dir);
    assert_int_equal(rename(f->root, away), 0);
    assert_int_equal(store_get(f->store, "tidemark.json", 0, &c, 1, &got, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "is not there"));
    assert_int_equal(store_put(f->store, "a", "x", 1, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_list(f->store, "", NULL, 0, NULL, NULL, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_delete(f->store, "a", NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_now(f->store, &now, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(access(f->root, F_OK), -1);

    /* An empty directory in its place, as under a mount point: absence there proves nothing. */
    assert_int_equal(mkdir(f->root, 0700), 0);
    assert_int_equal(store_get(f->store, "tidemark.json", 0, &c, 1, &got, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "is not the one that was opened (unmounted?)"));
    assert_int_equal(store_put(f->store, "a", "x", 1, NULL), TIDE_UNAVAILABLE);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);

    assert_int_equal(rmdir(f->root), 0);
    assert_int_equal(rename(away, f->root), 0);
    put(f->store, "a", "x");
}

static void a_write_begun_before_the_directory_vanished_fails_at_commit(void **state)
{
    struct fixture *f = *state;
    char away[96];
    put(f->store, "tidemark.json", "{\"id\":1}");
    (void)snprintf(away, sizeof away, "%s/away", f->dir);
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "packs/1", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "data", 4, NULL), TIDE_OK);
    assert_int_equal(rename(f->root, away), 0);
    assert_int_equal(mkdir(f->root, 0700), 0);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_UNAVAILABLE);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);
}

static void the_same_repository_in_another_directory_is_taken_back(void **state)
{
    struct fixture *f = *state;
    char command[1200];
    put(f->store, "tidemark.json", "{\"id\":1}");
    put(f->store, "a/b", "x");
    (void)snprintf(command, sizeof command, "cp -a %s %s/copy && rm -r %s && mv %s/copy %s", f->root, f->dir, f->root,
                   f->dir, f->root);
    assert_int_equal(system(command), 0);
    assert_holds(f->store, "a/b", "x");
    put(f->store, "a/c", "y");
    (void)snprintf(command, sizeof command,
                   "cp -a %s %s/copy && echo other >%s/copy/tidemark.json && rm -r %s && mv %s/copy %s", f->root,
                   f->dir, f->dir, f->root, f->dir, f->root);
    assert_int_equal(system(command), 0);
    assert_int_equal(store_put(f->store, "a/d", "z", 1, NULL), TIDE_UNAVAILABLE);
}

static void without_a_descriptor_only_init_writes(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t now = 0;
    struct tide_store *s = open_store(f->url, false);
    assert_int_equal(store_put(s, "a", "x", 1, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "holds no repository"));
    assert_int_equal(store_now(s, &now, NULL), TIDE_OK);
    assert_true(llabs(now - tide_now_us()) < 60 * TIDE_SECOND_US);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);
    put(f->store, "tidemark.json", "{}"); /* init, by another process */
    put(s, "a", "x");
    store_close(s);
}

static void opening_makes_the_root_only_when_told(void **state)
{
    struct fixture *f = *state;
    char url[160];
    struct tide_store *s = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    (void)snprintf(url, sizeof url, "file://%s/none/repo", f->dir);
    assert_int_equal(store_open(&(struct store_options){.url = url}, &s, &err), TIDE_UNAVAILABLE);
    assert_int_equal(access(url + 7, F_OK), -1);
    s = open_store(url, true);
    put(s, "a", "x");
    store_close(s);
}

static void an_url_that_is_no_directory_is_invalid(void **state)
{
    struct fixture *f = *state;
    char url[160], name[100];
    struct tide_store *s = NULL;
    static const char *const bad[] = {"/srv/backups", "file:/srv",        "file://host/srv", "file://relative",
                                      "ftp://x/y",    "file:///srv/x%zz", "file:///srv?x",   "file:///srv/%00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(store_open(&(struct store_options){.url = bad[i]}, &s, NULL), TIDE_INVALID);
    (void)snprintf(name, sizeof name, "%s/plain", f->dir);
    assert_int_equal(tide_file_replace(name, "x", 1, 0600, NULL), TIDE_OK);
    (void)snprintf(url, sizeof url, "file://%s", name);
    assert_int_equal(store_open(&(struct store_options){.url = url}, &s, NULL), TIDE_INVALID);
    (void)snprintf(url, sizeof url, "file://%s/a%%20b/", f->dir);
    s = open_store(url, true);
    (void)snprintf(name, sizeof name, "%s/a b", f->dir);
    assert_int_equal(access(name, F_OK), 0);
    store_close(s);
}

static void objects_are_as_open_as_the_directory_but_not_to_everybody(void **state)
{
    struct fixture *f = *state;
    char path[160];
    struct stat sb;
    assert_int_equal(chmod(f->root, 0775), 0);
    struct tide_store *s = open_store(f->url, true);
    mode_t before = umask(0077);
    put(s, "folder/object", "x");
    (void)umask(before);
    store_close(s);
    (void)snprintf(path, sizeof path, "%s/folder", f->root);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0770);
    strcat(path, "/object");
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0660);
}

static void what_root_writes_belongs_to_the_owner_of_the_directory(void **state)
{
    struct fixture *f = *state;
    char path[160];
    struct stat sb;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->root, 12345, 23456), 0);
    struct tide_store *s = open_store(f->url, true);
    put(s, "folder/object", "x");
    store_close(s);
    static const char *const made[] = {"folder", "folder/object", ".tmp"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->root, made[i]);
        assert_int_equal(stat(path, &sb), 0);
        assert_int_equal(sb.st_uid, 12345);
        assert_int_equal(sb.st_gid, 23456);
    }
}

static void stale_temporary_files_go_at_open_young_ones_stay(void **state)
{
    struct fixture *f = *state;
    char old_file[160], young[160];
    put(f->store, "tidemark.json", "{}");
    (void)snprintf(old_file, sizeof old_file, "%s/.tmp/1-old", f->root);
    (void)snprintf(young, sizeof young, "%s/.tmp/2-young", f->root);
    assert_int_equal(tide_file_replace(old_file, "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(young, "x", 1, 0600, NULL), TIDE_OK);
    struct timespec two_days_ago = {.tv_sec = time(NULL) - 2 * 86400};
    assert_int_equal(utimensat(AT_FDCWD, old_file, (struct timespec[]){two_days_ago, two_days_ago}, 0), 0);
    store_close(open_store(f->url, false));
    assert_int_equal(access(old_file, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
}

static void a_full_disk_is_full_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char root[96], url[120];
    (void)snprintf(root, sizeof root, "%s/small", f->dir);
    (void)snprintf(url, sizeof url, "file://%s", root);
    assert_int_equal(mkdir(root, 0700), 0);
    if (mount("tmpfs", root, "tmpfs", 0, "size=1m") != 0)
        skip();
    struct tide_store *s = open_store(url, true);
    TIDE_AUTO(tide_freep) char *data = calloc(1, 2 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    tide_status full = store_put(s, "packs/1", data, 2 << 20, &err);
    tide_status absent = store_head(s, "packs/1", NULL, NULL, NULL);
    tide_status later = store_put(s, "packs/2", data, 512 << 10, NULL);
    store_close(s);
    /* Nothing is held open between two calls, so the administrator can always unmount. */
    int unmounted = umount(root);
    assert_int_equal(unmounted, 0);
    assert_int_equal(full, TIDE_FULL);
    assert_non_null(strstr(err.msg, "No space left on device"));
    assert_int_equal(absent, TIDE_NOT_FOUND);
    assert_int_equal(later, TIDE_OK);
}

static void an_unmounted_directory_is_noticed_and_a_mounted_one_again_used(void **state)
{
    struct fixture *f = *state;
    char root[96], url[120], image[96], command[600];
    (void)snprintf(root, sizeof root, "%s/mnt", f->dir);
    (void)snprintf(image, sizeof image, "%s/img", f->dir);
    (void)snprintf(url, sizeof url, "file://%s", root);
    assert_int_equal(mkdir(root, 0700), 0);
    (void)snprintf(command, sizeof command,
                   "truncate -s 8M %s && mkfs.ext4 -q -F %s >/dev/null 2>&1 && mount -o loop %s %s 2>/dev/null",
                   image, image, image, root);
    if (geteuid() != 0 || system(command) != 0)
        skip();
    struct tide_store *s = open_store(url, true);
    tide_status first = store_put(s, "tidemark.json", "{\"id\":7}", 8, NULL);
    struct store_writer *w = NULL;
    int unmounted = umount(root);
    tide_status gone = store_put(s, "a", "x", 1, NULL);
    tide_status begin = store_put_begin(s, "b", &w, NULL);
    bool empty = false;
    tide_status looked = tide_dir_is_empty(root, &empty, NULL);
    (void)snprintf(command, sizeof command, "mount -o loop %s %s", image, root);
    int mounted = system(command);
    tide_status back = store_put(s, "a", "x", 1, NULL);
    store_close(s);
    (void)umount(root);
    assert_int_equal(first, TIDE_OK);
    assert_int_equal(unmounted, 0);
    assert_int_equal(gone, TIDE_UNAVAILABLE);
    assert_int_equal(begin, TIDE_UNAVAILABLE);
    assert_int_equal(looked, TIDE_OK);
    assert_true(empty);
    assert_int_equal(mounted, 0);
    assert_int_equal(back, TIDE_OK);
}

static void requests_are_counted_by_kind(void **state)
{
    struct fixture *f = *state;
    char buf[4];
    size_t got;
    uint64_t size;
    put(f->store, "k", "0123");
    (void)!store_put(f->store, "k", "0123", 4, NULL);
    assert_int_equal(store_get(f->store, "k", 0, buf, 2, &got, NULL), TIDE_OK);
    assert_int_equal(store_get_tail(f->store, "k", buf, 3, &got, &size, NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "k", NULL), TIDE_OK);
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    assert_int_equal(store_list(f->store, "", NULL, 0, remember, &seen, NULL), TIDE_OK);
    struct store_counters c = store_counters(f->store);
    assert_int_equal(c.puts, 2);
    assert_int_equal(c.gets, 2);
    assert_int_equal(c.heads, 1);
    assert_int_equal(c.deletes, 1);
    assert_int_equal(c.lists, 1);
    assert_int_equal(c.bytes_out, 4);
    assert_int_equal(c.bytes_in, 5);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_read_back),
        TEST(put_never_replaces),
        TEST(nothing_is_visible_before_commit_and_after_abort),
        TEST(ranges_end_at_the_end),
        TEST(an_object_larger_than_its_bound_is_corrupt),
        TEST(a_large_object_is_read_whole),
        TEST(keys_that_could_leave_the_root_are_invalid),
        TEST(absent_is_not_found_and_deleting_it_is_fine),
        TEST(one_of_racing_threads_wins),
        TEST(one_of_racing_processes_wins),
        TEST(listing_is_in_byte_order_of_whole_keys),
        TEST(a_folder_of_many_names_comes_in_order_and_once),
        TEST(a_listing_without_limit_goes_through_every_batch),
        TEST(the_callback_ends_a_listing_with_its_status),
        TEST(a_folder_shows_names_and_folders_that_hold_something),
        TEST(what_is_not_ours_is_not_listed),
        TEST(a_directory_that_vanished_is_unavailable_not_empty),
        TEST(a_write_begun_before_the_directory_vanished_fails_at_commit),
        TEST(the_same_repository_in_another_directory_is_taken_back),
        TEST(without_a_descriptor_only_init_writes),
        TEST(opening_makes_the_root_only_when_told),
        TEST(an_url_that_is_no_directory_is_invalid),
        TEST(objects_are_as_open_as_the_directory_but_not_to_everybody),
        TEST(what_root_writes_belongs_to_the_owner_of_the_directory),
        TEST(stale_temporary_files_go_at_open_young_ones_stay),
        TEST(a_full_disk_is_full_and_leaves_nothing),
        TEST(an_unmounted_directory_is_noticed_and_a_mounted_one_again_used),
        TEST(requests_are_counted_by_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
