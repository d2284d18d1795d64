#ifndef TIDE_PLUGIN_PG_H
#define TIDE_PLUGIN_PG_H

/*
 * What the files of the PostgreSQL plugin share: the instance handle,
 * connections, and statements that can be cancelled.
 *
 * A handle is used by one thread at a time.  Nothing here is kept in file
 * scope: two handles never share state.
 */

#include "plugins/postgresql/pg_pure.h"

#include <libpq-fe.h>

/* One server of the `connection` option, which may list several. */
struct pg_endpoint {
    char *host;     /* NULL: libpq's default socket directory */
    char *hostaddr; /* NULL: resolve host */
    char *port;     /* NULL: the default port */
};

struct pg_target {
    PQconninfoOption *options; /* the parsed connection string */
    struct pg_endpoint *endpoints;
    size_t n_endpoints; /* at least 1 */
};

struct pg_instance {
    const struct tide_host *host; /* borrowed */
    struct pg_target target;
    PGconn *conn;      /* ordinary connection of this handle; see pg_connect() */
    int64_t looked_ms; /* when a primary was looked for last */

    /* Strings handed to the core; each is replaced by the next call that makes one. */
    char *evidence, *server_version, *next_evidence;

    /* The backup half's own state, if it needs one; freed at close. */
    void *backup;
    void (*backup_free)(void *backup);
};

enum pg_conn_kind {
    PG_CONN_SQL = 0,         /* ordinary; prefers a primary when several hosts are given */
    PG_CONN_REPLICATION = 1, /* physical replication; named so that synchronous_standby_names can name us */
    PG_CONN_BASEBACKUP = 2,  /* physical replication, under another name */
    PG_CONN_SQL_STANDBY = 3, /* ordinary; prefers a standby */
};

/* ------------------------------------------------------------ connections */

/* Reads the options; connects to nothing. */
int pg_target_open(const struct tide_host *host, struct pg_target *target, struct tide_err *err) PG_MUST_CHECK;
void pg_target_clear(struct pg_target *target);
/* What was written for a keyword of the connection string, or NULL. */
const char *pg_target_option(const struct pg_target *target, const char *keyword);

/*
 * Opens a connection to the best of the hosts (see enum pg_conn_kind), or to
 * one endpoint only.  *conn is the caller's to PQfinish().  Blocks for at most
 * connect_timeout for each host and returns early when cancelled.
 * TIDE_DENIED: wrong password, no entry in pg_hba.conf, certificate refused.
 * TIDE_AGAIN: nobody answers, or the server is starting or full.
 */
int pg_conn_open(const struct tide_host *host, const struct pg_target *target, enum pg_conn_kind kind, PGconn **conn,
                 struct tide_err *err) PG_MUST_CHECK;
int pg_conn_open_endpoint(const struct tide_host *host, const struct pg_target *target,
                          const struct pg_endpoint *endpoint, enum pg_conn_kind kind, PGconn **conn,
                          struct tide_err *err) PG_MUST_CHECK;
/* inst->conn, opened when it is not there or is broken, or, of several hosts, is a standby's and a primary answers.
 */
int pg_connect(struct pg_instance *inst, struct tide_err *err) PG_MUST_CHECK;
void pg_disconnect(struct pg_instance *inst);

/* Another connection to the very server and port that conn has reached, of another kind. */
int pg_conn_open_same(const struct tide_host *host, const struct pg_target *target, PGconn *conn,
                      enum pg_conn_kind kind, PGconn **out, struct tide_err *err) PG_MUST_CHECK;

/* "host:port" or "/directory:port" for messages. */
void pg_endpoint_text(const struct pg_endpoint *endpoint, char *buf, size_t size);
void pg_conn_text(const PGconn *conn, char *buf, size_t size);

/* A Unix socket or a loopback address. */
bool pg_endpoint_is_local(const struct pg_endpoint *endpoint);
/* The sslmode that is used for an endpoint: what was written, else verify-full over TCP beyond loopback. */
const char *pg_target_sslmode(const struct pg_target *target, const struct pg_endpoint *endpoint);

static inline int pg_major(const PGconn *conn)
{
    return PQserverVersion(conn) / 10000;
}

/* Known from what the server reports by itself; asks nothing. */
bool pg_conn_is_standby(const PGconn *conn);

/* The name a DBA puts into synchronous_standby_names: "tidemark_" and the instance's name. */
void pg_application_name(const struct tide_host *host, char *buf, size_t size);

/* -------------------------------------------------------------- statements */

struct pg_query {
    const char *sql;
    const char *const *params; /* texts; NULL: SQL null */
    int n_params;
    int timeout_ms;     /* 0: no limit */
    bool ignore_cancel; /* for what has to be done even when cancelled; give a timeout */
    /* The phase to tell while the server rightly takes its time (a checkpoint): silence would count as a hang.  NULL:
     * a statement that should not take long. */
    const char *waiting;
};

/* Tells the host that we are in a phase of which nothing can be counted. */
void pg_tell_phase(const struct tide_host *host, const char *phase);
#define PG_TELL_MS 5000 /* so often while waiting */

/*
 * Sends a statement and waits, on the socket and on the host's cancel
 * descriptor, for its result: *res is the caller's to PQclear().  A cancelled
 * statement is cancelled on the server too, and the connection stays usable.
 * TIDE_AGAIN: the connection was lost; TIDE_DENIED: no privilege; the other
 * statuses of pg_status_of_sqlstate().
 */
int pg_query_run(const struct tide_host *host, PGconn *conn, const struct pg_query *query, PGresult **res,
                 struct tide_err *err) PG_MUST_CHECK;
int pg_query(const struct tide_host *host, PGconn *conn, const char *sql, PGresult **res,
             struct tide_err *err) PG_MUST_CHECK;
/* The same, the result thrown away. */
int pg_exec(const struct tide_host *host, PGconn *conn, const char *sql, struct tide_err *err) PG_MUST_CHECK;

/*
 * Waits until fd can be read (or written), the host is cancelled, extra_fd can
 * be read (-1: none), or the time is up.  *ready gets a set of PG_READY_*; 0
 * when the time is up.  timeout_ms -1: no limit.  Cancellation is
 * TIDE_CANCELLED unless ignore_cancel.
 */
#define PG_READY_FD    1u
#define PG_READY_EXTRA 2u
struct pg_wait {
    int fd;
    short events; /* POLLIN, POLLOUT */
    int extra_fd;
    int timeout_ms;
    bool ignore_cancel;
};
int pg_wait(const struct tide_host *host, const struct pg_wait *wait, unsigned *ready,
            struct tide_err *err) PG_MUST_CHECK;

/* Fills err from a failed result or a broken connection and returns the status. */
int pg_fail_result(const struct tide_host *host, const PGconn *conn, const PGresult *res, const char *doing,
                   struct tide_err *err);
int pg_status_of_sqlstate(const char *sqlstate);

/* Like tide_plugin_fail, with a hint. */
int pg_fail_hint(const struct tide_host *host, struct tide_err *err, int status, const char *hint, const char *fmt,
                 ...) TIDE_PLUGIN_PRINTF(5, 6);

void pg_log(const struct tide_host *host, int level, const char *event, const char *fmt, ...)
    TIDE_PLUGIN_PRINTF(4, 5);

/* One column of a result as text, or def when it is null or not there. */
const char *pg_value(const PGresult *res, int row, int column, const char *def);

/* ----------------------------------------------------------------- cleanup */

static inline void pg_conn_finishp(PGconn **conn)
{
    PQfinish(*conn);
}

static inline void pg_result_clearp(PGresult **res)
{
    PQclear(*res);
}

/* --------------------------------------------------------------- functions */

/* identify.c */
int pg_log_identify(void *inst, struct tide_log_identity *out, struct tide_err *err);
/* The evidence text of a server: identity of the log as conn sees it on the branch given (0: the current one).
 * *text is the caller's to free(). */
int pg_evidence_build(const struct tide_host *host, PGconn *repl, uint64_t branch, char **text,
                      struct tide_err *err) PG_MUST_CHECK;
/* clock.c */
int pg_clock(void *inst, struct tide_clock *out, struct tide_err *err);
/* check.c, setup.c */
int pg_check(void *inst, const struct tide_findings *out, struct tide_err *err);
int pg_setup(void *inst, const struct tide_setup_params *params, const struct tide_findings *out,
             struct tide_err *err);
/* stream.c */
int pg_log_stream(void *inst, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                  struct tide_log_stream_end *end, struct tide_err *err);

#endif
