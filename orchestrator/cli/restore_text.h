#ifndef TIDE_CLI_RESTORE_TEXT_H
#define TIDE_CLI_RESTORE_TEXT_H

/* What a restore tells people, at night: the target first, the plan, the result, and what to do next. */

#include "orchestrator/cli/cli.h"

/* Events of the job, on stderr while it runs; ctx is the struct cli. */
void restore_text_event(void *ctx, const json_t *event);
void restore_text_plan(const json_t *doc);
void restore_text_result(const json_t *doc);

#endif
