#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static void a_descriptor_is_closed_at_the_end_of_its_scope(void **state)
{
    (void)state;
    int number;
    {
        TIDE_AUTO(tide_closep) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        number = fd;
        assert_true(fd >= 0);
        errno = EILSEQ;
    }
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(fcntl(number, F_GETFD), -1);
}

static void a_taken_descriptor_stays_open(void **state)
{
    (void)state;
    int kept;
    {
        TIDE_AUTO(tide_closep) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        kept = tide_take_fd(&fd);
        assert_int_equal(fd, -1);
    }
    assert_true(fcntl(kept, F_GETFD) >= 0);
    (void)close(kept);
}

static void closing_errors_of_errno_are_hidden(void **state)
{
    (void)state;
    int fd = 9999;
    errno = EILSEQ;
    tide_closep(&fd);
    assert_int_equal(errno, EILSEQ);
    assert_int_equal(fd, -1);
    tide_closep(&fd);
}

static char *make(void)
{
    TIDE_AUTO(tide_freep) char *other = strdup("freed at return");
    TIDE_AUTO(tide_freep) char *text = strdup("kept");
    assert_non_null(other);
    return TIDE_TAKE(text);
}

static void a_taken_pointer_survives(void **state)
{
    (void)state;
    TIDE_AUTO(tide_freep) char *text = make();
    assert_string_equal(text, "kept");
    TIDE_AUTO(tide_freep) char *nothing = NULL;
    assert_null(nothing);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_descriptor_is_closed_at_the_end_of_its_scope),
        cmocka_unit_test(a_taken_descriptor_stays_open),
        cmocka_unit_test(closing_errors_of_errno_are_hidden),
        cmocka_unit_test(a_taken_pointer_survives),
    };
    return cmocka_run_group_tests_name("base_cleanup", tests, NULL, NULL);
}
