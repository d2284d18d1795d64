/* store.c, store_key.c and store_posix.c through store.h: what an object store must do on a directory. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/store_dir.h"

#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void what_was_put_is_read_back(void **state)
{
    struct store_dir *f = *state;
    store_dir_put(f->store, "instances/shop/backups/1", "commit");
    store_dir_put(f->store, "empty", "");
    store_dir_assert_holds(f->store, "instances/shop/backups/1", "commit");
    store_dir_assert_holds(f->store, "empty", "");
    uint64_t size = 99;
    int64_t mtime = 0;
    assert_int_equal(store_head(f->store, "instances/shop/backups/1", &size, &mtime, NULL), TIDE_OK);
    assert_int_equal(size, 6);
    assert_true(llabs(mtime - tide_now_us()) < 60 * TIDE_SECOND_US);
}

static void put_never_replaces(void **state)
{
    struct store_dir *f = *state;
    store_dir_put(f->store, "a/b", "first");
    assert_int_equal(store_put(f->store, "a/b", "second", 6, NULL), TIDE_EXISTS);
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "a/b", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "third", 5, NULL), TIDE_OK);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_EXISTS);
    store_dir_assert_holds(f->store, "a/b", "first");
}

static void nothing_is_visible_before_commit_and_after_abort(void **state)
{
    struct store_dir *f = *state;
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "packs/1", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "data", 4, NULL), TIDE_OK);
    assert_int_equal(store_head(f->store, "packs/1", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_dir_files_in_tmp(f), 1);
    store_writer_abort(w);
    assert_int_equal(store_head(f->store, "packs/1", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_dir_files_in_tmp(f), 0);
    store_dir_put(f->store, "packs/1", "data");
    assert_int_equal(store_put(f->store, "packs/1", "data", 4, NULL), TIDE_EXISTS);
    assert_int_equal(store_dir_files_in_tmp(f), 0);
}

static void ranges_end_at_the_end(void **state)
{
    struct store_dir *f = *state;
    char buf[16] = "";
    size_t got = 99;
    uint64_t size = 0;
    store_dir_put(f->store, "k", "0123456789");
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
    struct store_dir *f = *state;
    store_dir_put(f->store, "k", "0123456789");
    TIDE_AUTO(tide_buf_clear) struct tide_buf fits = TIDE_BUF_INIT(10);
    TIDE_AUTO(tide_buf_clear) struct tide_buf small = TIDE_BUF_INIT(9);
    assert_int_equal(store_get_all(f->store, "k", &fits, NULL), TIDE_OK);
    assert_int_equal(fits.len, 10);
    assert_int_equal(store_get_all(f->store, "k", &small, NULL), TIDE_CORRUPT);
    assert_int_equal(small.len, 0);
}

static void a_large_object_is_read_whole(void **state)
{
    struct store_dir *f = *state;
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
    struct store_dir *f = *state;
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
    struct store_dir *f = *state;
    char c;
    size_t got;
    store_dir_put(f->store, "file", "x");
    store_dir_put(f->store, "folder/x", "x");
    assert_int_equal(store_get(f->store, "no", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_get(f->store, "file/below", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_get(f->store, "folder", 0, &c, 1, &got, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_head(f->store, "folder", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_delete(f->store, "no", NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "no/where", NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "file", NULL), TIDE_OK);
    assert_int_equal(store_head(f->store, "file", NULL, NULL, NULL), TIDE_NOT_FOUND);
}

static void requests_are_counted_by_kind(void **state)
{
    struct store_dir *f = *state;
    char buf[4];
    size_t got;
    uint64_t size;
    store_dir_put(f->store, "k", "0123");
    (void)!store_put(f->store, "k", "0123", 4, NULL);
    assert_int_equal(store_get(f->store, "k", 0, buf, 2, &got, NULL), TIDE_OK);
    assert_int_equal(store_get_tail(f->store, "k", buf, 3, &got, &size, NULL), TIDE_OK);
    assert_int_equal(store_delete(f->store, "k", NULL), TIDE_OK);
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    assert_int_equal(store_list(f->store, "", NULL, 0, seen_add, &seen, NULL), TIDE_OK);
    struct store_counters c = store_counters(f->store);
    assert_int_equal(c.puts, 2);
    assert_int_equal(c.gets, 2);
    assert_int_equal(c.heads, 1);
    assert_int_equal(c.deletes, 1);
    assert_int_equal(c.lists, 1);
    assert_int_equal(c.bytes_out, 4);
    assert_int_equal(c.bytes_in, 5);
}

/* ------------------------------------------------------------------ races */

#define RACERS 16

struct racer {
    struct store_dir *f;
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
    struct store_dir *f = *state;
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
    store_dir_assert_holds(f->store, "instances/x/leases/ship/00000001", racers[winner].name);
    assert_int_equal(store_dir_files_in_tmp(f), 0);
}

static void one_of_racing_processes_wins(void **state)
{
    struct store_dir *f = *state;
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_dir_set_up, store_dir_tear_down)

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
        TEST(requests_are_counted_by_kind),
        TEST(one_of_racing_threads_wins),
        TEST(one_of_racing_processes_wins),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
