#ifndef TIDE_TESTS_WAL_BUILD_H
#define TIDE_TESTS_WAL_BUILD_H

/* Writes WAL as a PostgreSQL server would, pages, checksums and all, for tests of what reads it. */

#include <stddef.h>
#include <stdint.h>

#define WAL_BUILD_SYSTEM UINT64_C(7412345678901234567)

struct wal_build {
    uint8_t *data; /* from start on */
    size_t len, size;
    uint64_t start, prev;
    uint32_t segment_size, timeline;
    uint16_t magic;
    int major;
    uint32_t left;       /* of the record that is being written */
    uint16_t page_flags; /* extra flags of the next page header */
};

/* start is a multiple of the page size. */
void wal_build_init(struct wal_build *b, int major, uint64_t start, uint32_t segment_size);
void wal_build_clear(struct wal_build *b);

static inline uint64_t wal_build_end(const struct wal_build *b)
{
    return b->start + b->len;
}

/* Text for tide_log_scan_params.evidence. */
void wal_build_evidence(const struct wal_build *b, char *buf, size_t size);

struct wal_build_record {
    uint8_t rmgr, info;
    uint32_t xid;
    const void *body; /* what follows the record's header */
    size_t len;
};
/* Appends a record and what aligns its end; returns where it starts. */
uint64_t wal_build_record(struct wal_build *b, const struct wal_build_record *r);
/* The same with main data only: the header that announces it is made here. */
uint64_t wal_build_main(struct wal_build *b, uint8_t rmgr, uint8_t info, uint32_t xid, const void *data, size_t len);
/* A record of about len bytes that means nothing to us. */
uint64_t wal_build_filler(struct wal_build *b, size_t len);
/* A segment switch, and the zeros up to the segment's end. */
uint64_t wal_build_switch(struct wal_build *b);
/* The beginning of a record of len bytes, broken off at the end of its first page by a crash, and the page that
 * says so.  announced: the record that has to follow is written as well. */
uint64_t wal_build_broken(struct wal_build *b, size_t len, int announced);
/* Zeros up to the end of the page. */
void wal_build_zeros(struct wal_build *b, size_t len);

/* A commit without any list; time in microseconds since 1970. */
uint64_t wal_build_commit(struct wal_build *b, uint32_t xid, int64_t time_us);

/* Little-endian numbers into a buffer; each returns what follows it. */
uint8_t *wal_put16(uint8_t *p, uint16_t n);
uint8_t *wal_put32(uint8_t *p, uint32_t n);
uint8_t *wal_put64(uint8_t *p, uint64_t n);

#endif
