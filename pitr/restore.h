#ifndef TIDE_PITR_RESTORE_H
#define TIDE_PITR_RESTORE_H

/* Carries a plan out: files, log, recovery, proof. */

#include "orchestrator/base/file.h"
#include "pitr/plan.h"

/* Findings copied out of a plugin. */
struct tide_finding_list {
    struct finding {
        uint32_t severity;
        char *code, *message, *fix; /* owned */
    } * items;
    size_t n;
};
void finding_list_free(struct tide_finding_list *l);
struct tide_findings finding_list_sink(struct tide_finding_list *l); /* collects into l */

struct restore_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const struct plan *plan;
    const char *moving;           /* the target as typed when it moves on with time ("latest"); NULL: it stands */
    const char *into;             /* data directory to make */
    const char *tablespaces_into; /* NULL: INTO.tablespaces */
    const char *const *tablespace_map; /* "NAME=DIR" or "OID=DIR", NULL-terminated; NULL: none */
    const char *bin_dir, *os_user, *listen, *init_file;
    uint32_t port;
    bool no_start;
    unsigned jobs;
    const char *fetch_program;   /* absolute path of tidemark-fetch */
    const char *log_get_command; /* for --no-start: `tidemark -c ... log get ...` with %f and %p */
    struct tide_cancel *cancel;
    void (*progress)(void *ctx, const struct tide_progress *p); /* from any thread */
    void *progress_ctx;
};

struct restore_report {
    struct tide_restore_result instance;
    uint64_t bytes, needed_bytes, free_bytes;
    int64_t started_us, finished_us;
    char bin_dir[TIDE_PATH_MAX];
    struct tide_finding_list findings; /* owned; warnings and problems of the preflight */
};

/* Looks only: binaries, libraries, space, port, target directory.  Problems of severity 2 make restore_run fail. */
tide_status restore_preflight(const struct restore_options *o, struct restore_report *report,
                              struct tide_err *err) TIDE_MUST_CHECK;
/*
 * REFUSED: the directory is not empty, or carries the marker of another restore.  A directory with the marker of
 * this very restore is resumed.  CORRUPT: recovery ended elsewhere than planned; the server was stopped.
 */
tide_status restore_run(const struct restore_options *o, struct restore_report *report,
                        struct tide_err *err) TIDE_MUST_CHECK;
void restore_report_clear(struct restore_report *r);

#endif
