#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static void times_are_shown_in_utc(void **state)
{
    (void)state;
    char out[TIDE_TIME_TEXT];
    tide_time_format(INT64_C(1795342530123456), out);
    assert_string_equal(out, "2026-11-22T10:15:30.123456Z");
    tide_time_format(0, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000000Z");
    tide_time_format(-1, out);
    assert_string_equal(out, "1969-12-31T23:59:59.999999Z");
    tide_time_format(TIDE_TIME_NONE, out);
    assert_string_equal(out, "-");
}

static void the_extremes_fit(void **state)
{
    (void)state;
    char out[TIDE_TIME_TEXT];
    tide_time_format(INT64_MAX, out);
    assert_string_equal(out, "294247-01-10T04:00:54.775807Z");
    tide_time_format(INT64_MIN + 1, out);
    assert_string_equal(out, "-290308-12-21T19:59:05.224193Z");
}

static void times_are_shown_in_a_zone(void **state)
{
    (void)state;
    char out[64];
    int64_t t = INT64_C(1795342530000000);
    assert_int_equal(tide_time_format_zone(t + 123456, "Europe/Berlin", out, sizeof(out), NULL), TIDE_OK);
    assert_string_equal(out, "2026-11-22 11:15:30.123456+01:00");
    assert_int_equal(tide_time_format_zone(t, "Europe/Berlin", out, sizeof(out), NULL), TIDE_OK);
    assert_string_equal(out, "2026-11-22 11:15:30+01:00");
    assert_int_equal(tide_time_format_zone(t, "America/St_Johns", out, sizeof(out), NULL), TIDE_OK);
    assert_string_equal(out, "2026-11-22 06:45:30-03:30");
    assert_int_equal(tide_time_format_zone(t, NULL, out, sizeof(out), NULL), TIDE_OK);
    assert_string_equal(out, "2026-11-22 10:15:30+00:00");
    assert_int_equal(tide_time_format_zone(TIDE_TIME_NONE, "Europe/Berlin", out, sizeof(out), NULL), TIDE_OK);
    assert_string_equal(out, "-");
    assert_int_equal(tide_time_format_zone(t, "No/Where", out, sizeof(out), NULL), TIDE_INVALID);
    assert_int_equal(tide_time_format_zone(t, NULL, out, 10, NULL), TIDE_INVALID);
}

static void what_is_shown_can_be_typed(void **state)
{
    (void)state;
    /* Across both changes of 2026, in steps that hit each half hour. */
    for (int64_t s = 1774700000; s < 1774800000; s += 1799) {
        for (int summer = 0; summer < 2; summer++) {
            int64_t us = (s + summer * INT64_C(18144000)) * TIDE_SECOND_US + 17, back = 0;
            char out[64];
            assert_int_equal(tide_time_format_zone(us, "Europe/Berlin", out, sizeof(out), NULL), TIDE_OK);
            assert_int_equal(tide_time_parse(out, NULL, 0, &back, NULL), TIDE_OK);
            assert_true(back == us);
            tide_time_format(us, out);
            assert_int_equal(tide_time_parse(out, NULL, 0, &back, NULL), TIDE_OK);
            assert_true(back == us);
        }
    }
}

static void clocks_move_forward(void **state)
{
    (void)state;
    int64_t wall = tide_now_us(), mono = tide_monotonic_us();
    assert_true(wall / TIDE_SECOND_US - (int64_t)time(NULL) < 3 && (int64_t)time(NULL) - wall / TIDE_SECOND_US < 3);
    tide_sleep_us(20000);
    assert_true(tide_monotonic_us() - mono >= 20000);
    tide_sleep_us(0);
    tide_sleep_us(-5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_shown_in_utc),    cmocka_unit_test(the_extremes_fit),
        cmocka_unit_test(times_are_shown_in_a_zone), cmocka_unit_test(what_is_shown_can_be_typed),
        cmocka_unit_test(clocks_move_forward),
    };
    return cmocka_run_group_tests_name("base_clock", tests, NULL, NULL);
}
