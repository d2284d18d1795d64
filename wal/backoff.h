#ifndef TIDE_WAL_BACKOFF_H
#define TIDE_WAL_BACKOFF_H

/* Pauses between retries: from 0.2 s, doubling up to 10 s, each shortened by chance so that many do not come at once.
 */

#include <stdint.h>

struct backoff {
    int64_t next_us;
    uint64_t seed;
};

static inline void backoff_reset(struct backoff *b)
{
    b->next_us = 0;
}

static inline int64_t backoff_next(struct backoff *b)
{
    int64_t us = b->next_us == 0 ? 200000 : b->next_us;

    b->next_us = us >= 5000000 ? 10000000 : us * 2;
    b->seed = b->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return us - us / 4 * (int64_t)((b->seed >> 33) % 1000) / 1000;
}

#endif
