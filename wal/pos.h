#ifndef TIDE_WAL_POS_H
#define TIDE_WAL_POS_H

/* Small arithmetic on positions.  Distances make sense only within one hi. */

#include "orchestrator/base/err.h"

#define TIDE_POS_NONE ((struct tide_pos){0, 0})

static inline bool pos_before(struct tide_pos a, struct tide_pos b)
{
    return tide_pos_cmp(a, b) < 0;
}

static inline bool pos_equal(struct tide_pos a, struct tide_pos b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

static inline struct tide_pos pos_min(struct tide_pos a, struct tide_pos b)
{
    return pos_before(b, a) ? b : a;
}

static inline struct tide_pos pos_max(struct tide_pos a, struct tide_pos b)
{
    return pos_before(a, b) ? b : a;
}

static inline struct tide_pos pos_add(struct tide_pos p, uint64_t n)
{
    p.lo = p.lo > UINT64_MAX - n ? UINT64_MAX : p.lo + n;
    return p;
}

static inline struct tide_pos pos_sub(struct tide_pos p, uint64_t n)
{
    p.lo = p.lo < n ? 0 : p.lo - n;
    return p;
}

/* Bytes from a to b; 0 when b is not behind a or in another file. */
static inline uint64_t pos_distance(struct tide_pos a, struct tide_pos b)
{
    return a.hi == b.hi && b.lo > a.lo ? b.lo - a.lo : 0;
}

static inline bool pos_in(struct tide_pos p, struct tide_pos start, struct tide_pos end)
{
    return !pos_before(p, start) && pos_before(p, end);
}

#endif
