#include "orchestrator/cli/cli.h"

#include <stdio.h>
#include <unistd.h>

/* tidemark keep */

static const struct cli_option options[] = {
    {"off", 0, NULL, "let it expire again"},
    {"yes", 0, NULL, "do not ask (needed with --off where nobody can be asked)"},
    {0},
};

static tide_status confirm(const struct cli_args *args, struct tide_err *err)
{
    char answer[8] = "";

    if (!cli_args_has(args, "off") || cli_args_has(args, "yes"))
        return TIDE_OK;
    if (isatty(STDIN_FILENO) == 1) {
        (void)fprintf(stderr, "Let backup \"%s\" expire as others do? [y/N] ", args->positional[1]);
        if (fgets(answer, sizeof answer, stdin) != NULL && (answer[0] == 'y' || answer[0] == 'Y'))
            return TIDE_OK;
        return tide_fail(err, TIDE_REFUSED, "nothing was changed");
    }
    return tide_fail(err, TIDE_REFUSED, "\"--off\" needs \"--yes\" where nobody can be asked");
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;

    tide_status s = cli_words(args, 2, 2, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = confirm(args, err);
    if (s != TIDE_OK)
        return s;
    bool keep = !cli_args_has(args, "off");
    json_t *request = json_pack("{s:s, s:b}", "backup", args->positional[1], "keep", (int)keep);
    s = cli_run_job(cli, &(struct cli_job){.job = "keep", .instance = instance, .request = request, .silent = true},
                    &data, err);
    if (s == TIDE_OK && cli->json)
        out_json(data);
    else if (s == TIDE_OK && !cli->quiet)
        (void)printf("backup \"%s\" %s\n", args->positional[1], keep ? "is kept" : "expires as others do");
    json_decref(data);
    return s;
}

const struct cli_command cli_keep = {
    .name = "keep",
    .arguments = "INSTANCE BACKUP [--off]",
    .summary = "pin or unpin a backup",
    .options = options,
    .more = "A kept backup never expires, nor does what it needs.",
    .run = run,
};
