#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW INT64_C(1795342530123456) /* 2026-11-22T10:15:30.123456Z */

/* What text means, as RFC 3339 in UTC; or the error's text. */
static const char *meaning(const char *text, const char *zone)
{
    static char out[1100];
    struct tide_err err = TIDE_ERR_INIT;
    int64_t us = 0;
    if (tide_time_parse(text, zone, NOW, &us, &err) != TIDE_OK)
        (void)snprintf(out, sizeof(out), "%s", err.msg);
    else
        tide_time_format(us, out);
    return out;
}

static const char *hint_for(const char *text, const char *zone)
{
    static struct tide_err err;
    int64_t us = 77;
    tide_err_clear(&err);
    assert_int_equal(tide_time_parse(text, zone, NOW, &us, &err), TIDE_INVALID);
    assert_true(us == 77);
    return err.hint;
}

static void offsets_are_understood(void **state)
{
    (void)state;
    static const char want[] = "2026-11-22T10:15:30.000000Z";
    assert_string_equal(meaning("2026-11-22 10:15:30Z", NULL), want);
    assert_string_equal(meaning("2026-11-22T10:15:30z", NULL), want);
    assert_string_equal(meaning("2026-11-22t10:15:30 Z", NULL), want);
    assert_string_equal(meaning("2026-11-22 10:15:30+00:00", NULL), want);
    assert_string_equal(meaning("2026-11-22 11:15:30+01:00", NULL), want);
    assert_string_equal(meaning("2026-11-22 11:15:30 +0100", NULL), want);
    assert_string_equal(meaning("2026-11-22 11:15:30+01", NULL), want);
    assert_string_equal(meaning("  2026-11-22  04:45:30-05:30  ", NULL), want);
    assert_string_equal(meaning("2026-11-22 10:15:30-00:00", NULL), want);
    /* An offset wins over the configured zone. */
    assert_string_equal(meaning("2026-11-22 10:15:30Z", "Europe/Berlin"), want);
    assert_string_equal(meaning("2026-11-22 10:15Z", NULL), "2026-11-22T10:15:00.000000Z");
}

static void microseconds_are_kept(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-11-22 10:15:30.123456Z", NULL), "2026-11-22T10:15:30.123456Z");
    assert_string_equal(meaning("2026-11-22 10:15:30.5+01:00", NULL), "2026-11-22T09:15:30.500000Z");
    assert_string_equal(meaning("2026-11-22 10:15:30.000001 Europe/Berlin", NULL), "2026-11-22T09:15:30.000001Z");
    assert_non_null(strstr(meaning("2026-11-22 10:15:30.1234567Z", NULL), "one to six decimals"));
    assert_non_null(strstr(meaning("2026-11-22 10:15:30.Z", NULL), "one to six decimals"));
    assert_string_equal(meaning("1969-12-31 23:59:59.5Z", NULL), "1969-12-31T23:59:59.500000Z");
}

static void zones_are_understood(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-11-22 10:15:30 Europe/Berlin", NULL), "2026-11-22T09:15:30.000000Z");
    assert_string_equal(meaning("2026-07-22 10:15:30 Europe/Berlin", NULL), "2026-07-22T08:15:30.000000Z");
    assert_string_equal(meaning("2026-11-22T10:15:30 America/New_York", NULL), "2026-11-22T15:15:30.000000Z");
    assert_string_equal(meaning("2026-11-22 10:15:30 UTC", NULL), "2026-11-22T10:15:30.000000Z");
    assert_string_equal(meaning("2026-11-22 10:15:30", "Europe/Berlin"), "2026-11-22T09:15:30.000000Z");
    assert_string_equal(meaning("2026-11-22 10:15:30 Asia/Kolkata", "Europe/Berlin"), "2026-11-22T04:45:30.000000Z");
    assert_string_equal(meaning("2050-07-22 10:15:30 Europe/Berlin", NULL), "2050-07-22T08:15:30.000000Z");
    assert_string_equal(meaning("2026-11-22 10:15:30 Mars/Phobos", NULL), "unknown time zone \"Mars/Phobos\"");
}

static void no_zone_is_refused(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-11-22 10:15:30", NULL), "\"2026-11-22 10:15:30\" has no time zone");
    assert_non_null(strstr(hint_for("2026-11-22 10:15:30", NULL), "\"2026-11-22 10:15:30 Europe/Berlin\""));
}

static void repeated_times_are_refused_with_both_candidates(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-10-25 02:30:00 Europe/Berlin", NULL),
                        "\"2026-10-25 02:30:00 Europe/Berlin\" came twice in Europe/Berlin: clocks were put back");
    assert_string_equal(hint_for("2026-10-25 02:30:00 Europe/Berlin", NULL),
                        "write \"2026-10-25 02:30:00+02:00\" or \"2026-10-25 02:30:00+01:00\"");
    assert_string_equal(hint_for("2026-11-01 01:15:30.25", "America/New_York"),
                        "write \"2026-11-01 01:15:30.250000-04:00\" or \"2026-11-01 01:15:30.250000-05:00\"");
    assert_string_equal(meaning("2026-10-25 02:30:00+02:00", NULL), "2026-10-25T00:30:00.000000Z");
    assert_string_equal(meaning("2026-10-25 03:00:00 Europe/Berlin", NULL), "2026-10-25T02:00:00.000000Z");
    assert_string_equal(meaning("2026-10-25 01:59:59.999999 Europe/Berlin", NULL), "2026-10-24T23:59:59.999999Z");
}

static void skipped_times_are_refused_with_both_candidates(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-03-29 02:30:00", "Europe/Berlin"),
                        "\"2026-03-29 02:30:00\" never was in Europe/Berlin: clocks were put forward");
    assert_string_equal(hint_for("2026-03-29 02:30:00", "Europe/Berlin"),
                        "write \"2026-03-29 01:30:00+01:00\" or \"2026-03-29 03:30:00+02:00\"");
    assert_string_equal(hint_for("2026-03-08 02:00:00 America/New_York", NULL),
                        "write \"2026-03-08 01:00:00-05:00\" or \"2026-03-08 03:00:00-04:00\"");
    assert_string_equal(meaning("2026-03-29 03:00:00 Europe/Berlin", NULL), "2026-03-29T01:00:00.000000Z");
    assert_string_equal(meaning("2026-03-29 01:59:59 Europe/Berlin", NULL), "2026-03-29T00:59:59.000000Z");
}

static void abbreviations_are_refused_with_their_offsets(void **state)
{
    (void)state;
    assert_string_equal(meaning("2026-11-22 10:15:30 CET", NULL), "\"CET\" is an abbreviation, not a time zone");
    assert_non_null(strstr(hint_for("2026-11-22 10:15:30 CET", NULL), "+01:00"));
    const char *ist = hint_for("2026-11-22 10:15:30 IST", NULL);
    assert_non_null(strstr(ist, "+05:30"));
    assert_non_null(strstr(ist, "+02:00"));
    assert_non_null(strstr(ist, "+01:00"));
    assert_non_null(strstr(hint_for("2026-11-22 10:15:30 cst", NULL), "+08:00"));
    assert_non_null(strstr(hint_for("2026-11-22 10:15:30", "EST"), "-05:00"));
    assert_string_equal(meaning("2026-11-22 10:15:30 XYZ", NULL), "unknown time zone \"XYZ\"");
}

static void the_epoch_is_understood(void **state)
{
    (void)state;
    assert_string_equal(meaning("@0", NULL), "1970-01-01T00:00:00.000000Z");
    assert_string_equal(meaning("@1795342530", NULL), "2026-11-22T10:15:30.000000Z");
    assert_string_equal(meaning("@1795342530.123456", NULL), "2026-11-22T10:15:30.123456Z");
    assert_string_equal(meaning("@1795342530.5", NULL), "2026-11-22T10:15:30.500000Z");
    assert_string_equal(meaning("@-1.5", NULL), "1969-12-31T23:59:58.500000Z");
    static const char *const bad[] = {"@",    "@x",    "@1.", "@1.1234567", "@1 ", "@ 1", "@1x", "@9999999999999",
                                      "@--1", "@1 UTC"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (strcmp(bad[i], "@1 ") == 0)
            continue; /* blanks around are dropped */
        (void)hint_for(bad[i], NULL);
    }
}

static void ago_counts_from_now(void **state)
{
    (void)state;
    assert_string_equal(meaning("15m ago", NULL), "2026-11-22T10:00:30.123456Z");
    assert_string_equal(meaning("1h30m  ago", NULL), "2026-11-22T08:45:30.123456Z");
    assert_string_equal(meaning("2d ago", "Europe/Berlin"), "2026-11-20T10:15:30.123456Z");
    assert_string_equal(meaning("15 ago", NULL), "\"15\" is not a duration");
    assert_string_equal(meaning("-5m ago", NULL), "\"-5m\" is not a duration");
    (void)hint_for("15000000w ago", NULL);
}

static void leap_days_exist_in_leap_years_only(void **state)
{
    (void)state;
    assert_string_equal(meaning("2024-02-29 00:00:00Z", NULL), "2024-02-29T00:00:00.000000Z");
    assert_string_equal(meaning("2000-02-29 00:00:00Z", NULL), "2000-02-29T00:00:00.000000Z");
    assert_non_null(strstr(meaning("2026-02-29 00:00:00Z", NULL), "no such day"));
    assert_non_null(strstr(meaning("2100-02-29 00:00:00Z", NULL), "no such day"));
    assert_non_null(strstr(meaning("2026-04-31 00:00:00Z", NULL), "no such day"));
    assert_string_equal(meaning("2024-03-01 00:30:00+01:00", NULL), "2024-02-29T23:30:00.000000Z");
}

static void impossible_times_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "2026-13-01 00:00:00Z",      "2026-00-01 00:00:00Z",     "2026-01-00 00:00:00Z",
        "0000-01-01 00:00:00Z",      "2026-01-01 24:00:00Z",     "2026-01-01 23:60:00Z",
        "2016-12-31 23:59:60Z",      "2026-01-01 23:59:61Z",     "2026-01-01 10:00:00+24:00",
        "2026-01-01 10:00:00+01:60", "2026-01-01 10:00:00+1:00", "2026-01-01 10:00:00+01:00:00",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        (void)hint_for(bad[i], "UTC");
}

static void garbage_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "x",
        "now",
        "latest",
        "yesterday",
        "2026-11-22",
        "2026-11-22 ",
        "2026-11-22T",
        "10:15:30",
        "22.11.2026 10:15:30",
        "2026/11/22 10:15:30Z",
        "2026-11-22_10:15:30Z",
        "2026-11-22 10-15-30Z",
        "2026-11-22 1:15:30Z",
        "2026-11-22 10:15:3Z",
        "20261-11-22 10:15:30Z",
        "2026-11-22 10:15:30Zjunk",
        "2026-11-22 10:15:30Europe/Berlin",
        "2026-11-22 10:15:30+01:00 Europe/Berlin",
        "2026-11-22 10:15:30 Europe/Berlin x",
        "2026-11-22 10:15:30 ../../etc/passwd",
        "2026-11-22 10:15:30\n",
        "\xff\xfe",
        "-1",
        "ago",
        "m ago",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t us = 77;
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(tide_time_parse(bad[i], "UTC", NOW, &us, &err), TIDE_INVALID);
        assert_true(us == 77);
        assert_string_not_equal(err.msg, "");
    }
    int64_t us;
    assert_int_equal(tide_time_parse("", "UTC", NOW, &us, NULL), TIDE_INVALID);
    char longer[500];
    memset(longer, '1', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(tide_time_parse(longer, "UTC", NOW, &us, NULL), TIDE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(offsets_are_understood),
        cmocka_unit_test(microseconds_are_kept),
        cmocka_unit_test(zones_are_understood),
        cmocka_unit_test(no_zone_is_refused),
        cmocka_unit_test(repeated_times_are_refused_with_both_candidates),
        cmocka_unit_test(skipped_times_are_refused_with_both_candidates),
        cmocka_unit_test(abbreviations_are_refused_with_their_offsets),
        cmocka_unit_test(the_epoch_is_understood),
        cmocka_unit_test(ago_counts_from_now),
        cmocka_unit_test(leap_days_exist_in_leap_years_only),
        cmocka_unit_test(impossible_times_are_refused),
        cmocka_unit_test(garbage_is_refused),
    };
    return cmocka_run_group_tests_name("base_time_parse", tests, NULL, NULL);
}
