#include "orchestrator/cli/cli.h"

#include <stdio.h>
#include <unistd.h>

/* tidemark ship */

struct view {
    bool line; /* stderr is a terminal: one line, written over */
    bool shown;
};

static void show_state(void *ctx, const json_t *state)
{
    struct view *v = ctx;
    char exposure[OUT_TEXT], unshipped[OUT_TEXT];

    if (!v->line)
        return;
    out_seconds(state, "exposure_seconds", exposure);
    out_size(state, "unshipped_bytes", unshipped);
    (void)fprintf(stderr, "\r\033[Klineage %lld  durable to %s  exposure %s  not yet shipped %s%s%s",
                  (long long)json_integer_value(json_object_get(state, "lineage")), out_str(state, "durable"),
                  exposure, unshipped, json_is_string(json_object_get(state, "problem")) ? "  " : "",
                  json_is_string(json_object_get(state, "problem")) ? out_str(state, "problem") : "");
    (void)fflush(stderr);
    v->shown = true;
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    struct view view = {.line = !cli->quiet && isatty(STDERR_FILENO) == 1};
    const char *instance = NULL;
    json_t *data = NULL;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s != TIDE_OK)
        return s;
    s = cli_run_job(cli,
                    &(struct cli_job){.job = "ship", .instance = instance, .event = show_state, .event_ctx = &view},
                    &data, err);
    if (view.shown)
        (void)fputc('\n', stderr);
    /* To be told to stop is how shipping ends well. */
    if (s == TIDE_CANCELLED) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s == TIDE_OK && cli->json && data != NULL)
        out_json(data);
    json_decref(data);
    return s;
}

const struct cli_command cli_ship = {
    .name = "ship",
    .arguments = "[INSTANCE]",
    .summary = "ship one instance's log, in the foreground, until told to stop",
    .more =
        "Receives the log as the server writes it and stores it every ship_interval.  A server or a repository that\n"
        "is away is retried for ever.  SIGTERM or Ctrl-C ends it after what was received is stored; a second\n"
        "shipper for the same instance ends with exit code 6.",
    .run = run,
};
