/* target.c: what a person types behind --to. */

#include "pitr/target.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NOW INT64_C(1795342530123456) /* 2026-11-22T10:15:30.123456Z */

/* Positions as WAL writes them: two hex numbers. */
static int parse_pos(const char *text, struct tide_pos *pos)
{
    char *slash, *end;
    unsigned long high = strtoul(text, &slash, 16);

    if (slash == text || *slash != '/')
        return TIDE_INVALID;
    unsigned long low = strtoul(slash + 1, &end, 16);
    if (end == slash + 1 || *end != '\0')
        return TIDE_INVALID;
    *pos = (struct tide_pos){.lo = ((uint64_t)high << 32) + low};
    return TIDE_OK;
}

static const struct tide_plugin engine = {.pos_parse = parse_pos};

static tide_status parse(const char *text, struct target *t, struct tide_err *err)
{
    tide_err_clear(err);
    return target_parse(text, false, NULL, NOW, &engine, t, err);
}

static void refused(const char *text, const char *zone, const char *message)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct target t;

    assert_int_equal(target_parse(text, false, zone, NOW, &engine, &t, &err), TIDE_INVALID);
    if (strstr(err.msg, message) == NULL)
        fail_msg("\"%s\" is refused with: %s", text, err.msg);
}

static void times_are_times(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct target t;

    assert_int_equal(parse("2026-11-22 10:15:30.000001+00:00", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_TIME);
    assert_true(t.time_us == NOW - 123455);
    assert_string_equal(t.text, "2026-11-22 10:15:30.000001+00:00");
    assert_false(t.exclusive);
    assert_int_equal(parse("15m ago", &t, &err), TIDE_OK);
    assert_true(t.time_us == NOW - 15 * 60 * TIDE_SECOND_US);
    assert_int_equal(parse("@1795342530.5", &t, &err), TIDE_OK);
    assert_true(t.time_us == INT64_C(1795342530500000));
    assert_int_equal(target_parse("2026-11-22 11:15:30", true, "Europe/Berlin", NOW, &engine, &t, &err), TIDE_OK);
    assert_true(t.time_us == NOW - 123456);
    assert_true(t.exclusive);
}

static void a_time_without_zone_is_refused(void **state)
{
    (void)state;
    refused("2026-11-22 10:15:30", NULL, "has no time zone");
    refused("2026-10-25 02:30:00", "Europe/Berlin", "came twice");
    refused("2026-03-29 02:30:00 Europe/Berlin", NULL, "never was");
    refused("2026-11-22 10:15:30 CET", NULL, "abbreviation");
    refused("yesterday", NULL, "");
    refused("", NULL, "");
    refused("LATEST", NULL, ""); /* not guessed */
}

static void words_are_what_they_say(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct target t;

    assert_int_equal(parse("latest", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_LATEST);
    assert_int_equal(parse("backup:20261122T101530Z-1f2e3d4c", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_BACKUP);
    assert_string_equal(t.text, "20261122T101530Z-1f2e3d4c");
    assert_int_equal(parse("name:before upgrade: 15", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_NAME);
    assert_string_equal(t.text, "before upgrade: 15");
    assert_true(t.time_us == TIDE_TIME_NONE);
}

static void positions_are_the_engines(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct target t;

    assert_int_equal(parse("lsn:1/3000028", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_POSITION);
    assert_true(t.position.lo == 0x103000028);
    assert_int_equal(parse("position:0/28", &t, &err), TIDE_OK);
    assert_true(t.position.lo == 0x28);
    refused("lsn:", NULL, "no log position");
    refused("lsn:0/0", NULL, "no log position"); /* {0,0} means none */
    refused("lsn:0/3000028 ", NULL, "no log position");
    refused("lsn:12", NULL, "no log position");
}

static void transactions_are_positive_numbers(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct target t;

    assert_int_equal(parse("xid:731", &t, &err), TIDE_OK);
    assert_int_equal(t.kind, TARGET_TRANSACTION);
    assert_true(t.transaction == 731);
    assert_string_equal(t.text, "731"); /* refusals name it */
    refused("xid:", NULL, "no transaction id");
    refused("xid:0", NULL, "no transaction id");
    refused("xid:-1", NULL, "no transaction id");
    refused("xid: -1", NULL, "no transaction id");
    refused("xid:7x", NULL, "no transaction id");
    refused("xid:99999999999999999999", NULL, "no transaction id");
}

static void empty_and_endless_names_are_refused(void **state)
{
    (void)state;
    char text[400] = "name:";

    refused("backup:", NULL, "no backup");
    refused("name:", NULL, "no restore point");
    memset(text + 5, 'x', sizeof text - 6);
    text[sizeof text - 1] = '\0';
    refused(text, NULL, "no restore point");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_times),
        cmocka_unit_test(a_time_without_zone_is_refused),
        cmocka_unit_test(words_are_what_they_say),
        cmocka_unit_test(positions_are_the_engines),
        cmocka_unit_test(transactions_are_positive_numbers),
        cmocka_unit_test(empty_and_endless_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
