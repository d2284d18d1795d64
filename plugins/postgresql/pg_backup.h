#ifndef TIDE_PLUGIN_PG_BACKUP_H
#define TIDE_PLUGIN_PG_BACKUP_H

/* The backup half of the PostgreSQL plugin; signatures and promises are those of struct tide_plugin. */

#include "plugins/tide_plugin.h"

int pg_backup(void *inst, const struct tide_backup_params *params, const struct tide_backup_sink *sink,
              struct tide_backup_result *result, struct tide_err *err);

/*
 * Judges the pages of one block of a relation file.  inspect_number is the
 * block number of the file's first page.  Called from many threads at once.
 */
void pg_inspect(const struct tide_block_view *block, struct tide_block_verdict *verdict);

#endif
