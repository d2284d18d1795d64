#include "orchestrator/daemon/job.h"

#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/status.h"
#include "orchestrator/repository/lineage.h"
#include <string.h>

/* The state of one instance, as one element of the document's `instances`. */

tide_status job_status(struct job *job, struct tide_err *err)
{
    char control[TIDE_PATH_MAX], lock[TIDE_PATH_MAX];

    tide_status s = job_open_repo(job, err);
    if (s == TIDE_OK && job->instance == NULL)
        return tide_fail(err, TIDE_INVALID, "status needs an instance");
    if (s == TIDE_OK && !config_has(job->config, CONFIG_INSTANCE, job->instance)) {
        char engine[32];
        s = instance_engine(job->repo, job->instance, engine, err);
        if (s == TIDE_NOT_FOUND)
            s = tide_fail(err, TIDE_INVALID, "neither the configuration nor the repository knows an instance \"%s\"",
                          job->instance);
    }
    if (s != TIDE_OK)
        return s;
    return status_compute(&(struct status_options){.repo = job->repo,
                                                   .instance = job->instance,
                                                   .settings = &job->settings,
                                                   .control_path = control_path_or_null(job, control),
                                                   .backup_lock = job_lock_path_or_null(job, "backup", lock)},
                          &job->data, err);
}

static tide_status add_name(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    const char *slash = strrchr(e->key, '/');
    const char *name = slash != NULL && slash[1] == '\0' ? NULL : slash == NULL ? e->key : slash + 1;
    char copy[REPO_NAME_MAX + 1];

    /* A folder's key ends in '/': the name is what stands before it. */
    if (name == NULL) {
        size_t end = (size_t)(slash - e->key), begin = end;
        while (begin > 0 && e->key[begin - 1] != '/')
            begin--;
        (void)snprintf(copy, sizeof copy, "%.*s", (int)(end - begin), e->key + begin);
        name = copy;
    }
    if (json_array_append_new(ctx, json_string(name)) != 0)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    return TIDE_OK;
}

tide_status job_instances(struct job *job, struct tide_err *err)
{
    tide_status s = job_open_repo(job, err);
    if (s != TIDE_OK)
        return s;
    job->data = json_array();
    return repo_instances(job->repo, add_name, job->data, err);
}
