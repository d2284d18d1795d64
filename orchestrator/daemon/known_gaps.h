#ifndef TIDE_DAEMON_KNOWN_GAPS_H
#define TIDE_DAEMON_KNOWN_GAPS_H

/* Log that is recorded as lost: its absence is known, windows end before it, and no check has to find it again. */

#include "orchestrator/daemon/job.h"
#include "orchestrator/repository/logobject.h"

struct known_gaps {
    struct log_gap *items; /* owned */
    size_t n;
};

tide_status known_gaps_load(struct job *job, struct known_gaps *out, struct tide_err *err) TIDE_MUST_CHECK;
void known_gaps_clear(struct known_gaps *g);
/* Whether [from, to) lies in a recorded gap of the lineage; to none: up to the end. */
bool known_gap(const struct known_gaps *g, uint32_t lineage, struct tide_pos from, struct tide_pos to);

#endif
