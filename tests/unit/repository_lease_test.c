/* lease.c, lease_holder.c: one holder at a time, taken over when it is silent or gone. */

#include "orchestrator/repository/lease.h"
#include "orchestrator/repository/lease_internal.h"
#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define FOLDER "instances/shop/leases/ship/"
#define MS     1000

static int set_up(void **state)
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

static tide_status take(struct repo *r, int64_t lease_us, int64_t wait_us, struct lease **out, struct tide_err *err)
{
    return lease_take(
        r, &(struct lease_options){.instance = "shop", .job = "ship", .lease_us = lease_us, .wait_us = wait_us}, out,
        err);
}

/* A generation of somebody whose process cannot be looked at. */
static void put_stranger(struct repo *r, uint32_t generation, int64_t lease_us, bool released)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct lease_record rec = {
        .holder = "0123", .host = "elsewhere", .pid = 42, .taken_us = 1, .lease_us = lease_us, .released = released};
    ok(lease_record_put(r, FOLDER, generation, &rec, &err), &err);
}

static void held_lease_is_busy_and_names_its_holder(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *a = NULL, *b = NULL;
    char pid[32], host[256] = "";
    ok(take(t->repo, 10 * TIDE_SECOND_US, 0, &a, &err), &err);
    assert_true(lease_is_held(a));
    assert_int_equal(take(t->repo, 10 * TIDE_SECOND_US, 0, &b, &err), TIDE_BUSY);
    assert_null(b);
    (void)snprintf(pid, sizeof(pid), "process %d", (int)getpid());
    assert_int_equal(gethostname(host, sizeof(host) - 1), 0);
    assert_non_null(strstr(err.msg, pid));
    assert_non_null(strstr(err.msg, host));
    lease_release(a);
}

static void released_lease_is_taken_at_once(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    for (int i = 0; i < 3; i++) {
        ok(take(t->repo, 3600 * TIDE_SECOND_US, 0, &l, &err), &err);
        lease_release(l);
    }
    lease_release(NULL);
}

static void jobs_do_not_disturb_each_other(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *a = NULL, *b = NULL;
    ok(take(t->repo, TIDE_SECOND_US, 0, &a, &err), &err);
    ok(lease_take(t->repo, &(struct lease_options){.instance = "shop", .job = "backup", .lease_us = TIDE_SECOND_US},
                  &b, &err),
       &err);
    lease_release(a);
    lease_release(b);
}

static void silent_lease_is_taken_after_its_time(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    put_stranger(t->repo, 1, 300 * MS, false);
    assert_int_equal(take(t->repo, 100 * MS, 0, &l, &err), TIDE_BUSY);
    assert_int_equal(take(t->repo, 100 * MS, 50 * MS, &l, &err), TIDE_BUSY);
    int64_t begin = tide_monotonic_us();
    ok(take(t->repo, 100 * MS, 20 * TIDE_SECOND_US, &l, &err), &err);
    /* The holder's time counts, not the taker's shorter one. */
    assert_true(tide_monotonic_us() - begin >= 300 * MS);
    lease_release(l);
}

static void *renew_as_stranger(void *arg)
{
    for (uint32_t g = 2; g <= 6; g++) {
        tide_sleep_us(100 * MS);
        put_stranger(arg, g, 300 * MS, false);
    }
    return NULL;
}

static void lease_that_is_renewed_is_not_taken(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    pthread_t thread;
    put_stranger(t->repo, 1, 300 * MS, false);
    assert_int_equal(pthread_create(&thread, NULL, renew_as_stranger, t->repo), 0);
    int64_t begin = tide_monotonic_us();
    tide_status s = take(t->repo, 300 * MS, 20 * TIDE_SECOND_US, &l, &err);
    assert_int_equal(pthread_join(thread, NULL), 0);
    ok(s, &err);
    assert_true(tide_monotonic_us() - begin >= 700 * MS); /* five renewals, then its time */
    lease_release(l);
}

static uint32_t newest(struct repo *r)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint32_t n = 0;
    ok(record_highest(r, FOLDER, &n, &err), &err);
    return n;
}

static void holder_renews_and_clears_old_generations(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    put_stranger(t->repo, 1, 1, true);
    put_stranger(t->repo, 2, 1, true);
    ok(take(t->repo, 150 * MS, 0, &l, &err), &err);
    int64_t deadline = tide_monotonic_us() + 20 * TIDE_SECOND_US;
    while (newest(t->repo) < 9 && tide_monotonic_us() < deadline)
        tide_sleep_us(20 * MS);
    assert_true(lease_is_held(l));
    lease_release(l);
    uint32_t top = newest(t->repo);
    assert_true(top >= 9);
    struct lease_record rec;
    for (uint32_t n = 1; n <= top; n++)
        assert_int_equal(lease_record_get(t->repo, FOLDER, n, &rec, &err), n + 3 <= top ? TIDE_NOT_FOUND : TIDE_OK);
    assert_true(rec.released);
}

static void newer_generation_of_another_ends_the_lease(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    ok(take(t->repo, 600 * MS, 0, &l, &err), &err);
    put_stranger(t->repo, newest(t->repo) + 1, 60 * TIDE_SECOND_US, false);
    int64_t deadline = tide_monotonic_us() + 20 * TIDE_SECOND_US;
    while (lease_is_held(l) && tide_monotonic_us() < deadline)
        tide_sleep_us(10 * MS);
    assert_false(lease_is_held(l));
    uint32_t top = newest(t->repo);
    lease_release(l); /* what is lost is not released */
    assert_int_equal(newest(t->repo), top);
}

static void lease_that_cannot_be_renewed_ends(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    char moved[4096];
    ok(take(t->repo, 200 * MS, 0, &l, &err), &err);
    (void)snprintf(moved, sizeof(moved), "%s.away", t->root);
    assert_int_equal(rename(t->root, moved), 0);
    int64_t deadline = tide_monotonic_us() + 20 * TIDE_SECOND_US;
    while (lease_is_held(l) && tide_monotonic_us() < deadline)
        tide_sleep_us(10 * MS);
    assert_false(lease_is_held(l));
    assert_int_equal(rename(moved, t->root), 0);
    lease_release(l);
}

/* Its holder slept for so long that what came right after its own generation is cleared away already. */
static void lease_that_was_taken_long_ago_is_lost(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    struct repo *other = NULL;
    char moved[4096], url[4200];
    ok(take(t->repo, 300 * MS, 0, &l, &err), &err);
    uint32_t top = newest(t->repo);
    (void)snprintf(moved, sizeof(moved), "%s.away", t->root);
    assert_int_equal(rename(t->root, moved), 0);
    int64_t deadline = tide_monotonic_us() + 20 * TIDE_SECOND_US;
    while (lease_is_held(l) && tide_monotonic_us() < deadline)
        tide_sleep_us(10 * MS);
    assert_false(lease_is_held(l));

    (void)snprintf(url, sizeof(url), "file://%s", moved);
    struct repo_options o = t->options;
    o.url = url;
    ok(repo_open(&o, &other, &err), &err);
    for (uint32_t g = top + 10; g < top + 13; g++)
        put_stranger(other, g, 60 * TIDE_SECOND_US, false);
    repo_close(other);
    assert_int_equal(rename(moved, t->root), 0);

    for (int i = 0; i < 60; i++) {
        tide_sleep_us(10 * MS);
        assert_false(lease_is_held(l));
    }
    lease_release(l);
    assert_int_equal(newest(t->repo), top + 12);
}

static void lease_of_a_process_that_died_here_is_taken_at_once(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) { /* no thread is left by fork: it stays silent, and then dies */
        struct lease_record self;
        tide_status s = lease_record_self(&self, &err);
        self.lease_us = 3600 * TIDE_SECOND_US;
        if (s == TIDE_OK)
            s = lease_record_put(t->repo, FOLDER, 1, &self, &err);
        _exit(s == TIDE_OK ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    ok(take(t->repo, TIDE_SECOND_US, 0, &l, &err), &err);
    lease_release(l);
}

static void only_a_process_that_is_surely_gone_counts_as_gone(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease_record self;
    ok(lease_record_self(&self, &err), &err);
    assert_false(lease_holder_is_gone(&self));
    assert_true(self.process[0] != '\0');

    struct lease_record other = self;
    other.process[0] ^= 1; /* another boot */
    other.pid = 0x7ffffff0;
    assert_false(lease_holder_is_gone(&other));
    other.process[0] = '\0';
    assert_false(lease_holder_is_gone(&other));
    other = self;
    other.pid = 0x7ffffff0;
    assert_true(lease_holder_is_gone(&other));
    other = self;
    other.process[strlen(other.process) - 1] ^= 1; /* the number went to a later process */
    assert_true(lease_holder_is_gone(&other));
}

static void a_process_that_nobody_waited_for_is_gone(void **state)
{
    (void)state;
    int pipe_ends[2];
    struct lease_record child;
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct lease_record self;
        struct tide_err err = TIDE_ERR_INIT;
        bool told = lease_record_self(&self, &err) == TIDE_OK &&
                    write(pipe_ends[1], &self, sizeof(self)) == (ssize_t)sizeof(self);
        _exit(told ? 0 : 1);
    }
    assert_int_equal(read(pipe_ends[0], &child, sizeof(child)), sizeof(child));
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(child.pid, pid);
    assert_true(lease_holder_is_gone(&child));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(lease_holder_is_gone(&child));
    (void)close(pipe_ends[0]);
    (void)close(pipe_ends[1]);
}

static void damaged_lease_is_waited_out(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    test_raw_write(t, FOLDER "00000005", "x", 1);
    assert_int_equal(take(t->repo, 200 * MS, 0, &l, &err), TIDE_BUSY);
    ok(take(t->repo, 200 * MS, 20 * TIDE_SECOND_US, &l, &err), &err);
    lease_release(l);
}

static void waiting_ends_when_cancelled(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    struct tide_cancel *cancel = NULL;
    ok(tide_cancel_new(&cancel, &err), &err);
    t->options.cancel = cancel;
    test_repo_reopen(t);
    put_stranger(t->repo, 1, 60 * TIDE_SECOND_US, false);
    tide_cancel_set(cancel);
    assert_int_equal(take(t->repo, TIDE_SECOND_US, 60 * TIDE_SECOND_US, &l, &err), TIDE_CANCELLED);
    repo_close(TIDE_TAKE(t->repo));
    tide_cancel_free(cancel);
}

struct racer {
    struct repo *repo;
    bool won;
};

static void *race(void *arg)
{
    struct racer *me = arg;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    me->won = take(me->repo, 60 * TIDE_SECOND_US, 0, &l, &err) == TIDE_OK;
    tide_sleep_us(300 * MS);
    lease_release(l);
    return NULL;
}

static void of_racing_takers_one_wins(void **state)
{
    struct test_repo *t = *state;
    pthread_t threads[4];
    struct racer racers[4];
    int winners = 0;
    for (int i = 0; i < 4; i++) {
        racers[i] = (struct racer){.repo = t->repo};
        assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        winners += racers[i].won;
    }
    assert_int_equal(winners, 1);
}

static void put_that_only_seemed_to_fail_is_ones_own(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    char url[256];
    /* The 2nd put arrives, and is reported as failed. */
    (void)snprintf(url, sizeof(url), "faulty+%s?fault=put@2=lost", t->url);
    t->options.url = url;
    test_repo_reopen(t);
    ok(take(t->repo, 300 * MS, 0, &l, &err), &err);
    int64_t deadline = tide_monotonic_us() + 20 * TIDE_SECOND_US;
    while (newest(t->repo) < 4 && tide_monotonic_us() < deadline)
        tide_sleep_us(10 * MS);
    assert_true(newest(t->repo) >= 4);
    assert_true(lease_is_held(l));
    lease_release(l);
}

static void senseless_options_are_invalid(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lease *l = NULL;
    assert_int_equal(take(t->repo, 0, 0, &l, &err), TIDE_INVALID);
    struct lease_options o = {.instance = "shop", .job = "a/b", .lease_us = 1};
    assert_int_equal(lease_take(t->repo, &o, &l, &err), TIDE_INVALID);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(held_lease_is_busy_and_names_its_holder),
        T(released_lease_is_taken_at_once),
        T(jobs_do_not_disturb_each_other),
        T(silent_lease_is_taken_after_its_time),
        T(lease_that_is_renewed_is_not_taken),
        T(holder_renews_and_clears_old_generations),
        T(newer_generation_of_another_ends_the_lease),
        T(lease_that_cannot_be_renewed_ends),
        T(lease_that_was_taken_long_ago_is_lost),
        T(lease_of_a_process_that_died_here_is_taken_at_once),
        cmocka_unit_test(only_a_process_that_is_surely_gone_counts_as_gone),
        cmocka_unit_test(a_process_that_nobody_waited_for_is_gone),
        T(damaged_lease_is_waited_out),
        T(waiting_ends_when_cancelled),
        T(of_racing_takers_one_wins),
        T(put_that_only_seemed_to_fail_is_ones_own),
        T(senseless_options_are_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
