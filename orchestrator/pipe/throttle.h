#ifndef TIDE_PIPE_THROTTLE_H
#define TIDE_PIPE_THROTTLE_H

/* A token bucket shared by threads: throttle_take sleeps until len bytes may pass. */

#include "orchestrator/base/thread.h"

struct throttle;

/* bytes_per_second 0: never waits. */
tide_status throttle_new(uint64_t bytes_per_second, struct throttle **out, struct tide_err *err) TIDE_MUST_CHECK;
void throttle_free(struct throttle *t);
void throttle_take(struct throttle *t, uint64_t len, const struct tide_cancel *cancel); /* t NULL: never waits */

#endif
