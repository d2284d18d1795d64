#ifndef TIDE_DAEMON_REPORT_H
#define TIDE_DAEMON_REPORT_H

/* Findings of `check` and `init`: sent to the command as they come, and kept for the document. */

#include "orchestrator/daemon/job.h"

struct report {
    struct job *job;
    json_t *list; /* owned */
    uint32_t worst;
};

tide_status report_init(struct report *r, struct job *job, struct tide_err *err) TIDE_MUST_CHECK;
void report_clear(struct report *r);
/* severity 0 ok, 1 warning, 2 critical; fix NULL: none. */
void report_add(struct report *r, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
    TIDE_PRINTF(5, 6);
/* A failure as a finding. */
void report_failure(struct report *r, uint32_t severity, const char *code, const struct tide_err *err);
/* For plugins. */
struct tide_findings report_sink(struct report *r);

#endif
