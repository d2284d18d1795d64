#include "tests/support/wal_build.h"
#include "plugins/postgresql/wal_format.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_US INT64_C(946684800000000)

uint8_t *wal_put16(uint8_t *p, uint16_t n)
{
    p[0] = (uint8_t)n;
    p[1] = (uint8_t)(n >> 8);
    return p + 2;
}

uint8_t *wal_put32(uint8_t *p, uint32_t n)
{
    return wal_put16(wal_put16(p, (uint16_t)n), (uint16_t)(n >> 16));
}

uint8_t *wal_put64(uint8_t *p, uint64_t n)
{
    return wal_put32(wal_put32(p, (uint32_t)n), (uint32_t)(n >> 32));
}

void wal_build_init(struct wal_build *b, int major, uint64_t start, uint32_t segment_size)
{
    static const uint16_t magics[] = {0xd10d, 0xd110, 0xd113, 0xd116, 0xd118};

    *b = (struct wal_build){
        .start = start, .segment_size = segment_size, .timeline = 1, .magic = magics[major - 14], .major = major};
}

void wal_build_clear(struct wal_build *b)
{
    free(b->data);
    memset(b, 0, sizeof *b);
}

void wal_build_evidence(const struct wal_build *b, char *buf, size_t size)
{
    (void)snprintf(buf, size,
                   "system_identifier=%" PRIu64 "\nmajor=%d\nsegment_size=%" PRIu32 "\ntimeline=%" PRIu32
                   "\nhistory=\n",
                   WAL_BUILD_SYSTEM, b->major, b->segment_size, b->timeline);
}

static uint8_t *room(struct wal_build *b, size_t n)
{
    while (b->len + n > b->size) {
        b->size = b->size > 0 ? b->size * 2 : 1u << 16;
        b->data = realloc(b->data, b->size);
        if (b->data == NULL)
            abort();
    }
    b->len += n;
    return b->data + b->len - n;
}

static void page_header(struct wal_build *b)
{
    uint64_t at = wal_build_end(b);
    int is_long = at % b->segment_size == 0;
    size_t len = is_long ? WAL_LONG_HEADER : WAL_SHORT_HEADER;
    uint16_t flags =
        (uint16_t)(b->page_flags | (is_long ? WAL_PAGE_LONG : 0) | (b->left > 0 ? WAL_PAGE_CONTRECORD : 0));
    uint8_t *p = memset(room(b, len), 0, len);

    p = wal_put16(wal_put16(p, b->magic), flags);
    p = wal_put64(wal_put32(p, b->timeline), at);
    p = wal_put32(wal_put32(p, b->left), 0);
    if (is_long)
        (void)wal_put32(wal_put32(wal_put64(p, WAL_BUILD_SYSTEM), b->segment_size), WAL_PAGE_SIZE);
    b->page_flags = 0;
}

/* Bytes with page headers where they are due. */
static void put(struct wal_build *b, const uint8_t *p, size_t n)
{
    while (n > 0) {
        if (wal_build_end(b) % WAL_PAGE_SIZE == 0)
            page_header(b);
        size_t space = WAL_PAGE_SIZE - (size_t)(wal_build_end(b) % WAL_PAGE_SIZE);
        size_t take = n < space ? n : space;

        memcpy(room(b, take), p, take);
        p += take;
        n -= take;
        b->left = b->left > take ? b->left - (uint32_t)take : 0;
    }
}

static uint8_t *record_bytes(const struct wal_build *b, const struct wal_build_record *r)
{
    uint8_t *raw = calloc(1, WAL_RECORD_HEADER + r->len);
    struct wal_crc crc;

    if (raw == NULL || !wal_crc_init(&crc, false))
        abort();
    (void)wal_put64(wal_put32(wal_put32(raw, (uint32_t)(WAL_RECORD_HEADER + r->len)), r->xid), b->prev);
    raw[16] = r->info;
    raw[17] = r->rmgr;
    if (r->len > 0)
        memcpy(raw + WAL_RECORD_HEADER, r->body, r->len);
    uint32_t value = crc.update(&crc, WAL_CRC_INIT, raw + WAL_RECORD_HEADER, r->len);
    (void)wal_put32(raw + 20, crc.update(&crc, value, raw, 20) ^ WAL_CRC_INIT);
    wal_crc_clear(&crc);
    return raw;
}

uint64_t wal_build_record(struct wal_build *b, const struct wal_build_record *r)
{
    uint8_t *raw = record_bytes(b, r);
    size_t total = WAL_RECORD_HEADER + r->len;

    if (wal_build_end(b) % WAL_PAGE_SIZE == 0)
        page_header(b);
    uint64_t start = wal_build_end(b);
    b->left = (uint32_t)total;
    put(b, raw, total);
    b->left = 0;
    memset(room(b, (size_t)(wal_align(total) - total)), 0, (size_t)(wal_align(total) - total));
    b->prev = start;
    free(raw);
    return start;
}

uint64_t wal_build_main(struct wal_build *b, uint8_t rmgr, uint8_t info, uint32_t xid, const void *data, size_t len)
{
    uint8_t *body = malloc(len + 5);
    size_t head = len < 256 ? 2 : 5;

    if (body == NULL)
        abort();
    body[0] = len < 256 ? 255 : 254;
    if (len < 256)
        body[1] = (uint8_t)len;
    else
        (void)wal_put32(body + 1, (uint32_t)len);
    memcpy(body + head, data, len);
    uint64_t start = wal_build_record(
        b, &(struct wal_build_record){.rmgr = rmgr, .info = info, .xid = xid, .body = body, .len = head + len});
    free(body);
    return start;
}

uint64_t wal_build_filler(struct wal_build *b, size_t len)
{
    uint8_t *data = malloc(len);

    if (data == NULL)
        abort();
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 131 + len);
    uint64_t start = wal_build_main(b, 10, 0, 700, data, len);
    free(data);
    return start;
}

void wal_build_zeros(struct wal_build *b, size_t len)
{
    memset(room(b, len), 0, len);
}

uint64_t wal_build_switch(struct wal_build *b)
{
    uint64_t start = wal_build_record(b, &(struct wal_build_record){.rmgr = WAL_RMGR_XLOG, .info = WAL_XLOG_SWITCH});
    uint64_t in_segment = wal_build_end(b) % b->segment_size;

    if (in_segment > 0)
        wal_build_zeros(b, (size_t)(b->segment_size - in_segment));
    return start;
}

uint64_t wal_build_broken(struct wal_build *b, size_t len, int announced)
{
    uint64_t prev = b->prev, start = wal_build_filler(b, len);
    uint64_t cut = (start / WAL_PAGE_SIZE + 1) * WAL_PAGE_SIZE;
    uint8_t data[16];

    if (wal_build_end(b) <= cut)
        abort(); /* it fitted: nothing to break */
    b->len = (size_t)(cut - b->start);
    b->prev = prev;
    b->page_flags = WAL_PAGE_OVERWRITE;
    (void)wal_put64(wal_put64(data, start), 0);
    if (announced)
        (void)wal_build_main(b, WAL_RMGR_XLOG, WAL_XLOG_OVERWRITE_CONTRECORD, 0, data, sizeof data);
    return start;
}

uint64_t wal_build_commit(struct wal_build *b, uint32_t xid, int64_t time_us)
{
    uint8_t data[8];

    (void)wal_put64(data, (uint64_t)(time_us - EPOCH_US));
    return wal_build_main(b, WAL_RMGR_XACT, 0, xid, data, sizeof data);
}
