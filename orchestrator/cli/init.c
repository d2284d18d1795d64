#include "orchestrator/cli/findings.h"

#include <stdio.h>

/* tidemark init */

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s != TIDE_OK)
        return s;
    s = cli_run_job(cli,
                    &(struct cli_job){.job = "init", .instance = instance, .event = findings_print, .event_ctx = cli},
                    &data, err);
    if (s == TIDE_OK && cli->json) {
        out_json(data);
    } else if (s == TIDE_OK && !cli->quiet) {
        (void)printf("\nNext:\n"
                     "  tidemark check %s      what else must be true\n"
                     "  tidemark ship %s       in the foreground, or as a service\n"
                     "  tidemark backup %s     the first base backup\n",
                     instance, instance, instance);
    }
    json_decref(data);
    return s;
}

const struct cli_command cli_init = {
    .name = "init",
    .arguments = "[INSTANCE]",
    .summary = "make the repository and prepare the instance; safe to repeat",
    .more =
        "Makes the repository when there is none.  With encryption_key_file configured and no such file yet, a new\n"
        "repository gets a new key, written there with mode 0600: keep a copy elsewhere, for without it nothing\n"
        "can be restored.  On the server a replication slot is made that holds nothing back until a shipper runs;\n"
        "grants that are missing are printed as statements.",
    .run = run,
};
