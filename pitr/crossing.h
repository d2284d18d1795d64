#ifndef TIDE_PITR_CROSSING_H
#define TIDE_PITR_CROSSING_H

/*
 * What a time means where commit stamps ran back: every place in the log at
 * which stamps pass it.  Small steps back, within the tolerance, are normal
 * among concurrent commits and do not count.
 */

#include "pitr/plan.h"
#include "wal/fetch.h"

#define CROSSINGS_MAX 4u

/* `excluded` is the first commit stamped later than the time, `included` the last one before it. */
struct crossing {
    struct plan_commit included, excluded;
};

struct crossing_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct lineage_set *lineages;
    const struct lineage_step *path;
    size_t n_path;
    struct tide_pos from;
    int64_t time_us, tolerance_us;
};

struct crossing_set {
    struct crossing items[CROSSINGS_MAX]; /* the first ones, in the order of the log */
    size_t n;
    bool ran_back; /* behind one of them, stamps were at or before the time again */
};

/* Looks at the log from `from` to its end or first gap.  Objects are read only where their names do not tell. */
tide_status crossings_find(const struct crossing_options *o, struct crossing_set *out,
                           struct tide_err *err) TIDE_MUST_CHECK;

#endif
