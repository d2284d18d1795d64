#include "orchestrator/cli/cli.h"

#include "orchestrator/daemon/job.h"

/* The other end of every job; see orchestrator/plugin/worker.h. */

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    tide_status s = cli_words(args, 1, 2, err);
    if (s != TIDE_OK)
        return s;
    cli->exit_code = job_main(args->positional[0], args->n_positional > 1 ? args->positional[1] : NULL, cli->cancel);
    return TIDE_OK;
}

const struct cli_command cli_worker = {
    .name = "worker",
    .arguments = "JOB [INSTANCE]",
    .summary = "run a job for another tidemark process",
    .run = run,
    .hidden = true,
};
