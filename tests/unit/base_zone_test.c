// LDFLAGS: -Wl,--wrap=calloc -Wl,--wrap=realloc

#include "orchestrator/base/zone.h"
#include "orchestrator/base/zone_rule.h"
#include "orchestrator/base/buf.h"
#include "orchestrator/base/calendar.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static int64_t at(int year, int month, int day, int hour, int minute)
{
    return tide_seconds_of_civil(
        &(struct tide_civil){.year = year, .month = month, .day = day, .hour = hour, .minute = minute});
}

static struct tide_zone *load(const char *name)
{
    struct tide_zone *z = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    if (tide_zone_load(name, &z, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return z;
}

static void the_calendar_agrees_with_gmtime(void **state)
{
    (void)state;
    for (int64_t t = -INT64_C(62135596800); t < INT64_C(253402300800); t += INT64_C(86400) * 37 + 12345) {
        time_t tt = (time_t)t;
        struct tm tm;
        assert_non_null(gmtime_r(&tt, &tm));
        struct tide_civil c = tide_civil_of_seconds(t);
        assert_int_equal(c.year, tm.tm_year + 1900);
        assert_int_equal(c.month, tm.tm_mon + 1);
        assert_int_equal(c.day, tm.tm_mday);
        assert_int_equal(c.hour, tm.tm_hour);
        assert_int_equal(c.minute, tm.tm_min);
        assert_int_equal(c.second, tm.tm_sec);
        assert_true(tide_seconds_of_civil(&c) == t);
    }
}

static void offsets_agree_with_localtime(void **state)
{
    (void)state;
    static const char *const names[] = {
        "Europe/Berlin",       "America/New_York",
        "Australia/Lord_Howe", "Asia/Kolkata",
        "America/St_Johns",    "Europe/Dublin",
        "Africa/Casablanca",   "Pacific/Apia",
        "America/Sao_Paulo",   "Asia/Tehran",
        "Etc/GMT+12",          "Antarctica/Troll",
        "America/Nuuk",        "UTC",
        "Australia/Sydney",
    };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        assert_int_equal(setenv("TZ", names[i], 1), 0);
        tzset();
        struct tide_zone *z = load(names[i]);
        for (int64_t t = -INT64_C(3000000000); t < INT64_C(6000000000); t += 86400 * 3 + 5000) {
            time_t tt = (time_t)t;
            struct tm tm;
            assert_non_null(localtime_r(&tt, &tm));
            if (tide_zone_offset_at(z, t) != (int32_t)tm.tm_gmtoff)
                fail_msg("%s at %lld: %d, not %ld", names[i], (long long)t, tide_zone_offset_at(z, t), tm.tm_gmtoff);
        }
        tide_zone_free(z);
    }
    (void)unsetenv("TZ");
    tzset();
}

static void offsets_change_in_the_very_second(void **state)
{
    (void)state;
    struct tide_zone *z = load("Europe/Berlin");
    assert_int_equal(tide_zone_offset_at(z, at(2026, 3, 29, 1, 0) - 1), 3600);
    assert_int_equal(tide_zone_offset_at(z, at(2026, 3, 29, 1, 0)), 7200);
    assert_int_equal(tide_zone_offset_at(z, at(2026, 10, 25, 1, 0) - 1), 7200);
    assert_int_equal(tide_zone_offset_at(z, at(2026, 10, 25, 1, 0)), 3600);
    /* By the footer's rule: the table ends in 2037 at the latest. */
    assert_int_equal(tide_zone_offset_at(z, at(2199, 7, 1, 0, 0)), 7200);
    assert_int_equal(tide_zone_offset_at(z, at(2199, 12, 1, 0, 0)), 3600);
    tide_zone_free(z);
}

static void unique_local_times_have_one_moment(void **state)
{
    (void)state;
    struct tide_zone *z = load("America/New_York");
    struct tide_local l = tide_zone_from_local(z, at(2026, 7, 4, 12, 0));
    assert_int_equal(l.kind, TIDE_LOCAL_UNIQUE);
    assert_true(l.at[0] == at(2026, 7, 4, 16, 0));
    l = tide_zone_from_local(z, at(2026, 3, 8, 3, 0));
    assert_int_equal(l.kind, TIDE_LOCAL_UNIQUE);
    assert_true(l.at[0] == at(2026, 3, 8, 7, 0));
    l = tide_zone_from_local(z, at(2026, 3, 8, 2, 0) - 1);
    assert_int_equal(l.kind, TIDE_LOCAL_UNIQUE);
    tide_zone_free(z);
}

static void skipped_and_repeated_hours_are_told(void **state)
{
    (void)state;
    struct tide_zone *z = load("America/New_York");
    struct tide_local l = tide_zone_from_local(z, at(2026, 3, 8, 2, 30));
    assert_int_equal(l.kind, TIDE_LOCAL_SKIPPED);
    assert_true(l.at[0] == at(2026, 3, 8, 6, 30));
    assert_true(l.at[1] == at(2026, 3, 8, 7, 30));
    l = tide_zone_from_local(z, at(2026, 11, 1, 1, 0));
    assert_int_equal(l.kind, TIDE_LOCAL_REPEATED);
    assert_true(l.at[0] == at(2026, 11, 1, 5, 0));
    assert_true(l.at[1] == at(2026, 11, 1, 6, 0));
    l = tide_zone_from_local(z, at(2026, 11, 1, 2, 0));
    assert_int_equal(l.kind, TIDE_LOCAL_UNIQUE);
    tide_zone_free(z);
}

static void half_hours_and_whole_days_can_be_skipped(void **state)
{
    (void)state;
    struct tide_zone *howe = load("Australia/Lord_Howe"), *apia = load("Pacific/Apia");
    struct tide_local l = tide_zone_from_local(howe, at(2026, 10, 4, 2, 15));
    assert_int_equal(l.kind, TIDE_LOCAL_SKIPPED);
    l = tide_zone_from_local(howe, at(2026, 10, 4, 2, 30));
    assert_int_equal(l.kind, TIDE_LOCAL_UNIQUE);
    l = tide_zone_from_local(apia, at(2011, 12, 30, 12, 0));
    assert_int_equal(l.kind, TIDE_LOCAL_SKIPPED);
    assert_true(l.at[1] - l.at[0] == 86400);
    tide_zone_free(howe);
    tide_zone_free(apia);
}

static void names_cannot_leave_the_directory(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "/etc/passwd",
        "../../../etc/passwd",
        "Europe/../../../../etc/passwd",
        "Europe//Berlin",
        "Europe/",
        "Europe/Berl\xc3\xadn",
        "-x",
        "Europe/Nowhere",
        "Europe",
        "zone.tab",
        "tzdata.zi",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tide_zone *z = NULL;
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(tide_zone_load(bad[i], &z, &err), TIDE_INVALID);
        assert_null(z);
        assert_string_not_equal(err.msg, "");
    }
}

static void damaged_files_are_corrupt(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf file = TIDE_BUF_INIT(100000);
    assert_int_equal(tide_file_read("/usr/share/zoneinfo/Europe/Berlin", &file, NULL), TIDE_OK);
    struct tide_zone *z = NULL;
    for (size_t len = 0; len < file.len; len++) {
        uint8_t *copy = malloc(len + 1); /* exact, so that ASan sees a read past the end */
        memcpy(copy, file.data, len);
        assert_int_equal(tide_zone_parse(copy, len, &z, NULL), TIDE_CORRUPT);
        free(copy);
    }
    for (size_t i = 0; i < file.len; i++) {
        uint8_t *copy = malloc(file.len);
        memcpy(copy, file.data, file.len);
        copy[i] ^= 0x81;
        if (tide_zone_parse(copy, file.len, &z, NULL) == TIDE_OK) {
            (void)tide_zone_offset_at(z, 0);
            (void)tide_zone_from_local(z, INT64_C(1700000000));
            tide_zone_free(z);
        }
        free(copy);
    }
}

static void rules_are_read_in_full(void **state)
{
    (void)state;
    struct tide_zone_rule r;
    assert_true(tide_zone_rule_parse("UTC0", &r));
    assert_false(r.has_dst);
    assert_true(tide_zone_rule_parse("<-02>2<-01>,M3.5.0/-1,M10.5.0/0", &r));
    assert_int_equal(r.std, -7200);
    assert_int_equal(r.dst, -3600);
    assert_int_equal(r.start.time, -3600);
    assert_true(tide_zone_rule_parse("IST-1GMT0,M10.5.0,M3.5.0/1", &r));
    assert_int_equal(r.dst, 0);
    assert_true(tide_zone_rule_parse("AAA-5:30:15BBB,J60/167:59:59,300", &r));
    assert_int_equal(r.std, 19815);
    static const char *const bad[] = {
        "",
        "UTC",
        "AB1",
        "CET-1CEST",
        "CET-1CEST,M3.5.0",
        "CET-1CEST,M13.5.0,M10.5.0",
        "CET-1x",
        "CET-1CEST,M3.6.0,M10.5.0",
        "CET-1CEST,M3.5.7,M10.5.0",
        "CET-1CEST,J0,J5",
        "CET-1CEST,366,5",
        "CET-168",
        "CET-1:60",
        "<CET-1",
        "CET-1CEST,M3.5.0,M10.5.0/3x",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tide_zone_rule_parse(bad[i], &r));
}

static void day_rules_count_leap_days_as_posix_says(void **state)
{
    (void)state;
    struct tide_zone_rule r;
    /* J60 is always March 1; 60 is February 29 + 1 = March 1 in leap years, March 2 else. */
    assert_true(tide_zone_rule_parse("AAA0BBB,J60/0,J300/0", &r));
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2024, 3, 1, 0, 0) - 1), 0);
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2024, 3, 1, 0, 0)), 3600);
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2023, 3, 1, 0, 0)), 3600);
    assert_true(tide_zone_rule_parse("AAA0BBB,60/0,300/0", &r));
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2024, 3, 1, 0, 0)), 3600);
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2023, 3, 1, 12, 0)), 0);
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2023, 3, 2, 0, 0)), 3600);
    /* The last Sunday, when the month has only four. */
    assert_true(tide_zone_rule_parse("AAA0BBB,M2.5.0/0,M10.5.0/0", &r));
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2026, 2, 22, 0, 0) - 1), 0);
    assert_int_equal(tide_zone_rule_offset_at(&r, at(2026, 2, 22, 0, 0)), 3600);
}

static void out_of_memory_is_not_an_unknown_zone(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool fired = true; fired;) {
        struct tide_zone *z = NULL;
        fault_arm(++n, ENOMEM, false);
        tide_status s = tide_zone_load("Europe/Berlin", &z, NULL);
        fired = fault_disarm();
        assert_int_equal(s, fired ? TIDE_NO_MEMORY : TIDE_OK);
        assert_int_equal(z == NULL, fired);
        tide_zone_free(z);
    }
    assert_true(n >= 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_calendar_agrees_with_gmtime),
        cmocka_unit_test(offsets_agree_with_localtime),
        cmocka_unit_test(offsets_change_in_the_very_second),
        cmocka_unit_test(unique_local_times_have_one_moment),
        cmocka_unit_test(skipped_and_repeated_hours_are_told),
        cmocka_unit_test(half_hours_and_whole_days_can_be_skipped),
        cmocka_unit_test(names_cannot_leave_the_directory),
        cmocka_unit_test(damaged_files_are_corrupt),
        cmocka_unit_test(out_of_memory_is_not_an_unknown_zone),
        cmocka_unit_test(rules_are_read_in_full),
        cmocka_unit_test(day_rules_count_leap_days_as_posix_says),
    };
    return cmocka_run_group_tests_name("base_zone", tests, NULL, NULL);
}
