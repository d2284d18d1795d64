#ifndef TIDE_BASE_PROCESS_H
#define TIDE_BASE_PROCESS_H

/* Child processes: no shell unless asked for, no inherited descriptors, a deadline, bounded output. */

#include "orchestrator/base/buf.h"
#include "orchestrator/base/thread.h"

struct process_options {
    const char *const *argv;    /* NULL-terminated; or: */
    const char *shell;          /* one string for /bin/sh -c */
    const char *const *env_add; /* NAME=value, NULL-terminated, or NULL */
    const char *user;           /* run as, when we are root; NULL: stay */
    const char *directory;
    int64_t deadline_us;        /* from start; 0: none.  Then SIGTERM, 5 s later SIGKILL, to the group */
    struct tide_cancel *cancel; /* the same on cancellation; NULL: none */
    struct tide_buf *out;       /* stdout, its rest dropped past max; NULL: /dev/null */
    struct tide_buf *err_out;   /* stderr; NULL: ours */
};

/* Waits for the end.  *exit_code is 0..255, or 128 + signal.  TIDE_AGAIN past the deadline. */
tide_status process_run(const struct process_options *o, int *exit_code, struct tide_err *err) TIDE_MUST_CHECK;

#endif
