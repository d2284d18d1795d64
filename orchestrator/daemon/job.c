#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/lineage.h"
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    job_fn *run;
} jobs[] = {
    {"init", job_init},       {"check", job_check},           {"backup", job_backup},
    {"ship", job_ship},       {"status", job_status},         {"instances", job_instances},
    {"list", job_list},       {"log-show", job_log_show},     {"log-get", job_log_get},
    {"log-put", job_log_put}, {"log-verify", job_log_verify}, {"verify", job_verify},
    {"restore", job_restore}, {"activate", job_activate},     {"keep", job_keep},
};

/* ----------------------------------------------------------------- request */

const char *job_text(const struct job *job, const char *member)
{
    const char *text = json_string_value(json_object_get(job->request, member));
    return text == NULL || text[0] == '\0' ? NULL : text;
}

bool job_flag(const struct job *job, const char *member)
{
    return json_is_true(json_object_get(job->request, member));
}

uint64_t job_number(const struct job *job, const char *member, uint64_t def)
{
    const json_t *v = json_object_get(job->request, member);
    return json_is_integer(v) ? (uint64_t)json_integer_value(v) : def;
}

/* ---------------------------------------------------------------- progress */

void job_progress(void *ctx, const struct tide_progress *p)
{
    struct job *job = ctx;
    struct worker_progress w = {.bytes_done = p->bytes_done,
                                .bytes_total = p->bytes_total,
                                .time_us = p->time_us,
                                .until_us = p->time_us == TIDE_TIME_NONE ? TIDE_TIME_NONE : job->until_us};

    if (p->bytes_total > 0)
        atomic_store(&job->bytes_total, p->bytes_total);
    (void)snprintf(w.phase, sizeof w.phase, "%s", p->phase == NULL ? "working" : p->phase);
    worker_send_progress(job->channel, &w);
}

void job_phase(struct job *job, const char *phase)
{
    job_progress(job, &(struct tide_progress){.phase = phase, .time_us = TIDE_TIME_NONE});
}

/* ----------------------------------------------------------------- opening */

tide_status job_start_pulse(struct job *job, struct tide_err *err)
{
    return pulse_start(job->channel, repo_store(job->repo), &job->pulse, err);
}

tide_status job_open_repo(struct job *job, struct tide_err *err)
{
    if (job->repo != NULL)
        return TIDE_OK;
    tide_status s = settings_repo_open(job->config, job->instance, job->cancel, &job->repo, err);
    return s != TIDE_OK ? s : job_start_pulse(job, err);
}

static tide_status engine_name(struct job *job, char out[32], struct tide_err *err)
{
    const char *given = job_text(job, "engine");
    if (given == NULL)
        given = job->settings.engine;
    if (given != NULL) {
        (void)snprintf(out, 32, "%s", given);
        return TIDE_OK;
    }
    if (job->instance == NULL)
        return tide_fail(err, TIDE_INVALID, "no engine is named");
    tide_status s = job_open_repo(job, err);
    if (s != TIDE_OK)
        return s;
    s = instance_engine(job->repo, job->instance, out, err);
    if (s == TIDE_NOT_FOUND) {
        s = tide_fail(err, TIDE_INVALID, "neither the configuration nor the repository knows an instance \"%s\"",
                      job->instance);
        return tide_hint(err, s, "Instances of the repository are listed by: tidemark status.");
    }
    return s;
}

/* A plugin sees its own options only. */
static tide_status plugin_option(void *ctx, const char *key, struct tide_secret *value, struct tide_err *err)
{
    const struct job *job = ctx;
    size_t n;
    const struct tide_option *options = plugin_options(job->loaded, &n);

    for (size_t i = 0; i < n && job->instance != NULL; i++)
        if (strcmp(options[i].key, key) == 0)
            return config_engine_option(job->config, job->instance, &options[i], value, err);
    return tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is no option of this engine", key);
}

tide_status job_open_plugin(struct job *job, struct tide_err *err)
{
    char directory[TIDE_PATH_MAX], engine[32];

    if (job->plugin != NULL)
        return TIDE_OK;
    tide_status s = engine_name(job, engine, err);
    if (s == TIDE_OK)
        s = plugin_directory_find(config_value(job->config, CONFIG_DAEMON, NULL, "plugin_directory").text, directory,
                                  err);
    if (s == TIDE_OK)
        s = plugin_load(directory, plugin_name_for_engine(engine), &job->loaded, err);
    if (s != TIDE_OK)
        return s;
    size_t n;
    const struct tide_option *options = plugin_options(job->loaded, &n);
    if (job->instance != NULL)
        s = config_validate_instance(job->config, job->instance, options, n, err);
    if (s == TIDE_OK)
        s = plugin_host_new(&(struct plugin_host_options){.instance = job->instance == NULL ? "" : job->instance,
                                                          .cancel = job->cancel,
                                                          .option = plugin_option,
                                                          .option_ctx = job,
                                                          .progress = job_progress,
                                                          .progress_ctx = job},
                            &job->host_box, err);
    if (s != TIDE_OK)
        return s;
    job->plugin = plugin_table(job->loaded);
    job->host = plugin_host_table(job->host_box);
    return TIDE_OK;
}

tide_status job_open(struct job *job, struct tide_err *err)
{
    tide_status s = job_open_repo(job, err);
    return s == TIDE_OK ? job_open_plugin(job, err) : s;
}

tide_status job_plugin_open(struct job *job, void **handle, struct tide_err *err)
{
    return (tide_status)job->plugin->open(job->host, handle, err);
}

/* -------------------------------------------------------------------- life */

static job_fn *find_job(const char *name)
{
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++)
        if (strcmp(jobs[i].name, name) == 0)
            return jobs[i].run;
    return NULL;
}

static tide_status run(struct job *job, struct tide_err *err)
{
    job_fn *fn = find_job(job->name);
    if (fn == NULL)
        return tide_fail(err, TIDE_INVALID, "there is no job \"%s\"", job->name);
    tide_status s = config_load(&(struct config_sources){.file = job_text(job, "config")}, &job->config, err);
    if (s == TIDE_OK)
        s = settings_read(job->config, job->instance, &job->settings, err);
    if (s == TIDE_OK)
        s = fn(job, err);
    /* What a cancelled wait reports is of no interest: it was cancelled. */
    if (s != TIDE_OK && s != TIDE_CORRUPT && s != TIDE_REFUSED && tide_cancel_is_set(job->cancel))
        s = tide_fail(err, TIDE_CANCELLED, "cancelled");
    return s;
}

int job_main(const char *name, const char *instance, struct tide_cancel *cancel)
{
    struct job job = {.name = name, .instance = instance, .cancel = cancel, .until_us = TIDE_TIME_NONE};
    struct tide_err err = TIDE_ERR_INIT;
    char id[64];

    tide_status s = worker_channel_open(&job.channel, &err);
    if (s != TIDE_OK) {
        (void)fprintf(stderr, "tidemark: %s\n", err.msg);
        return tide_status_exit(s);
    }
    job.request = worker_channel_request(job.channel);
    (void)snprintf(id, sizeof id, "%s-%d", name, (int)getpid());
    tide_log_init((enum tide_log_level)job_number(&job, "log_level", TIDE_LOG_INFO),
                  job_flag(&job, "log_json") ? TIDE_LOG_JSON : TIDE_LOG_TEXT, id);
    s = run(&job, &err);

    /* The result last: everything that a successful job promised is done, everything it held is let go. */
    pulse_stop(job.pulse);
    plugin_host_free(job.host_box);
    plugin_free(job.loaded);
    repo_close(job.repo);
    config_free(job.config);
    worker_send_result(job.channel, s, &err, job.degraded, job.data);
    json_decref(job.data);
    worker_channel_close(job.channel);
    return s == TIDE_OK ? 0 : 1;
}
