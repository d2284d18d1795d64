// OBJECTS: plugins/postgresql/log_file.c plugins/postgresql/evidence.c plugins/postgresql/value.c
// OBJECTS: plugins/postgresql/wal_layout.c plugins/postgresql/wal_crc.c
#include "plugins/postgresql/pg_pure.h"
#include "tests/support/plugin_host.h"
#include "tests/support/wal_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define HEAD "system_identifier=7412345678901234567\nmajor=15\nsegment_size=16777216\n"
#define TL1  HEAD "timeline=1\nhistory=\n"
#define TL3  HEAD "timeline=3\nhistory=1\\t0/3000148\\tx\\n\\n2\\t0/5000000\\ty\\n\n"

static struct test_host host;
static struct tide_err err;

static int locate(const char *evidence, const char *name, struct tide_log_file *f)
{
    *f = (struct tide_log_file){.struct_size = sizeof *f};
    return pg_log_file_locate(&host.host, evidence, name, f, &err);
}

static void names_say_where_they_belong(void **state)
{
    struct tide_log_file f;

    (void)state;
    assert_int_equal(locate(TL1, "00000002000000A1000000FF", &f), TIDE_OK);
    assert_int_equal(f.kind, TIDE_LOG_FILE_SEGMENT);
    assert_int_equal(f.branch, 2);
    assert_true(f.start.lo == UINT64_C(0xa1ff000000) && f.end.lo == UINT64_C(0xa200000000));
    assert_int_equal(f.partial, 0);
    assert_int_equal(locate(TL1, "000000010000000000000003.partial", &f), TIDE_OK);
    assert_int_equal(f.kind, TIDE_LOG_FILE_SEGMENT);
    assert_int_equal(f.partial, 1);
    assert_int_equal(f.start.lo, 0x3000000);
    assert_int_equal(locate(NULL, "0000000B.history", &f), TIDE_OK);
    assert_int_equal(f.kind, TIDE_LOG_FILE_HISTORY);
    assert_int_equal(f.branch, 11);
    assert_int_equal(locate(NULL, "000000010000000000000003.00000028.backup", &f), TIDE_OK);
    assert_int_equal(f.kind, TIDE_LOG_FILE_OTHER);
}

static void the_segment_size_counts(void **state)
{
    struct tide_log_file f;

    (void)state;
    assert_int_equal(
        locate("system_identifier=1\nmajor=15\nsegment_size=1048576\ntimeline=1\n", "0000000100000001000000FF", &f),
        TIDE_OK);
    assert_true(f.start.lo == UINT64_C(0x10ff00000) && f.end.lo == UINT64_C(0x110000000));
    /* With 16 MiB there are 256 of them in 4 GiB. */
    assert_int_equal(locate(TL1, "000000010000000000000100", &f), TIDE_INVALID);
}

static void other_names_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "postmaster.pid",
        "00000001000000000000000",
        "0000000100000000000000030",
        "00000001000000000000000g",
        "0000000a0000000000000003",
        "000000000000000000000001",
        "00000001.histor",
        "00000001.history~",
        "000000010000000000000003.00000028.backup2",
        "000000010000000000000003.0000028.backup",
        "000000010000000000000003.partial2",
        "../000000010000000000000003",
    };
    struct tide_log_file f;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(locate(TL1, bad[i], &f), TIDE_INVALID);
}

static int content(const char *evidence, uint64_t branch, char *buf, size_t size)
{
    size_t len = 0;
    struct tide_log_file f = {
        .struct_size = sizeof f, .kind = TIDE_LOG_FILE_HISTORY, .branch = branch, .start = pg_pos(0x7000028)};
    int s = pg_log_file_content(&host.host, evidence, &f, buf, size, &len, &err);

    if (s == TIDE_OK)
        buf[len] = '\0';
    return s;
}

static void history_files_come_from_evidence(void **state)
{
    char buf[500];

    (void)state;
    assert_int_equal(content(TL3, 3, buf, sizeof buf), TIDE_OK);
    assert_string_equal(buf, "1\t0/3000148\tx\n\n2\t0/5000000\ty\n");
    /* An ancestor's is the beginning. */
    assert_int_equal(content(TL3, 2, buf, sizeof buf), TIDE_OK);
    assert_string_equal(buf, "1\t0/3000148\tx\n");
    assert_int_equal(content(TL3, 1, buf, sizeof buf), TIDE_NOT_FOUND);
    assert_int_equal(content(TL1, 1, buf, sizeof buf), TIDE_NOT_FOUND);
    assert_int_equal(content(TL3, 3, buf, 10), TIDE_INVALID);
    assert_int_equal(content("x", 3, buf, sizeof buf), TIDE_CORRUPT);
}

static void a_reserved_number_has_a_history_file(void **state)
{
    char buf[500];

    (void)state;
    assert_int_equal(content(TL3, 5, buf, sizeof buf), TIDE_OK);
    assert_string_equal(buf,
                        "1\t0/3000148\tx\n\n2\t0/5000000\ty\n\n3\t0/7000028\treserved for a restored instance\n");
    assert_int_equal(content(TL1, 2, buf, sizeof buf), TIDE_OK);
    assert_string_equal(buf, "1\t0/7000028\treserved for a restored instance\n");
}

/* ------------------------------------------------------------------ files */

static char dir[] = "/tmp/pg_log_file_test.XXXXXX";

static void write_file(const char *name, const void *data, size_t len)
{
    char path[200];

    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, len, f), len);
    assert_int_equal(fclose(f), 0);
}

static int identify(const char *name, char *buf, size_t size, struct tide_log_identity *id)
{
    char path[200];

    *id = (struct tide_log_identity){.struct_size = sizeof *id};
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return pg_log_file_identify(&host.host, path, name, buf, size, id, &err);
}

static void a_segment_tells_its_identity(void **state)
{
    struct wal_build b;
    struct tide_log_identity id;
    char buf[1000];

    (void)state;
    wal_build_init(&b, 16, 0x3000000, 16u << 20);
    (void)wal_build_commit(&b, 5, 0);
    write_file("000000010000000000000003", b.data, b.len);
    assert_int_equal(identify("000000010000000000000003", buf, sizeof buf, &id), TIDE_OK);
    assert_string_equal(id.evidence, "system_identifier=7412345678901234567\nmajor=16\nsegment_size=16777216\n"
                                     "timeline=1\nhistory=\n");
    assert_string_equal(id.server_version, "16");
    assert_int_equal(id.branch, 1);
    assert_int_equal(id.stream_from.lo, 0x3000000);
    assert_int_equal(id.current.lo, 0x4000000);
    assert_true(id.clock_us == TIDE_TIME_NONE);
    assert_int_equal(identify("000000010000000000000003", buf, 20, &id), TIDE_INVALID);

    /* On a later timeline the history lies beside it. */
    write_file("000000020000000000000003", b.data, b.len);
    assert_int_equal(identify("000000020000000000000003", buf, sizeof buf, &id), TIDE_NOT_FOUND);
    write_file("00000002.history", "1\t0/3000148\tx\n", 14);
    assert_int_equal(identify("000000020000000000000003", buf, sizeof buf, &id), TIDE_OK);
    assert_non_null(strstr(id.evidence, "history=1\\t0/3000148\\tx\\n\n"));

    /* The name has to agree with what is in it. */
    write_file("000000010000000000000002", b.data, b.len);
    assert_int_equal(identify("000000010000000000000002", buf, sizeof buf, &id), TIDE_CORRUPT);
    write_file("000000010000000000000009", b.data, b.len);
    assert_int_equal(identify("000000010000000000000009", buf, sizeof buf, &id), TIDE_NOT_FOUND);
    wal_build_clear(&b);
}

static void a_file_that_is_no_segment_is_told(void **state)
{
    static const char zeros[8192];
    struct wal_build b;
    struct tide_log_identity id;
    char buf[1000];

    (void)state;
    write_file("000000010000000000000004", zeros, sizeof zeros);
    assert_int_equal(identify("000000010000000000000004", buf, sizeof buf, &id), TIDE_NOT_FOUND);
    write_file("000000010000000000000004", zeros, 12);
    assert_int_equal(identify("000000010000000000000004", buf, sizeof buf, &id), TIDE_CORRUPT);
    write_file("000000010000000000000004", "this is a text of some length, longer than a header", 50);
    assert_int_equal(identify("000000010000000000000004", buf, sizeof buf, &id), TIDE_CORRUPT);
    assert_int_equal(identify("000000010000000000000005", buf, sizeof buf, &id), TIDE_NOT_FOUND);
    assert_int_equal(identify("00000002.history", buf, sizeof buf, &id), TIDE_INVALID);
    wal_build_init(&b, 18, 0x4000000, 16u << 20);
    b.magic = 0xd11f;
    (void)wal_build_commit(&b, 5, 0);
    write_file("000000010000000000000004", b.data, b.len);
    assert_int_equal(identify("000000010000000000000004", buf, sizeof buf, &id), TIDE_UNSUPPORTED);
    wal_build_clear(&b);
}

static int make_dir(void **state)
{
    (void)state;
    test_host_init(&host, "shop", NULL);
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    char command[200];

    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_where_they_belong),
        cmocka_unit_test(the_segment_size_counts),
        cmocka_unit_test(other_names_are_refused),
        cmocka_unit_test(history_files_come_from_evidence),
        cmocka_unit_test(a_reserved_number_has_a_history_file),
        cmocka_unit_test(a_segment_tells_its_identity),
        cmocka_unit_test(a_file_that_is_no_segment_is_told),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
