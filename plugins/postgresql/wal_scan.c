#include "plugins/postgresql/wal_scan_internal.h"
#include "plugins/postgresql/evidence.h"

#include <stdlib.h>
#include <string.h>

/* What is kept of a record to interpret it; its headers never take more than 1 KiB. */
#define KEEP_DEFAULT (8u << 10)
/* A commit record lists subtransactions and files in front of what we want of it. */
#define KEEP_XACT (4u << 20)

int wal_scan_corrupt(struct wal_scan *scan, struct tide_err *err, uint64_t at, const char *what)
{
    char lsn[PG_LSN_TEXT_SIZE];

    pg_lsn_text(at, lsn, sizeof lsn);
    scan->mode = SCAN_BROKEN;
    return tide_plugin_fail(scan->host, err, TIDE_CORRUPT, 0, "damaged WAL at %s: %s", lsn, what);
}

void wal_scan_forget(struct wal_scan *scan)
{
    scan->got = scan->total = scan->keep_have = 0;
}

/* ---------------------------------------------------------------- open, close */

int pg_log_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **out,
                     struct tide_err *err)
{
    struct evidence ev;
    const char *why = evidence_parse(params->evidence, &ev);
    uint64_t identifier = ev.system_identifier;
    uint32_t segment_size = ev.segment_size;
    int major = ev.major;

    evidence_clear(&ev);
    if (why != NULL)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "cannot read the log's evidence: %s", why);
    const struct wal_layout *layout = wal_layout_of_major(major);
    if (layout == NULL)
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0,
                                "the WAL of PostgreSQL %d is not known (%d to %d are)", major, PG_VERSION_MIN,
                                PG_VERSION_MAX);
    struct wal_scan *scan = calloc(1, sizeof *scan);
    uint8_t *keep = malloc(KEEP_DEFAULT);
    if (scan == NULL || keep == NULL || !wal_crc_init(&scan->crc, false)) {
        free(keep);
        free(scan);
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    *scan = (struct wal_scan){.host = host,
                              .layout = layout,
                              .crc = scan->crc,
                              .system_identifier = identifier,
                              .segment_size = segment_size,
                              .pos = params->start.lo,
                              .mode = SCAN_FIND,
                              .keep = keep,
                              .keep_size = KEEP_DEFAULT};
    if (!tide_pos_is_none(params->first_record)) {
        /* The same place before or behind a page header; before it, the header is checked as well. */
        uint64_t first = wal_normalise(params->first_record.lo, segment_size);

        scan->skip_to = first < scan->pos ? scan->pos : first;
        scan->mode = scan->skip_to == scan->pos ? SCAN_RECORDS : SCAN_SKIP;
        if (scan->mode == SCAN_RECORDS)
            scan->mark.whole_end = pg_pos(scan->pos);
    }
    *out = scan;
    return TIDE_OK;
}

void pg_log_scan_close(void *p)
{
    struct wal_scan *scan = p;

    if (scan == NULL)
        return;
    wal_crc_clear(&scan->crc);
    free(scan->keep);
    free(scan);
}

/* -------------------------------------------------------------------- records */

/* header holds a record's 24 bytes. */
static const char *judge_header(const struct wal_scan *scan, const uint8_t *header)
{
    uint32_t total = wal_u32(header);
    uint64_t prev = wal_u64(header + 8);
    uint8_t rmgr = header[17];

    if (total < WAL_RECORD_HEADER || total > WAL_RECORD_MAX)
        return "a record's length makes no sense";
    if (rmgr > WAL_RMGR_MAX && (rmgr < WAL_RMGR_CUSTOM_MIN || scan->layout->major < 15))
        return "a record belongs to an unknown resource manager";
    if (scan->prev_start != 0 ? prev != scan->prev_start : prev >= scan->record_start)
        return "a record does not follow the one before it";
    return NULL;
}

/* After a switch the rest of the segment holds nothing. */
static void skip_padding(struct wal_scan *scan)
{
    uint64_t in_segment = scan->pos % scan->segment_size;

    if (in_segment == 0)
        return;
    scan->skip_to = scan->pos - in_segment + scan->segment_size;
    scan->padding = true;
    scan->mode = SCAN_SKIP;
    scan->mark.next_start = pg_pos(scan->skip_to);
}

static int check_overwrite(struct wal_scan *scan, const struct wal_record *record, const struct wal_main *main,
                           struct tide_err *err)
{
    bool says_so = wal_record_is_xlog(record, WAL_XLOG_OVERWRITE_CONTRECORD) && main->have >= 8 &&
                   wal_u64(main->data) == scan->overwritten;

    scan->overwritten = 0;
    return says_so ? TIDE_OK
                   : wal_scan_corrupt(scan, err, record->start, "a record was cut off and nothing says why");
}

/* A record is complete, data holds its first have bytes and pos lies behind it. */
static int finish_record(struct wal_scan *scan, const uint8_t *data, uint32_t have,
                         const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    struct wal_record record = {.layout = scan->layout,
                                .start = scan->record_start,
                                .end = scan->pos,
                                .data = data,
                                .have = have,
                                .total = wal_u32(data)};
    struct wal_main main;
    const char *why;
    uint32_t crc = scan->crc.update(&scan->crc, scan->payload_crc, data, WAL_RECORD_HEADER - 4) ^ WAL_CRC_INIT;

    if (crc != wal_u32(data + 20))
        return wal_scan_corrupt(scan, err, record.start, "a record's checksum is wrong");
    int s = wal_record_walk(&record, &scan->blocks, &main, &why, err);
    if (why != NULL)
        return wal_scan_corrupt(scan, err, record.start, why);
    if (s == TIDE_OK && scan->overwritten != 0)
        s = check_overwrite(scan, &record, &main, err);
    if (s == TIDE_OK)
        s = wal_record_event(&record, &main, sink, err);
    if (s != TIDE_OK)
        return s;
    scan->mark.last_start = pg_pos(record.start);
    scan->mark.whole_end = pg_pos(record.end);
    scan->prev_start = record.start;
    if (wal_record_is_xlog(&record, WAL_XLOG_SWITCH))
        skip_padding(scan);
    return TIDE_OK;
}

static void begin_record(struct wal_scan *scan)
{
    scan->record_start = scan->pos;
    scan->payload_crc = WAL_CRC_INIT;
}

static int accept_header(struct wal_scan *scan, const uint8_t *header, struct tide_err *err)
{
    const char *why = judge_header(scan, header);

    if (why != NULL)
        return wal_scan_corrupt(scan, err, scan->record_start, why);
    if (tide_pos_is_none(scan->mark.first_start))
        scan->mark.first_start = pg_pos(scan->record_start);
    return TIDE_OK;
}

static int keep_bytes(struct wal_scan *scan, const uint8_t *p, uint32_t n, struct tide_err *err)
{
    uint32_t limit =
        scan->keep_have >= WAL_RECORD_HEADER && scan->keep[17] == WAL_RMGR_XACT ? KEEP_XACT : KEEP_DEFAULT;
    uint32_t room = limit > scan->keep_have ? limit - scan->keep_have : 0;

    if (n > room)
        n = room;
    while (scan->keep_have + n > scan->keep_size) {
        uint8_t *bigger = realloc(scan->keep, scan->keep_size * 2);

        if (bigger == NULL)
            return tide_plugin_fail(scan->host, err, TIDE_NO_MEMORY, 0, "out of memory");
        scan->keep = bigger;
        scan->keep_size *= 2;
    }
    memcpy(scan->keep + scan->keep_have, p, n);
    scan->keep_have += n;
    return TIDE_OK;
}

/* The first 24 bytes of a record that comes in parts. */
static int collect_header(struct wal_scan *scan, const uint8_t *p, size_t span, size_t *used, struct tide_err *err)
{
    uint32_t take = WAL_RECORD_HEADER - scan->got;

    if (scan->got == 0)
        begin_record(scan);
    if (scan->got < 4)
        take = 4 - scan->got; /* the length comes first: nothing else is looked at where there is none */
    if (take > span)
        take = (uint32_t)span;
    int s = keep_bytes(scan, p, take, err);
    if (s != TIDE_OK)
        return s;
    scan->got += take;
    scan->pos += take;
    *used = take;
    if (scan->got == 4) {
        scan->total = wal_u32(scan->keep);
        if (scan->total == 0) {
            wal_scan_forget(scan);
            scan->mode = SCAN_ENDED;
            scan->zero_until = (scan->pos / WAL_PAGE_SIZE + 1) * WAL_PAGE_SIZE;
        } else if (scan->total < WAL_RECORD_HEADER) {
            return wal_scan_corrupt(scan, err, scan->record_start, "a record's length makes no sense");
        }
    }
    return scan->got == WAL_RECORD_HEADER ? accept_header(scan, scan->keep, err) : TIDE_OK;
}

/* Its payload, and what aligns its end. */
static int collect_payload(struct wal_scan *scan, const uint8_t *p, size_t span, size_t *used, struct tide_err *err)
{
    uint32_t upto = scan->got < scan->total ? scan->total : (uint32_t)wal_align(scan->total);
    uint32_t take = upto - scan->got;

    if (take > span)
        take = (uint32_t)span;
    if (scan->got < scan->total) {
        scan->payload_crc = scan->crc.update(&scan->crc, scan->payload_crc, p, take);
        int s = keep_bytes(scan, p, take, err);
        if (s != TIDE_OK)
            return s;
    }
    scan->got += take;
    scan->pos += take;
    *used = take;
    return TIDE_OK;
}

static int collect(struct wal_scan *scan, const uint8_t *p, size_t span, size_t *used,
                   const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    int s = scan->got < WAL_RECORD_HEADER ? collect_header(scan, p, span, used, err)
                                          : collect_payload(scan, p, span, used, err);

    if (s != TIDE_OK || scan->got < WAL_RECORD_HEADER || scan->got < wal_align(scan->total))
        return s;
    s = finish_record(scan, scan->keep, scan->keep_have, sink, err);
    wal_scan_forget(scan);
    return s;
}

/* Bytes of one page, at pos. */
static int feed_records(struct wal_scan *scan, const uint8_t *p, size_t span, size_t *used,
                        const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    uint32_t total = scan->got == 0 && span >= WAL_RECORD_HEADER ? wal_u32(p) : 0;

    if (total < WAL_RECORD_HEADER || wal_align(total) > span)
        return collect(scan, p, span, used, sink, err);
    /* Most records lie whole in one page, and are read there. */
    begin_record(scan);
    int s = accept_header(scan, p, err);
    if (s != TIDE_OK)
        return s;
    scan->payload_crc =
        scan->crc.update(&scan->crc, scan->payload_crc, p + WAL_RECORD_HEADER, total - WAL_RECORD_HEADER);
    *used = (size_t)wal_align(total);
    scan->pos += *used;
    return finish_record(scan, p, total, sink, err);
}

/* ----------------------------------------------------------------------- feed */

static void skip(struct wal_scan *scan, size_t n, size_t *used)
{
    uint64_t left = scan->skip_to - scan->pos;

    *used = left < n ? (size_t)left : n;
    scan->pos += *used;
    if (scan->padding || scan->pos == scan->skip_to)
        scan->mark.whole_end = pg_pos(scan->pos);
    if (scan->pos == scan->skip_to) {
        scan->mode = SCAN_RECORDS;
        scan->padding = false;
        scan->mark.next_start = (struct tide_pos){0};
    }
}

static bool all_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

static int feed_some(struct wal_scan *scan, const uint8_t *p, size_t n, size_t *used,
                     const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    uint64_t in_page = scan->pos % WAL_PAGE_SIZE;

    if (scan->mode == SCAN_SKIP) {
        skip(scan, n, used);
        return TIDE_OK;
    }
    if (scan->mode == SCAN_ENDED && scan->pos % scan->segment_size == 0)
        return wal_scan_corrupt(scan, err, scan->mark.whole_end.lo,
                                "the log ends in the middle of a segment, yet another follows");
    if (in_page == 0 || scan->header_have > 0)
        return wal_scan_header(scan, p, n, used, err);
    size_t span = (size_t)(WAL_PAGE_SIZE - in_page);
    if (span > n)
        span = n;
    if (scan->mode == SCAN_RECORDS)
        return feed_records(scan, p, span, used, sink, err);
    if (scan->mode == SCAN_ENDED && scan->pos < scan->zero_until && !all_zero(p, span))
        return wal_scan_corrupt(scan, err, scan->mark.whole_end.lo, "a record has no length");
    scan->pos += span;
    *used = span;
    return TIDE_OK;
}

int pg_log_scan_feed(void *p, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                     struct tide_log_mark *mark, struct tide_err *err)
{
    struct wal_scan *scan = p;
    const uint8_t *bytes = data;
    int s = TIDE_OK;

    if (scan->mode == SCAN_BROKEN)
        return tide_plugin_fail(scan->host, err, TIDE_CORRUPT, 0, "the log was damaged before this");
    scan->blocks.sink = sink->blocks;
    scan->blocks.ctx = sink->ctx;
    for (size_t used = 0; s == TIDE_OK && len > 0; bytes += used, len -= used) {
        used = 0;
        s = feed_some(scan, bytes, len, &used, sink, err);
    }
    if (s == TIDE_OK)
        s = wal_blocks_flush(&scan->blocks, err);
    if (s != TIDE_OK)
        scan->mode = SCAN_BROKEN;
    scan->mark.ended = scan->mode == SCAN_ENDED;
    scan->mark.struct_size = mark->struct_size;
    pg_copy_out(mark, mark->struct_size, &scan->mark, sizeof scan->mark);
    return s;
}
