#ifndef TIDE_PITR_FETCH_SERVER_H
#define TIDE_PITR_FETCH_SERVER_H

/*
 * Gives a recovering server its log files.  Listens on a socket in DIR, which
 * lies in the data directory (so that the last step is a rename in one file
 * system), and prepares the files that come next while the server replays.
 *
 * Protocol: the client sends "NAME\n" and reads one line: "ok FILE" (relative
 * to the data directory), "absent", or "error TEXT".
 */

#include "pitr/plan.h"
#include "wal/fetch.h"

#define FETCH_DIRECTORY ".tidemark-log"
#define FETCH_SOCKET    FETCH_DIRECTORY "/socket"
#define FETCH_PROGRAM   FETCH_DIRECTORY "/fetch"

struct fetch_server;

struct fetch_server_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct plan *plan;
    const struct lineage_set *lineages; /* borrowed, for the life of the server */
    const char *data_directory;
    uint64_t new_branch; /* history files below it are answered, so that the server takes this number */
    const char *program; /* tidemark-fetch; NULL: nobody will run it */
    long uid, gid;       /* who may connect and rename; -1: ourselves */
    struct tide_cancel *cancel;
};

tide_status fetch_server_start(const struct fetch_server_options *o, struct fetch_server **out,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* What the recovering server runs, in its data directory, for each file; valid until stop. */
const char *fetch_server_command(const struct fetch_server *f);
/* Stops the threads and removes the directory. */
void fetch_server_stop(struct fetch_server *f);
/* Why the server was last answered "error"; OK and empty when it never was. */
tide_status fetch_server_problem(struct fetch_server *f, char *text, size_t size);

/* One log file by name along a plan's path, into path (made new, fsynced when durable).  NOT_FOUND: proved absent. */
struct fetch_file_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct lineage_set *lineages;
    const struct lineage_step *path;
    size_t n_path;
    struct tide_pos padded_from; /* log from here on is not wanted: zero padding is right; none: never pad */
    uint64_t new_branch;
    bool durable;
};
tide_status fetch_file(const struct fetch_file_options *o, struct log_source *source,
                       const struct tide_log_file *file, const char *path, struct tide_err *err) TIDE_MUST_CHECK;

#endif
