// LDFLAGS: -Wl,--wrap=calloc -Wl,--wrap=pthread_create

#include "orchestrator/base/thread.h"
#include "orchestrator/base/clock.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

struct task {
    int number;
    int64_t sleep_us;
    bool fail;
};

static atomic_int ran, dropped, running, most_running;

static void reset(void)
{
    atomic_store(&ran, 0);
    atomic_store(&dropped, 0);
    atomic_store(&running, 0);
    atomic_store(&most_running, 0);
}

static void *task_of(int number, int64_t sleep_us, bool fails)
{
    struct task *t = malloc(sizeof(*t));
    *t = (struct task){.number = number, .sleep_us = sleep_us, .fail = fails};
    return t;
}

static tide_status run(void *task, unsigned worker, struct tide_err *err)
{
    const struct task *t = task;
    (void)worker;
    int now = atomic_fetch_add(&running, 1) + 1;
    int most = atomic_load(&most_running);
    while (now > most && !atomic_compare_exchange_weak(&most_running, &most, now)) {
    }
    tide_sleep_us(t->sleep_us);
    atomic_fetch_add(&ran, 1);
    atomic_fetch_sub(&running, 1);
    return t->fail ? tide_fail(err, TIDE_CORRUPT, "task %d", t->number) : TIDE_OK;
}

static void drop(void *task)
{
    atomic_fetch_add(&dropped, 1);
    free(task);
}

static void every_task_runs_once_and_is_dropped(void **state)
{
    (void)state;
    reset();
    struct tide_pool *p = NULL;
    assert_int_equal(tide_pool_new(4, 3, run, drop, &p, NULL), TIDE_OK);
    for (int i = 0; i < 500; i++)
        assert_int_equal(tide_pool_submit(p, task_of(i, i % 50 == 0 ? 500 : 0, false), NULL), TIDE_OK);
    assert_int_equal(tide_pool_wait(p, NULL), TIDE_OK);
    assert_int_equal(atomic_load(&ran), 500);
    assert_int_equal(atomic_load(&dropped), 500);
    /* A pool goes on after a wait. */
    assert_int_equal(tide_pool_submit(p, task_of(500, 0, false), NULL), TIDE_OK);
    assert_int_equal(tide_pool_wait(p, NULL), TIDE_OK);
    assert_int_equal(atomic_load(&dropped), 501);
    tide_pool_free(p);
}

static void tasks_run_side_by_side(void **state)
{
    (void)state;
    reset();
    struct tide_pool *p = NULL;
    assert_int_equal(tide_pool_new(3, 3, run, drop, &p, NULL), TIDE_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(tide_pool_submit(p, task_of(i, 200000, false), NULL), TIDE_OK);
    assert_int_equal(tide_pool_wait(p, NULL), TIDE_OK);
    assert_int_equal(atomic_load(&most_running), 3);
    tide_pool_free(p);
}

static void the_first_failure_is_what_everybody_gets(void **state)
{
    (void)state;
    reset();
    struct tide_pool *p = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_pool_new(1, 100, run, drop, &p, NULL), TIDE_OK);
    assert_int_equal(tide_pool_status(p, &err), TIDE_OK);
    (void)!tide_pool_submit(p, task_of(1, 50000, false), NULL);
    (void)!tide_pool_submit(p, task_of(2, 0, true), NULL);
    for (int i = 3; i < 50; i++)
        (void)!tide_pool_submit(p, task_of(i, 0, true), NULL);
    assert_int_equal(tide_pool_wait(p, &err), TIDE_CORRUPT);
    assert_string_equal(err.msg, "task 2");
    assert_int_equal(atomic_load(&ran), 2);
    assert_int_equal(atomic_load(&dropped), 49);
    tide_err_clear(&err);
    assert_int_equal(tide_pool_submit(p, task_of(99, 0, false), &err), TIDE_CORRUPT);
    assert_string_equal(err.msg, "task 2");
    assert_int_equal(atomic_load(&dropped), 50);
    assert_int_equal(tide_pool_status(p, &err), TIDE_CORRUPT);
    assert_int_equal(tide_pool_wait(p, NULL), TIDE_CORRUPT);
    tide_pool_free(p);
}

static void a_blocked_submit_is_released_by_a_failure(void **state)
{
    (void)state;
    /* Many times: the failure has to come while submit waits for space. */
    for (int round = 0; round < 50; round++) {
        reset();
        struct tide_pool *p = NULL;
        struct tide_err err = TIDE_ERR_INIT;
        int submitted = 0;
        assert_int_equal(tide_pool_new(2, 1, run, drop, &p, NULL), TIDE_OK);
        tide_status s = TIDE_OK;
        while (s == TIDE_OK && submitted < 100000) {
            s = tide_pool_submit(p, task_of(submitted, 200, submitted == round), &err);
            submitted++;
        }
        assert_int_equal(s, TIDE_CORRUPT);
        assert_int_equal(tide_pool_wait(p, NULL), TIDE_CORRUPT);
        assert_int_equal(atomic_load(&dropped), submitted);
        tide_pool_free(p);
    }
}

static void freeing_drops_what_waits(void **state)
{
    (void)state;
    reset();
    struct tide_pool *p = NULL;
    assert_int_equal(tide_pool_new(1, 100, run, drop, &p, NULL), TIDE_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(tide_pool_submit(p, task_of(i, 20000, false), NULL), TIDE_OK);
    tide_pool_free(p);
    assert_int_equal(atomic_load(&dropped), 20);
    assert_true(atomic_load(&ran) < 20);
    tide_pool_free(NULL);
}

static void senseless_pools_are_refused(void **state)
{
    (void)state;
    struct tide_pool *p = NULL;
    assert_int_equal(tide_pool_new(0, 1, run, drop, &p, NULL), TIDE_INVALID);
    assert_int_equal(tide_pool_new(1, 0, run, drop, &p, NULL), TIDE_INVALID);
    assert_int_equal(tide_pool_new(1, SIZE_MAX, run, drop, &p, NULL), TIDE_INVALID);
    assert_int_equal(tide_pool_new(UINT_MAX, 1, run, drop, &p, NULL), TIDE_INVALID);
    assert_null(p);
}

static atomic_int workers_seen;
static atomic_bool signals_blocked;

static tide_status look_around(void *task, unsigned worker, struct tide_err *err)
{
    (void)task;
    (void)err;
    atomic_fetch_or(&workers_seen, 1 << worker);
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    if (!sigismember(&set, SIGTERM))
        atomic_store(&signals_blocked, false);
    tide_sleep_us(100000);
    return TIDE_OK;
}

static void workers_are_numbered_and_take_no_signals(void **state)
{
    (void)state;
    struct tide_pool *p = NULL;
    atomic_store(&workers_seen, 0);
    atomic_store(&signals_blocked, true);
    assert_int_equal(tide_pool_new(3, 3, look_around, NULL, &p, NULL), TIDE_OK);
    int tasks[3];
    for (int i = 0; i < 3; i++)
        assert_int_equal(tide_pool_submit(p, &tasks[i], NULL), TIDE_OK);
    assert_int_equal(tide_pool_wait(p, NULL), TIDE_OK);
    tide_pool_free(p);
    assert_int_equal(atomic_load(&workers_seen), 7);
    assert_true(atomic_load(&signals_blocked));
    sigset_t set;
    (void)pthread_sigmask(SIG_SETMASK, NULL, &set);
    assert_false(sigismember(&set, SIGTERM));
}

static void a_pool_that_cannot_start_leaves_nothing(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool fired = true; fired;) {
        struct tide_pool *p = NULL;
        fault_arm(++n, EAGAIN, false);
        tide_status s = tide_pool_new(3, 3, run, drop, &p, NULL);
        fired = fault_disarm();
        assert_int_equal(s, fired ? (n <= 2 ? TIDE_NO_MEMORY : TIDE_IO) : TIDE_OK);
        assert_int_equal(p == NULL, fired);
        tide_pool_free(p);
    }
    assert_int_equal(n, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once_and_is_dropped),
        cmocka_unit_test(tasks_run_side_by_side),
        cmocka_unit_test(the_first_failure_is_what_everybody_gets),
        cmocka_unit_test(a_blocked_submit_is_released_by_a_failure),
        cmocka_unit_test(freeing_drops_what_waits),
        cmocka_unit_test(senseless_pools_are_refused),
        cmocka_unit_test(a_pool_that_cannot_start_leaves_nothing),
        cmocka_unit_test(workers_are_numbered_and_take_no_signals),
    };
    return cmocka_run_group_tests_name("base_pool", tests, NULL, NULL);
}
