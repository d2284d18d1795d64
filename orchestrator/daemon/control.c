#include "orchestrator/daemon/control.h"

#include "orchestrator/base/log.h"

tide_status control_path(struct job *job, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    return state_path(job->config,
                      &(struct state_name){
                          .kind = "ship", .instance = job->instance, .repo_id = repo_id(job->repo), .suffix = "sock"},
                      out, err);
}

tide_status job_lock_path(struct job *job, const char *name, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    return state_path(
        job->config,
        &(struct state_name){.kind = name, .instance = job->instance, .repo_id = repo_id(job->repo), .suffix = "job"},
        out, err);
}

const char *control_path_or_null(struct job *job, char out[TIDE_PATH_MAX])
{
    struct tide_err why = TIDE_ERR_INIT;

    if (control_path(job, out, &why) == TIDE_OK)
        return out;
    TIDE_LOG(TIDE_LOG_WARN, "state_directory", TIDE_STR("message", why.msg), TIDE_STR("hint", why.hint));
    return NULL;
}

const char *job_lock_path_or_null(struct job *job, const char *name, char out[TIDE_PATH_MAX])
{
    struct tide_err ignored = TIDE_ERR_INIT;

    return job_lock_path(job, name, out, &ignored) == TIDE_OK ? out : NULL;
}

bool control_flush(struct job *job, int64_t timeout_us, struct wal_ship_state *state)
{
    char path[TIDE_PATH_MAX];
    struct tide_err why = TIDE_ERR_INIT;

    tide_status s = control_path(job, path, &why);
    if (s == TIDE_OK)
        s = wal_ship_flush(path, timeout_us, state, &why);
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        TIDE_LOG(TIDE_LOG_INFO, "ship.flush", TIDE_STR("instance", job->instance), TIDE_STR("message", why.msg));
    return s == TIDE_OK;
}
