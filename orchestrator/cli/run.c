#include "orchestrator/cli/cli.h"

#include "orchestrator/base/log.h"
#include "orchestrator/config/config.h"
#include "orchestrator/daemon/settings.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tide_status cli_config(struct cli *cli, struct config **out, struct tide_err *err)
{
    if (cli->config == NULL) {
        tide_status s = config_load(&(struct config_sources){.file = cli->config_path}, &cli->config, err);
        if (s == TIDE_NOT_FOUND && err != NULL) /* for the exit code it is a configuration that is wrong */
            s = err->status = TIDE_INVALID;
        if (s != TIDE_OK)
            return s;
    }
    *out = cli->config;
    return TIDE_OK;
}

tide_status cli_words(const struct cli_args *args, size_t min, size_t max, struct tide_err *err)
{
    tide_status s = TIDE_OK;

    if (args->n_positional > max)
        s = tide_fail(err, TIDE_INVALID, "unexpected word \"%s\"", args->positional[max]);
    else if (args->n_positional < min)
        s = tide_fail(err, TIDE_INVALID, "%s missing", min - args->n_positional == 1 ? "a word is" : "words are");
    if (s != TIDE_OK && args->command != NULL)
        s = tide_hint(err, s, "Usage: tidemark %s %s", args->command->name, args->command->arguments);
    return s;
}

tide_status cli_instance(struct cli *cli, const struct cli_args *args, const char **out, struct tide_err *err)
{
    struct config *config = NULL;

    tide_status s = cli_config(cli, &config, err);
    if (s != TIDE_OK)
        return s;
    if (args->n_positional > 0) {
        *out = args->positional[0];
        if (repo_name_is_valid(*out))
            return TIDE_OK;
        return tide_fail(err, TIDE_INVALID, "\"%s\" cannot be an instance's name", *out);
    }
    if (config_count(config, CONFIG_INSTANCE) == 1) {
        *out = config_name(config, CONFIG_INSTANCE, 0);
        return TIDE_OK;
    }
    s = tide_fail(err, TIDE_INVALID, "which instance? The configuration has %zu",
                  config_count(config, CONFIG_INSTANCE));
    return tide_hint(err, s, "Name one; those that the repository knows are listed by: tidemark status.");
}

/* The worker may have another working directory one day: it gets the file's whole path. */
static const char *absolute_config(const struct cli *cli, char out[PATH_MAX])
{
    if (cli->config_path == NULL)
        return NULL;
    return realpath(cli->config_path, out) != NULL ? out : cli->config_path;
}

static tide_status complete_request(struct cli *cli, json_t *request, struct tide_err *err)
{
    char path[PATH_MAX];
    const char *config = absolute_config(cli, path);
    int level = cli->quiet ? TIDE_LOG_WARN : cli->verbose ? TIDE_LOG_DEBUG : TIDE_LOG_INFO;
    const char *format = config_value(cli->config, CONFIG_DAEMON, NULL, "log_format").text;
    int failed = 0;

    if (config != NULL)
        failed |= json_object_set_new(request, "config", json_string(config));
    failed |= json_object_set_new(request, "log_level", json_integer(level));
    failed |= json_object_set_new(request, "log_json", json_boolean(format != NULL && strcmp(format, "json") == 0));
    return failed != 0 ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

/* Without a deadline of its own a job gets the instance's. */
static tide_status deadline_of(struct cli *cli, const struct cli_job *job, int64_t *us, struct tide_err *err)
{
    *us = 0;
    if (job->no_deadline)
        return TIDE_OK;
    tide_status s = config_duration(cli->config, CONFIG_INSTANCE, job->instance == NULL ? "" : job->instance,
                                    "progress_deadline", us, err);
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

struct events {
    struct progress *progress;
    const struct cli_job *job;
};

static void on_progress(void *ctx, const struct worker_progress *p)
{
    const struct events *e = ctx;
    progress_show(e->progress, p);
}

static void on_log(void *ctx, const char *line)
{
    const struct events *e = ctx;
    progress_log(e->progress, line);
}

static void on_event(void *ctx, const json_t *event)
{
    const struct events *e = ctx;

    progress_end(e->progress);
    if (e->job->event != NULL)
        e->job->event(e->job->event_ctx, event);
}

tide_status cli_run_job(struct cli *cli, const struct cli_job *job, json_t **data, struct tide_err *err)
{
    json_t *request = job->request != NULL ? job->request : json_object();
    struct config *config = NULL;
    struct worker_result result = {0};
    struct progress progress;
    int64_t deadline_us = 0;

    *data = NULL;
    progress_init(&progress, cli->quiet || job->silent);
    tide_status s = cli_config(cli, &config, err);
    if (s == TIDE_OK)
        s = complete_request(cli, request, err);
    if (s == TIDE_OK)
        s = deadline_of(cli, job, &deadline_us, err);
    if (s == TIDE_OK) {
        const char *const argv[] = {"worker", job->job, job->instance, NULL};
        const struct worker_options o = {
            .argv = argv,
            .request = request,
            .progress_deadline_us = deadline_us,
            .cancel = cli->cancel,
            .events = {.ctx = &(struct events){.progress = &progress, .job = job},
                       .progress = on_progress,
                       .event = on_event,
                       .log = progress.bar ? on_log : NULL},
        };
        s = worker_run(&o, &result, err);
        progress_end(&progress);
    }
    json_decref(request);
    if (s == TIDE_OK) {
        s = result.status;
        if (s != TIDE_OK && err != NULL)
            *err = result.err;
    }
    if (s == TIDE_OK && result.degraded)
        cli->exit_code = 3;
    *data = json_incref(result.data);
    worker_result_clear(&result);
    return s;
}

tide_status cli_percent(const struct cli_args *args, const char *name, uint64_t *out, struct tide_err *err)
{
    const char *text = cli_args_value(args, name);
    char *end = NULL;

    if (text == NULL)
        return TIDE_OK;
    long v = strtol(text, &end, 10);
    if (end == text || (strcmp(end, "%") != 0 && *end != '\0') || v < 1 || v > 100)
        return tide_fail(err, TIDE_INVALID, "\"--%s %s\" is no percentage between 1%% and 100%%", name, text);
    *out = (uint64_t)v;
    return TIDE_OK;
}

tide_status cli_fail_printed(struct cli *cli, tide_status s, struct tide_err *err)
{
    out_error(err);
    cli->exit_code = tide_status_exit(s);
    return TIDE_OK;
}
