#ifndef TIDE_PLUGIN_PG_WAL_SCAN_INTERNAL_H
#define TIDE_PLUGIN_PG_WAL_SCAN_INTERNAL_H

/* The state of a scanner, for wal_scan.c and wal_page.c only. */

#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_record.h"

enum scan_mode {
    SCAN_FIND, /* the next page header will tell where a record begins */
    SCAN_SKIP, /* up to skip_to, where a record begins */
    SCAN_RECORDS,
    SCAN_ENDED,  /* zeros or an old page where a record should begin: the log was written up to here */
    SCAN_BROKEN, /* an error was reported */
};

struct wal_scan {
    const struct tide_host *host;
    const struct wal_layout *layout;
    struct wal_crc crc;
    uint64_t system_identifier;
    uint32_t segment_size;
    uint64_t pos; /* of the next byte that will be fed */
    enum scan_mode mode;
    uint64_t skip_to;
    uint64_t zero_until; /* SCAN_ENDED: what is left of the page where the log ends has never been written */
    bool padding;        /* what is skipped follows a segment switch */

    uint8_t header[WAL_LONG_HEADER]; /* a page header that came in parts */
    uint32_t header_have;

    /* The record that is being collected; got counts its bytes so far, alignment at its end included. */
    uint64_t record_start;
    uint32_t got, total, payload_crc;
    uint8_t *keep;
    uint32_t keep_have, keep_size;

    uint64_t prev_start;  /* of the last complete record; 0: unknown */
    uint64_t overwritten; /* start of a record that a crash left unfinished; the next must say so */
    struct tide_log_mark mark;
    struct wal_blocks blocks;
};

/* Reports damage; the scanner takes nothing more. */
int wal_scan_corrupt(struct wal_scan *scan, struct tide_err *err, uint64_t at, const char *what);
/* Drops the record that is being collected. */
void wal_scan_forget(struct wal_scan *scan);
/* Takes what is there of a page header, and the page once the header is complete. */
int wal_scan_header(struct wal_scan *scan, const uint8_t *p, size_t n, size_t *used, struct tide_err *err);

#endif
