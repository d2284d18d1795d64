#ifndef TIDE_PLUGIN_PG_WAL_FORMAT_H
#define TIDE_PLUGIN_PG_WAL_FORMAT_H

/*
 * The layout of PostgreSQL's write-ahead log, as far as Tidemark reads it, for
 * the majors 14 to 18 on little-endian servers.  A page's magic tells the
 * major; a magic that is not in the table is refused, never guessed.
 *
 * Page header, 24 bytes; at the start of a segment 40 (offset, size):
 *   0 2 magic   2 2 flags   4 4 timeline   8 8 page address   16 4 remaining
 *   length of a record begun earlier   24 8 system identifier   32 4 segment
 *   size   36 4 page size
 *
 * Record header, 24 bytes, at a multiple of 8, split by pages where it must:
 *   0 4 total length   4 4 transaction   8 8 start of the record before
 *   16 1 info   17 1 resource manager   20 4 CRC-32C of the bytes behind the
 *   header and then of its first 20
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WAL_PAGE_SIZE     8192u
#define WAL_SHORT_HEADER  24u
#define WAL_LONG_HEADER   40u
#define WAL_RECORD_HEADER 24u
#define WAL_RECORD_MAX    0x3fffffffu /* the server refuses larger ones */
#define WAL_SEGMENT_MIN   (1u << 20)
#define WAL_SEGMENT_MAX   (1u << 30)

#define WAL_PAGE_CONTRECORD 0x0001u
#define WAL_PAGE_LONG       0x0002u
#define WAL_PAGE_OVERWRITE  0x0008u /* takes the place of a record that a crash left unfinished */
#define WAL_PAGE_FLAGS      0x000fu

#define WAL_RMGR_XLOG       0
#define WAL_RMGR_XACT       1
#define WAL_RMGR_TBLSPC     5
#define WAL_RMGR_MAX        21  /* the last built-in one in all five majors */
#define WAL_RMGR_CUSTOM_MIN 128 /* extensions, since 15 */

#define WAL_XLOG_CHECKPOINT_SHUTDOWN  0x00
#define WAL_XLOG_CHECKPOINT_ONLINE    0x10
#define WAL_XLOG_SWITCH               0x40
#define WAL_XLOG_BACKUP_END           0x50
#define WAL_XLOG_PARAMETER_CHANGE     0x60
#define WAL_XLOG_RESTORE_POINT        0x70
#define WAL_XLOG_END_OF_RECOVERY      0x90
#define WAL_XLOG_OVERWRITE_CONTRECORD 0xd0

#define WAL_TBLSPC_CREATE 0x00

/* What differs between the majors. */
struct wal_layout {
    int major;
    uint16_t magic;
    uint8_t compressed_bits; /* of a page image's flags: any of them means compressed */
    uint8_t stats_item_size; /* dropped statistics in commit records; 0: there are none */
    uint8_t prepare_size;    /* fixed part of a PREPARE record */
    uint8_t prepare_gid_len; /* where in it the length of the name is */
};

/* NULL: unknown. */
const struct wal_layout *wal_layout_of_magic(uint16_t magic);
const struct wal_layout *wal_layout_of_major(int major);

static inline uint16_t wal_u16(const uint8_t *p)
{
    return (uint16_t)(p[0] | (unsigned)p[1] << 8);
}

static inline uint32_t wal_u32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t wal_u64(const uint8_t *p)
{
    return (uint64_t)wal_u32(p) | (uint64_t)wal_u32(p + 4) << 32;
}

static inline uint64_t wal_align(uint64_t n)
{
    return (n + 7) & ~UINT64_C(7);
}

static inline bool wal_segment_size_valid(uint64_t size)
{
    return size >= WAL_SEGMENT_MIN && size <= WAL_SEGMENT_MAX && (size & (size - 1)) == 0;
}

struct wal_page {
    uint16_t magic, flags;
    uint32_t timeline;
    uint64_t address;
    uint32_t remaining;
    uint64_t system_identifier; /* long headers only, like the next two */
    uint32_t segment_size, page_size;
};

/* p holds WAL_LONG_HEADER bytes when the flags say so, else WAL_SHORT_HEADER. */
void wal_page_read(const uint8_t *p, struct wal_page *page);

/*
 * A position that lies just behind a page header is the same place as the end
 * of the page before: an idle server reports the one, stored log ends at the
 * other.  Returns the lower.
 */
uint64_t wal_normalise(uint64_t lsn, uint32_t segment_size);

/* CRC-32C (Castagnoli), without the final inversion; begin with WAL_CRC_INIT, finish with ^ WAL_CRC_INIT. */
#define WAL_CRC_INIT 0xffffffffu
struct wal_crc {
    uint32_t (*update)(const struct wal_crc *crc, uint32_t value, const void *data, size_t len);
    uint32_t (*table)[256]; /* eight of them, when the processor has no instruction */
};
/* false: out of memory */
bool wal_crc_init(struct wal_crc *crc, bool software);
void wal_crc_clear(struct wal_crc *crc);

#endif
