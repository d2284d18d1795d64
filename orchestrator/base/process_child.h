#ifndef TIDE_BASE_PROCESS_CHILD_H
#define TIDE_BASE_PROCESS_CHILD_H

/* Starting a child; for process.c. */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/process.h"
#include <sys/types.h>

struct process_child {
    pid_t pid;    /* leader of its own process group */
    int out, err; /* non-blocking read ends, or -1 */
};

/* Returns once the program runs; else why it could not be, with nothing left behind. */
tide_status process_start(const struct process_options *o, struct process_child *child,
                          struct tide_err *err) TIDE_MUST_CHECK;
const char *process_name(const struct process_options *o);

#endif
