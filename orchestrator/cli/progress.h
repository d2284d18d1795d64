#ifndef TIDE_CLI_PROGRESS_H
#define TIDE_CLI_PROGRESS_H

/* How far a job is, on stderr: a bar on a terminal, otherwise a line now and then.  Log lines pass above the bar. */

#include "orchestrator/plugin/worker.h"

struct progress {
    bool bar;   /* stderr is a terminal */
    bool quiet; /* nothing at all */
    bool shown; /* a bar stands on the current line */
    char phase[64];
    int64_t phase_at_us;   /* monotonic */
    int64_t printed_at_us; /* of the last line without a terminal */
    uint64_t phase_bytes;  /* bytes_done when the phase began */
};

void progress_init(struct progress *p, bool quiet);
/* For struct worker_events; ctx is the struct progress. */
void progress_show(void *ctx, const struct worker_progress *w);
void progress_log(void *ctx, const char *line);
/* Takes the bar away. */
void progress_end(struct progress *p);

#endif
