#ifndef TIDE_WAL_HOLE_H
#define TIDE_WAL_HOLE_H

/* Log that is missing although later log is stored, and nobody has said why. */

#include "wal/index.h"

struct log_hole {
    bool found;
    struct tide_pos from, to;
};

/*
 * The first hole of a lineage behind the start of its newest backup (or its first object) that is not recorded as a
 * gap.  What lies before that backup no restore needs any more, and retention may have taken it.
 */
tide_status log_find_hole(struct repo *r, const char *instance, uint32_t lineage, struct log_hole *out,
                          struct tide_err *err) TIDE_MUST_CHECK;

#endif
