#ifndef TIDE_PLUGIN_PG_RECORDER_H
#define TIDE_PLUGIN_PG_RECORDER_H

/*
 * A host whose errors are kept as text instead of being put into an error of
 * the core's: for what is tried and told as a finding or a log line, and for
 * threads of our own, which have no struct tide_err.  Pass NULL as err with it.
 */

#include "plugins/tide_plugin.h"

struct pg_recorder {
    struct tide_host host; /* give this to the helpers */
    const struct tide_host *real;
    char message[1200], hint[600];
    /* Instead of the real host's cancellation, when set. */
    bool (*stopped)(void *ctx);
    void *stopped_ctx;
    int stop_fd;
};

void pg_recorder_init(struct pg_recorder *r, const struct tide_host *real);

#endif
