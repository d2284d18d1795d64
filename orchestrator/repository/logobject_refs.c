#include "orchestrator/base/bytes.h"
#include "orchestrator/repository/logobject_internal.h"

#include <string.h>

/*
 * A reference is coded against the one before it in the same frame: a byte that says which of the five numbers is
 * the first to differ, by how much it grew, and the numbers behind it as they are.  Neighbouring blocks take two
 * bytes.
 */

#define FIELDS  5u
#define REF_MAX (1u + 5u * FIELDS)

static void to_fields(const struct tide_block_ref *r, uint32_t f[FIELDS])
{
    f[0] = r->space;
    f[1] = r->database;
    f[2] = r->relation;
    f[3] = r->fork;
    f[4] = r->block;
}

static struct tide_block_ref from_fields(const uint32_t f[FIELDS])
{
    return (struct tide_block_ref){.space = f[0], .database = f[1], .relation = f[2], .fork = f[3], .block = f[4]};
}

int log_ref_cmp(const struct tide_block_ref *a, const struct tide_block_ref *b)
{
    uint32_t x[FIELDS], y[FIELDS];
    to_fields(a, x);
    to_fields(b, y);
    for (unsigned i = 0; i < FIELDS; i++)
        if (x[i] != y[i])
            return x[i] < y[i] ? -1 : 1;
    return 0;
}

static size_t put_varint(uint8_t *p, uint32_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        p[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    p[n++] = (uint8_t)v;
    return n;
}

static uint32_t read_varint(struct tide_cursor *c)
{
    uint32_t v = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
        uint8_t b = tide_read_u8(c);
        if (shift == 28 && b > 0x0f)
            break;
        v |= (uint32_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    c->bad = true;
    return 0;
}

void log_refs_encode(const struct tide_block_ref *refs, size_t n, size_t *at, struct tide_buf *plain)
{
    uint32_t last[FIELDS] = {0};
    size_t first = *at;
    while (*at < n && plain->len + REF_MAX <= LOG_FRAME_PLAIN) {
        uint32_t now[FIELDS];
        uint8_t bytes[REF_MAX];
        to_fields(&refs[*at], now);
        unsigned k = 0;
        while (*at > first && k < FIELDS - 1 && now[k] == last[k])
            k++;
        size_t len = 0;
        bytes[len++] = (uint8_t)k;
        len += put_varint(bytes + len, now[k] - last[k]);
        for (unsigned i = k + 1; i < FIELDS; i++)
            len += put_varint(bytes + len, now[i]);
        tide_buf_append(plain, bytes, len);
        memcpy(last, now, sizeof(last));
        ++*at;
    }
}

tide_status log_refs_decode(const void *data, size_t len, struct tide_block_ref *refs, size_t *n, size_t max,
                            struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    uint32_t f[FIELDS] = {0};
    while (c.left > 0) {
        uint8_t k = tide_read_u8(&c);
        if (k >= FIELDS)
            return tide_fail(err, TIDE_CORRUPT, "a block reference is coded in an unknown way");
        uint32_t grown = read_varint(&c);
        if (grown > UINT32_MAX - f[k])
            return tide_fail(err, TIDE_CORRUPT, "a block reference runs over");
        f[k] += grown;
        for (unsigned i = k + 1u; i < FIELDS; i++)
            f[i] = read_varint(&c);
        if (c.bad || *n == max)
            return tide_fail(err, TIDE_CORRUPT, "block references are cut, or more than were announced");
        refs[*n] = from_fields(f);
        if (*n > 0 && log_ref_cmp(&refs[*n - 1], &refs[*n]) >= 0)
            return tide_fail(err, TIDE_CORRUPT, "block references are not in order");
        ++*n;
    }
    return TIDE_OK;
}
