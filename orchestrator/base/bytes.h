#ifndef TIDE_BASE_BYTES_H
#define TIDE_BASE_BYTES_H

/* Numbers in stored bytes.  All our formats are big-endian; be in the name says so. */

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>

static inline void tide_put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static inline void tide_put_be32(uint8_t *p, uint32_t v)
{
    tide_put_be16(p, (uint16_t)(v >> 16));
    tide_put_be16(p + 2, (uint16_t)v);
}

static inline void tide_put_be64(uint8_t *p, uint64_t v)
{
    tide_put_be32(p, (uint32_t)(v >> 32));
    tide_put_be32(p + 4, (uint32_t)v);
}

static inline uint16_t tide_get_be16(const uint8_t *p)
{
    return (uint16_t)((p[0] << 8) | p[1]);
}

static inline uint32_t tide_get_be32(const uint8_t *p)
{
    return ((uint32_t)tide_get_be16(p) << 16) | tide_get_be16(p + 2);
}

static inline uint64_t tide_get_be64(const uint8_t *p)
{
    return ((uint64_t)tide_get_be32(p) << 32) | tide_get_be32(p + 4);
}

/* Lower-case hex; out has room for 2 * len + 1. */
void tide_hex(const void *data, size_t len, char *out);
/* False unless text is exactly 2 * len hex digits. */
bool tide_unhex(const char *text, void *data, size_t len);
/* Exactly `digits` hex digits at text (no terminator needed). */
bool tide_parse_hex64(const char *text, size_t digits, uint64_t *v);

/* A reader over bytes that were handed in: running off the end sets bad, and every later read gives 0. */
struct tide_cursor {
    const uint8_t *p;
    size_t left;
    bool bad;
};

struct tide_cursor tide_cursor_of(const void *data, size_t len);
uint8_t tide_read_u8(struct tide_cursor *c);
uint16_t tide_read_be16(struct tide_cursor *c);
uint32_t tide_read_be32(struct tide_cursor *c);
uint64_t tide_read_be64(struct tide_cursor *c);
/* A view of the next len bytes, or NULL (and bad). */
const uint8_t *tide_read_bytes(struct tide_cursor *c, size_t len);

#endif
