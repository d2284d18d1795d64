#include "orchestrator/cli/findings.h"

#include <stdio.h>

/* tidemark check: the exit codes are those of monitoring plugins. */

#define CHECK_UNKNOWN 3

static const char *const words[] = {"OK", "WARNING", "CRITICAL"};

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s != TIDE_OK)
        return s;
    s = cli_run_job(
        cli, &(struct cli_job){.job = "check", .instance = instance, .event = findings_print, .event_ctx = cli},
        &data, err);
    if (s == TIDE_OK) {
        cli->exit_code = findings_worst(json_object_get(data, "findings"));
        if (cli->json)
            out_json(data);
        else
            (void)printf("%s: instance \"%s\"\n", words[cli->exit_code], instance);
    }
    json_decref(data);
    return s;
}

static int exit_of(tide_status s)
{
    return s == TIDE_OK ? 0 : CHECK_UNKNOWN;
}

const struct cli_command cli_check = {
    .name = "check",
    .arguments = "[INSTANCE]",
    .summary = "everything that must be true for the next backup and restore to work",
    .more =
        "One line each: ok, warning or critical, a stable code, what was found, and the statement or command that\n"
        "mends it.  Exit codes are those of monitoring plugins: 0 ok, 1 warning, 2 critical, 3 unknown.",
    .run = run,
    .exit_of = exit_of,
};
