#include "orchestrator/base/bytes.h"

void tide_hex(const void *data, size_t len, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = digits[p[i] >> 4];
        out[2 * i + 1] = digits[p[i] & 15];
    }
    out[2 * len] = '\0';
}

/* -1 for what is no hex digit, the terminator included. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool tide_unhex(const char *text, void *data, size_t len)
{
    uint8_t *p = data;
    for (size_t i = 0; i < len; i++) {
        int high = hex_value(text[2 * i]);
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0)
            return false;
        p[i] = (uint8_t)(high * 16 + low);
    }
    return text[2 * len] == '\0';
}

bool tide_parse_hex64(const char *text, size_t digits, uint64_t *v)
{
    if (digits == 0 || digits > 16)
        return false;
    uint64_t sum = 0;
    for (size_t i = 0; i < digits; i++) {
        int d = hex_value(text[i]);
        if (d < 0)
            return false;
        sum = (sum << 4) | (uint64_t)d;
    }
    *v = sum;
    return true;
}

struct tide_cursor tide_cursor_of(const void *data, size_t len)
{
    return (struct tide_cursor){.p = data, .left = len};
}

const uint8_t *tide_read_bytes(struct tide_cursor *c, size_t len)
{
    if (c->bad || c->left < len || c->p == NULL) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *at = c->p;
    c->p += len;
    c->left -= len;
    return at;
}

uint8_t tide_read_u8(struct tide_cursor *c)
{
    const uint8_t *p = tide_read_bytes(c, 1);
    return p == NULL ? 0 : p[0];
}

uint16_t tide_read_be16(struct tide_cursor *c)
{
    const uint8_t *p = tide_read_bytes(c, 2);
    return p == NULL ? 0 : tide_get_be16(p);
}

uint32_t tide_read_be32(struct tide_cursor *c)
{
    const uint8_t *p = tide_read_bytes(c, 4);
    return p == NULL ? 0 : tide_get_be32(p);
}

uint64_t tide_read_be64(struct tide_cursor *c)
{
    const uint8_t *p = tide_read_bytes(c, 8);
    return p == NULL ? 0 : tide_get_be64(p);
}
