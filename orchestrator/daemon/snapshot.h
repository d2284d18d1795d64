#ifndef TIDE_DAEMON_SNAPSHOT_H
#define TIDE_DAEMON_SNAPSHOT_H

/*
 * The DBA's own commands around a snapshot.  Each runs in a shell with
 * TIDEMARK_INSTANCE, TIDEMARK_BACKUP, TIDEMARK_DATA_DIRECTORY and TIDEMARK_MOUNT
 * in its environment.  mount_command prints where it mounted, or prints nothing
 * and mounts at TIDEMARK_MOUNT, an empty directory made for it.
 */

#include "orchestrator/daemon/job.h"

struct snapshot;

tide_status snapshot_new(struct job *job, const char *backup_id, struct snapshot **out,
                         struct tide_err *err) TIDE_MUST_CHECK;
/* Releases what was taken and not yet released, also when cancelled; NULL: nothing. */
void snapshot_free(struct snapshot *s);
/* For struct tide_backup_sink.snapshot; ctx is the snapshot.  A command past snapshot_deadline is ended, and what it
 * may have taken is released. */
int snapshot_act(struct snapshot *s, int action, char *path, size_t path_size, struct tide_err *err);

#endif
