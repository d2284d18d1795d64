#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static tide_status step(struct tide_err *err)
{
    TIDE_FAILPOINT("step", err);
    return TIDE_OK;
}

static void without_orders_nothing_happens(void **state)
{
    (void)state;
    assert_true(tide_failpoints_load(NULL));
    assert_false(tide_failpoints_armed);
    assert_true(tide_failpoints_load(""));
    assert_false(tide_failpoints_armed);
    assert_int_equal(step(NULL), TIDE_OK);
}

static void an_error_comes_at_each_pass(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_true(tide_failpoints_load("step=error"));
    assert_int_equal(step(&err), TIDE_IO);
    assert_string_equal(err.msg, "fail point \"step\"");
    assert_int_equal(step(&err), TIDE_IO);
}

static void the_nth_pass_is_counted(void **state)
{
    (void)state;
    assert_true(tide_failpoints_load("other=kill,step=error:3"));
    assert_int_equal(step(NULL), TIDE_OK);
    assert_int_equal(step(NULL), TIDE_OK);
    assert_int_equal(step(NULL), TIDE_IO);
    assert_int_equal(step(NULL), TIDE_OK);
}

static void other_names_pass(void **state)
{
    (void)state;
    assert_true(tide_failpoints_load("ste=error,steps=error,Step=kill"));
    assert_int_equal(step(NULL), TIDE_OK);
}

static void malformed_orders_fail_loudly(void **state)
{
    (void)state;
    static const char *const bad[] = {"step",        "step=",       "=kill",        "step=explode", "step=kill:",
                                      "step=kill:0", "step=kill:x", "step=kill:1x", "step=kill:-1", "a=error,step"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(tide_failpoints_load(bad[i]));
        assert_int_equal(step(NULL), TIDE_INVALID);
    }
    char many[2000] = "";
    for (int i = 0; i < 17; i++)
        strcat(many, "a=error,");
    assert_false(tide_failpoints_load(many));
    memset(many, 'a', sizeof(many) - 1);
    assert_false(tide_failpoints_load(many));
    assert_true(tide_failpoints_load(NULL));
}

/* This program again, with the variable set: the constructor must have read it.  Its wait status. */
static int rerun(const char *orders, bool kill_after_a_while)
{
    pid_t pid = fork();
    if (pid == 0) {
        (void)setenv("TIDE_FAILPOINTS", orders, 1);
        (void)execl("/proc/self/exe", "base_failpoint_test", "--step", (char *)NULL);
        _exit(99);
    }
    if (kill_after_a_while) {
        tide_sleep_us(300000);
        assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
        (void)kill(pid, SIGTERM);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void kill_is_sigkill(void **state)
{
    (void)state;
    int status = rerun("step=kill", false);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void hang_hangs_until_killed(void **state)
{
    (void)state;
    int status = rerun("step=hang", true);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGTERM);
}

static void the_environment_is_read_before_main(void **state)
{
    (void)state;
    assert_int_equal(WEXITSTATUS(rerun("step=error", false)), TIDE_IO);
    assert_int_equal(WEXITSTATUS(rerun("step=error:2", false)), TIDE_OK);
    assert_int_equal(WEXITSTATUS(rerun("step=err", false)), TIDE_INVALID);
    assert_int_equal(WEXITSTATUS(rerun("", false)), TIDE_OK);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--step") == 0)
        return (int)step(NULL);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_orders_nothing_happens), cmocka_unit_test(an_error_comes_at_each_pass),
        cmocka_unit_test(the_nth_pass_is_counted),        cmocka_unit_test(other_names_pass),
        cmocka_unit_test(malformed_orders_fail_loudly),   cmocka_unit_test(kill_is_sigkill),
        cmocka_unit_test(hang_hangs_until_killed),        cmocka_unit_test(the_environment_is_read_before_main),
    };
    return cmocka_run_group_tests_name("base_failpoint", tests, NULL, NULL);
}
