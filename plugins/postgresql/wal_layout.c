#include "plugins/postgresql/wal_format.h"

#include <string.h>

static const struct wal_layout layouts[] = {
    {.major = 14,
     .magic = 0xd10d,
     .compressed_bits = 0x02,
     .stats_item_size = 0,
     .prepare_size = 64,
     .prepare_gid_len = 46},
    {.major = 15,
     .magic = 0xd110,
     .compressed_bits = 0x1c,
     .stats_item_size = 12,
     .prepare_size = 72,
     .prepare_gid_len = 54},
    {.major = 16,
     .magic = 0xd113,
     .compressed_bits = 0x1c,
     .stats_item_size = 12,
     .prepare_size = 72,
     .prepare_gid_len = 54},
    {.major = 17,
     .magic = 0xd116,
     .compressed_bits = 0x1c,
     .stats_item_size = 12,
     .prepare_size = 72,
     .prepare_gid_len = 54},
    {.major = 18,
     .magic = 0xd118,
     .compressed_bits = 0x1c,
     .stats_item_size = 16,
     .prepare_size = 72,
     .prepare_gid_len = 54},
};

const struct wal_layout *wal_layout_of_magic(uint16_t magic)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].magic == magic)
            return &layouts[i];
    return NULL;
}

const struct wal_layout *wal_layout_of_major(int major)
{
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++)
        if (layouts[i].major == major)
            return &layouts[i];
    return NULL;
}

void wal_page_read(const uint8_t *p, struct wal_page *page)
{
    memset(page, 0, sizeof *page);
    page->magic = wal_u16(p);
    page->flags = wal_u16(p + 2);
    page->timeline = wal_u32(p + 4);
    page->address = wal_u64(p + 8);
    page->remaining = wal_u32(p + 16);
    if (page->flags & WAL_PAGE_LONG) {
        page->system_identifier = wal_u64(p + 24);
        page->segment_size = wal_u32(p + 32);
        page->page_size = wal_u32(p + 36);
    }
}

uint64_t wal_normalise(uint64_t lsn, uint32_t segment_size)
{
    uint64_t in_page = lsn % WAL_PAGE_SIZE;
    uint64_t header = (lsn - in_page) % segment_size == 0 ? WAL_LONG_HEADER : WAL_SHORT_HEADER;

    return in_page == header ? lsn - in_page : lsn;
}
