#include "orchestrator/base/buf.h"
#include "orchestrator/base/bytes.h"

#include <stdlib.h>
#include <string.h>

void tide_buf_clear(struct tide_buf *b)
{
    free(b->data);
    *b = (struct tide_buf){.max = b->max};
}

void tide_buf_reset(struct tide_buf *b)
{
    b->len = 0;
    b->failed = false;
    b->no_memory = false;
    if (b->data != NULL)
        b->data[0] = 0;
}

bool tide_buf_reserve(struct tide_buf *b, size_t more)
{
    if (b->failed)
        return false;
    if (b->max < b->len || more > b->max - b->len || b->len + more == SIZE_MAX) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + more + 1;
    if (b->data != NULL && need <= b->cap)
        return true;

    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap - 1 > b->max)
        cap = b->max + 1;
    uint8_t *data = realloc(b->data, cap);
    if (data == NULL) {
        b->failed = true;
        b->no_memory = true;
        return false;
    }
    b->data = data;
    b->cap = cap;
    b->data[b->len] = 0;
    return true;
}

void tide_buf_append(struct tide_buf *b, const void *data, size_t len)
{
    if (!tide_buf_reserve(b, len))
        return;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = 0;
}

void tide_buf_str(struct tide_buf *b, const char *s)
{
    tide_buf_append(b, s, strlen(s));
}

void tide_buf_printf(struct tide_buf *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        b->failed = true;
        return;
    }
    if (!tide_buf_reserve(b, (size_t)n))
        return;
    va_start(ap, fmt);
    (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
}

void tide_buf_u8(struct tide_buf *b, uint8_t v)
{
    tide_buf_append(b, &v, 1);
}

void tide_buf_be16(struct tide_buf *b, uint16_t v)
{
    uint8_t raw[2];
    tide_put_be16(raw, v);
    tide_buf_append(b, raw, sizeof(raw));
}

void tide_buf_be32(struct tide_buf *b, uint32_t v)
{
    uint8_t raw[4];
    tide_put_be32(raw, v);
    tide_buf_append(b, raw, sizeof(raw));
}

void tide_buf_be64(struct tide_buf *b, uint64_t v)
{
    uint8_t raw[8];
    tide_put_be64(raw, v);
    tide_buf_append(b, raw, sizeof(raw));
}

const char *tide_buf_cstr(const struct tide_buf *b)
{
    return b->data == NULL ? "" : (const char *)b->data;
}

tide_status tide_buf_check(const struct tide_buf *b, const char *what, struct tide_err *err)
{
    if (!b->failed)
        return TIDE_OK;
    if (b->no_memory)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory building %s", what);
    return tide_fail(err, TIDE_INVALID, "%s is larger than %zu bytes", what, b->max);
}
