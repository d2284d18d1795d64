#ifndef TIDE_WAL_HOLE_H
#define TIDE_WAL_HOLE_H

/* Log that is missing although later log is stored, and nobody has said why. */

#include "wal/index.h"

struct log_hole {
    bool found;
    uint32_t lineage;
    struct tide_pos from, to;
};

/*
 * The first hole on the way to a lineage, its ancestors up to their forks included, that is not recorded as a gap.
 * Looked for behind the start of the newest backup on that way (or the first object): what lies before it no restore
 * needs any more, and retention may have taken it.
 */
tide_status log_find_hole(struct repo *r, const char *instance, const struct lineage_set *set, uint32_t lineage,
                          struct log_hole *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
