// LDFLAGS: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=open -Wl,--wrap=pipe2 -Wl,--wrap=fork -Wl,--wrap=read
// LDFLAGS: -Wl,--wrap=pidfd_open -Wl,--wrap=close_range

#include "orchestrator/base/process.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <pwd.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>
#include <cmocka.h>

#define TRUE_ARGV ((const char *const[]){"true", NULL})

static bool old_kernel;

int __real_pidfd_open(pid_t pid, unsigned flags);
int __wrap_pidfd_open(pid_t pid, unsigned flags);
int __real_close_range(unsigned first, unsigned last, int flags);
int __wrap_close_range(unsigned first, unsigned last, int flags);

int __wrap_pidfd_open(pid_t pid, unsigned flags)
{
    errno = ENOSYS;
    return old_kernel ? -1 : __real_pidfd_open(pid, flags);
}

int __wrap_close_range(unsigned first, unsigned last, int flags)
{
    errno = ENOSYS;
    return old_kernel ? -1 : __real_close_range(first, last, flags);
}

static void output_and_exit_code_come_back(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    TIDE_AUTO(tide_buf_clear) struct tide_buf errs = TIDE_BUF_INIT(1000);
    int code = -1;
    assert_int_equal(
        process_run(
            &(struct process_options){.shell = "echo out; echo err >&2; exit 7", .out = &out, .err_out = &errs},
            &code, NULL),
        TIDE_OK);
    assert_int_equal(code, 7);
    assert_string_equal(tide_buf_cstr(&out), "out\n");
    assert_string_equal(tide_buf_cstr(&errs), "err\n");
}

static void arguments_are_passed_as_they_are(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    int code = -1;
    const char *const argv[] = {"printf", "[%s]", "a b", "$HOME", "*", "", NULL};
    assert_int_equal(process_run(&(struct process_options){.argv = argv, .out = &out}, &code, NULL), TIDE_OK);
    assert_int_equal(code, 0);
    assert_string_equal(tide_buf_cstr(&out), "[a b][$HOME][*][]");
}

static void a_signal_is_128_and_its_number(void **state)
{
    (void)state;
    int code = -1;
    assert_int_equal(process_run(&(struct process_options){.shell = "kill -KILL $$"}, &code, NULL), TIDE_OK);
    assert_int_equal(code, 128 + SIGKILL);
}

static void what_cannot_run_says_why(void **state)
{
    (void)state;
    int code = -1;
    struct tide_err err = TIDE_ERR_INIT;
    const char *const absent[] = {"/no/such/program", NULL}, *const denied[] = {"/etc/passwd", NULL};
    assert_int_equal(process_run(&(struct process_options){.argv = absent}, &code, &err), TIDE_NOT_FOUND);
    assert_string_equal(err.msg, "could not run \"/no/such/program\": No such file or directory");
    assert_int_equal(process_run(&(struct process_options){.argv = denied}, &code, &err), TIDE_DENIED);
    assert_int_equal(process_run(&(struct process_options){.argv = TRUE_ARGV, .directory = "/no/such"}, &code, &err),
                     TIDE_NOT_FOUND);
    assert_string_equal(err.msg, "could not run \"true\" in directory \"/no/such\": No such file or directory");
}

static void directory_and_environment_are_set(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    int code = -1;
    (void)setenv("TIDE_TEST_A", "old", 1);
    (void)setenv("TIDE_TEST_AB", "kept", 1);
    const char *const env[] = {"TIDE_TEST_A=new", "TIDE_TEST_C=c=d", NULL};
    assert_int_equal(
        process_run(&(struct process_options){.shell = "pwd; echo $TIDE_TEST_A $TIDE_TEST_AB $TIDE_TEST_C; "
                                                       "env | grep -c TIDE_TEST_A=",
                                              .directory = "/usr",
                                              .env_add = env,
                                              .out = &out},
                    &code, NULL),
        TIDE_OK);
    assert_string_equal(tide_buf_cstr(&out), "/usr\nnew kept c=d\n1\n");
    assert_string_equal(getenv("TIDE_TEST_A"), "old");
}

static void no_descriptor_is_inherited(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    int code = -1;
    TIDE_AUTO(tide_closep) int leaky = open("/dev/null", O_RDONLY);
    assert_true(leaky >= 0);
    TIDE_AUTO(tide_closep) int high = fcntl(leaky, F_DUPFD, 500);
    assert_true(high >= 500);
    /* The globbing shell has one open itself: the directory. */
    assert_int_equal(
        process_run(&(struct process_options){.shell = "for f in 3 4 5 6 7 8 9 500; do [ -e /proc/$$/fd/$f ] "
                                                       "&& echo $f; done; readlink /proc/$$/fd/0",
                                              .out = &out},
                    &code, NULL),
        TIDE_OK);
    assert_string_equal(tide_buf_cstr(&out), "/dev/null\n");
}

static void output_past_the_bound_is_dropped(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
    int code = -1;
    assert_int_equal(
        process_run(&(struct process_options){.shell = "head -c 1000000 /dev/zero | tr '\\0' x; exit 3", .out = &out},
                    &code, NULL),
        TIDE_OK);
    assert_int_equal(code, 3);
    assert_int_equal(out.len, 100);
    assert_false(out.failed);
}

static void nothing_to_take_output_is_dev_null(void **state)
{
    (void)state;
    int code = -1;
    assert_int_equal(process_run(&(struct process_options){.shell = "head -c 1000000 /dev/zero"}, &code, NULL),
                     TIDE_OK);
    assert_int_equal(code, 0);
}

static void the_deadline_ends_the_whole_group(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
    int code = -1;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t started = tide_monotonic_us();
    assert_int_equal(
        process_run(
            &(struct process_options){.shell = "sleep 60 & echo $!; wait", .deadline_us = 300000, .out = &out}, &code,
            &err),
        TIDE_AGAIN);
    assert_true(tide_monotonic_us() - started < 4000000);
    assert_int_equal(code, 128 + SIGTERM);
    assert_string_equal(err.msg, "\"sleep 60 & echo $!; wait\" did not end within 300 ms");
    pid_t grandchild = (pid_t)atoi(tide_buf_cstr(&out));
    assert_true(grandchild > 1);
    /* Dead at once, but init may take a moment to reap it. */
    for (int i = 0; i < 100 && kill(grandchild, 0) == 0; i++) {
        char path[64], stat[256] = "";
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", grandchild);
        TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || (read(fd, stat, sizeof(stat) - 1) > 0 && strstr(stat, ") Z ") != NULL))
            return;
        tide_sleep_us(20000);
    }
    assert_int_equal(kill(grandchild, 0), -1);
}

static void who_ignores_sigterm_is_killed_later(void **state)
{
    (void)state;
    int code = -1;
    int64_t started = tide_monotonic_us();
    assert_int_equal(process_run(&(struct process_options){.shell = "trap '' TERM; while :; do sleep 0.1; done",
                                                           .deadline_us = 100000},
                                 &code, NULL),
                     TIDE_AGAIN);
    int64_t took = tide_monotonic_us() - started;
    assert_true(took >= 5000000 && took < 15000000);
    assert_int_equal(code, 128 + SIGKILL);
}

static void *cancel_later(void *arg)
{
    tide_sleep_us(200000);
    tide_cancel_set(arg);
    return NULL;
}

static void cancelling_ends_it(void **state)
{
    (void)state;
    struct tide_cancel *c = NULL;
    assert_int_equal(tide_cancel_new(&c, NULL), TIDE_OK);
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, cancel_later, c), 0);
    int code = -1;
    int64_t started = tide_monotonic_us();
    assert_int_equal(process_run(&(struct process_options){.shell = "exec sleep 60", .cancel = c}, &code, NULL),
                     TIDE_CANCELLED);
    assert_true(tide_monotonic_us() - started < 4000000);
    assert_int_equal(pthread_join(t, NULL), 0);
    /* What is cancelled before does not even start. */
    assert_int_equal(process_run(&(struct process_options){.argv = TRUE_ARGV, .cancel = c}, &code, NULL),
                     TIDE_CANCELLED);
    tide_cancel_free(c);
}

static void a_daemon_that_keeps_the_pipe_is_not_waited_for(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
    int code = -1;
    int64_t started = tide_monotonic_us();
    assert_int_equal(
        process_run(&(struct process_options){.shell = "setsid sleep 6 & echo started", .out = &out}, &code, NULL),
        TIDE_OK);
    assert_true(tide_monotonic_us() - started < 4000000);
    assert_string_equal(tide_buf_cstr(&out), "started\n");
}

static void signals_are_as_a_program_expects_them(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    sigset_t set, old;
    (void)sigfillset(&set);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &set, &old), 0);
    void (*pipe_was)(int) = signal(SIGPIPE, SIG_IGN);
    int code = -1;
    const char *const argv[] = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status", NULL};
    tide_status s = process_run(&(struct process_options){.argv = argv, .out = &out}, &code, NULL);
    (void)signal(SIGPIPE, pipe_was);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &old, NULL), 0);
    assert_int_equal(s, TIDE_OK);
    unsigned long long blocked = 1, ignored = 1;
    assert_int_equal(sscanf(tide_buf_cstr(&out), "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2);
    assert_true(blocked == 0);
    /* 32 and 33 are glibc's own, and come as we got them. */
    assert_true((ignored & ~(UINT64_C(3) << 31)) == 0);
}

static void another_user_is_taken_on_in_full(void **state)
{
    (void)state;
    if (geteuid() != 0)
        skip();
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    int code = -1;
    assert_int_equal(process_run(&(struct process_options){.shell = "id -un; id -u; id -ru; id -Gn; echo $HOME $USER",
                                                           .user = "nobody",
                                                           .directory = "/",
                                                           .out = &out},
                                 &code, NULL),
                     TIDE_OK);
    const struct passwd *nobody = getpwnam("nobody");
    char want[300];
    (void)snprintf(want, sizeof(want), "nobody\n%u\n%u\nnogroup\n%s nobody\n", nobody->pw_uid, nobody->pw_uid,
                   nobody->pw_dir);
    assert_string_equal(tide_buf_cstr(&out), want);
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(process_run(&(struct process_options){.argv = TRUE_ARGV, .user = "no-such-user"}, &code, &err),
                     TIDE_INVALID);
    assert_string_equal(err.msg, "there is no user \"no-such-user\"");
    /* chdir happens as that user. */
    assert_int_equal(process_run(&(struct process_options){.argv = TRUE_ARGV, .user = "nobody", .directory = "/root"},
                                 &code, &err),
                     TIDE_DENIED);
}

static void our_descriptors_are_all_given_back(void **state)
{
    (void)state;
    TIDE_AUTO(tide_closep) int before = open("/dev/null", O_RDONLY | O_CLOEXEC);
    const char *const absent[] = {"/no/such/program", NULL};
    for (int i = 0; i < 20; i++) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(10);
        TIDE_AUTO(tide_buf_clear) struct tide_buf errs = TIDE_BUF_INIT(10);
        int code;
        assert_int_equal(
            process_run(&(struct process_options){.argv = TRUE_ARGV, .out = &out, .err_out = &errs}, &code, NULL),
            TIDE_OK);
        assert_int_equal(
            process_run(&(struct process_options){.argv = absent, .out = &out, .err_out = &errs}, &code, NULL),
            TIDE_NOT_FOUND);
    }
    TIDE_AUTO(tide_closep) int after = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(after, before + 1);
}

static void closed_standard_streams_are_no_trouble(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
    int saved_in = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 10), saved_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    (void)close(STDIN_FILENO);
    (void)close(STDOUT_FILENO);
    int code = -1;
    tide_status s = process_run(&(struct process_options){.shell = "echo hello", .out = &out}, &code, NULL);
    if (saved_in >= 0)
        (void)dup2(saved_in, STDIN_FILENO);
    (void)dup2(saved_out, STDOUT_FILENO);
    tide_closep(&saved_in);
    tide_closep(&saved_out);
    assert_int_equal(s, TIDE_OK);
    assert_int_equal(code, 0);
    assert_string_equal(tide_buf_cstr(&out), "hello\n");
}

static void *run_many(void *arg)
{
    for (int i = 0; i < 15; i++) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(100);
        int code = -1;
        tide_status s = process_run(&(struct process_options){.shell = "echo x; exit 5", .out = &out}, &code, NULL);
        if (s != TIDE_OK || code != 5 || strcmp(tide_buf_cstr(&out), "x\n") != 0)
            *(bool *)arg = true;
    }
    return NULL;
}

static void threads_do_not_hold_each_others_pipes(void **state)
{
    (void)state;
    pthread_t threads[4];
    bool bad[4] = {false};
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_many, &bad[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_false(bad[i]);
    }
}

static void a_kernel_without_pidfd_and_close_range_will_do(void **state)
{
    old_kernel = true;
    output_and_exit_code_come_back(state);
    no_descriptor_is_inherited(state);
    the_deadline_ends_the_whole_group(state);
    cancelling_ends_it(state);
    old_kernel = false;
}

static void every_failed_start_is_reported(void **state)
{
    (void)state;
    TIDE_AUTO(tide_closep) int before = dup(STDIN_FILENO);
    unsigned n = 0;
    for (bool fired = true; fired;) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(10);
        TIDE_AUTO(tide_buf_clear) struct tide_buf errs = TIDE_BUF_INIT(10);
        const struct process_options o = {.argv = TRUE_ARGV, .user = "nobody", .out = &out, .err_out = &errs};
        int code = -1;
        struct tide_err err = TIDE_ERR_INIT;
        fault_arm(++n, EMFILE, false);
        tide_status s = process_run(&o, &code, &err);
        fired = fault_disarm();
        assert_int_equal(s == TIDE_OK, !fired);
        assert_int_equal(err.msg[0] != '\0', fired);
    }
    /* malloc, calloc, open, three pipes, fork, and the reads of report, stdout and stderr. */
    assert_true(n > (geteuid() == 0 ? 10 : 9));
    TIDE_AUTO(tide_closep) int after = dup(STDIN_FILENO);
    assert_int_equal(after, before + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(output_and_exit_code_come_back),
        cmocka_unit_test(arguments_are_passed_as_they_are),
        cmocka_unit_test(a_signal_is_128_and_its_number),
        cmocka_unit_test(what_cannot_run_says_why),
        cmocka_unit_test(directory_and_environment_are_set),
        cmocka_unit_test(no_descriptor_is_inherited),
        cmocka_unit_test(output_past_the_bound_is_dropped),
        cmocka_unit_test(nothing_to_take_output_is_dev_null),
        cmocka_unit_test(the_deadline_ends_the_whole_group),
        cmocka_unit_test(who_ignores_sigterm_is_killed_later),
        cmocka_unit_test(cancelling_ends_it),
        cmocka_unit_test(a_daemon_that_keeps_the_pipe_is_not_waited_for),
        cmocka_unit_test(signals_are_as_a_program_expects_them),
        cmocka_unit_test(another_user_is_taken_on_in_full),
        cmocka_unit_test(our_descriptors_are_all_given_back),
        cmocka_unit_test(closed_standard_streams_are_no_trouble),
        cmocka_unit_test(a_kernel_without_pidfd_and_close_range_will_do),
        cmocka_unit_test(every_failed_start_is_reported),
        cmocka_unit_test(threads_do_not_hold_each_others_pipes),
    };
    return cmocka_run_group_tests_name("base_process", tests, NULL, NULL);
}
