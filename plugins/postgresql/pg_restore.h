#ifndef TIDE_PLUGIN_PG_RESTORE_H
#define TIDE_PLUGIN_PG_RESTORE_H

/* The restore half of the PostgreSQL plugin; signatures and promises are those of struct tide_plugin, what is
 * written into a restored directory is in RESTORE.md. */

#include "plugins/tide_plugin.h"

int pg_restore_check(const struct tide_host *host, const struct tide_restore_params *params,
                     const struct tide_findings *out, char *bin_dir, size_t bin_dir_size, struct tide_err *err);
int pg_restore_prepare(const struct tide_host *host, const struct tide_restore_params *params, struct tide_err *err);
int pg_recover(const struct tide_host *host, const struct tide_restore_params *params,
               struct tide_restore_result *result, struct tide_err *err);
int pg_activate(const struct tide_host *host, const char *data_directory, const struct tide_findings *out,
                struct tide_err *err);

#endif
