// OBJECTS: plugins/postgresql/recover_text.c plugins/postgresql/evidence.c plugins/postgresql/value.c
#include "plugins/postgresql/recover_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const char log_text[] =
    "2026-11-22 13:00:00.000 UTC [10] LOG:  starting point-in-time recovery to WAL location (LSN) \"0/3000028\"\n"
    "2026-11-22 13:00:00.100 UTC [12] FATAL:  the database system is starting up\n"
    "2026-11-22 13:00:01.000 UTC [11] WARNING:  hot standby is not possible because of insufficient parameter "
    "settings\n"
    "2026-11-22 13:00:01.000 UTC [11] DETAIL:  max_connections = 100 is a lower setting than on the primary server, "
    "where its value was 250.\n"
    "2026-11-22 13:00:01.000 UTC [11] DETAIL:  max_connections = 100 is a lower setting than on the primary server, "
    "where its value was 200.\n"
    "2026-11-22 13:00:02.000 UTC [11] FATAL:  recovery ended before configured recovery target was reached\n"
    "2026-11-22 13:00:02.000 UTC [10] PANIC:  second reason\n";

static void the_reasons_of_an_end_are_quoted_and_our_own_tries_are_not(void **state)
{
    (void)state;
    char buf[200];
    pg_log_failures(log_text, buf, sizeof buf);
    assert_string_equal(buf, "recovery ended before configured recovery target was reached; second reason");
}

static void what_does_not_fit_is_cut(void **state)
{
    (void)state;
    char buf[20];
    pg_log_failures(log_text, buf, sizeof buf);
    assert_int_equal(strlen(buf), sizeof buf - 1);
    pg_log_failures(NULL, buf, sizeof buf);
    assert_string_equal(buf, "");
}

static void the_highest_demand_of_a_setting_counts(void **state)
{
    (void)state;
    assert_int_equal(pg_log_demanded(log_text, "max_connections"), 250);
    assert_int_equal(pg_log_demanded(log_text, "max_wal_senders"), 0);
    assert_int_equal(pg_log_demanded(NULL, "max_connections"), 0);
}

static void the_youngest_fork_of_a_history_is_found(void **state)
{
    (void)state;
    uint32_t parent = 0;
    uint64_t fork = 0;
    assert_true(pg_history_last("1\t0/3000148\tno recovery target specified\n"
                                "2\tA/4000000\tbefore 2026-11-22 12:00:00+00\n",
                                &parent, &fork));
    assert_int_equal(parent, 2);
    assert_true(fork == UINT64_C(0xA04000000));
    assert_false(pg_history_last("", &parent, &fork));
    assert_false(pg_history_last("nonsense\n", &parent, &fork));
}

static void page_headers_do_not_make_a_difference(void **state)
{
    (void)state;
    assert_true(pg_lsn_without_header(UINT64_C(0x3000028)) == UINT64_C(0x3000000));
    assert_true(pg_lsn_without_header(UINT64_C(0x3002018)) == UINT64_C(0x3002000));
    assert_true(pg_lsn_without_header(UINT64_C(0x3000000)) == UINT64_C(0x3000000));
    assert_true(pg_lsn_without_header(UINT64_C(0x3002028)) == UINT64_C(0x3002028));
    assert_true(pg_lsn_without_header(UINT64_C(0x3000148)) == UINT64_C(0x3000148));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reasons_of_an_end_are_quoted_and_our_own_tries_are_not),
        cmocka_unit_test(what_does_not_fit_is_cut),
        cmocka_unit_test(the_highest_demand_of_a_setting_counts),
        cmocka_unit_test(the_youngest_fork_of_a_history_is_found),
        cmocka_unit_test(page_headers_do_not_make_a_difference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
