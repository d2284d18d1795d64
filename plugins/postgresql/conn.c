#include "plugins/postgresql/pg.h"

#include <ctype.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 10000
#define SETUP_TIMEOUT_MS   30000
#define LOOK_AGAIN_MS      10000
#define MAX_KEYWORDS       80

/* -------------------------------------------------------------- connecting */

struct keywords {
    const char *keys[MAX_KEYWORDS + 1], *values[MAX_KEYWORDS + 1];
    size_t n;
    char application_name[80];
};

static void keyword_add(struct keywords *k, const char *key, const char *value)
{
    if (value == NULL || k->n >= MAX_KEYWORDS)
        return;
    k->keys[k->n] = key;
    k->values[k->n] = value;
    k->n++;
}

static bool is_ours(const char *key)
{
    static const char *const ours[] = {"host",
                                       "hostaddr",
                                       "port",
                                       "sslmode",
                                       "replication",
                                       "client_encoding",
                                       "service",
                                       "application_name",
                                       "target_session_attrs",
                                       "connect_timeout",
                                       "load_balance_hosts",
                                       "fallback_application_name"};

    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        if (strcmp(key, ours[i]) == 0)
            return true;
    return false;
}

static void keywords_make(struct keywords *k, const struct tide_host *host, const struct pg_target *target,
                          const struct pg_endpoint *endpoint, enum pg_conn_kind kind)
{
    const char *name = pg_target_option(target, "application_name");
    const char *password = host->option(host->ctx, "password");

    memset(k, 0, sizeof *k);
    pg_application_name(host, k->application_name, sizeof k->application_name);
    for (const PQconninfoOption *o = target->options; o->keyword != NULL; o++)
        if (o->val != NULL && o->val[0] != '\0' && !is_ours(o->keyword))
            keyword_add(k, o->keyword, o->val);
    keyword_add(k, "host", endpoint->host);
    keyword_add(k, "hostaddr", endpoint->hostaddr);
    keyword_add(k, "port", endpoint->port);
    keyword_add(k, "sslmode", pg_target_sslmode(target, endpoint));
    if (password != NULL)
        keyword_add(k, "password", password);
    if (kind == PG_CONN_REPLICATION && name != NULL)
        keyword_add(k, "application_name", name);
    else
        keyword_add(k, "application_name", kind == PG_CONN_REPLICATION ? k->application_name : "tidemark");
    if (kind == PG_CONN_REPLICATION || kind == PG_CONN_BASEBACKUP)
        keyword_add(k, "replication", "true");
    else
        keyword_add(k, "client_encoding", "UTF8");
    /* A peer that is gone without a word must be noticed; what the DBA wrote goes first. */
    if (pg_target_option(target, "keepalives_idle") == NULL)
        keyword_add(k, "keepalives_idle", "30");
    if (pg_target_option(target, "keepalives_interval") == NULL)
        keyword_add(k, "keepalives_interval", "10");
    if (pg_target_option(target, "keepalives_count") == NULL)
        keyword_add(k, "keepalives_count", "3");
    if (pg_target_option(target, "tcp_user_timeout") == NULL)
        keyword_add(k, "tcp_user_timeout", "60000");
}

struct failure {
    int status;
    char text[600];
};

/* "FATAL:  28P01: password ..." in verbose form: the code tells what the (translated) words would not. */
static bool sqlstate_in(const char *text, char code[6])
{
    for (const char *p = strstr(text, ": "); p != NULL; p = strstr(p + 1, ": ")) {
        const char *c = p + 1;
        size_t n = 0;

        while (*c == ' ')
            c++;
        while (n < 5 && (isdigit((unsigned char)c[n]) || isupper((unsigned char)c[n])))
            n++;
        if (n == 5 && c[5] == ':' && c[6] == ' ' && isdigit((unsigned char)c[0])) {
            memcpy(code, c, 5);
            code[5] = '\0';
            return true;
        }
    }
    return false;
}

static void failure_read(const PGconn *conn, struct failure *f)
{
    const char *text = PQerrorMessage(conn);
    const char *location = strstr(text, "LOCATION:");
    size_t len = location != NULL ? (size_t)(location - text) : strlen(text), n = 0;
    char code[6];

    if (sqlstate_in(text, code))
        f->status = pg_status_of_sqlstate(code);
    else if (PQconnectionNeedsPassword(conn) || strstr(text, "certificate") != NULL || strstr(text, "SSL") != NULL)
        f->status = TIDE_DENIED;
    else
        f->status = TIDE_AGAIN;
    for (size_t i = 0; i < len && n + 1 < sizeof f->text; i++)
        f->text[n++] = text[i] == '\n' || text[i] == '\t' ? ' ' : text[i];
    while (n > 0 && f->text[n - 1] == ' ')
        n--;
    f->text[n] = '\0';
}

static void quiet(void *arg, const char *message)
{
    (void)arg;
    (void)message;
}

static int connect_timeout_ms(const struct pg_target *target)
{
    const char *text = pg_target_option(target, "connect_timeout");
    long seconds = text != NULL ? strtol(text, NULL, 10) : 0;

    return seconds > 0 && seconds < 3600 ? (int)seconds * 1000 : CONNECT_TIMEOUT_MS;
}

/* TIDE_OK, TIDE_CANCELLED (err filled), or the status in *f. */
static int poll_connection(const struct tide_host *host, PGconn *conn, int timeout_ms, struct failure *f,
                           struct tide_err *err)
{
    int64_t deadline = pg_monotonic_ms() + timeout_ms;
    PostgresPollingStatusType st = PGRES_POLLING_WRITING;

    while (st != PGRES_POLLING_OK) {
        unsigned ready;
        int64_t left = deadline - pg_monotonic_ms();
        int s = pg_wait(host,
                        &(struct pg_wait){.fd = PQsocket(conn),
                                          .events = st == PGRES_POLLING_READING ? POLLIN : POLLOUT,
                                          .extra_fd = -1,
                                          .timeout_ms = left > 0 ? (int)left : 0},
                        &ready, err);
        if (s != TIDE_OK)
            return s;
        if (ready == 0) {
            f->status = TIDE_AGAIN;
            (void)snprintf(f->text, sizeof f->text, "no answer within %d s", timeout_ms / 1000);
            return TIDE_AGAIN;
        }
        st = PQconnectPoll(conn);
        if (st == PGRES_POLLING_FAILED) {
            failure_read(conn, f);
            return f->status;
        }
    }
    return TIDE_OK;
}

/* Settings of the DBA's or the role's that would break our statements in the middle. */
static int session_setup(const struct tide_host *host, PGconn *conn, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    static const char sql[] =
        "SELECT pg_catalog.set_config(n, v, false) FROM (VALUES ('search_path', ''), ('statement_timeout', '0'), "
        "('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'), ('idle_session_timeout', '0'), "
        "('datestyle', 'ISO'), ('transaction_timeout', '0')) AS s(n, v) "
        "WHERE n <> 'transaction_timeout' OR pg_catalog.current_setting('server_version_num')::int >= 170000";

    return pg_query_run(host, conn, &(struct pg_query){.sql = sql, .timeout_ms = SETUP_TIMEOUT_MS}, &res, err);
}

static int connect_one(const struct tide_host *host, const struct pg_target *target,
                       const struct pg_endpoint *endpoint, enum pg_conn_kind kind, const char *session_attrs,
                       PGconn **out, struct failure *f, struct tide_err *err)
{
    struct keywords k;

    keywords_make(&k, host, target, endpoint, kind);
    keyword_add(&k, "target_session_attrs", session_attrs);
    f->status = TIDE_NO_MEMORY;
    (void)snprintf(f->text, sizeof f->text, "out of memory");
    PG_AUTO(pg_conn_finishp) PGconn *conn = PQconnectStartParams(k.keys, k.values, 0);
    if (conn == NULL)
        return TIDE_NO_MEMORY;
    (void)PQsetNoticeProcessor(conn, quiet, NULL);
    (void)PQsetErrorVerbosity(conn, PQERRORS_VERBOSE);
    if (PQstatus(conn) == CONNECTION_BAD) {
        failure_read(conn, f);
        return f->status;
    }
    int s = poll_connection(host, conn, connect_timeout_ms(target), f, err);
    if (s != TIDE_OK)
        return s;
    (void)PQsetErrorVerbosity(conn, PQERRORS_DEFAULT);
    if (kind == PG_CONN_SQL || kind == PG_CONN_SQL_STANDBY) {
        s = session_setup(host, conn, err);
        if (s != TIDE_OK) {
            f->status = s;
            (void)snprintf(f->text, sizeof f->text, "the session could not be set up: %.*s",
                           (int)strcspn(PQerrorMessage(conn), "\n"), PQerrorMessage(conn));
            return s;
        }
    }
    *out = conn;
    conn = NULL;
    return TIDE_OK;
}

static int fail_connect(const struct tide_host *host, const struct pg_endpoint *endpoint, const struct failure *f,
                        struct tide_err *err)
{
    char where[300];
    const char *hint = NULL;

    pg_endpoint_text(endpoint, where, sizeof where);
    if (strstr(f->text, "root certificate") != NULL || strstr(f->text, "does not support SSL") != NULL)
        hint =
            "over TCP the server's certificate is verified: give sslrootcert= in \"connection\", or write a weaker "
            "sslmode= there";
    else if (strstr(f->text, "Peer authentication failed") != NULL || strstr(f->text, "no pg_hba.conf entry") != NULL)
        hint =
            "two lines as in README.md, \"Protect a server\": in pg_hba.conf above the others, local all,replication "
            "USER peer map=tidemark; in pg_ident.conf, tidemark OSUSER USER; then SELECT pg_reload_conf()";
    return pg_fail_hint(host, err, f->status, hint, "could not connect to PostgreSQL at \"%s\": %s", where, f->text);
}

int pg_conn_open_endpoint(const struct tide_host *host, const struct pg_target *target,
                          const struct pg_endpoint *endpoint, enum pg_conn_kind kind, PGconn **conn,
                          struct tide_err *err)
{
    struct failure f;
    int s = connect_one(host, target, endpoint, kind, NULL, conn, &f, err);

    if (s == TIDE_OK || s == TIDE_CANCELLED)
        return s;
    return fail_connect(host, endpoint, &f, err);
}

bool pg_conn_is_standby(const PGconn *conn)
{
    const char *value = PQparameterStatus(conn, "in_hot_standby");

    return value != NULL && strcmp(value, "on") == 0;
}

enum preference { PREFER_FIRST, PREFER_PRIMARY, PREFER_STANDBY };

static enum preference preference_of(const struct pg_target *target, enum pg_conn_kind kind, const char **attrs)
{
    const char *written = pg_target_option(target, "target_session_attrs");

    *attrs = NULL;
    if (target->n_endpoints == 1)
        return PREFER_FIRST;
    if (kind == PG_CONN_SQL_STANDBY)
        return PREFER_STANDBY;
    if (written == NULL)
        return PREFER_PRIMARY;
    if (strcmp(written, "prefer-standby") == 0)
        return PREFER_STANDBY;
    if (strcmp(written, "any") != 0)
        *attrs = written;
    return PREFER_FIRST;
}

static bool fits(const PGconn *conn, enum preference want)
{
    return want == PREFER_FIRST || pg_conn_is_standby(conn) == (want == PREFER_STANDBY);
}

int pg_conn_open(const struct tide_host *host, const struct pg_target *target, enum pg_conn_kind kind, PGconn **out,
                 struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *second_best = NULL;
    const char *attrs;
    enum preference want = preference_of(target, kind, &attrs);
    struct failure worst = {.status = TIDE_OK};
    const struct pg_endpoint *worst_at = NULL;

    for (size_t i = 0; i < target->n_endpoints; i++) {
        PGconn *conn = NULL;
        struct failure f;
        int s = connect_one(host, target, &target->endpoints[i], kind, attrs, &conn, &f, err);

        if (s == TIDE_CANCELLED)
            return s;
        if (s == TIDE_OK && fits(conn, want)) {
            *out = conn;
            return TIDE_OK;
        }
        if (s == TIDE_OK && second_best == NULL)
            second_best = conn;
        else if (s == TIDE_OK)
            PQfinish(conn);
        else if (worst_at == NULL || (worst.status != TIDE_AGAIN && f.status == TIDE_AGAIN)) {
            /* While one of them may come back a retry is worth it, whatever the others said. */
            worst = f;
            worst_at = &target->endpoints[i];
        }
    }
    if (second_best == NULL)
        return fail_connect(host, worst_at, &worst, err);
    *out = second_best;
    second_best = NULL;
    return TIDE_OK;
}

int pg_conn_open_same(const struct tide_host *host, const struct pg_target *target, PGconn *conn,
                      enum pg_conn_kind kind, PGconn **out, struct tide_err *err)
{
    for (size_t i = 0; i < target->n_endpoints; i++) {
        const struct pg_endpoint *e = &target->endpoints[i];
        const char *host_name = e->host != NULL ? e->host : e->hostaddr;

        if (target->n_endpoints == 1 || (host_name != NULL && strcmp(host_name, PQhost(conn)) == 0 &&
                                         strcmp(e->port != NULL ? e->port : PQport(conn), PQport(conn)) == 0))
            return pg_conn_open_endpoint(host, target, e, kind, out, err);
    }
    return tide_plugin_fail(host, err, TIDE_AGAIN, 0, "the server \"%s\" is not in the connection string any more",
                            PQhost(conn));
}

/* A connection that the server has closed looks sound until it is read from. */
static bool is_alive(PGconn *conn)
{
    return conn != NULL && PQstatus(conn) == CONNECTION_OK && PQconsumeInput(conn) && PQstatus(conn) == CONNECTION_OK;
}

/* Of several hosts a standby was taken because no primary answered; now and then one is looked for again. */
static bool look_for_primary(struct pg_instance *inst)
{
    const char *attrs;
    int64_t now = pg_monotonic_ms();

    if (!pg_conn_is_standby(inst->conn) || preference_of(&inst->target, PG_CONN_SQL, &attrs) != PREFER_PRIMARY ||
        now - inst->looked_ms < LOOK_AGAIN_MS)
        return false;
    inst->looked_ms = now;
    return true;
}

int pg_connect(struct pg_instance *inst, struct tide_err *err)
{
    bool alive = is_alive(inst->conn);

    if (alive && !look_for_primary(inst))
        return TIDE_OK;
    pg_disconnect(inst);
    inst->looked_ms = pg_monotonic_ms();
    return pg_conn_open(inst->host, &inst->target, PG_CONN_SQL, &inst->conn, err);
}

void pg_disconnect(struct pg_instance *inst)
{
    PQfinish(inst->conn);
    inst->conn = NULL;
}
