#ifndef TIDE_DAEMON_RESTORE_DOC_H
#define TIDE_DAEMON_RESTORE_DOC_H

/* The documents of `restore --plan` and `restore`, as DESIGN fixes them. */

#include "orchestrator/daemon/job.h"
#include "pitr/restore.h"

struct restore_facts {
    struct job *job;
    const char *requested; /* as typed */
    const struct target *target;
    const struct plan *plan;
    const struct restore_options *options;
    const struct restore_report *report;
};

/* {"kind":"target",...}: what the target means, told before anything else. */
json_t *restore_doc_target(const struct restore_facts *f);
/* {"schema":1,"plan":{...}} */
json_t *restore_doc_plan(const struct restore_facts *f);
/* {"schema":1,"data_directory",...} */
json_t *restore_doc_result(const struct restore_facts *f);

#endif
