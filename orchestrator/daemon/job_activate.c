#include "orchestrator/daemon/report.h"

#include "orchestrator/base/cleanup.h"

/* Takes a restored instance out of quarantine. */

tide_status job_activate(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(report_clear) struct report r = {0};

    tide_status s = report_init(&r, job, err);
    if (s == TIDE_OK)
        s = job_open_plugin(job, err);
    if (s == TIDE_OK && job->plugin->activate == NULL)
        s = tide_fail(err, TIDE_UNSUPPORTED, "engine \"%s\" has no quarantine", job->plugin->name);
    if (s != TIDE_OK)
        return s;
    struct tide_findings sink = report_sink(&r);
    s = (tide_status)job->plugin->activate(job->host, job_text(job, "directory"), &sink, err);
    if (s == TIDE_OK)
        job->data = json_pack("{s:i, s:s, s:O}", "schema", 1, "data_directory", job_text(job, "directory"),
                              "findings", r.list);
    return s;
}
