#ifndef TIDE_BASE_BUF_H
#define TIDE_BASE_BUF_H

/*
 * A growing byte buffer with a bound.  Appending past the bound, or out of
 * memory, sets `failed` and drops the bytes: build first, check once.
 */

#include "orchestrator/base/err.h"
#include <stdarg.h>

struct tide_buf {
    uint8_t *data; /* owned; always one spare byte behind len, 0 */
    size_t len, cap, max;
    bool failed;
    bool no_memory; /* why: else it was the bound */
};

#define TIDE_BUF_INIT(max_)                                                                                          \
    {                                                                                                                \
        .max = (max_)                                                                                                \
    }

void tide_buf_clear(struct tide_buf *b); /* frees; usable with TIDE_AUTO */
void tide_buf_reset(struct tide_buf *b); /* len 0, memory kept */
bool tide_buf_reserve(struct tide_buf *b, size_t more);
void tide_buf_append(struct tide_buf *b, const void *data, size_t len);
void tide_buf_str(struct tide_buf *b, const char *s);
void tide_buf_printf(struct tide_buf *b, const char *fmt, ...) TIDE_PRINTF(2, 3);
void tide_buf_u8(struct tide_buf *b, uint8_t v);
void tide_buf_be16(struct tide_buf *b, uint16_t v);
void tide_buf_be32(struct tide_buf *b, uint32_t v);
void tide_buf_be64(struct tide_buf *b, uint64_t v);
const char *tide_buf_cstr(const struct tide_buf *b); /* "" when empty */
/* TIDE_OK, or TIDE_NO_MEMORY / TIDE_INVALID with `what` in the text. */
tide_status tide_buf_check(const struct tide_buf *b, const char *what, struct tide_err *err) TIDE_MUST_CHECK;

#endif
