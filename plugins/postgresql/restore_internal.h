#ifndef TIDE_PLUGIN_PG_RESTORE_INTERNAL_H
#define TIDE_PLUGIN_PG_RESTORE_INTERNAL_H

/* What the files of the restore half share. */

#include "plugins/postgresql/control.h"
#include "plugins/postgresql/pg.h"
#include "plugins/postgresql/pg_files.h"
#include "plugins/postgresql/pg_restore.h"
#include "plugins/postgresql/recover_text.h"
#include "plugins/postgresql/settings_list.h"

#include <jansson.h>
#include <sys/types.h>

#define PG_FIRST_PORT 15432u

/* Files of ours in a restored directory; RESTORE.md says what each is for. */
#define PG_CONF_RESTORED   "tidemark_restored.conf"
#define PG_CONF_QUARANTINE "tidemark_quarantine.conf"
#define PG_CONF_RECOVERY   "tidemark_recovery.conf"
#define PG_CONF_PRIVATE    "tidemark_private.conf"
#define PG_HBA_QUARANTINE  "tidemark_hba.conf"
#define PG_HBA_PRIVATE     "tidemark_private_hba.conf"
#define PG_RECOVERY_LOG    "tidemark_recovery.log"
#define PG_SERVER_LOG      "tidemark_server.log"
#define PG_EXPECTED        "tidemark_expected"
#define PG_SOCKET_DIR      "tidemark_socket"
/* Begins the line, ended by the data directory's path, that tells what this restore wrote from what the source had,
 * which may be a restored server itself. */
#define PG_MADE_FOR      "# Written by Tidemark for the data directory "
#define PG_GATE_INCLUDE  "tidemark_restore_is_not_finished"
#define PG_CONFIG_COPIES "tidemark_config"

/* Who the server runs as.  name is NULL when that is who we are. */
struct pg_os_user {
    char *name;
    uid_t uid;
    gid_t gid;
    gid_t groups[64];
    int n_groups;
};

/* The parameters and what was found out from them.  Borrowed strings are the caller's parameters. */
struct pg_restore {
    const struct tide_host *host;
    const struct tide_restore_params *params; /* own_params: what the caller's struct has of it */
    struct tide_restore_params own_params;
    const char *dir;      /* params->data_directory */
    struct tide_err *err; /* the caller's, for failures that are passed over */
    json_t *meta;
    int major;
    struct pg_os_user user;
    char *bin_dir;
    uint32_t port;
    char *socket_directory;        /* of the finished instance */
    char *private_socket;          /* during recovery */
    int64_t raised[PG_N_INSISTED]; /* what the server asked for while it recovered, as pg_settings_insisted */
};

/* ------------------------------------------------------- restore_context.c */

/* Parses the metadata and resolves the user; needs no binaries.  Clear it in both cases. */
int pg_restore_open(struct pg_restore *r, const struct tide_host *host, const struct tide_restore_params *params,
                    struct tide_err *err) PG_MUST_CHECK;
void pg_restore_clear(struct pg_restore *r);
struct pg_owner pg_restore_owner(const struct pg_restore *r);
/* "<data directory>/<name>", the caller's to free(); TIDE_NO_MEMORY. */
int pg_restore_path(const struct pg_restore *r, const char *name, char **path, struct tide_err *err) PG_MUST_CHECK;
const char *pg_meta_text(const struct pg_restore *r, const char *key);
int64_t pg_meta_number(const struct pg_restore *r, const char *key, int64_t def);
/* Chooses the sockets' directories and makes them. */
int pg_restore_make_sockets(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* A directory of the server's user, 0700. */
int pg_restore_make_dir(const struct pg_restore *r, const char *path, struct tide_err *err) PG_MUST_CHECK;
/* Whether nobody listens there; listen NULL: 127.0.0.1. */
bool pg_port_is_free(uint32_t port, const char *listen);
/* params->port, or the first free one; 0 when there is none. */
uint32_t pg_port_choose(const struct tide_restore_params *params);
/* The sockets' directories that pg_restore_make_sockets() would choose; texts of the caller's to free(). */
int pg_restore_choose_sockets(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;

/* ------------------------------------------------------- restore_process.c */

struct pg_process {
    const char *const *argv; /* argv[0] is a path */
    const struct pg_os_user *user;
    const char *directory; /* to run in, or NULL */
    int output_fd;         /* for stdout and stderr; -1: /dev/null */
    bool die_with_us;      /* killed (SIGQUIT) when the calling thread ends */
};

int pg_process_start(const struct tide_host *host, const struct pg_process *process, pid_t *pid,
                     struct tide_err *err) PG_MUST_CHECK;
/*
 * Runs a program to its end and collects what it writes (at most 64 KiB).
 * Killed when the host is cancelled or the time is up.  *exit_code is -1 when a
 * signal ended it.
 */
int pg_process_run(const struct tide_host *host, const struct pg_process *process, int timeout_ms,
                   struct pg_text *output, int *exit_code, struct tide_err *err) PG_MUST_CHECK;

/* ------------------------------------------------------ restore_binaries.c */

struct pg_binaries {
    char *dir;
    char version[64]; /* "15.20 (Debian 15.20-0+deb12u1)" */
    int major, minor;
};

/* TIDE_NOT_FOUND: nowhere; the message lists where it was looked for. */
int pg_binaries_find(const struct pg_restore *r, struct pg_binaries *out, struct tide_err *err) PG_MUST_CHECK;
/* Directories in which libraries of the server lie; lines of the text. */
int pg_binaries_library_dirs(const struct pg_restore *r, const char *bin_dir, struct pg_text *dirs,
                             struct tide_err *err) PG_MUST_CHECK;

/* ------------------------------------------------------ restore_settings.c */

/* The largest of what the backup, pg_control and the log ask for. */
int64_t pg_settings_required(const struct pg_restore *r, const char *name);
/* Bytes of memory this host lets us have: the machine's or the control group's. */
uint64_t pg_host_memory(void);

/* -------------------------------------------------------- restore_config.c */

/* tidemark_restored.conf alone, for another port. */
int pg_config_write_restored(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* Everything but postgresql.conf. */
int pg_config_write_all(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* postgresql.conf that makes every start by hand fail with a message that says why. */
int pg_config_write_gate(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* postgresql.conf of the finished instance, or with_recovery: of one that recovers when it is started. */
int pg_config_write_final(struct pg_restore *r, bool with_recovery, struct tide_err *err) PG_MUST_CHECK;

/* --------------------------------------------------- restore_tablespaces.c */

int pg_tablespaces_link(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* Where tablespace OID (named NAME at the source) goes, or NULL. */
const char *pg_tablespaces_target(const struct pg_restore *r, const char *oid, const char *name, char *buf,
                                  size_t size);

/* -------------------------------------------------------- recover_server.c */

/* The private server during recovery. */
struct pg_private {
    pid_t pid;
    PGconn *conn;
    off_t log_from; /* where this run begins in the log file */
};

int pg_private_start(struct pg_restore *r, struct pg_private *server, struct tide_err *err) PG_MUST_CHECK;
/* Connects when it can; conn stays NULL while the server does not yet take connections. */
void pg_private_connect(struct pg_restore *r, struct pg_private *server);
/* True once it has ended by itself. */
bool pg_private_ended(struct pg_private *server);
/* SIGINT: a clean end with a checkpoint.  Killed when cancelled. */
int pg_private_stop(struct pg_restore *r, struct pg_private *server, struct tide_err *err) PG_MUST_CHECK;
/* SIGQUIT and wait; never fails. */
void pg_private_kill(struct pg_private *server);
/* What a log file says from an offset on; the caller's to free(), NULL when it cannot be read. */
char *pg_log_tail(const struct pg_restore *r, const char *name, off_t from);
/* Ends a server that an earlier, killed restore left in this directory. */
int pg_leftover_stop(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;

/* pg_ctl start, waiting for it, with the log in tidemark_server.log. */
int pg_server_start(struct pg_restore *r, struct tide_err *err) PG_MUST_CHECK;
/* The commands a person types, with the change of user in front when that is needed. */
void pg_server_commands(const struct pg_restore *r, struct tide_restore_result *result);

/* --------------------------------------------------------- recover_proof.c */

/*
 * Reads where the new timeline forked from, and compares it with the plan.
 * TIDE_CORRUPT: recovery ended elsewhere.
 */
int pg_proof_check(struct pg_restore *r, uint32_t timeline, struct tide_pos *reached,
                   struct tide_err *err) PG_MUST_CHECK;

#endif
