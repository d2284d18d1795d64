#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_record.h"

#include <string.h>

#define XACT_OPMASK   0x70
#define XACT_HAS_INFO 0x80

#define XACT_COMMIT          0x00
#define XACT_PREPARE         0x10
#define XACT_ABORT           0x20
#define XACT_COMMIT_PREPARED 0x30
#define XACT_ABORT_PREPARED  0x40

#define XINFO_DBINFO        0x0001u
#define XINFO_SUBXACTS      0x0002u
#define XINFO_RELFILES      0x0004u
#define XINFO_INVALS        0x0008u
#define XINFO_TWOPHASE      0x0010u
#define XINFO_DROPPED_STATS 0x0100u

static int64_t time_of(const uint8_t *p)
{
    int64_t stamp, us;

    memcpy(&stamp, &(uint64_t){wal_u64(p)}, sizeof stamp);
    /* The two infinities and their neighbours are no time. */
    return __builtin_add_overflow(stamp, PG_EPOCH_US, &us) || stamp == INT64_MIN ? TIDE_TIME_NONE : us;
}

static struct tide_log_event event_of(const struct wal_record *record, enum tide_log_event_kind kind)
{
    return (struct tide_log_event){.struct_size = sizeof(struct tide_log_event),
                                   .kind = (uint32_t)kind,
                                   .start = pg_pos(record->start),
                                   .end = pg_pos(record->end),
                                   .time_us = TIDE_TIME_NONE};
}

/* Skips a counted array; false when it ends beyond what is in memory. */
static bool skip_array(const struct wal_main *main, uint64_t *at, uint32_t item)
{
    if (*at + 4 > main->have)
        return false;
    *at += 4 + (uint64_t)wal_u32(main->data + *at) * item;
    return *at <= main->have;
}

/* COMMIT PREPARED is written by another session; the transaction it ends is named behind all the lists. */
static uint32_t prepared_xid(const struct wal_record *record, const struct wal_main *main)
{
    uint64_t at = 12;

    if (main->have < at || !(record->data[16] & XACT_HAS_INFO))
        return 0;
    uint32_t xinfo = wal_u32(main->data + 8);
    if (!(xinfo & XINFO_TWOPHASE))
        return 0;
    if (xinfo & XINFO_DBINFO)
        at += 8;
    if ((xinfo & XINFO_SUBXACTS) && !skip_array(main, &at, 4))
        return 0;
    if ((xinfo & XINFO_RELFILES) && !skip_array(main, &at, 12))
        return 0;
    if ((xinfo & XINFO_DROPPED_STATS) && !skip_array(main, &at, record->layout->stats_item_size))
        return 0;
    if ((xinfo & XINFO_INVALS) && !skip_array(main, &at, 16))
        return 0;
    return at + 4 <= main->have ? wal_u32(main->data + at) : 0;
}

static int xact_event(const struct wal_record *record, const struct wal_main *main,
                      const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    uint8_t op = record->data[16] & XACT_OPMASK;
    bool commit = op == XACT_COMMIT || op == XACT_COMMIT_PREPARED;
    struct tide_log_event e = event_of(record, commit ? TIDE_EVENT_COMMIT : TIDE_EVENT_ABORT);

    e.number = wal_record_xid(record);
    switch (op) {
    case XACT_COMMIT:
    case XACT_ABORT:
        break;
    case XACT_COMMIT_PREPARED:
    case XACT_ABORT_PREPARED:
        e.number = prepared_xid(record, main);
        break;
    default:
        return TIDE_OK;
    }
    if (main->have >= 8)
        e.time_us = time_of(main->data);
    return sink->event(sink->ctx, &e, err);
}

static int prepare_event(const struct wal_record *record, const struct wal_main *main,
                         const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    const struct wal_layout *l = record->layout;
    struct tide_log_event e = event_of(record, TIDE_EVENT_PREPARE);

    e.number = wal_record_xid(record);
    if (main->have >= l->prepare_size) {
        uint32_t len = wal_u16(main->data + l->prepare_gid_len);

        e.number = wal_u32(main->data + 8);
        e.time_us = time_of(main->data + 16);
        if (len > 0 && main->have - l->prepare_size >= len) {
            e.text = (const char *)main->data + l->prepare_size;
            e.text_len = strnlen(e.text, len);
        }
    }
    return sink->event(sink->ctx, &e, err);
}

static int settings_event(const struct wal_record *record, const struct wal_main *main,
                          const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    static const char *const levels[] = {"minimal", "replica", "logical"};
    struct tide_log_event e = event_of(record, TIDE_EVENT_SETTINGS);
    const uint8_t *p = main->data;
    char text[512];

    if (main->have < 26)
        return TIDE_OK;
    uint32_t level = wal_u32(p + 20);
    int n = snprintf(text, sizeof text,
                     "max_connections=%u\nmax_worker_processes=%u\nmax_wal_senders=%u\n"
                     "max_prepared_transactions=%u\nmax_locks_per_transaction=%u\nwal_level=%s\n"
                     "wal_log_hints=%s\ntrack_commit_timestamp=%s\n",
                     wal_u32(p), wal_u32(p + 4), wal_u32(p + 8), wal_u32(p + 12), wal_u32(p + 16),
                     level < 3 ? levels[level] : "unknown", p[24] != 0 ? "on" : "off", p[25] != 0 ? "on" : "off");
    e.text = text;
    e.text_len = (size_t)n;
    return sink->event(sink->ctx, &e, err);
}

/*
 * Replay makes a tablespace at the very path it had at the source, and nothing
 * can send it elsewhere; a restore has to know before it starts.
 */
static int tablespace_event(const struct wal_record *record, const struct wal_main *main,
                            const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    struct tide_log_event e = event_of(record, TIDE_EVENT_SETTINGS);
    char text[1200], lsn[PG_LSN_TEXT_SIZE];

    if (wal_record_info(record) != WAL_TBLSPC_CREATE || main->have < 6 || main->data[4] != '/')
        return TIDE_OK; /* a relative path lies in the data directory */
    size_t len = strnlen((const char *)main->data + 4, main->have - 4);
    if (len > 1024 || memchr(main->data + 4, '\n', len) != NULL)
        len = 1;                                 /* no path that a person has, but not nothing */
    pg_lsn_text(record->start, lsn, sizeof lsn); /* a base backup replays only what follows its start */
    int n = snprintf(text, sizeof text, "tablespace.%u.%s=%.*s\n", wal_u32(main->data), lsn, (int)len,
                     (const char *)main->data + 4);
    e.text = text;
    e.text_len = (size_t)n;
    return sink->event(sink->ctx, &e, err);
}

static int checkpoint_event(const struct wal_record *record, const struct wal_main *main,
                            const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    struct tide_log_event e = event_of(record, TIDE_EVENT_CHECKPOINT);
    const uint8_t *p = main->data;

    if (main->have < 72)
        return TIDE_OK;
    uint64_t seconds = wal_u64(p + 64);
    uint32_t timeline = wal_u32(p + 8), before = wal_u32(p + 12);
    e.position = pg_pos(wal_u64(p));
    e.number = timeline;
    if (seconds < (UINT64_C(1) << 40))
        e.time_us = (int64_t)seconds * 1000000;
    int s = sink->event(sink->ctx, &e, err);
    if (s != TIDE_OK || timeline == before)
        return s;
    /* A recovery that ended with a checkpoint and no END_OF_RECOVERY record. */
    e.kind = TIDE_EVENT_BRANCH;
    e.position = (struct tide_pos){0};
    return sink->event(sink->ctx, &e, err);
}

static int xlog_event(const struct wal_record *record, const struct wal_main *main,
                      const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    struct tide_log_event e;

    switch (wal_record_info(record)) {
    case WAL_XLOG_CHECKPOINT_SHUTDOWN:
    case WAL_XLOG_CHECKPOINT_ONLINE:
        return checkpoint_event(record, main, sink, err);
    case WAL_XLOG_PARAMETER_CHANGE:
        return settings_event(record, main, sink, err);
    case WAL_XLOG_BACKUP_END:
        if (main->have < 8)
            return TIDE_OK;
        e = event_of(record, TIDE_EVENT_BACKUP_END);
        e.position = pg_pos(wal_u64(main->data));
        return sink->event(sink->ctx, &e, err);
    case WAL_XLOG_RESTORE_POINT:
        if (main->have < 9)
            return TIDE_OK;
        e = event_of(record, TIDE_EVENT_RESTORE_POINT);
        e.time_us = time_of(main->data);
        e.text = (const char *)main->data + 8;
        e.text_len = strnlen(e.text, main->have - 8);
        return sink->event(sink->ctx, &e, err);
    case WAL_XLOG_END_OF_RECOVERY:
        if (main->have < 16)
            return TIDE_OK;
        e = event_of(record, TIDE_EVENT_BRANCH);
        e.time_us = time_of(main->data);
        e.number = wal_u32(main->data + 8);
        return sink->event(sink->ctx, &e, err);
    default:
        return TIDE_OK;
    }
}

int wal_record_event(const struct wal_record *record, const struct wal_main *main,
                     const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    if (sink->event == NULL)
        return TIDE_OK;
    if (wal_record_rmgr(record) == WAL_RMGR_XLOG)
        return xlog_event(record, main, sink, err);
    if (wal_record_rmgr(record) == WAL_RMGR_TBLSPC)
        return tablespace_event(record, main, sink, err);
    if (wal_record_rmgr(record) != WAL_RMGR_XACT)
        return TIDE_OK;
    if ((record->data[16] & XACT_OPMASK) == XACT_PREPARE)
        return prepare_event(record, main, sink, err);
    return xact_event(record, main, sink, err);
}
