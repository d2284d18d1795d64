#ifndef TIDE_WAL_REFSET_H
#define TIDE_WAL_REFSET_H

/* A set of block references in bounded memory: appended in any order, sorted and made unique when room runs out. */

#include "orchestrator/base/err.h"

struct refset {
    struct tide_block_ref *items; /* owned */
    size_t n, cap, max;
};

void refset_init(struct refset *s, size_t max);
void refset_clear(struct refset *s);
/* FULL when there are more than max different ones; what is in stays. */
tide_status refset_add(struct refset *s, const struct tide_block_ref *refs, size_t n,
                       struct tide_err *err) TIDE_MUST_CHECK;
/* Sorts in place and drops the doubles. */
void refset_sort(struct refset *s);
int refset_compare(const struct tide_block_ref *a, const struct tide_block_ref *b);

#endif
