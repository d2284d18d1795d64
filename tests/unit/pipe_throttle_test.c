/* throttle.c: a rate shared by threads.  Bounds are wide: this proves that it waits, not how exactly. */

#include "orchestrator/pipe/throttle.h"

#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>

static struct throttle *throttle(uint64_t rate)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct throttle *t = NULL;
    assert_int_equal(throttle_new(rate, &t, &err), TIDE_OK);
    return t;
}

static void no_limit_never_waits(void **state)
{
    (void)state;
    struct throttle *t = throttle(0);
    int64_t begin = tide_monotonic_us();
    for (int i = 0; i < 1000; i++) {
        throttle_take(t, UINT64_MAX, NULL);
        throttle_take(NULL, UINT64_MAX, NULL);
    }
    assert_true(tide_monotonic_us() - begin < TIDE_SECOND_US);
    throttle_free(t);
    throttle_free(NULL);
}

static void *take_some(void *arg)
{
    for (int i = 0; i < 10; i++)
        throttle_take(arg, 10000, NULL);
    return NULL;
}

static void threads_share_the_rate(void **state)
{
    (void)state;
    struct throttle *t = throttle(1000000); /* 200 kB: 0.2 s, less the burst */
    pthread_t threads[2];
    int64_t begin = tide_monotonic_us();
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_some, t), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_true(tide_monotonic_us() - begin >= 90000);
    throttle_free(t);
}

static void *cancel_soon(void *arg)
{
    tide_sleep_us(50000);
    tide_cancel_set(arg);
    return NULL;
}

static void cancelling_ends_the_wait(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_cancel *cancel = NULL;
    assert_int_equal(tide_cancel_new(&cancel, &err), TIDE_OK);
    struct throttle *t = throttle(1);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, cancel_soon, cancel), 0);
    int64_t begin = tide_monotonic_us();
    throttle_take(t, 1000, cancel); /* 1000 s */
    assert_true(tide_monotonic_us() - begin < 20 * TIDE_SECOND_US);
    assert_int_equal(pthread_join(thread, NULL), 0);
    throttle_free(t);
    tide_cancel_free(cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_limit_never_waits),
        cmocka_unit_test(threads_share_the_rate),
        cmocka_unit_test(cancelling_ends_the_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
