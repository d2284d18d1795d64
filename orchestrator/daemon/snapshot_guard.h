#ifndef TIDE_DAEMON_SNAPSHOT_GUARD_H
#define TIDE_DAEMON_SNAPSHOT_GUARD_H

/*
 * Releases a snapshot when the worker that took it cannot any more: a process of its own, which waits until the
 * worker says that all is done.  A worker that dies without a word (SIGKILL, no memory, a crash) leaves a file system
 * frozen or a snapshot that fills up, and nobody else knows of it.
 */

#include "orchestrator/base/err.h"
#include <sys/types.h>

struct snapshot_guard {
    pid_t pid; /* 0: none */
    int fd;
};

#define SNAPSHOT_GUARD_INIT ((struct snapshot_guard){.fd = -1})

/* environment: what release_command is given beside ours; NULL-terminated. */
tide_status snapshot_guard_start(struct snapshot_guard *g, const char *release_command,
                                 const char *const *environment, struct tide_err *err) TIDE_MUST_CHECK;
/* Where the snapshot was mounted, as mount_command said. */
void snapshot_guard_mount(const struct snapshot_guard *g, const char *path);
/* Released, or left to somebody: the guard goes without doing anything. */
void snapshot_guard_dismiss(struct snapshot_guard *g);

#endif
