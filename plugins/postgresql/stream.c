#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_log.h"
#include "plugins/postgresql/wal_format.h"

#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STATUS_INTERVAL_MS 10000
#define IDLE_TICK_MS       200   /* how often idle() is called while nothing comes */
#define SILENCE_ASK_MS     30000 /* nothing heard: ask for an answer */
#define SILENCE_END_MS     60000 /* nothing heard still: the connection is dead */
#define END_TIMEOUT_MS     60000
#define GOODBYE_MS         2000

struct stream {
    struct pg_instance *inst;
    const struct tide_host *host;
    const struct tide_log_stream_params *params;
    const struct tide_log_sink *sink;
    struct tide_log_stream_end *end;
    PGconn *conn;
    struct pg_keeper *keeper;
    uint64_t received; /* end of what came */
    uint64_t reported; /* durable position of the last status */
    int64_t status_at, heard_at;
    bool asked; /* for an answer since something was heard */
};

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
 * Written, flushed and applied are all the durable position: whatever level of
 * synchronous_commit waits for us, nothing is acknowledged before it is
 * durable, and nothing waits for an apply that never comes.
 */
static int send_status(struct stream *st, bool ask, struct tide_err *err)
{
    struct tide_pos durable = st->sink->durable(st->sink->ctx);
    uint64_t lsn = durable.lo < st->received ? durable.lo : st->received;
    char msg[34], *p = msg;

    *p++ = 'r';
    p = put_be64(p, lsn);
    p = put_be64(p, lsn);
    p = put_be64(p, lsn);
    p = put_be64(p, (uint64_t)now_pg_us());
    *p = ask ? 1 : 0;
    if (PQputCopyData(st->conn, msg, sizeof msg) < 0 || PQflush(st->conn) < 0)
        return pg_fail_result(st->host, st->conn, NULL, "connection to the server was lost", err);
    st->reported = lsn;
    st->status_at = pg_monotonic_ms();
    pg_keeper_confirm(st->keeper, lsn);
    return TIDE_OK;
}

static int status_if_due(struct stream *st, struct tide_err *err)
{
    struct tide_pos durable = st->sink->durable(st->sink->ctx);
    uint64_t lsn = durable.lo < st->received ? durable.lo : st->received;
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

static void set_end(struct stream *st, enum tide_log_stream_reason reason, uint64_t end)
{
    st->end->reason = (uint32_t)reason;
    st->end->end = pg_pos(end);
}

/* The evidence of a branch of this server, kept in the handle. */
static int set_next(struct stream *st, uint32_t timeline, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *repl = NULL;
    char *text = NULL;
    int s = pg_conn_open_same(st->host, &st->inst->target, st->conn, PG_CONN_BASEBACKUP, &repl, err);

    if (s == TIDE_OK)
        s = pg_evidence_build(st->host, repl, timeline, &text, err);
    if (s != TIDE_OK)
        return s;
    free(st->inst->next_evidence);
    st->inst->next_evidence = text;
    st->end->next_evidence = text;
    st->end->next_branch = timeline;
    return TIDE_OK;
}

static int end_removed(struct stream *st, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *sql = NULL;
    struct evidence ev;
    uint64_t oldest = 0;
    const char *why = evidence_parse(st->params->evidence, &ev);
    uint32_t segment_size = ev.segment_size;

    evidence_clear(&ev);
    set_end(st, TIDE_STREAM_REMOVED, st->received);
    /* Where the log can still be had from is good to know, and no reason to fail. */
    if (why == NULL && pg_conn_open_same(st->host, &st->inst->target, st->conn, PG_CONN_SQL, &sql, err) == TIDE_OK &&
        pg_oldest_log(st->host, sql, segment_size, &oldest, err) == TIDE_OK && oldest > st->received)
        st->end->oldest = pg_pos(oldest);
    return TIDE_OK;
}

/* What START_REPLICATION, or the end of its copy, answered. */
static int judge_result(struct stream *st, const PGresult *res, struct tide_err *err)
{
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (PQresultStatus(res) == PGRES_TUPLES_OK && PQnfields(res) >= 2 && PQntuples(res) == 1) {
        uint32_t timeline = (uint32_t)strtoul(pg_value(res, 0, 0, "0"), NULL, 10);
        uint64_t fork;

        if (timeline == 0 || !pg_lsn_parse(pg_value(res, 0, 1, NULL), &fork))
            return tide_plugin_fail(st->host, err, TIDE_UNSUPPORTED, 0, "the server names no next timeline");
        set_end(st, TIDE_STREAM_BRANCH_END, fork);
        return set_next(st, timeline, err);
    }
    if (PQresultStatus(res) == PGRES_COMMAND_OK)
        return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the server is shutting down");
    if (sqlstate != NULL && strcmp(sqlstate, "58P01") == 0)
        return end_removed(st, err);
    return pg_fail_result(st->host, st->conn, res, "the server does not stream", err);
}

/* Ends our side of the copy and reads what the server says to it. */
static int end_copy(struct stream *st, struct tide_err *err)
{
    for (;;) {
        PG_AUTO(pg_result_clearp) PGresult *res = NULL;
        int s = pg_next_result(st->host, st->conn, END_TIMEOUT_MS, false, &res, err);

        if (s != TIDE_OK)
            return s;
        if (res == NULL)
            return pg_fail_result(st->host, st->conn, NULL, "the server ended streaming without a reason", err);
        if (PQresultStatus(res) != PGRES_COPY_IN && PQresultStatus(res) != PGRES_COPY_BOTH)
            return judge_result(st, res, err);
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

    set_end(st, TIDE_STREAM_CANCELLED, st->received);
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

/* ----------------------------------------------------------------- beginning */

/*
 * Is this the server that the evidence describes, and does it have the place?
 * Asked beforehand, because what START_REPLICATION answers is text in the
 * server's language.  *go: it may be begun.
 */
static int compare_server(struct stream *st, bool *go, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *current = NULL;
    struct tide_log_kinship k = {.struct_size = sizeof k};
    struct pg_system system;
    uint64_t from = st->params->from.lo;
    int s = pg_evidence_build(st->host, st->conn, 0, &current, err);

    *go = false;
    if (s == TIDE_OK)
        s = pg_identify_system(st->host, st->conn, &system, err);
    if (s == TIDE_OK)
        s = pg_log_relate(st->host, st->params->evidence, st->params->from, current, &k, err);
    if (s != TIDE_OK)
        return s;
    if (k.relation == TIDE_LOG_FOREIGN || k.relation == TIDE_LOG_ANCESTOR) {
        set_end(st, TIDE_STREAM_FOREIGN, from);
        return TIDE_OK;
    }
    if (k.relation == TIDE_LOG_SAME && from > system.flushed) {
        if (pg_conn_is_standby(st->conn))
            return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the standby has not received that much log yet");
        set_end(st, TIDE_STREAM_AHEAD, system.flushed);
        return TIDE_OK;
    }
    if (k.relation == TIDE_LOG_CHILD && from > k.fork.lo) {
        struct evidence ev;
        uint32_t next = 0;

        /* The branch that follows ours, not the newest one. */
        if (evidence_parse(current, &ev) == NULL)
            for (size_t i = 0; i < ev.n_branches; i++)
                if (ev.branches[i].timeline == st->params->branch)
                    next = i + 1 < ev.n_branches ? ev.branches[i + 1].timeline : ev.timeline;
        evidence_clear(&ev);
        set_end(st, TIDE_STREAM_AHEAD, k.fork.lo);
        return next != 0 ? set_next(st, next, err) : TIDE_OK;
    }
    *go = true;
    return TIDE_OK;
}

/* A slot that somebody dropped, or that the server gave up, is made anew: a shipper that stands still helps nobody.
 * What was removed meanwhile shows when streaming begins. */
static int ensure_slot(struct stream *st, const char *slot, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *sql = NULL;
    bool made = false;
    int s = pg_conn_open_same(st->host, &st->inst->target, st->conn, PG_CONN_SQL, &sql, err);

    if (s == TIDE_OK)
        s = pg_slot_ensure(st->host, sql, slot, &made, err);
    if (s == TIDE_OK && made)
        pg_log(st->host, TIDE_LOG_WARN, "postgresql.slot.recreated",
               "replication slot \"%s\" was not there or was lost, and was made anew", slot);
    return s;
}

static int start_replication(struct stream *st, PGresult **res, struct tide_err *err)
{
    char slot[PG_SLOT_NAME_SIZE], from[PG_LSN_TEXT_SIZE], sql[256];

    pg_slot_name(st->host, slot);
    int s = ensure_slot(st, slot, err);
    if (s != TIDE_OK)
        return s;
    char *quoted = PQescapeIdentifier(st->conn, slot, strlen(slot));
    if (quoted == NULL)
        return tide_plugin_fail(st->host, err, TIDE_INVALID, 0, "option \"slot\" is not a name");
    pg_lsn_text(st->params->from.lo, from, sizeof from);
    (void)snprintf(sql, sizeof sql, "START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %" PRIu64, quoted, from,
                   st->params->branch);
    PQfreemem(quoted);
    /* The result is judged here and not by pg_query(): a failure may be an end that the core has a name for. */
    if (!PQsendQuery(st->conn, sql))
        return pg_fail_result(st->host, st->conn, NULL, "could not send a command to the server", err);
    return pg_next_result(st->host, st->conn, END_TIMEOUT_MS, false, res, err);
}

static int run(struct stream *st, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    bool go;
    int s = compare_server(st, &go, err);

    if (s != TIDE_OK || !go)
        return s;
    s = start_replication(st, &res, err);
    if (s != TIDE_OK)
        return s;
    if (PQresultStatus(res) != PGRES_COPY_BOTH)
        return judge_result(st, res, err);
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
    if (s == TIDE_OK)
        pg_copy_out(out, size, &end, sizeof end);
    return s;
}
