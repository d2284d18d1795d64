#ifndef TIDE_DAEMON_JOB_H
#define TIDE_DAEMON_JOB_H

/*
 * A job as it runs in a worker: what it was asked, and what it needs opened.
 * job_main() finds the job's function by name, runs it and sends its result.
 */

#include "orchestrator/daemon/pulse.h"
#include "orchestrator/daemon/settings.h"
#include "orchestrator/plugin/host.h"
#include "orchestrator/plugin/loader.h"
#include "orchestrator/plugin/worker.h"
#include "orchestrator/repository/repo.h"
#include <stdatomic.h>

struct job {
    const char *name;
    const char *instance; /* NULL: of no instance */
    const json_t *request;
    struct worker_channel *channel;
    struct tide_cancel *cancel;
    struct config *config; /* owned by job_main */
    struct settings settings;
    struct repo *repo;            /* job_open_repo */
    struct pulse *pulse;          /* from then on */
    struct loaded_plugin *loaded; /* job_open_plugin */
    struct plugin_host *host_box;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    atomic_uint_fast64_t bytes_total; /* as the plugin last said; 0: unknown */
    int64_t until_us;                 /* put into progress lines: the target of a replay */
    json_t *data;                     /* the result, owned; NULL: none */
    bool degraded;                    /* done, but not as it should be */
};

typedef tide_status job_fn(struct job *job, struct tide_err *err);

/* The worker's whole life: `tidemark worker JOB [INSTANCE]`.  Gives the process's exit code. */
int job_main(const char *name, const char *instance, struct tide_cancel *cancel);

/* Opens the instance's repository (the only one, when the instance is not configured). */
tide_status job_open_repo(struct job *job, struct tide_err *err) TIDE_MUST_CHECK;
/* For a job that opened the repository in its own way. */
tide_status job_start_pulse(struct job *job, struct tide_err *err) TIDE_MUST_CHECK;
/* Loads the plugin of the instance's engine - as configured, else as the repository knows it - and makes its host. */
tide_status job_open_plugin(struct job *job, struct tide_err *err) TIDE_MUST_CHECK;
/* Both. */
tide_status job_open(struct job *job, struct tide_err *err) TIDE_MUST_CHECK;

/* A connection's handle, closed by job_plugin_close. */
tide_status job_plugin_open(struct job *job, void **handle, struct tide_err *err) TIDE_MUST_CHECK;

/* The request's members; def (or NULL, false, 0) when they are missing. */
const char *job_text(const struct job *job, const char *member);
bool job_flag(const struct job *job, const char *member);
uint64_t job_number(const struct job *job, const char *member, uint64_t def);

/* Progress: struct tide_progress as plugins and pitr give it, and plain bytes. */
void job_progress(void *job, const struct tide_progress *p);
void job_phase(struct job *job, const char *phase);

/* The jobs: job_*.c */
job_fn job_init, job_check, job_backup, job_ship, job_status, job_instances, job_list, job_log_show, job_log_get,
    job_log_put, job_log_verify, job_verify, job_restore, job_activate, job_keep;

#endif
