#ifndef TIDE_WAL_WINDOW_H
#define TIDE_WAL_WINDOW_H

/*
 * The restore window: which moments can be restored, computed only from what
 * is stored and unbroken.  It under-reports, never over-reports.
 */

#include "orchestrator/repository/backup.h"
#include "wal/index.h"

struct restore_window {
    uint32_t lineage;
    int64_t earliest_us, latest_us;
    struct tide_pos from, to; /* consistency point of the first backup; end of unbroken log */
    char first_backup[BACKUP_ID_MAX];
    bool live; /* the newest lineage's last window */
};

/* Stamps that run back by more than the tolerance: a time in [from, to) has more than one meaning. */
struct ambiguous_range {
    uint32_t lineage;
    int64_t from_us, to_us;
    struct tide_pos at; /* of the object in which stamps step back */
};

struct window_gap {
    uint32_t lineage;
    struct tide_pos from, to; /* to none: up to the end */
    int64_t from_us, to_us;   /* the last time before, the first known after; TIDE_TIME_NONE: unknown */
    char reason[256];
};

struct window_set {
    struct restore_window *windows; /* by lineage, then time */
    size_t n;
    struct ambiguous_range *ambiguous;
    size_t n_ambiguous;
    struct window_gap *gaps;
    size_t n_gaps;
};

struct window_options {
    struct repo *repo;
    const char *instance;
    int64_t clock_tolerance_us;
    const struct lineage_set *lineages;
    const struct backup_list *backups;
};

tide_status window_compute(const struct window_options *o, struct window_set *out,
                           struct tide_err *err) TIDE_MUST_CHECK;
void window_set_clear(struct window_set *w);
/* The nearest restorable times around us; TIDE_TIME_NONE where there is none. */
void window_nearest(const struct window_set *w, uint32_t lineage, int64_t us, int64_t *before, int64_t *after);

/* Every stored range of a lineage read back and proved: FOUND, MISSING, CORRUPT. */
enum log_range_state { LOG_FOUND, LOG_MISSING, LOG_CORRUPT };
struct log_range {
    uint32_t lineage;
    enum log_range_state state;
    struct tide_pos from, to;
    int64_t from_us, to_us; /* commit times around; TIDE_TIME_NONE */
    const char *key, *why;  /* CORRUPT: the object; NULL */
};
typedef tide_status log_range_fn(void *ctx, const struct log_range *range, struct tide_err *err);
/* deep: contents are read and records' CRCs checked by the plugin's scanner (NULL: digests only). */
tide_status log_verify(struct repo *r, const char *instance, const struct lineage *l, struct tide_pos from,
                       struct tide_pos to, unsigned percent, const struct tide_plugin *plugin,
                       const struct tide_host *host, log_range_fn *fn, void *ctx,
                       struct tide_err *err) TIDE_MUST_CHECK;

#endif
