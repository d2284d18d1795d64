#ifndef TIDE_DAEMON_JOBFILE_H
#define TIDE_DAEMON_JOBFILE_H

/*
 * A small file in the state directory that tells what a running job does.  It
 * is locked while the job lives, so a file left behind by a killed one is not
 * taken for a job.
 */

#include "orchestrator/base/err.h"
#include <jansson.h>

struct jobfile;

/* job: "backup"; kind: "full". */
tide_status jobfile_open(const char *path, const char *job, const char *kind, struct jobfile **out,
                         struct tide_err *err) TIDE_MUST_CHECK;
/* At most once a second; failures are ignored.  Thread-safe. */
void jobfile_update(struct jobfile *f, uint64_t bytes_done, uint64_t bytes_total);
void jobfile_close(struct jobfile *f); /* removes the file; NULL: nothing */

/* {"job","kind","started","bytes_done","bytes_total","eta_seconds"}, or NULL when no such job runs. */
json_t *jobfile_read(const char *path);

#endif
