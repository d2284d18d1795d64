#ifndef TIDE_BASE_SECRET_H
#define TIDE_BASE_SECRET_H

/* Bytes that are wiped when they go, locked out of core dumps, and never printed. */

#include "orchestrator/base/err.h"

struct tide_secret {
    uint8_t *data; /* NUL behind len */
    size_t len;
};

#define TIDE_SECRET_INIT                                                                                             \
    {                                                                                                                \
        0                                                                                                            \
    }

tide_status tide_secret_set(struct tide_secret *s, const void *data, size_t len,
                            struct tide_err *err) TIDE_MUST_CHECK;
void tide_secret_clear(struct tide_secret *s);
void tide_wipe(void *data, size_t len);
tide_status tide_random(void *data, size_t len, struct tide_err *err) TIDE_MUST_CHECK;

#endif
