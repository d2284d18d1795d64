#include "orchestrator/base/log.h"
#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static int capture_fd = -1, real_stderr = -1;
static char captured[1 << 20];

static void begin_capture(void)
{
    capture_fd = memfd_create("log", MFD_CLOEXEC);
    real_stderr = dup(STDERR_FILENO);
    assert_true(capture_fd >= 0 && real_stderr >= 0);
    /* O_APPEND, as a log file or a terminal of several processes would be. */
    assert_int_equal(fcntl(capture_fd, F_SETFL, O_APPEND), 0);
    assert_true(dup2(capture_fd, STDERR_FILENO) >= 0);
}

static const char *end_capture(void)
{
    (void)dup2(real_stderr, STDERR_FILENO);
    (void)close(real_stderr);
    ssize_t n = pread(capture_fd, captured, sizeof(captured) - 1, 0);
    (void)close(capture_fd);
    captured[n < 0 ? 0 : n] = '\0';
    return captured;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t re;
    assert_int_equal(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB), 0);
    bool yes = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    if (!yes)
        print_message("no match: %s", text);
    return yes;
}

static void a_text_line_has_time_level_event_fields_and_job(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, "j-17");
    begin_capture();
    TIDE_LOG(TIDE_LOG_INFO, "wal.object.stored", TIDE_STR("key", "a \"b\""), TIDE_U64("bytes", 123));
    assert_true(matches(end_capture(), "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\\.[0-9]{6}Z INFO  "
                                       "wal\\.object\\.stored key=\"a \\\\\"b\\\\\"\" bytes=123 job=j-17\n$"));
}

static void a_line_needs_neither_fields_nor_job(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_DEBUG, TIDE_LOG_TEXT, NULL);
    begin_capture();
    TIDE_LOG(TIDE_LOG_DEBUG, "a.b");
    TIDE_LOG(TIDE_LOG_ERROR, "c.d");
    assert_true(matches(end_capture(), "^[^ ]*Z DEBUG a\\.b\n[^ ]*Z ERROR c\\.d\n$"));
}

static void what_is_below_the_threshold_is_not_written(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_WARN, TIDE_LOG_TEXT, NULL);
    begin_capture();
    TIDE_LOG(TIDE_LOG_INFO, "a.b");
    TIDE_LOG(TIDE_LOG_DEBUG, "a.b");
    assert_string_equal(end_capture(), "");
    begin_capture();
    TIDE_LOG(TIDE_LOG_WARN, "a.b");
    assert_true(matches(end_capture(), "WARN  a\\.b\n$"));
}

static void json_lines_are_json(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_JSON, "j\"1");
    begin_capture();
    TIDE_LOG(TIDE_LOG_WARN, "repo.slow", TIDE_STR("text", "q\" b\\ n\n t\t \x01 \x7f \xc3\xa9 \xff \xe2\x82"),
             TIDE_U64("ms", UINT64_MAX));
    const char *line = end_capture();
    assert_true(matches(line, "^\\{\"time\":\"[-0-9T:.]+Z\",\"level\":\"warn\",\"event\":\"repo.slow\","));
    assert_non_null(strstr(line,
                           "\"text\":\"q\\\" b\\\\ n\\n t\\u0009 \\u0001 \\u007f \xc3\xa9 \\ufffd \\ufffd\\ufffd\","
                           "\"ms\":18446744073709551615,\"job\":\"j\\\"1\"}\n"));
}

static void control_bytes_cannot_forge_a_line(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
    begin_capture();
    TIDE_LOG(TIDE_LOG_INFO, "a.b", TIDE_STR("name", "x\n2026 ERROR \x1b[31m \xff\xc0\x80 \xed\xa0\x80"));
    const char *line = end_capture();
    assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
    assert_non_null(strstr(line, "name=\"x\\n2026 ERROR \\x1b[31m \\xff\\xc0\\x80 \\xed\\xa0\\x80\""));
}

static void a_missing_string_is_empty(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
    const char *nothing = NULL;
    begin_capture();
    TIDE_LOG(TIDE_LOG_INFO, "a.b", TIDE_STR("name", nothing), TIDE_U64("n", 0));
    assert_true(matches(end_capture(), "a\\.b name=\"\" n=0\n$"));
}

static void overlong_values_are_cut_and_the_line_ends(void **state)
{
    (void)state;
    static char value[9000];
    for (int json = 0; json < 2; json++) {
        for (size_t len = 3000; len < sizeof(value); len += len < 4000 ? 1 : 999) {
            memset(value, len % 2 ? '\n' : 'v', len);
            value[len] = '\0';
            tide_log_init(TIDE_LOG_INFO, json ? TIDE_LOG_JSON : TIDE_LOG_TEXT, "the-job");
            begin_capture();
            TIDE_LOG(TIDE_LOG_INFO, "a.b", TIDE_STR("long", value), TIDE_STR("next", value), TIDE_U64("n", 1));
            const char *line = end_capture();
            size_t n = strlen(line);
            assert_true(n <= 4096);
            assert_ptr_equal(strchr(line, '\n'), line + n - 1);
            assert_non_null(strstr(line, json ? ",\"job\":\"the-job\"}\n" : " job=the-job\n"));
        }
    }
}

static void errno_is_kept_and_a_closed_stderr_is_survived(void **state)
{
    (void)state;
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
    begin_capture();
    (void)close(STDERR_FILENO);
    errno = EILSEQ;
    TIDE_LOG(TIDE_LOG_INFO, "a.b");
    assert_int_equal(errno, EILSEQ);
    (void)end_capture();
}

static void *write_lines(void *arg)
{
    for (unsigned i = 0; i < 200; i++)
        TIDE_LOG(TIDE_LOG_INFO, "a.b", TIDE_STR("name", (const char *)arg), TIDE_U64("i", i));
    return NULL;
}

static void lines_of_threads_do_not_mix(void **state)
{
    (void)state;
    static char names[4][200];
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
    begin_capture();
    pthread_t threads[4];
    for (unsigned i = 0; i < 4; i++) {
        memset(names[i], 'a' + (int)i, sizeof(names[i]) - 1);
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    (void)end_capture();
    size_t lines = 0;
    char *save = NULL;
    for (char *line = strtok_r(captured, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        const char *name = strstr(line, "name=\"");
        assert_non_null(name);
        assert_int_equal(strspn(name + 6, (char[]){name[6], 0}), sizeof(names[0]) - 1);
        lines++;
    }
    assert_int_equal(lines, 800);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_line_has_time_level_event_fields_and_job),
        cmocka_unit_test(a_line_needs_neither_fields_nor_job),
        cmocka_unit_test(what_is_below_the_threshold_is_not_written),
        cmocka_unit_test(json_lines_are_json),
        cmocka_unit_test(control_bytes_cannot_forge_a_line),
        cmocka_unit_test(a_missing_string_is_empty),
        cmocka_unit_test(overlong_values_are_cut_and_the_line_ends),
        cmocka_unit_test(errno_is_kept_and_a_closed_stderr_is_survived),
        cmocka_unit_test(lines_of_threads_do_not_mix),
    };
    return cmocka_run_group_tests_name("base_log", tests, NULL, NULL);
}
