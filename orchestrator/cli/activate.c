#include "orchestrator/cli/findings.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* tidemark activate */

static const struct cli_option options[] = {
    {"engine", 0, "NAME", "the engine, where the directory does not tell"},
    {0},
};

/* The file that tells an engine's data directory from any other. */
static const struct {
    const char *file, *engine;
} marks[] = {{"PG_VERSION", "postgresql"}, {"ibdata1", "mysql"}};

static const char *guess_engine(const char *directory)
{
    char path[PATH_MAX + 32];

    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", directory, marks[i].file);
        if (access(path, F_OK) == 0)
            return marks[i].engine;
    }
    return NULL;
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *engine = cli_args_value(args, "engine");
    char directory[PATH_MAX];
    json_t *data = NULL;

    tide_status s = cli_words(args, 1, 1, err);
    if (s != TIDE_OK)
        return s;
    if (realpath(args->positional[0], directory) == NULL)
        return tide_fail(err, TIDE_INVALID, "there is no directory \"%s\"", args->positional[0]);
    if (engine == NULL)
        engine = guess_engine(directory);
    if (engine == NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no data directory of a known engine", directory);
    json_t *request = json_pack("{s:s, s:s}", "directory", directory, "engine", engine);
    s = cli_run_job(
        cli, &(struct cli_job){.job = "activate", .request = request, .event = findings_print, .event_ctx = cli},
        &data, err);
    if (s == TIDE_OK && cli->json)
        out_json(data);
    else if (s == TIDE_OK && !cli->quiet)
        (void)printf("\"%s\" is out of quarantine\n", directory);
    json_decref(data);
    return s;
}

const struct cli_command cli_activate = {
    .name = "activate",
    .arguments = "DIR",
    .summary = "take a restored instance out of quarantine",
    .options = options,
    .more =
        "Removes the one file of settings that keeps a restored instance from archiving, replicating and listening,\n"
        "and says what has to be restarted for that.",
    .run = run,
};
