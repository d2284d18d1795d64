// OBJECTS: plugins/postgresql/files_exclude.c
#include "plugins/postgresql/files_exclude.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

static void what_the_server_rebuilds_is_kept_empty(void **state)
{
    (void)state;
    static const char *const names[] = {"pg_wal",    "pg_replslot",  "pg_dynshmem", "pg_notify",
                                        "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_int_equal(pg_exclude_decide(PG_DIR_TOP, names[i]), PG_FILE_EMPTY);
        assert_int_equal(pg_exclude_decide(PG_DIR_OTHER, names[i]), PG_FILE_KEEP);
    }
}

static void what_would_be_wrong_in_a_copy_is_left_out(void **state)
{
    (void)state;
    static const char *const top[] = {
        "postmaster.pid",  "postmaster.opts",          "backup_label",           "backup_label.old",
        "tablespace_map",  "tablespace_map.old",       "recovery.signal",        "standby.signal",
        "backup_manifest", "current_logfiles",         "tidemark_recovery.conf", ".tidemark-restore",
        "pgsql_tmp",       "postgresql.auto.conf.tmp",
    };
    for (size_t i = 0; i < sizeof top / sizeof top[0]; i++)
        assert_int_equal(pg_exclude_decide(PG_DIR_TOP, top[i]), PG_FILE_SKIP);
    assert_int_equal(pg_exclude_decide(PG_DIR_DATABASE, "pg_internal.init"), PG_FILE_SKIP);
    assert_int_equal(pg_exclude_decide(PG_DIR_GLOBAL, "pg_internal.init.4711"), PG_FILE_SKIP);
    assert_int_equal(pg_exclude_decide(PG_DIR_OTHER, "pgsql_tmp123.0"), PG_FILE_SKIP);
    assert_int_equal(pg_exclude_decide(PG_DIR_DATABASE, "t3_16400"), PG_FILE_SKIP);
    assert_int_equal(pg_exclude_decide(PG_DIR_DATABASE, "t3_16400_fsm.1"), PG_FILE_SKIP);
}

static void what_a_server_needs_is_kept(void **state)
{
    (void)state;
    static const char *const top[] = {
        "PG_VERSION",           "base",        "global",    "pg_xact",    "pg_twophase", "postgresql.conf",
        "postgresql.auto.conf", "pg_hba.conf", "pg_tblspc", "server.crt", "log"};
    for (size_t i = 0; i < sizeof top / sizeof top[0]; i++)
        assert_int_equal(pg_exclude_decide(PG_DIR_TOP, top[i]), PG_FILE_KEEP);
    assert_int_equal(pg_exclude_decide(PG_DIR_DATABASE, "16400_init"), PG_FILE_KEEP);
    assert_int_equal(pg_exclude_decide(PG_DIR_DATABASE, "pg_filenode.map"), PG_FILE_KEEP);
    /* Only in a database's directory does the name mean a temporary relation. */
    assert_int_equal(pg_exclude_decide(PG_DIR_TOP, "t3_16400"), PG_FILE_KEEP);
}

static void check_relation(const char *name, uint64_t number, uint64_t segment, bool init, bool temporary)
{
    struct pg_relation_file f;
    assert_true(pg_relation_file_parse(name, &f));
    assert_true(f.number == number);
    assert_true(f.segment == segment);
    assert_int_equal(f.init, init);
    assert_int_equal(f.temporary, temporary);
}

static void relation_names_are_read(void **state)
{
    (void)state;
    check_relation("16400", 16400, 0, false, false);
    check_relation("16400.17", 16400, 17, false, false);
    check_relation("16400_fsm", 16400, 0, false, false);
    check_relation("16400_vm.2", 16400, 2, false, false);
    check_relation("16400_init", 16400, 0, true, false);
    check_relation("t12_4294967295", 4294967295u, 0, false, true);
}

static void other_names_are_no_relations(void **state)
{
    (void)state;
    static const char *const names[] = {"",       "PG_VERSION",          "pg_filenode.map", "16400x",
                                        "16400.", "16400_foo",           "16400.1.2",       "t_16400",
                                        "t3_",    "99999999999999999999"};
    struct pg_relation_file f;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_false(pg_relation_file_parse(names[i], &f));
}

static void directories_are_told_apart(void **state)
{
    (void)state;
    assert_int_equal(pg_dir_kind_of(""), PG_DIR_TOP);
    assert_int_equal(pg_dir_kind_of("global"), PG_DIR_GLOBAL);
    assert_int_equal(pg_dir_kind_of("base"), PG_DIR_OTHER);
    assert_int_equal(pg_dir_kind_of("base/5"), PG_DIR_DATABASE);
    assert_int_equal(pg_dir_kind_of("base/pgsql_tmp"), PG_DIR_OTHER);
    assert_int_equal(pg_dir_kind_of("pg_tblspc/16384"), PG_DIR_OTHER);
    assert_int_equal(pg_dir_kind_of("pg_tblspc/16384/PG_15_202209061"), PG_DIR_OTHER);
    assert_int_equal(pg_dir_kind_of("pg_tblspc/16384/PG_15_202209061/5"), PG_DIR_DATABASE);
    assert_int_equal(pg_dir_kind_of("pg_xact"), PG_DIR_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_server_rebuilds_is_kept_empty),
        cmocka_unit_test(what_would_be_wrong_in_a_copy_is_left_out),
        cmocka_unit_test(what_a_server_needs_is_kept),
        cmocka_unit_test(relation_names_are_read),
        cmocka_unit_test(other_names_are_no_relations),
        cmocka_unit_test(directories_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
