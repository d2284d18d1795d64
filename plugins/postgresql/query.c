#include "plugins/postgresql/pg_log.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

/* How long a cancelled statement may take to come back before the connection is given up. */
#define CANCEL_GRACE_MS 5000

int pg_fail_hint(const struct tide_host *host, struct tide_err *err, int status, const char *hint, const char *fmt,
                 ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    return host->set_error(host->ctx, err, status, 0, message, hint);
}

void pg_log(const struct tide_host *host, int level, const char *event, const char *fmt, ...)
{
    char message[1024];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    host->log(host->ctx, level, event, message);
}

const char *pg_value(const PGresult *res, int row, int column, const char *def)
{
    if (row >= PQntuples(res) || column >= PQnfields(res) || PQgetisnull(res, row, column))
        return def;
    return PQgetvalue(res, row, column);
}

/* ------------------------------------------------------------------ waiting */

int pg_wait(const struct tide_host *host, const struct pg_wait *wait, unsigned *ready, struct tide_err *err)
{
    int64_t deadline = wait->timeout_ms < 0 ? -1 : pg_monotonic_ms() + wait->timeout_ms;
    int cancel_fd = wait->ignore_cancel ? -1 : host->cancel_fd(host->ctx);

    *ready = 0;
    for (;;) {
        struct pollfd fds[3] = {
            {.fd = wait->fd, .events = wait->events},
            {.fd = wait->extra_fd, .events = POLLIN},
            {.fd = cancel_fd, .events = POLLIN},
        };
        int left = -1;

        if (!wait->ignore_cancel && host->cancelled(host->ctx))
            return tide_plugin_fail(host, err, TIDE_CANCELLED, 0, "cancelled");
        if (deadline >= 0) {
            int64_t ms = deadline - pg_monotonic_ms();
            left = ms > 0 ? (int)ms : 0;
        }
        int n = poll(fds, 3, left);
        if (n < 0 && errno != EINTR)
            return tide_plugin_fail(host, err, TIDE_IO, errno, "could not wait for the server");
        if (n < 0)
            continue;
        if (fds[0].revents != 0)
            *ready |= PG_READY_FD;
        if (fds[1].revents != 0)
            *ready |= PG_READY_EXTRA;
        if (*ready != 0 || (n == 0 && left == 0))
            return TIDE_OK;
    }
}

/* ------------------------------------------------------------------- errors */

int pg_status_of_sqlstate(const char *sqlstate)
{
    static const struct {
        const char *prefix;
        int status;
    } map[] = {
        {"08", TIDE_AGAIN},        {"28", TIDE_DENIED},     {"42501", TIDE_DENIED},  {"57014", TIDE_AGAIN},
        {"57P", TIDE_AGAIN},       {"53300", TIDE_AGAIN},   {"53200", TIDE_AGAIN},   {"40", TIDE_AGAIN},
        {"42704", TIDE_NOT_FOUND}, {"42710", TIDE_EXISTS},  {"55006", TIDE_BUSY},    {"42883", TIDE_UNSUPPORTED},
        {"0A", TIDE_UNSUPPORTED},  {"3D000", TIDE_INVALID}, {"53400", TIDE_REFUSED}, {"55000", TIDE_REFUSED},
        {"XX001", TIDE_CORRUPT},   {"XX002", TIDE_CORRUPT}, {"42", TIDE_INVALID},
    };

    for (size_t i = 0; sqlstate != NULL && i < sizeof map / sizeof map[0]; i++)
        if (strncmp(sqlstate, map[i].prefix, strlen(map[i].prefix)) == 0)
            return map[i].status;
    return TIDE_IO;
}

/* libpq ends its texts with a line feed and may use several lines; ours have one. */
static void one_line(const char *text, char *buf, size_t size)
{
    size_t n = 0;

    for (; *text != '\0' && n + 1 < size; text++)
        buf[n++] = *text == '\n' || *text == '\t' ? ' ' : *text;
    while (n > 0 && buf[n - 1] == ' ')
        n--;
    buf[n] = '\0';
}

int pg_fail_result(const struct tide_host *host, const PGconn *conn, const PGresult *res, const char *doing,
                   struct tide_err *err)
{
    char text[700];
    const char *sqlstate = res != NULL ? PQresultErrorField(res, PG_DIAG_SQLSTATE) : NULL;
    const char *primary = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
    const char *hint = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_HINT) : NULL;
    int status;

    if (sqlstate == NULL && PQstatus(conn) == CONNECTION_BAD)
        status = TIDE_AGAIN;
    else
        status = pg_status_of_sqlstate(sqlstate);
    one_line(primary != NULL ? primary : PQerrorMessage(conn), text, sizeof text);
    return pg_fail_hint(host, err, status, hint, "%s: %s", doing, text[0] != '\0' ? text : "no reason given");
}

/* --------------------------------------------------------------- statements */

static bool succeeded(const PGresult *res)
{
    switch (PQresultStatus(res)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
    case PGRES_COPY_BOTH:
        return true;
    default:
        return false;
    }
}

static bool begins_copy(const PGresult *res)
{
    ExecStatusType st = PQresultStatus(res);

    return st == PGRES_COPY_IN || st == PGRES_COPY_OUT || st == PGRES_COPY_BOTH;
}

static int wait_not_busy(const struct tide_host *host, PGconn *conn, int timeout_ms, bool ignore_cancel,
                         bool *timed_out, struct tide_err *err)
{
    int64_t deadline = timeout_ms > 0 ? pg_monotonic_ms() + timeout_ms : 0;

    *timed_out = false;
    while (PQisBusy(conn)) {
        unsigned ready;
        int64_t left = deadline > 0 ? deadline - pg_monotonic_ms() : -1;

        if (deadline > 0 && left <= 0) {
            *timed_out = true;
            return TIDE_OK;
        }
        int s = pg_wait(host,
                        &(struct pg_wait){.fd = PQsocket(conn),
                                          .events = POLLIN,
                                          .extra_fd = -1,
                                          .timeout_ms = (int)left,
                                          .ignore_cancel = ignore_cancel},
                        &ready, err);
        if (s != TIDE_OK)
            return s;
        if (ready != 0 && !PQconsumeInput(conn))
            return pg_fail_result(host, conn, NULL, "connection to the server was lost", err);
    }
    return TIDE_OK;
}

void pg_tell_phase(const struct tide_host *host, const char *phase)
{
    host->progress(host->ctx, &(struct tide_progress){.struct_size = sizeof(struct tide_progress),
                                                      .phase = phase,
                                                      .time_us = TIDE_TIME_NONE});
}

static int wait_telling(const struct tide_host *host, PGconn *conn, const char *phase, struct tide_err *err)
{
    while (PQisBusy(conn)) {
        unsigned ready;
        int s = pg_wait(
            host, &(struct pg_wait){.fd = PQsocket(conn), .events = POLLIN, .extra_fd = -1, .timeout_ms = PG_TELL_MS},
            &ready, err);

        if (s != TIDE_OK)
            return s;
        if (ready == 0)
            pg_tell_phase(host, phase);
        else if (!PQconsumeInput(conn))
            return pg_fail_result(host, conn, NULL, "connection to the server was lost", err);
    }
    return TIDE_OK;
}

int pg_next_result(const struct tide_host *host, PGconn *conn, int timeout_ms, bool ignore_cancel, PGresult **res,
                   struct tide_err *err)
{
    bool timed_out;
    int s = wait_not_busy(host, conn, timeout_ms, ignore_cancel, &timed_out, err);

    *res = NULL;
    if (s != TIDE_OK)
        return s;
    if (timed_out)
        return tide_plugin_fail(host, err, TIDE_AGAIN, 0, "the server did not answer within %d ms", timeout_ms);
    *res = PQgetResult(conn);
    return TIDE_OK;
}

/* Stops the running statement on the server and eats what is left of it, so that clean-up can use the connection. */
static void cancel_running(const struct tide_host *host, PGconn *conn, struct tide_err *err)
{
    char text[256];
    PGcancel *cancel = PQgetCancel(conn);
    int64_t deadline = pg_monotonic_ms() + CANCEL_GRACE_MS;

    if (cancel != NULL) {
        (void)PQcancel(cancel, text, sizeof text);
        PQfreeCancel(cancel);
    }
    while (pg_monotonic_ms() < deadline) {
        bool timed_out;

        if (wait_not_busy(host, conn, CANCEL_GRACE_MS, true, &timed_out, err) != TIDE_OK || timed_out)
            return;
        PGresult *res = PQgetResult(conn);
        if (res == NULL)
            return;
        PQclear(res);
    }
}

int pg_query_run(const struct tide_host *host, PGconn *conn, const struct pg_query *query, PGresult **out,
                 struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *last = NULL;

    *out = NULL;
    /* Without parameters the simple protocol: replication commands know no other. */
    int sent = query->n_params == 0
                   ? PQsendQuery(conn, query->sql)
                   : PQsendQueryParams(conn, query->sql, query->n_params, NULL, query->params, NULL, NULL, 0);
    if (!sent)
        return pg_fail_result(host, conn, NULL, "could not send a statement to the server", err);
    for (;;) {
        bool timed_out = false;
        int s = query->waiting != NULL
                    ? wait_telling(host, conn, query->waiting, err)
                    : wait_not_busy(host, conn, query->timeout_ms, query->ignore_cancel, &timed_out, err);

        if (s == TIDE_CANCELLED) {
            cancel_running(host, conn, err);
            return tide_plugin_fail(host, err, TIDE_CANCELLED, 0, "cancelled");
        }
        if (s != TIDE_OK)
            return s;
        if (timed_out) {
            cancel_running(host, conn, err);
            return tide_plugin_fail(host, err, TIDE_AGAIN, 0, "the server did not answer within %d ms",
                                    query->timeout_ms);
        }
        PGresult *res = PQgetResult(conn);
        if (res == NULL)
            break;
        /* Of several results the first failure counts, else the last. */
        if (last == NULL || succeeded(last)) {
            PQclear(last);
            last = res;
        } else {
            PQclear(res);
        }
        if (begins_copy(last))
            break;
    }
    if (last == NULL || !succeeded(last))
        return pg_fail_result(host, conn, last, "the server refused a statement", err);
    *out = last;
    last = NULL;
    return TIDE_OK;
}

int pg_query(const struct tide_host *host, PGconn *conn, const char *sql, PGresult **res, struct tide_err *err)
{
    return pg_query_run(host, conn, &(struct pg_query){.sql = sql}, res, err);
}

int pg_exec(const struct tide_host *host, PGconn *conn, const char *sql, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;

    return pg_query(host, conn, sql, &res, err);
}
