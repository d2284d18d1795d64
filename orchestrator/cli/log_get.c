#include "orchestrator/cli/cli.h"

#include "orchestrator/cli/signals.h"
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/*
 * tidemark log get, for a server's restore_command.
 *
 * PostgreSQL takes exit codes 1 to 125 for the end of the log and would then
 * open the database; so 1 is said only when absence is proved, everything else
 * is 255, and a signal is passed on as that signal.
 */

#define GET_ABSENT 1
#define GET_FAILED 255

static const struct cli_option options[] = {
    {"lineage", 0, "N", "of this lineage and its ancestors; see log show"},
    {"until", 0, "POSITION", "log from here on is not wanted: behind it there are zeros"},
    {"own-branch", 0, "N", "the branch that the asking server is to take itself"},
    {0},
};

static tide_status build_request(const struct cli_args *args, json_t *request, struct tide_err *err)
{
    uint64_t lineage = 0, branch = 0;
    char path[PATH_MAX], cwd[PATH_MAX];
    const char *to = args->positional[2];

    tide_status s = cli_args_number(args, "lineage", 1, UINT32_MAX, 0, &lineage, err);
    if (s == TIDE_OK)
        s = cli_args_number(args, "own-branch", 1, UINT32_MAX, 0, &branch, err);
    if (s != TIDE_OK)
        return s;
    /* The server gives %p relative to its data directory, in which it started us. */
    if (to[0] == '/')
        (void)snprintf(path, sizeof path, "%s", to);
    else if (getcwd(cwd, sizeof cwd) == NULL || (size_t)snprintf(path, sizeof path, "%s/%s", cwd, to) >= sizeof path)
        return tide_fail(err, TIDE_INVALID, "the path \"%s\" is too long", to);
    (void)json_object_set_new(request, "name", json_string(args->positional[1]));
    (void)json_object_set_new(request, "path", json_string(path));
    (void)json_object_set_new(request, "lineage", json_integer((json_int_t)lineage));
    (void)json_object_set_new(request, "own_branch", json_integer((json_int_t)branch));
    if (cli_args_value(args, "until") != NULL)
        (void)json_object_set_new(request, "until", json_string(cli_args_value(args, "until")));
    return TIDE_OK;
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    json_t *request = json_object(), *data = NULL;
    const char *instance = NULL;

    tide_status s = cli_words(args, 3, 3, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = build_request(args, request, err);
    if (s != TIDE_OK) {
        json_decref(request);
        return s == TIDE_NOT_FOUND ? TIDE_INVALID : s; /* only the job proves absence */
    }
    s = cli_run_job(cli,
                    &(struct cli_job){.job = "log-get", .instance = instance, .request = request, .silent = true},
                    &data, err);
    json_decref(data);
    if (s != TIDE_OK && signals_received() != 0)
        signals_die_of(signals_received());
    return s;
}

static int exit_of(tide_status s)
{
    return s == TIDE_OK ? 0 : s == TIDE_NOT_FOUND ? GET_ABSENT : GET_FAILED;
}

const struct cli_command cli_log_get = {
    .name = "log get",
    .arguments = "INSTANCE NAME PATH [options]",
    .summary = "fetch one log file by name, for a server's restore_command",
    .options = options,
    .more = "restore_command = 'tidemark log get shop %f %p'\n\n"
            "Exit codes: 0 it is there; 1 it is proved not to be stored; 255 anything else.",
    .run = run,
    .exit_of = exit_of,
};
