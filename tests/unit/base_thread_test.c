// LDFLAGS: -Wl,--wrap=calloc -Wl,--wrap=eventfd

#include "orchestrator/base/thread.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static bool readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1 && (p.revents & POLLIN) != 0;
}

static void cancellation_is_seen_by_flag_and_descriptor(void **state)
{
    (void)state;
    struct tide_cancel *c = NULL;
    assert_int_equal(tide_cancel_new(&c, NULL), TIDE_OK);
    assert_false(tide_cancel_is_set(c));
    assert_false(readable(tide_cancel_fd(c)));
    tide_cancel_set(c);
    tide_cancel_set(c);
    assert_true(tide_cancel_is_set(c));
    assert_true(readable(tide_cancel_fd(c)));
    assert_true(readable(tide_cancel_fd(c)));
    tide_cancel_free(c);
}

static void none_is_never_cancelled(void **state)
{
    (void)state;
    assert_false(tide_cancel_is_set(NULL));
    assert_int_equal(tide_cancel_fd(NULL), -1);
    tide_cancel_set(NULL);
    tide_cancel_free(NULL);
}

static struct tide_cancel *from_signal;

static void on_signal(int sig)
{
    (void)sig;
    tide_cancel_set(from_signal);
}

static void a_signal_handler_may_cancel(void **state)
{
    (void)state;
    assert_int_equal(tide_cancel_new(&from_signal, NULL), TIDE_OK);
    struct sigaction old, action = {.sa_handler = on_signal};
    assert_int_equal(sigaction(SIGUSR1, &action, &old), 0);
    assert_int_equal(raise(SIGUSR1), 0);
    assert_int_equal(sigaction(SIGUSR1, &old, NULL), 0);
    assert_true(tide_cancel_is_set(from_signal));
    tide_cancel_free(from_signal);
}

static void *cancel_soon(void *arg)
{
    tide_cancel_set(arg);
    return NULL;
}

static void another_thread_wakes_poll(void **state)
{
    (void)state;
    struct tide_cancel *c = NULL;
    assert_int_equal(tide_cancel_new(&c, NULL), TIDE_OK);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, cancel_soon, c), 0);
    struct pollfd p = {.fd = tide_cancel_fd(c), .events = POLLIN};
    assert_int_equal(poll(&p, 1, 10000), 1);
    assert_true(tide_cancel_is_set(c));
    assert_int_equal(pthread_join(t, NULL), 0);
    tide_cancel_free(c);
}

static void failing_to_make_one_leaves_nothing(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool fired = true; fired;) {
        struct tide_cancel *c = NULL;
        fault_arm(++n, ENOMEM, false);
        tide_status s = tide_cancel_new(&c, NULL);
        fired = fault_disarm();
        assert_int_equal(s, fired ? TIDE_NO_MEMORY : TIDE_OK);
        assert_int_equal(c == NULL, fired);
        tide_cancel_free(c);
    }
    assert_int_equal(n, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cancellation_is_seen_by_flag_and_descriptor),
        cmocka_unit_test(none_is_never_cancelled),
        cmocka_unit_test(a_signal_handler_may_cancel),
        cmocka_unit_test(another_thread_wakes_poll),
        cmocka_unit_test(failing_to_make_one_leaves_nothing),
    };
    return cmocka_run_group_tests_name("base_thread", tests, NULL, NULL);
}
