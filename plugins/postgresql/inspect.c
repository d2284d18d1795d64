#include "plugins/postgresql/pg_backup.h"

#include <string.h>

#define PAGE_SIZE_PG 8192u
#define N_SUMS       32u
#define ROW_BYTES    (N_SUMS * 4u)
#define FNV_PRIME    16777619u

/* Offsets in PageHeaderData. */
enum {
    AT_LSN_HI = 0,
    AT_LSN_LO = 4,
    AT_CHECKSUM = 8,
    AT_LOWER = 12,
    AT_UPPER = 14,
    AT_SPECIAL = 16,
    AT_VERSION = 18
};

/* The start values of storage/checksum_impl.h, one for each of the 32 parallel FNV-1a sums. */
static const uint32_t base_offsets[N_SUMS] = {
    0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
    0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
    0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
    0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
};

static inline __attribute__((always_inline)) void mix_row(uint32_t sums[N_SUMS], const uint8_t *row)
{
    uint32_t words[N_SUMS];

    memcpy(words, row, sizeof words);
    for (unsigned j = 0; j < N_SUMS; j++) {
        uint32_t t = sums[j] ^ words[j];
        sums[j] = (t * FNV_PRIME) ^ (t >> 17);
    }
}

static inline __attribute__((always_inline)) uint32_t checksum_body(const uint8_t *page)
{
    uint32_t sums[N_SUMS];
    uint8_t row[ROW_BYTES];

    memcpy(sums, base_offsets, sizeof sums);
    memcpy(row, page, sizeof row);
    row[AT_CHECKSUM] = row[AT_CHECKSUM + 1] = 0; /* the sum is taken as if its own field were zero */
    mix_row(sums, row);
    for (unsigned i = 1; i < PAGE_SIZE_PG / ROW_BYTES; i++)
        mix_row(sums, page + (size_t)i * ROW_BYTES);
    memset(row, 0, sizeof row);
    mix_row(sums, row);
    mix_row(sums, row);

    uint32_t result = 0;
    for (unsigned j = 0; j < N_SUMS; j++)
        result ^= sums[j];
    return result;
}

#if defined(__GNUC__) && !defined(__clang__)
#define VECTORISE __attribute__((optimize("O3")))
#else
#define VECTORISE
#endif

VECTORISE static uint32_t checksum_plain(const uint8_t *page)
{
    return checksum_body(page);
}

#if defined(__x86_64__)
/* The 32-bit multiply of the loop has no SSE2 form; with AVX2 it runs at memory speed. */
__attribute__((target("avx2"))) VECTORISE static uint32_t checksum_avx2(const uint8_t *page)
{
    return checksum_body(page);
}

static uint32_t checksum_page(const uint8_t *page)
{
    return __builtin_cpu_supports("avx2") ? checksum_avx2(page) : checksum_plain(page);
}
#else
static uint32_t checksum_page(const uint8_t *page)
{
    return checksum_plain(page);
}
#endif

static uint16_t get16(const uint8_t *p)
{
    uint16_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, PAGE_SIZE_PG - 1) == 0;
}

/* What every page header of PostgreSQL 8.3 and later looks like. */
static bool header_is_plausible(const uint8_t *page)
{
    unsigned lower = get16(page + AT_LOWER), upper = get16(page + AT_UPPER), special = get16(page + AT_SPECIAL);

    return (get16(page + AT_VERSION) & 0xFF00u) == PAGE_SIZE_PG && lower >= 24 && lower <= upper &&
           upper <= special && special <= PAGE_SIZE_PG;
}

/*
 * A page that fails its sum is damaged when it is older than the backup.  A
 * newer one may have been caught while it was written: the log from the
 * backup's start on holds its full image, so replay mends it.  A newer stamp
 * in a header that makes no sense proves nothing, though.
 */
static bool page_is_bad(const uint8_t *page, uint64_t lsn, uint32_t number, uint64_t backup_start)
{
    if (get16(page + AT_UPPER) == 0)
        return !is_zero(page); /* never initialised: carries no sum, and must be empty */
    if (lsn > backup_start && header_is_plausible(page))
        return false;
    uint16_t sum = (uint16_t)(((checksum_page(page) ^ number) % 65535u) + 1u);
    return sum != get16(page + AT_CHECKSUM);
}

void pg_inspect(const struct tide_block_view *block, struct tide_block_verdict *verdict)
{
    uint64_t first = block->inspect_number + block->offset / PAGE_SIZE_PG;
    size_t n_pages = block->len / PAGE_SIZE_PG; /* a part of a page at the end is being written */
    uint64_t newest = 0;

    verdict->verdict = TIDE_BLOCK_FINE;
    verdict->page_size = PAGE_SIZE_PG;
    verdict->n_bad = 0;
    for (size_t i = 0; i < n_pages; i++) {
        const uint8_t *page = block->data + i * PAGE_SIZE_PG;
        uint64_t lsn = (uint64_t)get32(page + AT_LSN_HI) << 32 | get32(page + AT_LSN_LO);

        if (page_is_bad(page, lsn, (uint32_t)(first + i), block->backup_start.lo)) {
            verdict->verdict = TIDE_BLOCK_TORN;
            if (verdict->n_bad < TIDE_BLOCK_MAX_PAGES)
                verdict->bad_pages[verdict->n_bad++] = (uint32_t)i;
        } else if (lsn > newest) {
            newest = lsn;
        }
    }
    verdict->max_page_pos = (struct tide_pos){.hi = 0, .lo = newest};
}
