#include "wal/ship_session.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

/* A slot may still be active for a moment when our predecessor was killed; after a broken connection, for as long as
 * the server takes to notice. */
#define BUSY_FIRST_US (15 * TIDE_SECOND_US)
#define BUSY_LATER_US (90 * TIDE_SECOND_US)
#define FOREIGN_TRIES 3u

/* ---- one session */

static tide_status identify(struct stream *st, struct session *x, struct tide_err *err)
{
    const struct wal_ship_options *o = st->ship->o;
    tide_status r = TIDE_OK;

    if (st->inst == NULL)
        r = (tide_status)o->plugin->open(&st->ship->host, &st->inst, err);
    x->id = (struct tide_log_identity){.struct_size = sizeof x->id};
    if (r == TIDE_OK)
        r = (tide_status)o->plugin->log_identify(st->inst, &x->id, err);
    if (r != TIDE_OK)
        return r;
    x->identity = strdup(x->id.evidence);
    x->id.evidence = x->identity;
    x->id.server_version = NULL;
    return x->identity == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

static tide_status branch_ended(struct session *x, const struct tide_log_stream_end *end, struct tide_err *err)
{
    struct ship *s = x->ship;

    ship_lock(s);
    struct tide_pos have = x->target.end_expected ? x->target.resume : s->state.received;
    ship_unlock(s);
    if (!x->target.end_expected && !pos_equal(have, end->end))
        return tide_fail(err, TIDE_AGAIN, "the server ended its branch elsewhere than its log");
    if (end->next_evidence == NULL)
        return tide_fail(err, TIDE_AGAIN, "the server did not say which branch follows");
    TIDE_AUTO(tide_freep) char *next = strdup(end->next_evidence);
    if (next == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    session_drain(x, true);
    if (ship_stopping(s))
        return TIDE_OK;
    tide_status st = ship_target_follow(s, &x->stream->lessons, &x->target, end->end, end->next_branch, next, err);
    if (st != TIDE_OK)
        return st;
    session_forget_tail(x);
    x->stream->progress = true;
    return TIDE_OK;
}

static tide_status session_ended(struct session *x, const struct tide_log_stream_end *end, struct tide_err *err)
{
    struct stream *st = x->stream;

    switch ((enum tide_log_stream_reason)end->reason) {
    case TIDE_STREAM_BRANCH_END:
        if (x->proved || prover_done(&x->prover))
            return branch_ended(x, end, err);
        return tide_fail(err, TIDE_AGAIN, "the server's branch ends before what is stored of it");
    case TIDE_STREAM_REMOVED:
        session_drain(x, false);
        session_forget_tail(x);
        return ship_target_removed(x->ship, &st->lessons, &x->target, &x->id, end->oldest, err);
    case TIDE_STREAM_AHEAD:
        session_forget_tail(x);
        return tide_fail(err, TIDE_AGAIN, "the server's log ends before what is stored of it");
    case TIDE_STREAM_FOREIGN:
        if (++st->foreign >= FOREIGN_TRIES)
            return tide_fail(err, TIDE_REFUSED, "the server is no child of what is stored for \"%s\"",
                             x->ship->o->instance);
        return tide_fail(err, TIDE_AGAIN, "another server answered");
    case TIDE_STREAM_CANCELLED:
        break;
    }
    return ship_stopping(x->ship) ? TIDE_OK : tide_fail(err, TIDE_AGAIN, "the server ended the stream");
}

/* The lineage's bytes are others: it is another copy of the database. */
static tide_status disproved(struct session *x, struct tide_err *err)
{
    struct ship_lessons *l = &x->stream->lessons;

    TIDE_LOG(TIDE_LOG_WARN, "wal.ship.disproved", TIDE_STR("instance", x->ship->o->instance),
             TIDE_U64("lineage", x->target.lineage));
    if (l->n_disproved == SHIP_DISPROVED_MAX)
        return tide_wrap(err, TIDE_CORRUPT, "too many lineages differ");
    l->disproved[l->n_disproved++] = x->target.lineage;
    session_forget_tail(x);
    x->stream->progress = true;
    tide_err_clear(err);
    return TIDE_OK;
}

/* The hole is closed: the next session goes on at the next one, or at the end. */
static tide_status hole_filled(struct session *x, struct tide_err *err)
{
    session_drain(x, true);
    session_forget_tail(x);
    TIDE_LOG(TIDE_LOG_INFO, "wal.ship.hole_filled", TIDE_STR("instance", x->ship->o->instance),
             TIDE_U64("lineage", x->target.lineage), TIDE_U64("from", x->target.resume.lo),
             TIDE_U64("to", x->target.fill_to.lo));
    x->stream->progress = true;
    tide_err_clear(err);
    return TIDE_OK;
}

static tide_status session_stream(struct session *x, struct tide_err *err)
{
    struct ship *s = x->ship;
    struct stream *st = x->stream;
    struct tide_log_stream_params params = {.struct_size = sizeof params,
                                            .evidence = x->target.evidence,
                                            .from = x->target.prove_from,
                                            .branch = x->target.branch};
    struct tide_log_sink sink = session_sink(x);
    struct tide_log_stream_end end = {.struct_size = sizeof end};

    TIDE_LOG(TIDE_LOG_INFO, "wal.ship.stream", TIDE_STR("instance", s->o->instance),
             TIDE_U64("lineage", x->target.lineage), TIDE_U64("from", x->target.prove_from.lo),
             TIDE_U64("resume", x->target.resume.lo));
    if (prover_done(&x->prover))
        session_proved(x);
    tide_status r = (tide_status)s->o->plugin->log_stream(st->inst, &params, &sink, &end, err);
    if (x->proved)
        st->ever_streamed = true;
    if (r == TIDE_CORRUPT && x->differs)
        return disproved(x, err);
    if (x->filled && r != TIDE_CORRUPT)
        return hole_filled(x, err);
    if (r != TIDE_OK)
        return r;
    return session_ended(x, &end, err);
}

static tide_status session_run(struct stream *st, struct tide_err *err)
{
    TIDE_AUTO(session_clear) struct session x = {.ship = st->ship, .stream = st};
    tide_status r = identify(st, &x, err);

    if (r == TIDE_OK)
        r = ship_target_choose(st->ship, &st->lessons, &x.id, &x.target, err);
    if (r == TIDE_OK)
        r = session_begin(&x, err);
    if (r != TIDE_OK)
        return r;
    r = session_stream(&x, err);
    if (r != TIDE_OK && !tide_pos_is_none(x.target.fill_to) && ++st->lessons.fill_failures == SHIP_FILL_TRIES)
        TIDE_LOG(TIDE_LOG_WARN, "wal.ship.hole_left", TIDE_STR("instance", st->ship->o->instance),
                 TIDE_U64("lineage", x.target.lineage), TIDE_U64("from", x.target.resume.lo),
                 TIDE_STR("reason", err->msg));
    session_drain(&x, false);
    ship_lock(st->ship);
    /* Once something behind a gap is stored, the lineage's end speaks for itself. */
    if (st->lessons.moved_lineage != 0 && pos_before(st->lessons.moved_to, st->ship->state.durable))
        st->lessons.moved_lineage = 0;
    ship_unlock(st->ship);
    return r;
}

/* ---- retries */

static bool is_final(struct stream *st, tide_status r)
{
    switch (r) {
    case TIDE_REFUSED:
    case TIDE_UNSUPPORTED:
    case TIDE_INVALID:
        return true;
    case TIDE_DENIED:
        return !st->ever_streamed; /* a password that was right may be so again */
    case TIDE_BUSY:
        if (st->busy_since == 0)
            st->busy_since = tide_monotonic_us();
        return tide_monotonic_us() - st->busy_since > (st->ever_streamed ? BUSY_LATER_US : BUSY_FIRST_US);
    case TIDE_CORRUPT:
        /* Damaged log may be the connection's fault; what was disproved by every lineage is not. */
        return st->lessons.n_disproved > 0;
    default:
        return false;
    }
}

static void disconnect(struct stream *st)
{
    st->ship->o->plugin->close(st->inst);
    st->inst = NULL;
}

/* After a session: true to go on. */
static bool after_session(struct stream *st, tide_status r, struct tide_err *err)
{
    struct ship *s = st->ship;

    if (ship_stopping(s))
        return false;
    if (st->progress) {
        backoff_reset(&st->backoff);
        st->foreign = 0;
    }
    if (r != TIDE_BUSY)
        st->busy_since = 0;
    if (r != TIDE_OK && is_final(st, r)) {
        ship_fatal(s, r, err);
        return false;
    }
    if (r != TIDE_OK) {
        disconnect(st);
        ship_lock(s);
        s->state.reconnects++;
        ship_problem(s, s->stream_problem, "wal.ship.no_stream", err->msg);
        ship_unlock(s);
    }
    return (r == TIDE_OK && st->progress) || ship_pause(s, backoff_next(&st->backoff));
}

tide_status ship_stream_run(struct ship *s, struct tide_err *err)
{
    struct stream st = {.ship = s, .backoff = {.seed = (uint64_t)tide_now_us()}};
    bool on = true;

    while (on && !ship_stopping(s)) {
        tide_err_clear(err);
        st.progress = false;
        tide_status r = session_run(&st, err);
        on = after_session(&st, r, err);
    }
    disconnect(&st);
    tide_err_clear(err);
    return TIDE_OK;
}
