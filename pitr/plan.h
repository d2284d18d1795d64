#ifndef TIDE_PITR_PLAN_H
#define TIDE_PITR_PLAN_H

/*
 * The plan comes first: before a byte is copied it is proved that the base
 * backup and every log object up to the target exist and join without a gap;
 * else TIDE_OUTSIDE, with the nearest restorable times before and after.
 */

#include "pitr/target.h"
#include "wal/window.h"

struct plan_commit {
    struct tide_pos start, end;
    int64_t time_us; /* TIDE_TIME_NONE: there is no such commit */
    uint64_t transaction;
};

struct plan_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct target *target;
    const char *backup_id; /* --backup; NULL: the newest that serves */
    uint32_t lineage;      /* --lineage; 0: the one live at that time */
    int64_t clock_tolerance_us;
};

struct plan {
    struct backup backup;
    uint32_t lineage;
    struct lineage_step path[LINEAGE_PATH_MAX]; /* clipped: from the backup's start to the end needed */
    size_t n_path;
    char *evidence; /* owned: of the lineage at the target */
    uint64_t branch;
    enum tide_target_kind kind;       /* replay to `included`, or only to consistency */
    struct plan_commit included;      /* last commit that will be there */
    struct plan_commit excluded;      /* first that will not */
    struct tide_pos log_from, log_to; /* log that is read: [log_from, log_to) */
    struct tide_pos target_start;     /* of the last record to replay; none: not known, stop at consistency */
    struct tide_pos expected_end;     /* where the restored instance's branch must fork */
    int64_t target_us;                /* the moment asked for, or the included commit's */
    char *settings;                   /* owned: key=value lines that the log demands; or NULL */
    uint64_t log_objects, log_bytes, requests;
};

tide_status plan_build(const struct plan_options *o, struct plan *out, struct tide_err *err) TIDE_MUST_CHECK;
void plan_clear(struct plan *p);

#endif
