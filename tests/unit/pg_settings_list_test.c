// OBJECTS: plugins/postgresql/settings_list.c plugins/postgresql/pg_files.c plugins/postgresql/query.c
// OBJECTS: plugins/postgresql/value.c
// LDFLAGS: -lpq
#include "plugins/postgresql/settings_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void what_changes_queries_is_taken_over(void **state)
{
    (void)state;
    static const char *const names[] = {
        "work_mem",       "TimeZone",  "random_page_cost",       "autovacuum_naptime",    "jit",
        "enable_seqscan", "wal_level", "track_commit_timestamp", "pg_stat_statements.max"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_true(pg_setting_is_allowed(names[i]));
}

static void what_reaches_production_is_not(void **state)
{
    (void)state;
    static const char *const names[] = {
        "archive_command",
        "archive_mode",
        "archive_library",
        "primary_conninfo",
        "primary_slot_name",
        "restore_command",
        "data_directory",
        "hba_file",
        "config_file",
        "unix_socket_directories",
        "port",
        "ssl",
        "ssl_key_file",
        "synchronous_standby_names",
        "recovery_target_time",
        "log_directory",
        "cron.host",
        "repmgr.x",
        "pg_net.ttl",
        "shared_preload_libraries",
        "shared_buffers",
        "dynamic_shared_memory_type",
        "external_pid_file",
        "cluster_name",
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_false(pg_setting_is_allowed(names[i]));
}

static void check_quiet(const char *list, const char *expected)
{
    char *quiet = pg_settings_quiet_libraries(list);
    assert_non_null(quiet);
    assert_string_equal(quiet, expected);
    free(quiet);
}

static void schedulers_are_not_preloaded(void **state)
{
    (void)state;
    check_quiet("pg_stat_statements", "pg_stat_statements");
    check_quiet("pg_cron", "");
    check_quiet("", "");
    check_quiet("pg_stat_statements,pg_cron, timescaledb", "pg_stat_statements, timescaledb");
    check_quiet(" $libdir/pg_cron , /usr/lib/x/repmgr.so,auto_explain", "auto_explain");
    check_quiet("pg_cronies", "pg_cronies");
}

static void the_last_line_of_the_log_counts(void **state)
{
    (void)state;
    char value[8];
    static const char lines[] = "max_connections=100\nmax_connections_x=7\nmax_connections=250\nwal_level=replica";
    assert_true(pg_settings_value(lines, "max_connections", value, sizeof value));
    assert_string_equal(value, "250");
    assert_true(pg_settings_value(lines, "wal_level", value, sizeof value));
    assert_string_equal(value, "replica");
    assert_false(pg_settings_value(lines, "max", value, sizeof value));
    assert_false(pg_settings_value(NULL, "max_connections", value, sizeof value));
    assert_false(pg_settings_value("max_connections=12345678", "max_connections", value, sizeof value));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_changes_queries_is_taken_over),
        cmocka_unit_test(what_reaches_production_is_not),
        cmocka_unit_test(schedulers_are_not_preloaded),
        cmocka_unit_test(the_last_line_of_the_log_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
