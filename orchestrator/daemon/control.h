#ifndef TIDE_DAEMON_CONTROL_H
#define TIDE_DAEMON_CONTROL_H

/* The way to a live shipper on this host. */

#include "orchestrator/daemon/job.h"
#include "wal/ship.h"

/*
 * Its socket; the repository must be open.  Without a usable state directory there is no talking to other processes,
 * but everything else works: callers go on with NULL.
 */
tide_status control_path(struct job *job, char out[TIDE_PATH_MAX], struct tide_err *err) TIDE_MUST_CHECK;
/* The file of a job that runs on this host (jobfile.h); the repository must be open. */
tide_status job_lock_path(struct job *job, const char *name, char out[TIDE_PATH_MAX],
                          struct tide_err *err) TIDE_MUST_CHECK;
/* The same, NULL instead of a failure; the first one logs why. */
const char *control_path_or_null(struct job *job, char out[TIDE_PATH_MAX]);
const char *job_lock_path_or_null(struct job *job, const char *name, char out[TIDE_PATH_MAX]);
/* Asks it to store what it has and to write a heartbeat.  False when there is none or it does not answer in time. */
bool control_flush(struct job *job, int64_t timeout_us, struct wal_ship_state *state);

/* Options of a shipper of this instance; control NULL: no socket.  job_ship.c */
struct wal_ship_options ship_options(struct job *job, const char *control);

#endif
