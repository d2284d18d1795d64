#include "plugins/postgresql/wal_scan_internal.h"

#include <string.h>

enum page_kind { PAGE_GOOD, PAGE_BLANK, PAGE_OLD, PAGE_BAD };

static enum page_kind judge_page(const struct wal_scan *scan, const struct wal_page *page, uint64_t at,
                                 const char **why)
{
    bool first_of_segment = at % scan->segment_size == 0;

    *why = NULL;
    if (page->magic == 0 && page->address == 0)
        return PAGE_BLANK;
    if (page->address != at) {
        /* A recycled segment still holds what it held under its former name. */
        if (page->magic == scan->layout->magic && page->address < at &&
            (at - page->address) % scan->segment_size == 0)
            return PAGE_OLD;
        *why = "a page header names another position";
    } else if (page->magic != scan->layout->magic) {
        *why = "a page header has another magic";
    } else if (page->flags & ~WAL_PAGE_FLAGS) {
        *why = "a page header has unknown flags";
    } else if (first_of_segment != ((page->flags & WAL_PAGE_LONG) != 0)) {
        *why = "a page header is of the wrong length";
    } else if (first_of_segment && page->system_identifier != scan->system_identifier) {
        *why = "a segment of another system";
    } else if (first_of_segment && (page->segment_size != scan->segment_size || page->page_size != WAL_PAGE_SIZE)) {
        *why = "a segment says another segment or page size";
    }
    return *why == NULL ? PAGE_GOOD : PAGE_BAD;
}

/* A magic that is no damage of ours: the right page of a server that we do not know. */
static bool is_unknown_version(const struct wal_page *page, uint64_t at)
{
    return page->address == at && page->magic >> 8 == 0xd1 && wal_layout_of_magic(page->magic) == NULL;
}

/* In SCAN_FIND the first header that is seen tells where the record that it continues ends. */
static void find_by_page(struct wal_scan *scan, const struct wal_page *page, uint64_t at, uint32_t header)
{
    uint64_t behind = at + header;

    if (!(page->flags & WAL_PAGE_CONTRECORD)) {
        scan->mode = SCAN_RECORDS;
        scan->mark.whole_end = pg_pos(at);
        return;
    }
    uint64_t rest = wal_align(page->remaining);
    if (rest > at + WAL_PAGE_SIZE - behind)
        return; /* it goes on over the whole page */
    scan->skip_to = behind + rest;
    scan->mode = SCAN_SKIP;
}

/* A page inside of a record, or at a border between two. */
static int continue_on_page(struct wal_scan *scan, const struct wal_page *page, uint64_t at, struct tide_err *err)
{
    if (scan->got == 0) {
        if (page->flags & WAL_PAGE_CONTRECORD)
            return wal_scan_corrupt(scan, err, at, "a page continues a record where none was open");
        return TIDE_OK;
    }
    if (page->flags & WAL_PAGE_OVERWRITE) {
        scan->overwritten = scan->record_start;
        if (scan->mark.first_start.lo == scan->record_start)
            scan->mark.first_start = (struct tide_pos){0};
        wal_scan_forget(scan);
        return TIDE_OK;
    }
    if (!(page->flags & WAL_PAGE_CONTRECORD))
        return wal_scan_corrupt(scan, err, at, "a page does not continue the record that was open");
    if (page->remaining != scan->total - scan->got)
        return wal_scan_corrupt(scan, err, at, "a page continues a record of another length");
    return TIDE_OK;
}

static int take_page(struct wal_scan *scan, const uint8_t *header, uint32_t len, struct tide_err *err)
{
    uint64_t at = scan->pos - len;
    struct wal_page page;
    const char *why;

    wal_page_read(header, &page);
    enum page_kind kind = judge_page(scan, &page, at, &why);
    if (scan->mode == SCAN_ENDED) {
        if (kind == PAGE_GOOD)
            return wal_scan_corrupt(scan, err, scan->mark.whole_end.lo,
                                    "a hole: nothing is here, but the log goes on behind it");
        return TIDE_OK;
    }
    if (kind == PAGE_BLANK || kind == PAGE_OLD) {
        /* A record that the server had begun and not finished when it stopped is no record. */
        wal_scan_forget(scan);
        scan->mode = SCAN_ENDED;
        return TIDE_OK;
    }
    if (kind == PAGE_BAD && is_unknown_version(&page, at)) {
        scan->mode = SCAN_BROKEN;
        return tide_plugin_fail(scan->host, err, TIDE_UNSUPPORTED, 0,
                                "WAL page magic 0x%04X is not known: this log was written by a version of PostgreSQL "
                                "newer than %d",
                                page.magic, PG_VERSION_MAX);
    }
    if (kind == PAGE_BAD)
        return wal_scan_corrupt(scan, err, at, why);
    if (scan->mode == SCAN_FIND) {
        find_by_page(scan, &page, at, len);
        return TIDE_OK;
    }
    return continue_on_page(scan, &page, at, err);
}

int wal_scan_header(struct wal_scan *scan, const uint8_t *p, size_t n, size_t *used, struct tide_err *err)
{
    uint64_t at = scan->pos - scan->header_have;
    uint32_t want = at % scan->segment_size == 0 ? WAL_LONG_HEADER : WAL_SHORT_HEADER;
    uint32_t take = want - scan->header_have;

    if (take > n)
        take = (uint32_t)n;
    /* The usual case, a header in one part, is read where it lies. */
    const uint8_t *whole = p;
    if (take < want) {
        memcpy(scan->header + scan->header_have, p, take);
        whole = scan->header;
    }
    scan->header_have += take;
    scan->pos += take;
    *used = take;
    if (scan->header_have < want)
        return TIDE_OK;
    scan->header_have = 0;
    if (want == WAL_SHORT_HEADER && wal_u16(whole + 2) & WAL_PAGE_LONG) {
        /* Its fields would lie beyond what was read. */
        uint8_t copy[WAL_LONG_HEADER] = {0};

        memcpy(copy, whole, want);
        return take_page(scan, copy, want, err);
    }
    return take_page(scan, whole, want, err);
}
