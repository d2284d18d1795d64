#include "orchestrator/base/err.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static void failing_sets_status_and_text(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_fail(&err, TIDE_CORRUPT, "object \"%s\" is short", "a/b"), TIDE_CORRUPT);
    assert_int_equal(err.status, TIDE_CORRUPT);
    assert_string_equal(err.msg, "object \"a/b\" is short");
    assert_string_equal(err.hint, "");
}

static void failing_again_forgets_the_first_hint(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    (void)tide_fail(&err, TIDE_INVALID, "one");
    (void)tide_hint(&err, TIDE_INVALID, "try two");
    strcpy(err.before, "2026");
    (void)tide_fail(&err, TIDE_IO, "two");
    assert_string_equal(err.hint, "");
    assert_string_equal(err.before, "");
}

static void no_error_struct_is_allowed(void **state)
{
    (void)state;
    assert_int_equal(tide_fail(NULL, TIDE_IO, "x"), TIDE_IO);
    assert_int_equal(tide_fail_errno(NULL, EACCES, "x"), TIDE_DENIED);
    assert_int_equal(tide_wrap(NULL, TIDE_AGAIN, "x"), TIDE_AGAIN);
    assert_int_equal(tide_hint(NULL, TIDE_BUSY, "x"), TIDE_BUSY);
    tide_err_clear(NULL);
}

static void errno_decides_the_status_and_ends_the_text(void **state)
{
    (void)state;
    static const struct {
        int errnum;
        tide_status s;
    } cases[] = {
        {ENOENT, TIDE_NOT_FOUND}, {EEXIST, TIDE_EXISTS}, {EACCES, TIDE_DENIED},
        {EPERM, TIDE_DENIED},     {ENOSPC, TIDE_FULL},   {EDQUOT, TIDE_FULL},
        {ENOMEM, TIDE_NO_MEMORY}, {EIO, TIDE_IO},        {EISDIR, TIDE_IO},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(tide_fail_errno(&err, cases[i].errnum, "could not open \"%s\"", "x"), cases[i].s);
        assert_int_equal(err.os_errno, cases[i].errnum);
    }
    struct tide_err err = TIDE_ERR_INIT;
    (void)tide_fail_errno(&err, EACCES, "could not open \"%s\"", "x");
    assert_string_equal(err.msg, "could not open \"x\": Permission denied");
}

static void the_reason_survives_a_very_long_name(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char name[2000];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    (void)tide_fail_errno(&err, ENOSPC, "could not write \"%s\"", name);
    assert_non_null(strstr(err.msg, ": No space left on device"));
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
}

static void wrapping_puts_text_before_and_keeps_the_hint(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    (void)tide_fail(&err, TIDE_NOT_FOUND, "inner");
    (void)tide_hint(&err, TIDE_NOT_FOUND, "look there");
    assert_int_equal(tide_wrap(&err, TIDE_NOT_FOUND, "restoring \"%s\"", "shop"), TIDE_NOT_FOUND);
    assert_string_equal(err.msg, "restoring \"shop\": inner");
    assert_string_equal(err.hint, "look there");
}

static void a_message_may_quote_the_old_one(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    (void)tide_fail(&err, TIDE_IO, "inner");
    (void)tide_fail(&err, TIDE_AGAIN, "retry after: %s", err.msg);
    assert_string_equal(err.msg, "retry after: inner");
    (void)tide_wrap(&err, TIDE_AGAIN, "[%s]", err.msg);
    assert_string_equal(err.msg, "[retry after: inner]: retry after: inner");
}

static void overlong_text_is_cut_not_overrun(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char text[3000];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    (void)tide_fail(&err, TIDE_IO, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    (void)tide_wrap(&err, TIDE_IO, "%s", text);
    assert_int_equal(strlen(err.msg), sizeof(err.msg) - 1);
    (void)tide_hint(&err, TIDE_IO, "%s", text);
    assert_int_equal(strlen(err.hint), sizeof(err.hint) - 1);
}

static void exit_codes_are_those_of_the_table(void **state)
{
    (void)state;
    static const int codes[] = {
        [TIDE_OK] = 0,          [TIDE_NOT_FOUND] = 1, [TIDE_EXISTS] = 9,      [TIDE_AGAIN] = 1,
        [TIDE_DENIED] = 8,      [TIDE_INVALID] = 2,   [TIDE_CORRUPT] = 5,     [TIDE_UNSUPPORTED] = 2,
        [TIDE_CANCELLED] = 130, [TIDE_NO_MEMORY] = 1, [TIDE_IO] = 1,          [TIDE_BUSY] = 6,
        [TIDE_REFUSED] = 9,     [TIDE_OUTSIDE] = 4,   [TIDE_UNAVAILABLE] = 7, [TIDE_FULL] = 1,
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        assert_int_equal(tide_status_exit((tide_status)i), codes[i]);
    assert_int_equal(tide_status_exit((tide_status)99), 1);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    for (int i = TIDE_OK; i <= TIDE_FULL; i++)
        assert_string_not_equal(tide_status_name((tide_status)i), "unknown");
    assert_string_equal(tide_status_name(TIDE_NOT_FOUND), "not found");
    assert_string_equal(tide_status_name((tide_status)99), "unknown");
    assert_string_equal(tide_status_name((tide_status)-1), "unknown");
}

static void a_broken_invariant_aborts(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        (void)signal(SIGABRT, SIG_DFL);
        int one = 1;
        tide_assert(one == 2);
        _exit(0);
    }
    (void)close(fds[1]);
    char text[600] = "";
    size_t len = 0;
    for (ssize_t n; (n = read(fds[0], text + len, sizeof(text) - 1 - len)) > 0;)
        len += (size_t)n;
    (void)close(fds[0]);
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    assert_non_null(strstr(text, "\"one == 2\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failing_sets_status_and_text),
        cmocka_unit_test(failing_again_forgets_the_first_hint),
        cmocka_unit_test(no_error_struct_is_allowed),
        cmocka_unit_test(errno_decides_the_status_and_ends_the_text),
        cmocka_unit_test(the_reason_survives_a_very_long_name),
        cmocka_unit_test(wrapping_puts_text_before_and_keeps_the_hint),
        cmocka_unit_test(a_message_may_quote_the_old_one),
        cmocka_unit_test(overlong_text_is_cut_not_overrun),
        cmocka_unit_test(exit_codes_are_those_of_the_table),
        cmocka_unit_test(every_status_has_a_name),
        cmocka_unit_test(a_broken_invariant_aborts),
    };
    return cmocka_run_group_tests_name("base_err", tests, NULL, NULL);
}
