#include "orchestrator/daemon/status.h"

#include "orchestrator/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW (INT64_C(1795000000) * TIDE_SECOND_US)

/* Facts of an instance that is as it should be; each test spoils one. */
struct fine {
    struct settings settings;
    struct status_options options;
    struct lineage lineage;
    struct backup backup;
    struct restore_window window;
    struct window_gap gap;
    struct ambiguous_range ambiguous;
    struct status_facts facts;
    json_t *reasons;
};

static int setup(void **state)
{
    static struct fine f;

    f = (struct fine){0};
    f.settings = (struct settings){.engine = "postgresql",
                                   .heartbeat_interval_us = 10 * TIDE_SECOND_US,
                                   .exposure_warning_us = 60 * TIDE_SECOND_US,
                                   .exposure_alert_us = 300 * TIDE_SECOND_US,
                                   .backup_warning_us = 26 * 3600 * TIDE_SECOND_US,
                                   .backup_alert_us = 50 * 3600 * TIDE_SECOND_US,
                                   .skew_warning_us = TIDE_SECOND_US};
    f.options = (struct status_options){.instance = "shop", .settings = &f.settings};
    f.lineage = (struct lineage){.number = 1};
    f.backup =
        (struct backup){.id = "20261122T101530Z-1f2e3d4c", .lineage = 1, .finished_us = NOW - 3600 * TIDE_SECOND_US};
    f.window = (struct restore_window){
        .lineage = 1, .earliest_us = NOW - 3600 * TIDE_SECOND_US, .latest_us = NOW - TIDE_SECOND_US, .live = true};
    f.facts = (struct status_facts){.o = &f.options,
                                    .now_us = NOW,
                                    .lineages = {.items = &f.lineage, .n = 1},
                                    .backups = {.items = &f.backup, .n = 1},
                                    .windows = {.windows = &f.window, .n = 1},
                                    .live = true,
                                    .sign_us = NOW,
                                    .latest_us = NOW - TIDE_SECOND_US,
                                    .window_is_open = true,
                                    .exposed_since_us = NOW - TIDE_SECOND_US};
    f.reasons = json_array();
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    const struct fine *f = *state;
    json_decref(f->reasons);
    return 0;
}

/* The severity of a reason by its code; "" when it is not there. */
static const char *severity(const struct fine *f, const char *code)
{
    const json_t *r;
    size_t i;

    json_array_foreach(f->reasons, i, r)
    {
        assert_true(json_is_string(json_object_get(r, "message")));
        assert_non_null(json_object_get(r, "since"));
        if (strcmp(json_string_value(json_object_get(r, "code")), code) == 0)
            return json_string_value(json_object_get(r, "severity"));
    }
    return "";
}

static void fine_instance_has_no_reasons(void **state)
{
    const struct fine *f = *state;
    assert_int_equal(status_reasons(&f->facts, f->reasons), 0);
    assert_int_equal(json_array_size(f->reasons), 0);
}

static void instance_without_a_backup_is_an_alert(void **state)
{
    struct fine *f = *state;
    f->facts.backups.n = f->facts.windows.n = 0;
    f->facts.latest_us = f->facts.exposed_since_us = TIDE_TIME_NONE;
    f->facts.window_is_open = false;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "backup.none"), "alert");
    assert_int_equal(json_array_size(f->reasons), 1); /* what follows from it is not said again */
}

static void backup_without_its_log_is_an_alert(void **state)
{
    struct fine *f = *state;
    f->facts.windows.n = 0;
    f->facts.latest_us = f->facts.exposed_since_us = TIDE_TIME_NONE;
    f->facts.window_is_open = false;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "window.none"), "alert");
}

static void new_lineage_without_a_backup_is_an_alert(void **state)
{
    struct fine *f = *state;
    f->facts.latest_us = f->facts.exposed_since_us = TIDE_TIME_NONE;
    f->facts.window_is_open = false;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "window.none"), "alert");
}

static void window_that_ended_in_a_gap_is_an_alert(void **state)
{
    struct fine *f = *state;
    f->gap = (struct window_gap){.lineage = 1, .from_us = NOW - TIDE_SECOND_US, .reason = "log was removed"};
    f->facts.windows.gaps = &f->gap;
    f->facts.windows.n_gaps = 1;
    f->facts.window_is_open = false;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "window.ended"), "alert");
    assert_string_equal(severity(f, "log.gap"), "alert");
}

static void gap_that_a_later_backup_has_left_behind_is_a_warning(void **state)
{
    struct fine *f = *state;
    f->gap = (struct window_gap){.lineage = 1, .from_us = NOW - 7200 * TIDE_SECOND_US};
    f->facts.windows.gaps = &f->gap;
    f->facts.windows.n_gaps = 1;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "log.gap"), "warning");
}

static void exposure_warns_then_alerts(void **state)
{
    struct fine *f = *state;
    f->facts.exposed_since_us = NOW - 60 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), 0);
    f->facts.exposed_since_us = NOW - 61 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "exposure"), "warning");
    json_array_clear(f->reasons);
    f->facts.exposed_since_us = NOW - 301 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "exposure"), "alert");
}

static void shipper_silent_for_three_heartbeats_is_never_protected(void **state)
{
    struct fine *f = *state;
    f->facts.live = false;
    f->facts.sign_us = NOW - 30 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), 0);
    f->facts.sign_us = NOW - 30 * TIDE_SECOND_US - 1;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "ship.silent"), "warning");
    json_array_clear(f->reasons);
    f->facts.sign_us = TIDE_TIME_NONE;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "ship.silent"), "warning");
}

static void shipper_with_a_problem_warns(void **state)
{
    struct fine *f = *state;
    (void)snprintf(f->facts.shipper.problem, sizeof f->facts.shipper.problem, "the server does not answer");
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "ship.stands"), "warning");
}

static void old_backup_warns_then_alerts(void **state)
{
    struct fine *f = *state;
    f->backup.finished_us = NOW - 27 * 3600 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "backup.overdue"), "warning");
    json_array_clear(f->reasons);
    f->backup.finished_us = NOW - 51 * 3600 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "backup.overdue"), "alert");
}

static void what_is_damaged_alerts(void **state)
{
    struct fine *f = *state;
    char *bad = (char[]){"instances/shop/backups/x"};
    f->facts.backups.bad = &bad;
    f->facts.backups.n_bad = 1;
    f->backup.totals.damaged_pages = 3;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_ALERT);
    assert_string_equal(severity(f, "backup.unreadable"), "alert");
    assert_string_equal(severity(f, "backup.damaged_pages"), "alert");
}

static void clock_that_ran_back_or_is_off_warns(void **state)
{
    struct fine *f = *state;
    f->ambiguous = (struct ambiguous_range){.lineage = 1, .from_us = NOW - 20 * TIDE_SECOND_US, .to_us = NOW};
    f->facts.windows.ambiguous = &f->ambiguous;
    f->facts.windows.n_ambiguous = 1;
    f->facts.shipper.skew_us = -2 * TIDE_SECOND_US;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "log.ambiguous"), "warning");
    assert_string_equal(severity(f, "clock.skew"), "warning");
}

static void log_from_a_standby_alone_warns(void **state)
{
    struct fine *f = *state;
    f->facts.shipper.standby = true;
    assert_int_equal(status_reasons(&f->facts, f->reasons), STATUS_WARNING);
    assert_string_equal(severity(f, "ship.standby"), "warning");
}

static void instance_that_cannot_be_read_has_every_key(void **state)
{
    (void)state;
    static const char *const keys[] = {"name",
                                       "engine",
                                       "state",
                                       "reasons",
                                       "windows",
                                       "gaps",
                                       "latest_restorable",
                                       "exposure_seconds",
                                       "unshipped_bytes",
                                       "held_back_bytes",
                                       "last_backup",
                                       "next_backup",
                                       "running"};
    const struct tide_err why = {.status = TIDE_UNAVAILABLE, .msg = "not mounted \xff"};
    json_t *doc = status_unreadable("shop", NULL, &why);
    assert_non_null(doc);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(json_object_get(doc, keys[i]));
    assert_string_equal(json_string_value(json_object_get(doc, "state")), "alert");
    json_decref(doc);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(fine_instance_has_no_reasons),
        TEST(instance_without_a_backup_is_an_alert),
        TEST(backup_without_its_log_is_an_alert),
        TEST(new_lineage_without_a_backup_is_an_alert),
        TEST(window_that_ended_in_a_gap_is_an_alert),
        TEST(gap_that_a_later_backup_has_left_behind_is_a_warning),
        TEST(exposure_warns_then_alerts),
        TEST(shipper_silent_for_three_heartbeats_is_never_protected),
        TEST(shipper_with_a_problem_warns),
        TEST(old_backup_warns_then_alerts),
        TEST(what_is_damaged_alerts),
        TEST(clock_that_ran_back_or_is_off_warns),
        TEST(log_from_a_standby_alone_warns),
        TEST(instance_that_cannot_be_read_has_every_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
