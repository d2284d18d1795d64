#ifndef TIDE_DAEMON_STATUS_H
#define TIDE_DAEMON_STATUS_H

/*
 * The state of one instance, as `status` and the metrics show it, computed from
 * what is stored and from what a live shipper says.  Under-reports, never
 * over-reports.
 */

#include "orchestrator/daemon/settings.h"
#include "orchestrator/repository/repo.h"
#include "wal/ship.h"
#include "wal/window.h"
#include <jansson.h>

struct status_options {
    struct repo *repo;
    const char *instance;
    const struct settings *settings;
    const char *control_path; /* of a shipper on this host; NULL: do not ask */
    const char *backup_lock;  /* progress file of a backup on this host; NULL: do not look */
};

/* One element of `instances` in DESIGN's document, every key present. */
tide_status status_compute(const struct status_options *o, json_t **doc, struct tide_err *err) TIDE_MUST_CHECK;
/* The same shape for an instance of which nothing could be read. */
json_t *status_unreadable(const char *instance, const char *engine, const struct tide_err *why);

/* ---- for the parts of status.c only: status_reasons.c */

struct status_facts {
    const struct status_options *o;
    int64_t now_us;
    struct lineage_set lineages;
    struct backup_list backups;
    struct window_set windows;
    bool live; /* a shipper answered */
    struct wal_ship_state shipper;
    int64_t sign_us;          /* the last sign of life of any shipper; TIDE_TIME_NONE: never one */
    int64_t latest_us;        /* latest restorable time of the newest lineage; TIDE_TIME_NONE: none */
    bool window_is_open;      /* log that comes moves it on */
    int64_t exposed_since_us; /* TIDE_TIME_NONE: unknown */
};

enum status_severity { STATUS_WARNING = 1, STATUS_ALERT = 2 };

/* Appends what is not as it should be to `reasons`; gives the worst severity, 0: nothing. */
int status_reasons(const struct status_facts *f, json_t *reasons);

#endif
