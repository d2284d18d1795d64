#include "orchestrator/cli/cli.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

/* tidemark log put, for a server's archive_command and for what a dead server left. */

static const struct cli_option options[] = {
    {"from", 0, "DIR", "the log directory of a server that is down: add what was never shipped"},
    {0},
};

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *from = cli_args_value(args, "from"), *instance = NULL;
    char path[PATH_MAX], added[OUT_TEXT];
    json_t *data = NULL;

    tide_status s = cli_words(args, from == NULL ? 2 : 1, from == NULL ? 2 : 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s != TIDE_OK)
        return s;
    const char *given = from != NULL ? from : args->positional[1];
    if (realpath(given, path) == NULL)
        return tide_fail(err, TIDE_INVALID, "could not open \"%s\"", given);
    json_t *request = json_pack("{s:s}", from != NULL ? "from" : "path", path);
    s = cli_run_job(
        cli, &(struct cli_job){.job = "log-put", .instance = instance, .request = request, .silent = from == NULL},
        &data, err);
    if (s == TIDE_OK && from != NULL && cli->json) {
        out_json(data);
    } else if (s == TIDE_OK && from != NULL && !cli->quiet) {
        out_size(data, "added_bytes", added);
        (void)printf("%s of log added; it now ends at %s\n", added, out_str(data, "end"));
    }
    json_decref(data);
    return s;
}

/* archive_command: anything above 125 would be taken for a signal and end the archiver. */
static int exit_of(tide_status s)
{
    int code = tide_status_exit(s);
    return code > 125 ? 1 : code;
}

const struct cli_command cli_log_put = {
    .name = "log put",
    .arguments = "INSTANCE PATH | INSTANCE --from DIR",
    .summary = "store log files: archive_command, or the rest of a dead server's log",
    .options = options,
    .more = "archive_command = 'tidemark log put shop %p'\n\n"
            "Success means durable in the repository.  Log that is there already must agree byte for byte.",
    .run = run,
    .exit_of = exit_of,
};
