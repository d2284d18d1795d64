#ifndef TIDE_CLI_CLI_H
#define TIDE_CLI_CLI_H

/* What all commands share.  One file a command; main.c holds the table. */

#include "orchestrator/cli/args.h"
#include "orchestrator/cli/output.h"
#include "orchestrator/cli/progress.h"

struct config; /* orchestrator/config/config.h */

struct cli {
    const char *config_path; /* -c; NULL: the default place */
    bool json, quiet, verbose;
    struct tide_cancel *cancel;
    struct config *config; /* owned; loaded by cli_config */
    int exit_code;         /* set by a command that succeeded in a special way: 3 degraded, check's 1 and 2 */
};

struct cli_command {
    const char *name;                 /* "backup", "log get" */
    const char *arguments;            /* "INSTANCE [options]" */
    const char *summary;              /* one line of the overview */
    const struct cli_option *options; /* NULL: none but the global ones */
    const char *more;                 /* paragraphs for its own help; NULL: none */
    tide_status (*run)(struct cli *cli, const struct cli_args *args, struct tide_err *err);
    int (*exit_of)(tide_status s); /* NULL: tide_status_exit */
    bool hidden;
};

/* init.c check.c backup.c ship.c status.c list.c log_show.c log_get.c log_put.c log_verify.c restore.c activate.c
 * verify.c keep.c config.c worker.c */
extern const struct cli_command cli_init, cli_check, cli_backup, cli_ship, cli_status, cli_list, cli_log_show,
    cli_log_get, cli_log_put, cli_log_verify, cli_restore, cli_activate, cli_verify, cli_keep, cli_config_check,
    cli_config_show, cli_worker;

/* ---- run.c */

/* The configuration, loaded once. */
tide_status cli_config(struct cli *cli, struct config **out, struct tide_err *err) TIDE_MUST_CHECK;
/* The only positional argument: an instance's name; without one, the only configured instance. */
tide_status cli_instance(struct cli *cli, const struct cli_args *args, const char **out,
                         struct tide_err *err) TIDE_MUST_CHECK;
/* At most max words; INVALID names the first one too many. */
tide_status cli_words(const struct cli_args *args, size_t min, size_t max, struct tide_err *err) TIDE_MUST_CHECK;
/* "5%" or "5"; *out stays when the option is not given. */
tide_status cli_percent(const struct cli_args *args, const char *name, uint64_t *out,
                        struct tide_err *err) TIDE_MUST_CHECK;
/* For a failure whose document is on stdout already: the error goes to stderr, the exit code is kept.  Gives OK. */
tide_status cli_fail_printed(struct cli *cli, tide_status s, struct tide_err *err);

/*
 * Runs a job in a worker and shows its progress.  request is the job's own part (owned by the call, NULL: none); what
 * every job needs is added.  *data is a new reference, or NULL; there may be some after a failure, too.  A
 * degraded end sets cli->exit_code to 3.
 */
struct cli_job {
    const char *job, *instance; /* instance NULL: none */
    json_t *request;
    bool no_deadline; /* a job that may take its time without telling */
    bool silent;      /* no progress: it is over at once */
    void (*event)(void *ctx, const json_t *event);
    void *event_ctx;
};
tide_status cli_run_job(struct cli *cli, const struct cli_job *job, json_t **data,
                        struct tide_err *err) TIDE_MUST_CHECK;

#endif
