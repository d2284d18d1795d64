#ifndef TIDE_CLI_FINDINGS_H
#define TIDE_CLI_FINDINGS_H

/* Lines of `check` and `init`, printed as they come. */

#include "orchestrator/cli/cli.h"

/* For struct cli_job.event; ctx is the struct cli.  Prints nothing with --json; with -q only what is not ok. */
void findings_print(void *ctx, const json_t *finding);
/* 0 ok, 1 warning, 2 critical */
int findings_worst(const json_t *findings);

#endif
