// OBJECTS: plugins/postgresql/restore_context.c plugins/postgresql/restore_process.c
// OBJECTS: plugins/postgresql/restore_binaries.c plugins/postgresql/restore_settings.c
// OBJECTS: plugins/postgresql/restore_config.c plugins/postgresql/restore_tablespaces.c
// OBJECTS: plugins/postgresql/restore_prepare.c plugins/postgresql/restore_check.c plugins/postgresql/activate.c
// OBJECTS: plugins/postgresql/recover_server.c plugins/postgresql/recover_text.c plugins/postgresql/settings_list.c
// OBJECTS: plugins/postgresql/control.c plugins/postgresql/control_read.c plugins/postgresql/pg_files.c
// OBJECTS: plugins/postgresql/query.c plugins/postgresql/value.c plugins/postgresql/evidence.c
// LDFLAGS: -lpq
#include "plugins/postgresql/pg_restore.h"
#include "tests/support/plugin_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct test_host host;
static char root[64], dir[80], tablespace[80];

static const char metadata[] =
    "{\"major\":15,\"start\":\"0/"
    "3000028\",\"server_version_num\":150020,\"superuser\":\"postgres\",\"architecture\":\"pdp11\","
    "\"libc_version\":\"1.0\",\"password_encryption\":\"md5\",\"hba_file\":\"/etc/postgresql/15/main/pg_hba.conf\","
    "\"databases\":[{\"name\":\"shop\",\"collate\":\"xx_XX.utf8\",\"ctype\":\"C\"}],"
    "\"tablespaces\":[{\"oid\":\"16384\",\"name\":\"fast disk\",\"path\":\"/srv/source/ts\"}],"
    "\"settings\":{\"max_connections\":\"120\",\"work_mem\":\"7168\",\"archive_command\":\"cp %p /prod/%f\","
    "\"shared_buffers\":\"999999999\",\"shared_preload_libraries\":\"pg_cron\",\"data_directory\":\"/srv/source\","
    "\"log_line_prefix\":\"it's \\\\ %m\",\"DateStyle\":\"ISO, 'DMY'\"}}";

static void put(const char *name, const char *text)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void make(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_int_equal(mkdir(path, 0700), 0);
}

static bool there(const char *name)
{
    char path[200];
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return lstat(path, &st) == 0;
}

/* The text of a file of the restored directory, valid until the next call. */
static const char *text_of(const char *name)
{
    static char text[16384];
    char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return "";
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    return text;
}

static bool says(const char *name, const char *line)
{
    return strstr(text_of(name), line) != NULL;
}

static int set_up(void **state)
{
    (void)state;
    test_host_init(&host, "shop", NULL);
    (void)snprintf(root, sizeof root, "/tmp/tidemark-prepare.XXXXXX");
    if (mkdtemp(root) == NULL)
        return -1;
    (void)snprintf(dir, sizeof dir, "%s/r", root);
    (void)snprintf(tablespace, sizeof tablespace, "%s/ts", root);
    if (mkdir(dir, 0700) != 0 || mkdir(tablespace, 0700) != 0)
        return -1;
    make("global");
    make("pg_tblspc");
    make("pg_tblspc/16384"); /* where the core may leave an empty directory */
    make("pg_wal");
    put("PG_VERSION", "15\n");
    put("postgresql.conf", "port = 5432 # the source's\n");
    put("postgresql.auto.conf", "primary_conninfo = 'host=production'\n");
    put("tablespace_map", "16384 /srv/source/ts\n");
    put("pg_wal/000000020000000000000003", "of an earlier attempt");
    put("postmaster.pid", "999999\n");
    put("standby.signal", "");
    return 0;
}

static int tear_down(void **state)
{
    char command[100];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", root);
    return system(command) == 0 ? 0 : -1;
}

static struct tide_restore_params some_params(void)
{
    static char lines[200];
    (void)snprintf(lines, sizeof lines, "fast disk=%s\n", tablespace);
    return (struct tide_restore_params){
        .struct_size = sizeof(struct tide_restore_params),
        .target_kind = TIDE_TARGET_COMMIT,
        .data_directory = dir,
        .metadata = metadata,
        .settings = "max_connections=250\nmax_prepared_transactions=5\n",
        .server_version = "15.20",
        /* As root the files go to nobody: no server has to be installed for this test. */
        .os_user = geteuid() == 0 ? "nobody" : NULL,
        .fetch_command = "/usr/bin/get 'a b' %f %p",
        .port = 15555,
        .target_start = {.hi = 0, .lo = UINT64_C(0x100000028)},
        .expected_end = {.hi = 0, .lo = UINT64_C(0x100000060)},
        .branch = 3,
        .tablespaces = lines,
    };
}

static void prepare(const struct tide_restore_params *params)
{
    struct tide_err err = TIDE_ERR_INIT;
    int s = pg_restore_prepare(&host.host, params, &err);
    if (s != TIDE_OK)
        print_error("%s\n", err.msg);
    assert_int_equal(s, TIDE_OK);
}

static void a_start_by_hand_is_barred_until_recovery_is_proved(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    prepare(&p);
    assert_true(says("postgresql.conf", "include 'tidemark_restore_is_not_finished'"));
    assert_false(there("tidemark_restore_is_not_finished"));
    assert_true(there("recovery.signal"));
    struct tide_err err = TIDE_ERR_INIT;
    const struct tide_findings none = {.struct_size = sizeof none};
    assert_int_equal(pg_activate(&host.host, dir, &none, &err), TIDE_REFUSED);
    assert_true(there("tidemark_quarantine.conf"));
}

static void the_sources_files_are_set_aside(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    prepare(&p);
    assert_true(says("postgresql.conf.source", "the source's"));
    assert_true(says("postgresql.auto.conf.source", "production"));
    assert_false(says("postgresql.auto.conf", "production"));
    prepare(&p); /* again, as a resumed restore does */
    assert_true(says("postgresql.conf.source", "the source's"));
    assert_true(says("postgresql.auto.conf.source", "production"));
}

static void the_files_of_a_source_that_was_restored_itself_are_set_aside_too(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    put("postgresql.conf", "# Written by Tidemark for the data directory /srv/restored\ninclude "
                           "'tidemark_restored.conf'\nwork_mem = '9MB' # its own\n");
    put("postgresql.conf.source", "of the one before\n");
    put("postgresql.auto.conf", "# Written by Tidemark for the data directory /srv/restored\n# its own, too\n");
    prepare(&p);
    assert_true(says("postgresql.conf.source", "its own"));
    assert_true(says("postgresql.auto.conf.source", "its own, too"));
    prepare(&p);
    assert_true(says("postgresql.conf.source", "its own"));
    assert_true(says("postgresql.auto.conf.source", "its own, too"));
}

static void what_an_earlier_attempt_left_is_gone(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    prepare(&p);
    assert_false(there("pg_wal/000000020000000000000003"));
    assert_false(there("postmaster.pid"));
    assert_false(there("standby.signal"));
    assert_true(there("pg_wal/archive_status"));
}

static void recovery_stops_at_the_start_of_the_last_wanted_commit(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    prepare(&p);
    assert_true(says("tidemark_recovery.conf", "recovery_target_lsn = '1/28'\n"));
    assert_true(says("tidemark_recovery.conf", "recovery_target_inclusive = on\n"));
    assert_true(says("tidemark_recovery.conf", "recovery_target_timeline = '3'\n"));
    assert_true(says("tidemark_recovery.conf", "recovery_target_action = 'promote'\n"));
    assert_true(says("tidemark_recovery.conf", "restore_command = '/usr/bin/get ''a b'' %f %p'\n"));
    assert_true(says("tidemark_private.conf", "listen_addresses = ''\n"));
    p.target_kind = TIDE_TARGET_CONSISTENT; /* with its last record known, as for a commit */
    prepare(&p);
    assert_true(says("tidemark_recovery.conf", "recovery_target_lsn = '1/28'\n"));
    p.target_start = (struct tide_pos){0};
    prepare(&p);
    assert_true(says("tidemark_recovery.conf", "recovery_target = 'immediate'\n"));
    assert_false(says("tidemark_recovery.conf", "recovery_target_lsn"));
}

static void settings_are_raised_filtered_and_quoted(void **state)
{
    (void)state;
    struct tide_restore_params p = some_params();
    prepare(&p);
    assert_true(says("tidemark_restored.conf", "\nmax_connections = 250\n"));
    assert_true(says("tidemark_restored.conf", "\nmax_prepared_transactions = 5\n"));
    assert_true(says("tidemark_restored.conf", "\nport = 15555\n"));
    assert_true(says("tidemark_restored.conf", "\nwork_mem = '7168'\n"));
    assert_true(says("tidemark_restored.conf", "\nDateStyle = 'ISO, ''DMY'''\n"));
    assert_true(says("tidemark_restored.conf", "\n# archive_command = 'cp %p /prod/%f'\n"));
    assert_true(says("tidemark_restored.conf", "\n# log_line_prefix = 'it''s \\\\ %m'\n"));
    assert_true(says("tidemark_restored.conf", "\n# at the source: shared_buffers = 999999999\n"));
    assert_false(says("tidemark_restored.conf", "\nshared_buffers = 999999999\n"));
}

static void quarantine_is_one_file(void **state)
{
    (void)state;
    static const char *const lines[] = {"\nlisten_addresses = '127.0.0.1'\n",
                                        "\narchive_mode = off\n",
                                        "\narchive_command = ''\n",
                                        "\nprimary_conninfo = ''\n",
                                        "\nprimary_slot_name = ''\n",
                                        "\nsynchronous_standby_names = ''\n",
                                        "\nmax_logical_replication_workers = 0\n",
                                        "\nshared_preload_libraries = ''\n"};
    struct tide_restore_params p = some_params();
    prepare(&p);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        assert_true(says("tidemark_quarantine.conf", lines[i]));
    assert_true(says("tidemark_hba.conf", "host all all 127.0.0.1/32 md5\n"));
    assert_false(says("tidemark_hba.conf", "host all all all"));
    p.listen = "0.0.0.0";
    prepare(&p);
    assert_true(says("tidemark_hba.conf", "host all all all md5\n"));
}

static void tablespaces_never_point_to_the_source(void **state)
{
    (void)state;
    char link[200], path[200], line[200];
    struct tide_restore_params p = some_params();
    prepare(&p);
    prepare(&p);
    (void)snprintf(path, sizeof path, "%s/pg_tblspc/16384", dir);
    ssize_t n = readlink(path, link, sizeof link - 1);
    assert_true(n > 0);
    link[n] = '\0';
    assert_string_equal(link, tablespace);
    (void)snprintf(line, sizeof line, "16384 %s\n", tablespace);
    assert_string_equal(text_of("tablespace_map"), line);

    struct tide_err err = TIDE_ERR_INIT;
    p.tablespaces = "other=/tmp\n";
    assert_int_equal(pg_restore_prepare(&host.host, &p, &err), TIDE_INVALID);
}

static char findings[4096];

static void add_finding(void *ctx, const struct tide_finding *f)
{
    size_t n = strlen(findings);
    (void)ctx;
    (void)snprintf(findings + n, sizeof findings - n, "%u %s\n", f->severity, f->code);
}

static void what_this_host_lacks_is_found_before(void **state)
{
    (void)state;
    char bin_dir[200];
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_restore_params p = some_params();
    const struct tide_findings out = {.struct_size = sizeof out, .add = add_finding};

    findings[0] = '\0';
    p.bin_dir = "/nonexistent";
    p.settings = "tablespace.16400.0/5000028=/srv/new\n";
    assert_int_equal(pg_restore_check(&host.host, &p, &out, bin_dir, sizeof bin_dir, &err), TIDE_OK);
    assert_string_equal(bin_dir, "");
    assert_non_null(strstr(findings, "2 postgresql.restore.binaries\n"));
    assert_non_null(strstr(findings, "2 postgresql.restore.architecture\n"));
    assert_non_null(strstr(findings, "1 postgresql.restore.collation\n"));
    assert_non_null(strstr(findings, "2 postgresql.restore.locale\n"));
    assert_non_null(strstr(findings, "2 postgresql.restore.tablespace_created\n"));
    assert_null(strstr(findings, "2 postgresql.restore.tablespace\n"));
    findings[0] = '\0';
    p.settings = "tablespace.16400.0/2000028=/srv/new\n"; /* before the backup began */
    assert_int_equal(pg_restore_check(&host.host, &p, &out, bin_dir, sizeof bin_dir, &err), TIDE_OK);
    assert_null(strstr(findings, "tablespace_created"));
}

static void metadata_that_cannot_be_read_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_restore_params p = some_params();
    p.metadata = "{\"major\":15";
    assert_int_equal(pg_restore_prepare(&host.host, &p, &err), TIDE_CORRUPT);
    p.metadata = "{\"major\":13}";
    assert_int_equal(pg_restore_prepare(&host.host, &p, &err), TIDE_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_start_by_hand_is_barred_until_recovery_is_proved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_sources_files_are_set_aside, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_files_of_a_source_that_was_restored_itself_are_set_aside_too, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(what_an_earlier_attempt_left_is_gone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(recovery_stops_at_the_start_of_the_last_wanted_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_are_raised_filtered_and_quoted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quarantine_is_one_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tablespaces_never_point_to_the_source, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_this_host_lacks_is_found_before, set_up, tear_down),
        cmocka_unit_test_setup_teardown(metadata_that_cannot_be_read_is_corrupt, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
