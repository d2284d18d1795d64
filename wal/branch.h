#ifndef TIDE_WAL_BRANCH_H
#define TIDE_WAL_BRANCH_H

/* Which stored lineage a server's log continues, if any. */

#include "wal/index.h"

struct branch_choice {
    uint32_t lineage; /* number: existing or just made */
    bool created;
    struct tide_pos resume; /* stored end of it; none on a fresh one */
    struct tide_pos
        prove_from; /* start of the last stored record: stream from here and compare; none: nothing stored */
    struct tide_pos orphaned; /* a parent held log up to here, beyond the fork; none: it did not */
};

/*
 * Picks the lineage with the same evidence, else a child of the newest related one at its fork, else - for an
 * instance without lineages - a first one beginning at id->stream_from.  REFUSED: a server that is no child of a
 * stored lineage.  create false: NOT_FOUND instead of making one.
 */
tide_status branch_choose(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                          const struct tide_host *host, const struct tide_log_identity *id, bool create,
                          struct branch_choice *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
