#include "plugins/postgresql/stream_internal.h"
#include "plugins/postgresql/evidence.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void pg_stream_set_end(struct stream *st, enum tide_log_stream_reason reason, uint64_t end)
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
    pg_stream_set_end(st, TIDE_STREAM_REMOVED, st->received);
    /* Where the log can still be had from is good to know, and no reason to fail. */
    if (why == NULL && pg_conn_open_same(st->host, &st->inst->target, st->conn, PG_CONN_SQL, &sql, err) == TIDE_OK &&
        pg_oldest_log(st->host, sql, segment_size, &oldest, err) == TIDE_OK && oldest > st->received)
        st->end->oldest = pg_pos(oldest);
    return TIDE_OK;
}

int pg_stream_judge(struct stream *st, const PGresult *res, struct tide_err *err)
{
    const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (PQresultStatus(res) == PGRES_TUPLES_OK && PQnfields(res) >= 2 && PQntuples(res) == 1) {
        uint32_t timeline = (uint32_t)strtoul(pg_value(res, 0, 0, "0"), NULL, 10);
        uint64_t fork;

        if (timeline == 0 || !pg_lsn_parse(pg_value(res, 0, 1, NULL), &fork))
            return tide_plugin_fail(st->host, err, TIDE_UNSUPPORTED, 0, "the server names no next timeline");
        pg_stream_set_end(st, TIDE_STREAM_BRANCH_END, fork);
        return set_next(st, timeline, err);
    }
    if (PQresultStatus(res) == PGRES_COMMAND_OK)
        return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the server is shutting down");
    if (sqlstate != NULL && strcmp(sqlstate, "58P01") == 0)
        return end_removed(st, err);
    /* The slot was given up between our look at it and now; the next try makes it anew. */
    if (sqlstate != NULL && strcmp(sqlstate, "55000") == 0)
        return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the server does not stream: %s",
                                PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY));
    return pg_fail_result(st->host, st->conn, res, "the server does not stream", err);
}

/* Asked beforehand, because what START_REPLICATION answers is text in the server's language. */
int pg_stream_compare(struct stream *st, bool *go, struct tide_err *err)
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
        pg_stream_set_end(st, TIDE_STREAM_FOREIGN, from);
        return TIDE_OK;
    }
    if (k.relation == TIDE_LOG_SAME && from > system.flushed) {
        if (pg_conn_is_standby(st->conn))
            return tide_plugin_fail(st->host, err, TIDE_AGAIN, 0, "the standby has not received that much log yet");
        pg_stream_set_end(st, TIDE_STREAM_AHEAD, system.flushed);
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
        pg_stream_set_end(st, TIDE_STREAM_AHEAD, k.fork.lo);
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
    struct pg_slot state = {0};
    bool made = false;
    int s = pg_conn_open_same(st->host, &st->inst->target, st->conn, PG_CONN_SQL, &sql, err);

    if (s == TIDE_OK)
        s = pg_slot_ensure(st->host, sql, slot, &made, err);
    if (s == TIDE_OK)
        s = pg_slot_read(st->host, sql, slot, &state, err);
    st->unreserved = !state.reserved;
    if (s == TIDE_OK && made)
        pg_log(st->host, TIDE_LOG_WARN, "postgresql.slot.recreated",
               "replication slot \"%s\" was not there or was lost, and was made anew", slot);
    return s;
}

int pg_stream_start(struct stream *st, PGresult **res, struct tide_err *err)
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
    return pg_next_result(st->host, st->conn, STREAM_END_TIMEOUT_MS, false, res, err);
}
