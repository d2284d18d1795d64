#ifndef TIDE_DAEMON_BACKUP_LOG_H
#define TIDE_DAEMON_BACKUP_LOG_H

/*
 * A backup counts only with the log from its start to its stop.  A live shipper
 * brings it; where nobody ships, the backup ships that range itself, and sets
 * log_alone.
 */

#include "orchestrator/daemon/job.h"
#include "orchestrator/repository/backup.h"

tide_status backup_log_ensure(struct job *job, struct backup *b, struct tide_err *err) TIDE_MUST_CHECK;

#endif
