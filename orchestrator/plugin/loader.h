#ifndef TIDE_PLUGIN_LOADER_H
#define TIDE_PLUGIN_LOADER_H

/*
 * Loading an engine's plugin.  Only workers do it: a crash in a client
 * library costs one job.  A plugin is never unloaded, because client libraries
 * register state for the life of the process.
 */

#include "orchestrator/base/file.h"

struct loaded_plugin;

/*
 * The directory plugins are loaded from: `configured` when not NULL or empty, else TIDEMARK_PLUGIN_DIR (or
 * TIDE_PLUGIN_DIR) from the environment, else lib/tidemark/plugins of the installation, else "plugins" beside the
 * program.  NOT_FOUND when none of these is a directory.
 */
tide_status plugin_directory_find(const char *configured, char out[TIDE_PATH_MAX],
                                  struct tide_err *err) TIDE_MUST_CHECK;
/* The program's own file, and a program that was installed with it ("tidemark-fetch"). */
tide_status plugin_self_path(char out[TIDE_PATH_MAX], struct tide_err *err) TIDE_MUST_CHECK;
tide_status plugin_helper_path(const char *name, char out[TIDE_PATH_MAX], struct tide_err *err) TIDE_MUST_CHECK;

/* The plugin for an engine's name: "mariadb" may be served by another plugin than one of that name. */
const char *plugin_name_for_engine(const char *engine);

/*
 * Loads directory/name.so: an ordinary file of root's or ours that nobody else can write, of our ABI, with every
 * callback that its capabilities promise, and of that very name.
 *
 * NOT_FOUND: there is none; the hint lists those that are.  REFUSED: its file or directory could be changed by
 * others.  UNSUPPORTED: another ABI.  INVALID: it breaks the contract.  DENIED, IO: could not be opened.
 */
tide_status plugin_load(const char *directory, const char *name, struct loaded_plugin **out,
                        struct tide_err *err) TIDE_MUST_CHECK;
/* Frees our copy of the table; the code stays mapped.  NULL: nothing. */
void plugin_free(struct loaded_plugin *p);
void plugin_freep(struct loaded_plugin **p);

/* Valid until plugin_free.  What the plugin did not know of reads as zero. */
const struct tide_plugin *plugin_table(const struct loaded_plugin *p);
const char *plugin_path(const struct loaded_plugin *p);
/* The options as an array of our own layout; *n is set. */
const struct tide_option *plugin_options(const struct loaded_plugin *p, size_t *n);

/* The checks of plugin_load that need no file: for tests and the conformance program. */
tide_status plugin_adopt(const char *path, const char *name, const struct tide_plugin *theirs,
                         struct loaded_plugin **out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
