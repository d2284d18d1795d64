#ifndef TIDE_REPOSITORY_LEASE_H
#define TIDE_REPOSITORY_LEASE_H

/*
 * leases/JOB/GENERATION: who does a job now.  Renewing makes the next
 * generation.  A taker makes N+1 after watching N stay the newest for the
 * lease's time on its own monotonic clock.  Leases save work; nothing is
 * correct because of one.
 */

#include "orchestrator/repository/record.h"

struct lease;

struct lease_options {
    const char *instance, *job; /* "ship", "backup" */
    int64_t lease_us;
    int64_t wait_us; /* how long to watch before giving up; 0: give up at once when held */
};

/* BUSY names the holder (host, pid, since).  A background thread renews. */
tide_status lease_take(struct repo *r, const struct lease_options *o, struct lease **out, struct tide_err *err) TIDE_MUST_CHECK;
/* False once somebody else has made a newer generation or renewing failed for the lease's time. */
bool lease_is_held(const struct lease *l);
void lease_release(struct lease *l); /* makes a "released" generation; NULL: nothing */

#endif
