#ifndef TIDE_WAL_MERGE_H
#define TIDE_WAL_MERGE_H

/*
 * Many small log objects into few large ones, in levels of 64.  The large one
 * is read back and proved before the small ones get their tombstone.
 */

#include "orchestrator/base/thread.h"
#include "wal/collector.h"
#include "wal/index.h"

#define MERGE_MAX_BYTES (32u << 20)
#define MERGE_MIN_COUNT 8u /* fewer, which together are large enough, are left as they are */
#define MERGE_REASON    "merged"

/* Where merging has arrived, so that a pass lists only what is new. */
struct merge_cursor {
    uint32_t lineage;
    bool started[LOG_LEVEL_MAX];
    struct tide_pos from[LOG_LEVEL_MAX];
};

struct merge_options {
    struct repo *repo;
    const char *instance;
    uint32_t lineage;
    int64_t grace_us;
    struct tide_cancel *cancel;
};

/* CORRUPT: objects that overlap disagree; they are left alone and the next pass goes on behind them. */
tide_status merge_pass(const struct merge_options *o, struct merge_cursor *c, uint64_t *merged,
                       struct tide_err *err) TIDE_MUST_CHECK;

/* ---- merge_make.c: members in key order, joined without a gap; the first begins where the last extends to. */
tide_status merge_make(const struct merge_options *o, const struct log_name *members, size_t n,
                       struct tide_err *err) TIDE_MUST_CHECK;
/* Tombstones for members; the caller has proved what replaces them. */
tide_status merge_bury(const struct merge_options *o, const struct log_name *members, size_t n,
                       struct tide_err *err) TIDE_MUST_CHECK;

/* The same for members inside of a large object that somebody else made, or we before a crash: it is read back, and
 * each member compared with it, before any goes.  CORRUPT: they disagree, and none does. */
tide_status merge_bury_repeated(const struct merge_options *o, const struct log_name *large,
                                const struct log_name *members, size_t n, struct tide_err *err) TIDE_MUST_CHECK;

#endif
