// OBJECTS: plugins/postgresql/wal_event.c plugins/postgresql/wal_record.c plugins/postgresql/wal_layout.c
// OBJECTS: plugins/postgresql/wal_crc.c plugins/postgresql/value.c
#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_record.h"
#include "tests/support/wal_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define NOON INT64_C(1767268800000000) /* 2026-01-01 12:00 */

struct got {
    size_t n;
    struct tide_log_event e[4];
    char text[512];
};

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct got *got = ctx;

    (void)err;
    assert_true(got->n < 4);
    got->e[got->n++] = *e;
    if (e->text_len > 0) {
        assert_true(e->text_len < sizeof got->text);
        memcpy(got->text, e->text, e->text_len);
        got->text[e->text_len] = '\0';
    }
    return TIDE_OK;
}

/* What a record with this main data tells; have 0: all of it is in memory. */
static struct got event_of(int major, uint8_t rmgr, uint8_t info, uint32_t xid, const void *data, size_t len,
                           uint32_t have)
{
    struct got got = {0};
    struct wal_blocks blocks = {0};
    struct wal_main main_data;
    const char *why;
    const struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = &got, .event = on_event};
    uint32_t head = WAL_RECORD_HEADER + (len < 256 ? 2 : 5), total = head + (uint32_t)len;
    uint8_t *raw = calloc(1, total);

    assert_non_null(raw);
    (void)wal_put32(wal_put32(raw, total), xid);
    raw[16] = info;
    raw[17] = rmgr;
    raw[WAL_RECORD_HEADER] = len < 256 ? 255 : 254;
    if (len < 256)
        raw[WAL_RECORD_HEADER + 1] = (uint8_t)len;
    else
        (void)wal_put32(raw + WAL_RECORD_HEADER + 1, (uint32_t)len);
    memcpy(raw + head, data, len);
    const struct wal_record r = {.layout = wal_layout_of_major(major),
                                 .start = 0x2000028,
                                 .end = 0x2000128,
                                 .data = raw,
                                 .have = have != 0 ? have : total,
                                 .total = total};
    assert_int_equal(wal_record_walk(&r, &blocks, &main_data, &why, NULL), TIDE_OK);
    assert_null(why);
    assert_int_equal(main_data.len, len);
    assert_int_equal(wal_record_event(&r, &main_data, &sink, NULL), TIDE_OK);
    for (size_t i = 0; i < got.n; i++) {
        assert_int_equal(got.e[i].start.lo, 0x2000028);
        assert_int_equal(got.e[i].end.lo, 0x2000128);
    }
    free(raw);
    return got;
}

static uint8_t *put_time(uint8_t *p, int64_t us)
{
    return wal_put64(p, (uint64_t)(us - PG_EPOCH_US));
}

static void commits_and_aborts_have_time_and_number(void **state)
{
    uint8_t data[8];

    (void)state;
    (void)put_time(data, NOON);
    struct got got = event_of(15, WAL_RMGR_XACT, 0x00, 77, data, sizeof data, 0);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_COMMIT);
    assert_int_equal(got.e[0].number, 77);
    assert_int_equal(got.e[0].time_us, NOON);
    got = event_of(15, WAL_RMGR_XACT, 0x20, 78, data, sizeof data, 0);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_ABORT);
    assert_int_equal(got.e[0].number, 78);
    /* Assignments and invalidations are none. */
    assert_int_equal(event_of(15, WAL_RMGR_XACT, 0x50, 78, data, sizeof data, 0).n, 0);
    assert_int_equal(event_of(15, WAL_RMGR_XACT, 0x60, 78, data, sizeof data, 0).n, 0);
}

static void a_time_before_the_epoch_is_a_time(void **state)
{
    uint8_t data[8];

    (void)state;
    (void)put_time(data, -5);
    assert_int_equal(event_of(15, WAL_RMGR_XACT, 0, 7, data, sizeof data, 0).e[0].time_us, -5);
    /* infinity and -infinity are none */
    (void)wal_put64(data, (uint64_t)INT64_MAX);
    assert_true(event_of(15, WAL_RMGR_XACT, 0, 7, data, sizeof data, 0).e[0].time_us == TIDE_TIME_NONE);
    (void)wal_put64(data, (uint64_t)INT64_MIN);
    assert_true(event_of(15, WAL_RMGR_XACT, 0, 7, data, sizeof data, 0).e[0].time_us == TIDE_TIME_NONE);
}

/* A COMMIT PREPARED with every list there is. */
static size_t prepared(int major, uint8_t *data, uint32_t subxacts)
{
    const struct wal_layout *l = wal_layout_of_major(major);
    bool stats = l->stats_item_size > 0;
    uint8_t *p = put_time(data, NOON);

    p = wal_put32(p, 0x1f | (stats ? 0x100u : 0));
    p = wal_put32(wal_put32(p, 5), 1663);
    p = wal_put32(p, subxacts);
    for (uint32_t i = 0; i < subxacts; i++)
        p = wal_put32(p, 9000 + i);
    p = wal_put32(p, 2);
    p += 24;
    if (stats) {
        p = wal_put32(p, 3);
        p += 3 * l->stats_item_size;
    }
    p = wal_put32(p, 1);
    p += 16;
    p = wal_put32(p, 4242);
    return (size_t)(p - data);
}

static void a_prepared_commit_names_the_transaction_it_ends(void **state)
{
    (void)state;
    for (int major = 14; major <= 18; major++) {
        uint8_t data[600] = {0};
        size_t len = prepared(major, data, 3);
        struct got got = event_of(major, WAL_RMGR_XACT, 0x30 | 0x80, 0, data, len, 0);

        assert_int_equal(got.e[0].kind, TIDE_EVENT_COMMIT);
        assert_int_equal(got.e[0].number, 4242);
        assert_int_equal(got.e[0].time_us, NOON);
        got = event_of(major, WAL_RMGR_XACT, 0x40 | 0x80, 0, data, len, 0);
        assert_int_equal(got.e[0].kind, TIDE_EVENT_ABORT);
        assert_int_equal(got.e[0].number, 4242);
        /* Cut short it still has its time, and no number rather than a wrong one. */
        for (uint32_t have = 40; have < WAL_RECORD_HEADER + 2 + len; have++) {
            got = event_of(major, WAL_RMGR_XACT, 0x30 | 0x80, 0, data, len, have);
            assert_int_equal(got.e[0].time_us, NOON);
            assert_int_equal(got.e[0].number, 0);
        }
    }
}

static void a_commit_with_many_subtransactions_keeps_its_time(void **state)
{
    uint8_t *data = calloc(1, 5u << 20);

    (void)state;
    assert_non_null(data);
    size_t len = prepared(15, data, 1000000);
    struct got got = event_of(15, WAL_RMGR_XACT, 0x30 | 0x80, 0, data, len, 8192);
    assert_int_equal(got.e[0].time_us, NOON);
    assert_int_equal(got.e[0].number, 0);
    assert_int_equal(event_of(15, WAL_RMGR_XACT, 0x30 | 0x80, 0, data, len, 0).e[0].number, 4242);
    free(data);
}

static void prepare_has_its_name(void **state)
{
    (void)state;
    for (int major = 14; major <= 18; major++) {
        const struct wal_layout *l = wal_layout_of_major(major);
        uint8_t data[120] = {0};

        (void)wal_put32(data + 8, 555);
        (void)put_time(data + 16, NOON);
        (void)wal_put16(data + l->prepare_gid_len, 8);
        memcpy(data + l->prepare_size, "payment", 8);
        struct got got = event_of(major, WAL_RMGR_XACT, 0x10, 555, data, sizeof data, 0);
        assert_int_equal(got.e[0].kind, TIDE_EVENT_PREPARE);
        assert_int_equal(got.e[0].number, 555);
        assert_int_equal(got.e[0].time_us, NOON);
        assert_string_equal(got.text, "payment");
    }
}

static void restore_points_have_a_name_and_a_time(void **state)
{
    uint8_t data[72] = {0};

    (void)state;
    (void)put_time(data, NOON);
    memcpy(data + 8, "before release", 15);
    struct got got = event_of(15, WAL_RMGR_XLOG, WAL_XLOG_RESTORE_POINT, 0, data, sizeof data, 0);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_RESTORE_POINT);
    assert_int_equal(got.e[0].time_us, NOON);
    assert_string_equal(got.text, "before release");
}

static void settings_are_lines(void **state)
{
    static const uint32_t values[] = {100, 8, 10, 5, 64, 1};
    uint8_t data[28] = {0}, *p = data;

    (void)state;
    for (size_t i = 0; i < 6; i++)
        p = wal_put32(p, values[i]);
    p[1] = 1;
    struct got got = event_of(15, WAL_RMGR_XLOG, WAL_XLOG_PARAMETER_CHANGE, 0, data, sizeof data, 0);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_SETTINGS);
    assert_string_equal(got.text, "max_connections=100\nmax_worker_processes=8\nmax_wal_senders=10\n"
                                  "max_prepared_transactions=5\nmax_locks_per_transaction=64\nwal_level=replica\n"
                                  "wal_log_hints=off\ntrack_commit_timestamp=on\n");
}

static void a_new_tablespace_names_its_path(void **state)
{
    uint8_t data[20] = {0};

    (void)state;
    memcpy(wal_put32(data, 16400), "/srv/ts", 8);
    struct got got = event_of(15, WAL_RMGR_TBLSPC, WAL_TBLSPC_CREATE, 0, data, 12, 0);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_SETTINGS);
    assert_non_null(strstr(got.text, "tablespace.16400."));
    assert_non_null(strstr(got.text, "=/srv/ts\n"));
    /* In place, and dropped. */
    memcpy(wal_put32(data, 16400), "pg_tblspc/1", 12);
    assert_int_equal(event_of(15, WAL_RMGR_TBLSPC, WAL_TBLSPC_CREATE, 0, data, 16, 0).n, 0);
    assert_int_equal(event_of(15, WAL_RMGR_TBLSPC, 0x10, 0, data, 4, 0).n, 0);
}

static void the_end_of_recovery_begins_a_branch(void **state)
{
    uint8_t data[20] = {0};

    (void)state;
    (void)wal_put32(wal_put32(put_time(data, NOON), 7), 6);
    struct got got = event_of(17, WAL_RMGR_XLOG, WAL_XLOG_END_OF_RECOVERY, 0, data, sizeof data, 0);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_BRANCH);
    assert_int_equal(got.e[0].number, 7);
    assert_int_equal(got.e[0].time_us, NOON);
}

static void a_checkpoint_may_begin_a_branch_too(void **state)
{
    uint8_t data[88] = {0};

    (void)state;
    (void)wal_put32(wal_put32(wal_put64(data, 0x3000028), 2), 2);
    (void)wal_put64(data + 64, NOON / 1000000);
    struct got got = event_of(15, WAL_RMGR_XLOG, WAL_XLOG_CHECKPOINT_ONLINE, 0, data, sizeof data, 0);
    assert_int_equal(got.n, 1);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_CHECKPOINT);
    assert_int_equal(got.e[0].position.lo, 0x3000028);
    assert_int_equal(got.e[0].time_us, NOON);
    (void)wal_put32(data + 12, 1);
    got = event_of(15, WAL_RMGR_XLOG, WAL_XLOG_CHECKPOINT_SHUTDOWN, 0, data, sizeof data, 0);
    assert_int_equal(got.n, 2);
    assert_int_equal(got.e[1].kind, TIDE_EVENT_BRANCH);
    assert_int_equal(got.e[1].number, 2);
}

static void the_end_of_a_backup_names_its_start(void **state)
{
    uint8_t data[8];

    (void)state;
    (void)wal_put64(data, 0x2000060);
    struct got got = event_of(15, WAL_RMGR_XLOG, WAL_XLOG_BACKUP_END, 0, data, sizeof data, 0);
    assert_int_equal(got.e[0].kind, TIDE_EVENT_BACKUP_END);
    assert_int_equal(got.e[0].position.lo, 0x2000060);
}

static void records_that_are_too_short_tell_nothing(void **state)
{
    static const uint8_t infos[] = {WAL_XLOG_CHECKPOINT_SHUTDOWN, WAL_XLOG_PARAMETER_CHANGE, WAL_XLOG_BACKUP_END,
                                    WAL_XLOG_RESTORE_POINT, WAL_XLOG_END_OF_RECOVERY};
    static const uint8_t data[7];

    (void)state;
    for (size_t i = 0; i < sizeof infos; i++)
        assert_int_equal(event_of(15, WAL_RMGR_XLOG, infos[i], 0, data, sizeof data, 0).n, 0);
    assert_true(event_of(15, WAL_RMGR_XACT, 0, 5, data, sizeof data, 0).e[0].time_us == TIDE_TIME_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commits_and_aborts_have_time_and_number),
        cmocka_unit_test(a_time_before_the_epoch_is_a_time),
        cmocka_unit_test(a_prepared_commit_names_the_transaction_it_ends),
        cmocka_unit_test(a_commit_with_many_subtransactions_keeps_its_time),
        cmocka_unit_test(prepare_has_its_name),
        cmocka_unit_test(restore_points_have_a_name_and_a_time),
        cmocka_unit_test(settings_are_lines),
        cmocka_unit_test(a_new_tablespace_names_its_path),
        cmocka_unit_test(the_end_of_recovery_begins_a_branch),
        cmocka_unit_test(a_checkpoint_may_begin_a_branch_too),
        cmocka_unit_test(the_end_of_a_backup_names_its_start),
        cmocka_unit_test(records_that_are_too_short_tell_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
