// The supervision of workers, played by small shell scripts at the other end of descriptor 3.
#include "orchestrator/plugin/worker.h"

#include "orchestrator/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

struct seen {
    unsigned progress, events, logs;
    struct worker_progress last;
    char log[256];
    int64_t number;
};

static void on_progress(void *ctx, const struct worker_progress *p)
{
    struct seen *s = ctx;
    s->progress++;
    s->last = *p;
}

static void on_event(void *ctx, const json_t *event)
{
    struct seen *s = ctx;
    s->events++;
    s->number = json_integer_value(json_object_get(event, "number"));
}

static void on_log(void *ctx, const char *line)
{
    struct seen *s = ctx;
    s->logs++;
    (void)snprintf(s->log, sizeof s->log, "%s", line);
}

struct play {
    int64_t deadline_us;
    struct tide_cancel *cancel;
    struct seen seen;
    struct worker_result result;
    struct tide_err err;
};

/* Runs a script as the worker "play"; it reads its request with `read -r line <&3`. */
static tide_status play(struct play *p, const char *script)
{
    const char *const argv[] = {"-c", script, "play", NULL};
    json_t *request = json_pack("{s:s}", "hello", "world");
    const struct worker_options o = {
        .argv = argv,
        .program = "/bin/bash",
        .request = request,
        .progress_deadline_us = p->deadline_us,
        .cancel = p->cancel,
        .events = {.ctx = &p->seen, .progress = on_progress, .event = on_event, .log = on_log},
    };
    tide_status s = worker_run(&o, &p->result, &p->err);
    json_decref(request);
    return s;
}

#define OK_RESULT "echo '{\"type\":\"result\",\"status\":0,\"data\":{\"answer\":42}}' >&3"

static void result_and_data_come_back(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p, "read -r line <&3; [ \"$line\" = '{\"hello\":\"world\"}' ] && " OK_RESULT), TIDE_OK);
    assert_int_equal(p.result.status, TIDE_OK);
    assert_int_equal(json_integer_value(json_object_get(p.result.data, "answer")), 42);
    assert_false(p.result.degraded);
    worker_result_clear(&p.result);
}

static void failure_comes_back_whole(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p,
                          "echo '{\"type\":\"result\",\"status\":13,\"degraded\":true,\"errno\":0,\"message\":\"too "
                          "late\",\"hint\":\"look\",\"before\":\"b\",\"after\":\"a\"}' >&3; exit 1"),
                     TIDE_OK);
    assert_int_equal(p.result.status, TIDE_OUTSIDE);
    assert_true(p.result.degraded);
    assert_string_equal(p.result.err.msg, "too late");
    assert_string_equal(p.result.err.hint, "look");
    assert_string_equal(p.result.err.before, "b");
    assert_string_equal(p.result.err.after, "a");
    worker_result_clear(&p.result);
}

static void progress_events_and_log_lines_arrive(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p,
                          "echo '{\"type\":\"progress\",\"phase\":\"copying\",\"bytes_done\":5,\"bytes_total\":10}' "
                          ">&3; echo '{\"type\":\"event\",\"event\":{\"number\":7}}' >&3; echo noise; echo a line "
                          ">&2; sleep 0.2; " OK_RESULT),
                     TIDE_OK);
    assert_int_equal(p.seen.progress, 1);
    assert_string_equal(p.seen.last.phase, "copying");
    assert_int_equal(p.seen.last.bytes_done, 5);
    assert_int_equal(p.seen.last.bytes_total, 10);
    assert_true(p.seen.last.time_us == TIDE_TIME_NONE);
    assert_int_equal(p.seen.events, 1);
    assert_int_equal(p.seen.number, 7);
    assert_int_equal(p.seen.logs, 2); /* what it prints is no data of ours */
    assert_string_equal(p.seen.log, "a line");
    worker_result_clear(&p.result);
}

static void crash_is_told_with_its_signal(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p, "kill -SEGV $$"), TIDE_IO);
    assert_non_null(strstr(p.err.msg, "died of signal 11"));
    assert_int_equal(p.result.status, TIDE_IO);
    assert_string_equal(p.result.err.msg, p.err.msg);
    worker_result_clear(&p.result);
}

static void crash_after_a_result_is_a_crash(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p, OK_RESULT "; kill -ABRT $$"), TIDE_IO);
    assert_non_null(strstr(p.err.msg, "died of signal 6"));
    worker_result_clear(&p.result);
}

static void end_without_a_result_is_a_failure(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p, "exit 0"), TIDE_IO);
    assert_non_null(strstr(p.err.msg, "without a result"));
    worker_result_clear(&p.result);
}

static void what_is_no_message_is_a_failure(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(play(&p, "echo hello >&3; sleep 60"), TIDE_IO);
    assert_non_null(strstr(p.err.msg, "no message"));
    worker_result_clear(&p.result);
}

static void silent_worker_is_stopped_and_says_why(void **state)
{
    (void)state;
    struct play p = {.deadline_us = TIDE_SECOND_US};
    int64_t begun = tide_monotonic_us();
    assert_int_equal(play(&p, "exec sleep 60"), TIDE_IO);
    assert_true(tide_monotonic_us() - begun < 20 * TIDE_SECOND_US);
    assert_non_null(strstr(p.err.msg, "no progress"));
    assert_true(p.err.hint[0] != '\0');
    worker_result_clear(&p.result);
}

static void worker_that_talks_is_not_stopped(void **state)
{
    (void)state;
    struct play p = {.deadline_us = TIDE_SECOND_US};
    assert_int_equal(play(&p, "for i in 1 2 3 4 5; do sleep 0.5; echo '{\"type\":\"alive\"}' >&3; done; " OK_RESULT),
                     TIDE_OK);
    worker_result_clear(&p.result);
}

static struct tide_cancel *alarm_cancel;

static void on_alarm(int sig)
{
    (void)sig;
    tide_cancel_set(alarm_cancel);
}

static void cancellation_reaches_the_worker(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(tide_cancel_new(&p.cancel, &p.err), TIDE_OK);
    alarm_cancel = p.cancel;
    (void)signal(SIGALRM, on_alarm);
    (void)alarm(1);
    assert_int_equal(play(&p, "trap 'echo \"{\\\"type\\\":\\\"result\\\",\\\"status\\\":8,\\\"message\\\":\\\"let "
                              "go\\\"}\" >&3; exit 1' TERM; while :; do sleep 0.1; done"),
                     TIDE_OK);
    assert_int_equal(p.result.status, TIDE_CANCELLED);
    assert_string_equal(p.result.err.msg, "let go");
    tide_cancel_free(p.cancel);
    worker_result_clear(&p.result);
}

static void worker_that_cannot_listen_yet_is_cancelled_all_the_same(void **state)
{
    (void)state;
    struct play p = {0};
    assert_int_equal(tide_cancel_new(&p.cancel, &p.err), TIDE_OK);
    tide_cancel_set(p.cancel);
    assert_int_equal(play(&p, "exec sleep 60"), TIDE_CANCELLED);
    assert_int_equal(p.result.status, TIDE_CANCELLED);
    tide_cancel_free(p.cancel);
    worker_result_clear(&p.result);
}

static void descriptors_are_not_inherited(void **state)
{
    (void)state;
    struct play p = {0};
    /* 0, 1, 2, 3, and the one ls itself opens */
    assert_int_equal(play(&p, "[ \"$(ls /proc/self/fd | wc -l)\" -le 5 ] && " OK_RESULT), TIDE_OK);
    worker_result_clear(&p.result);
}

static void program_that_is_not_there_is_a_failure(void **state)
{
    (void)state;
    const char *const argv[] = {"worker", NULL};
    json_t *request = json_object();
    struct tide_err err = TIDE_ERR_INIT;
    struct worker_result result;
    tide_status s =
        worker_run(&(struct worker_options){.argv = argv, .program = "/nonexistent/tidemark", .request = request},
                   &result, &err);
    assert_int_equal(s, TIDE_IO);
    assert_true(err.msg[0] != '\0');
    json_decref(request);
    worker_result_clear(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(result_and_data_come_back),
        cmocka_unit_test(failure_comes_back_whole),
        cmocka_unit_test(progress_events_and_log_lines_arrive),
        cmocka_unit_test(crash_is_told_with_its_signal),
        cmocka_unit_test(crash_after_a_result_is_a_crash),
        cmocka_unit_test(end_without_a_result_is_a_failure),
        cmocka_unit_test(what_is_no_message_is_a_failure),
        cmocka_unit_test(silent_worker_is_stopped_and_says_why),
        cmocka_unit_test(worker_that_talks_is_not_stopped),
        cmocka_unit_test(cancellation_reaches_the_worker),
        cmocka_unit_test(worker_that_cannot_listen_yet_is_cancelled_all_the_same),
        cmocka_unit_test(descriptors_are_not_inherited),
        cmocka_unit_test(program_that_is_not_there_is_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
