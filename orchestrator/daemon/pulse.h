#ifndef TIDE_DAEMON_PULSE_H
#define TIDE_DAEMON_PULSE_H

/*
 * Tells the parent that a job is at work while its repository is read or
 * written.  A job that hangs moves nothing, and is stopped by the progress
 * deadline; the renewing of a lease, which goes on then, is too little to count.
 */

#include "orchestrator/plugin/worker.h"
#include "orchestrator/store/store.h"

struct pulse;

tide_status pulse_start(struct worker_channel *channel, const struct tide_store *store, struct pulse **out,
                        struct tide_err *err) TIDE_MUST_CHECK;
/* From now on what is read is shown as progress under this name; NULL: not shown. */
void pulse_show_reading(struct pulse *p, const char *phase);
void pulse_stop(struct pulse *p); /* NULL: nothing */

#endif
