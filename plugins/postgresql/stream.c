#include "plugins/postgresql/stream_internal.h"

#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STATUS_INTERVAL_MS 10000
#define IDLE_TICK_MS       200   /* how often idle() is called while nothing comes */
#define SILENCE_ASK_MS     30000 /* nothing heard: ask for an answer */
#define SILENCE_END_MS     60000 /* nothing heard still: the connection is dead */
#define GOODBYE_MS         2000

static uint64_t be64(const char *p)
{
    uint64_t n = 0;

    for (int i = 0; i < 8; i++)
        n = n << 8 | (uint8_t)p[i];
    return n;
}

static char *put_be64(char *p, uint64_t n)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        *p++ = (char)(uint8_t)(n >> shift);
    return p;
}

static int64_t now_pg_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000 - PG_EPOCH_US;
}

/* -------------------------------------------------------------------- status */

/*
 * What may be confirmed.  A slot made unreserved holds nothing back until it is told a position, and the first
 * checkpoint could take the very segment that is being sent: it is told at once where we began, for nobody needs
 * what lies before.  A slot that holds log already is never moved back to there.
 */
static uint64_t confirmable(const struct stream *st)
{
    struct tide_pos durable = st->sink->durable(st->sink->ctx);

    if (st->unreserved && durable.lo < st->params->from.lo)
        return st->params->from.lo;
    return durable.lo < st->received ? durable.lo : st->received;
}

/*
 * Written, flushed and applied are all the durable position: whatever level of
 * synchronous_commit waits for us, nothing is acknowledged before it is
 * durable, and nothing waits for an apply that never comes.
 */
static int send_status(struct stream *st, bool ask, struct tide_err *err)
{
    uint64_t lsn = confirmable(st);
    char msg[34], *p = msg;

    *p++ = 'r';
    p = put_be64(p, lsn);
    p = put_be64(p, lsn);
    p = put_be64(p, lsn);
    p = put_be64(p, (uint64_t)now_pg_us());
    *p = ask ? 1 : 0;
    int queued = PQputCopyData(st->conn, msg, sizeof msg);
    if (queued < 0 || PQflush(st->conn) < 0)
        return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
    if (queued == 0) /* no room just now */
        return TIDE_OK;
    st->reported = lsn;
    st->status_at = pg_monotonic_ms();
    pg_keeper_confirm(st->keeper, lsn);
    return TIDE_OK;
}

static int status_if_due(struct stream *st, struct tide_err *err)
{
    uint64_t lsn = confirmable(st);
    int64_t now = pg_monotonic_ms(), silent = now - st->heard_at;

    if (silent > SILENCE_END_MS)
        return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the server has said nothing for %d s",
                                SILENCE_END_MS / 1000);
    if (silent > SILENCE_ASK_MS && !st->asked) {
        st->asked = true;
        return send_status(st, true, err);
    }
    if (lsn > st->reported || now - st->status_at >= STATUS_INTERVAL_MS)
        return send_status(st, false, err);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ messages */

static int take_data(struct stream *st, const char *msg, size_t len, struct tide_err *err)
{
    if (len < 25)
        return tide_plugin_fail(st->host, err, TIDE_IO, 0, "a message of the server is cut off");
    uint64_t start = be64(msg + 1);
    size_t n = len - 25;

    if (start != st->received) {
        char want[PG_LSN_TEXT_SIZE], got[PG_LSN_TEXT_SIZE];

        pg_lsn_text(st->received, want, sizeof want);
        pg_lsn_text(start, got, sizeof got);
        return tide_plugin_fail(st->host, err, TIDE_IO, 0, "the server sent WAL from %s where %s was due", got, want);
    }
    if (n == 0)
        return TIDE_OK;
    int s = st->sink->bytes(st->sink->ctx, pg_pos(start), pg_pos(start + n), msg + 25, n, err);
    if (s == TIDE_OK)
        st->received = start + n;
    /* The sink may have kept us waiting: what the server said meanwhile is still to be read. */
    st->heard_at = pg_monotonic_ms();
    return s;
}

static int take_message(struct stream *st, const char *msg, size_t len, struct tide_err *err)
{
    st->heard_at = pg_monotonic_ms();
    st->asked = false;
    if (len > 0 && msg[0] == 'w')
        return take_data(st, msg, len, err);
    if (len >= 18 && msg[0] == 'k')
        return msg[17] != 0 ? send_status(st, false, err) : TIDE_OK;
    return tide_plugin_fail(st->host, err, TIDE_UNSUPPORTED, 0, "the server sent a message of an unknown kind");
}

/* Reads what is there; *ended once the server has ended the copy. */
static int drain(struct stream *st, bool *any, bool *ended, struct tide_err *err)
{
    *any = *ended = false;
    for (;;) {
        char *msg = NULL;
        int n = PQgetCopyData(st->conn, &msg, 1);

        if (n == 0)
            return TIDE_OK;
        if (n == -1) {
            *ended = true;
            return TIDE_OK;
        }
        if (n < 0)
            return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
        *any = true;
        int s = take_message(st, msg, (size_t)n, err);
        PQfreemem(msg);
        if (s == TIDE_OK)
            s = status_if_due(st, err);
        if (s != TIDE_OK)
            return s;
        if (st->host->cancelled(st->host->ctx))
            return tide_plugin_fail(st->host, err, TIDE_CANCELLED, 0, "cancelled");
    }
}

static void empty_wake(int fd)
{
    char buf[256];

    while (read(fd, buf, sizeof buf) == (ssize_t)sizeof buf)
        continue;
}

static int wait_for_more(struct stream *st, bool *timed_out, struct tide_err *err)
{
    unsigned ready;
    int pending = PQflush(st->conn);

    if (pending < 0)
        return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
    int s = pg_wait(st->host,
                    &(struct pg_wait){.fd = PQsocket(st->conn),
                                      .events = (short)(pending ? POLLIN | POLLOUT : POLLIN),
                                      .extra_fd = st->sink->wake_fd,
                                      .timeout_ms = IDLE_TICK_MS},
                    &ready, err);
    if (s != TIDE_OK)
        return s;
    *timed_out = ready == 0;
    if (ready & PG_READY_EXTRA)
        empty_wake(st->sink->wake_fd);
    if ((ready & PG_READY_FD) && !PQconsumeInput(st->conn))
        return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
    return TIDE_OK;
}

/* Until the server ends the copy. */
static int copy_loop(struct stream *st, struct tide_err *err)
{
    bool any = false, ended = false, timed_out = false, idle_told = false;

    for (;;) {
        int s = drain(st, &any, &ended, err);

        if (s != TIDE_OK || ended)
            return s;
        if (any)
            idle_told = false;
        /* At once when a burst is over, and now and then while nothing comes. */
        if (st->sink->idle != NULL && (!idle_told || timed_out)) {
            idle_told = true;
            s = st->sink->idle(st->sink->ctx, err);
        }
        if (s == TIDE_OK)
            s = status_if_due(st, err);
        if (s == TIDE_OK)
            s = wait_for_more(st, &timed_out, err);
        if (s != TIDE_OK)
            return s;
    }
}

/* ------------------------------------------------------------------- the end */

/* Ends our side of the copy and reads what the server says to it. */
static int end_copy(struct stream *st, struct tide_err *err)
{
    for (;;) {
        PG_AUTO(pg_result_clearp) PGresult *res = NULL;
        int s = pg_next_result(st->host, st->conn, STREAM_END_TIMEOUT_MS, false, &res, err);

        if (s != TIDE_OK)
            return s;
        if (res == NULL)
            return pg_fail_result(st->host, st->conn, NULL, "the server ended streaming without a reason", err);
        if (PQresultStatus(res) != PGRES_COPY_IN && PQresultStatus(res) != PGRES_COPY_BOTH)
            return pg_stream_judge(st, res, err);
        if (PQputCopyEnd(st->conn, NULL) < 0)
            return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
        (void)PQsetnonblocking(st->conn, 0);
        if (PQflush(st->conn) != 0)
            return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
    }
}

/* Cancelled: says what is durable once more and leaves in good order, so that the slot is free at once. */
static int end_cancelled(struct stream *st, struct tide_err *err)
{
    int64_t deadline = pg_monotonic_ms() + GOODBYE_MS;

    pg_stream_set_end(st, TIDE_STREAM_CANCELLED, st->received);
    if (send_status(st, false, err) != TIDE_OK || PQputCopyEnd(st->conn, NULL) < 0)
        return TIDE_OK;
    while (pg_monotonic_ms() < deadline) {
        char *msg = NULL;
        unsigned ready;
        int n = PQgetCopyData(st->conn, &msg, 1);

        PQfreemem(msg);
        if (n < 0)
            break;
        if (n > 0)
            continue;
        int pending = PQflush(st->conn);
        if (pending < 0 ||
            pg_wait(st->host,
                    &(struct pg_wait){.fd = PQsocket(st->conn),
                                      .events = (short)(pending ? POLLIN | POLLOUT : POLLIN),
                                      .extra_fd = -1,
                                      .timeout_ms = GOODBYE_MS,
                                      .ignore_cancel = true},
                    &ready, err) != TIDE_OK ||
            !PQconsumeInput(st->conn))
            break;
    }
    return TIDE_OK;
}

/* ------------------------------------------------------------------- the whole */

static int run(struct stream *st, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    bool go;
    int s = pg_stream_compare(st, &go, err);

    if (s != TIDE_OK || !go)
        return s;
    s = pg_stream_start(st, &res, err);
    if (s != TIDE_OK)
        return s;
    if (PQresultStatus(res) != PGRES_COPY_BOTH)
        return pg_stream_judge(st, res, err);
    (void)PQsetnonblocking(st->conn, 1);
    st->heard_at = st->status_at = pg_monotonic_ms();
    s = send_status(st, false, err);
    if (s == TIDE_OK)
        s = pg_keeper_start(st->inst, st->conn, &st->keeper, err);
    if (s == TIDE_OK)
        s = copy_loop(st, err);
    if (s == TIDE_OK)
        s = end_copy(st, err);
    else if (s == TIDE_CANCELLED && st->host->cancelled(st->host->ctx))
        s = end_cancelled(st, err);
    pg_keeper_stop(st->keeper);
    return s;
}

int pg_log_stream(void *p, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                  struct tide_log_stream_end *out, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    uint32_t size = out->struct_size;
    struct tide_log_stream_end end = {.struct_size = size};
    struct stream st = {
        .inst = inst, .host = inst->host, .params = params, .sink = sink, .end = &end, .received = params->from.lo};
    int s = pg_conn_open(inst->host, &inst->target, PG_CONN_REPLICATION, &conn, err);

    if (s == TIDE_OK) {
        st.conn = conn;
        s = run(&st, err);
    }
    if (s == TIDE_CANCELLED && inst->host->cancelled(inst->host->ctx)) {
        pg_stream_set_end(&st, TIDE_STREAM_CANCELLED, st.received);
        s = TIDE_OK;
    }
    if (s == TIDE_OK)
        pg_copy_out(out, size, &end, sizeof end);
    return s;
}
