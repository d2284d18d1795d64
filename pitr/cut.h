#ifndef TIDE_PITR_CUT_H
#define TIDE_PITR_CUT_H

/*
 * Where in the log a target lies: the last commit that belongs to it and the
 * first that does not.  A target is always the longest prefix of the log before
 * the first commit that is excluded, never a filter: stamps can run backwards.
 * A transaction that was prepared in it was promised to its coordinator: it belongs to
 * the prefix although no commit may follow it there.
 */

#include "pitr/plan.h"
#include "wal/fetch.h"

enum cut_rule {
    CUT_NOTHING,     /* all that is stored */
    CUT_TIME,        /* first commit later than time_us (not earlier, when exclusive) */
    CUT_POSITION,    /* first commit that ends behind position (at or behind, when exclusive) */
    CUT_TRANSACTION, /* the commit after this transaction's (the commit itself, when exclusive) */
    CUT_NAME,        /* first commit behind the restore point */
};

struct cut_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct lineage_set *lineages;
    const struct lineage_step *path;
    size_t n_path;
    struct tide_pos from; /* the log is looked at from here */
    enum cut_rule rule;
    int64_t time_us;
    struct tide_pos position;
    uint64_t transaction;
    const char *name;
    bool exclusive;
};

struct cut {
    bool found; /* the transaction or restore point was met (always true for the other rules) */
    struct plan_commit included, excluded;
    struct plan_commit prepared; /* the last transaction that was prepared, where it lies behind `included` */
    struct tide_pos covered;     /* log is unbroken from `from` to here (at least; the walk stops behind the cut) */
    uint32_t covered_lineage;
    uint64_t objects, bytes;
};

tide_status cut_find(const struct cut_options *o, struct cut *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
