#ifndef TIDE_CLI_HELP_H
#define TIDE_CLI_HELP_H

/* Help, made from the tables that the parser reads. */

#include "orchestrator/cli/cli.h"
#include <stdio.h>

extern const struct cli_option cli_global_options[]; /* main.c */

/* commands ends with NULL. */
void help_overview(FILE *to, const struct cli_command *const *commands);
void help_command(const struct cli_command *command);

#endif
