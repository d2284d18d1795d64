#ifndef TIDE_PLUGIN_PG_WAL_RECORD_H
#define TIDE_PLUGIN_PG_WAL_RECORD_H

#include "plugins/postgresql/wal_format.h"
#include "plugins/tide_plugin.h"

/* A complete record whose CRC was right, without page headers.  Of a large one only the beginning is there. */
struct wal_record {
    const struct wal_layout *layout;
    uint64_t start, end; /* end: where the next one may begin, not counting a page header */
    const uint8_t *data; /* from the record's header on */
    uint32_t have, total;
};

static inline uint32_t wal_record_xid(const struct wal_record *r)
{
    return wal_u32(r->data + 4);
}

static inline uint8_t wal_record_info(const struct wal_record *r)
{
    return r->data[16] & 0xf0;
}

static inline uint8_t wal_record_rmgr(const struct wal_record *r)
{
    return r->data[17];
}

static inline bool wal_record_is_xlog(const struct wal_record *r, uint8_t info)
{
    return wal_record_rmgr(r) == WAL_RMGR_XLOG && wal_record_info(r) == info;
}

/* Block references on their way to a sink, and where they go. */
struct wal_blocks {
    int (*sink)(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err); /* NULL: dropped */
    void *ctx;
    size_t n;
    struct tide_block_ref refs[256];
};
int wal_blocks_flush(struct wal_blocks *blocks, struct tide_err *err);

/* Where the record's main data is: behind everything else. */
struct wal_main {
    const uint8_t *data;
    uint32_t len;  /* whole */
    uint32_t have; /* of it, in memory */
};

/*
 * Walks through a record's headers: block references are added to blocks, *main
 * is filled.  TIDE_CORRUPT with *why when they do not make sense; any other
 * status is the sink's.
 */
int wal_record_walk(const struct wal_record *record, struct wal_blocks *blocks, struct wal_main *main,
                    const char **why, struct tide_err *err);

/* Tells the sink what the record means, if it means something to us. */
int wal_record_event(const struct wal_record *record, const struct wal_main *main,
                     const struct tide_log_scan_sink *sink, struct tide_err *err);

#endif
