#ifndef TIDE_WAL_BRANCH_INTERNAL_H
#define TIDE_WAL_BRANCH_INTERNAL_H

/* The parts that branch_choose, the shipper and `log put` share. */

#include "wal/branch.h"

struct branch_kin {
    const struct lineage *lineage; /* of the set */
    bool child;                    /* the server's log left it at fork; else it is the same branch */
    struct tide_pos fork;
    struct tide_pos end; /* of what is stored, or of its start when nothing is */
    bool empty;
};

struct branch_search {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct lineage_set *set;
    const char *evidence;
    const uint32_t *skip; /* lineages whose bytes were disproved */
    size_t n_skip;
};

/*
 * The newest lineage on the same branch, else the one that was left last.  NOT_FOUND: there are no lineages at all;
 * REFUSED: there are, and the server descends from none.
 */
tide_status branch_find(const struct branch_search *q, struct branch_kin *out, struct tide_err *err) TIDE_MUST_CHECK;

/* End of what is stored of a lineage; *empty and its start when nothing is. */
tide_status branch_stored_end(struct repo *r, const char *instance, const struct lineage *l, struct tide_pos *end,
                              bool *empty, struct tide_err *err) TIDE_MUST_CHECK;

/* Makes the first lineage of an instance, or a child of parent at fork. */
tide_status branch_create(struct repo *r, const char *instance, const struct lineage_set *seen,
                          const struct tide_plugin *plugin, const struct lineage *parent, struct tide_pos start,
                          uint64_t branch, const char *evidence, uint32_t *number,
                          struct tide_err *err) TIDE_MUST_CHECK;

#endif
