#include "wal/ship_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/backoff.h"
#include "wal/pos.h"
#include "wal/ship_prove.h"
#include "wal/ship_target.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* A slot may still be active for a moment when our predecessor was killed; after a broken connection, for as long as
 * the server takes to notice. */
#define BUSY_FIRST_US (15 * TIDE_SECOND_US)
#define BUSY_LATER_US (90 * TIDE_SECOND_US)
#define FOREIGN_TRIES 3u
#define LEAD_SLICE    (1u << 20)

/* One conversation with the server after the other. */
struct stream {
    struct ship *ship;
    void *inst; /* the plugin's handle; NULL: to be opened */
    struct ship_lessons lessons;
    struct backoff backoff;
    bool ever_streamed, progress;
    int64_t busy_since;
    unsigned foreign;
};

struct session {
    struct ship *ship;
    struct stream *stream;
    struct tide_log_identity id;
    char *identity; /* owned; what id.evidence points to */
    struct ship_target target;
    struct prover prover;
    bool proved, differs;
    bool filled; /* a hole was: stored log goes on */
};

static void session_clear(struct session *x)
{
    prover_close(&x->prover);
    ship_target_clear(&x->target);
    free(x->identity);
}

/* ---- the sink */

static void now_proved(struct session *x)
{
    struct ship *s = x->ship;

    x->proved = true;
    ship_lock(s);
    /* On a fresh lineage, too: a slot to which nothing was confirmed yet holds nothing back. */
    s->confirm = x->target.resume;
    ship_problem(s, s->stream_problem, "wal.ship.streaming", NULL);
    ship_changed(s);
    ship_unlock(s);
}

static void wait_for_room(struct ship *s)
{
    while (collector_bytes(s->collector) + s->in_flight > SHIP_PENDING_MAX && !ship_stopping(s))
        ship_wait(s, TIDE_SECOND_US);
}

static int on_bytes(void *ctx, struct tide_pos start, struct tide_pos end, const void *data, size_t len,
                    struct tide_err *err)
{
    struct session *x = ctx;
    struct ship *s = x->ship;

    if (ship_stopping(s))
        return tide_fail(err, TIDE_CANCELLED, "stopped");
    tide_status st = prover_check(&x->prover, start, data, len, &x->differs, err);
    if (st != TIDE_OK)
        return st;
    if (!x->proved && prover_done(&x->prover))
        now_proved(x);
    if (x->target.end_expected) {
        if (pos_before(x->target.resume, end))
            st = tide_fail(err, TIDE_AGAIN, "the server went on behind its fork");
        return st;
    }
    struct tide_pos fill_to = x->target.fill_to;
    if (!tide_pos_is_none(fill_to) && !pos_before(end, fill_to)) {
        x->filled = true;
        len = (size_t)pos_distance(start, fill_to);
        end = fill_to;
    }
    ship_lock(s);
    st = collector_feed(s->collector, start, end, data, len, err);
    if (st == TIDE_OK && collector_ended(s->collector))
        st = tide_fail(err, TIDE_CORRUPT, "the server sent bytes that are no log");
    if (st == TIDE_OK) {
        s->state.received = pos_max(end, x->target.resume);
        s->last_arrival_us = tide_monotonic_us();
        if (pos_before(x->target.resume, end))
            x->stream->progress = true;
        ship_changed(s);
        wait_for_room(s);
    }
    ship_unlock(s);
    if (st == TIDE_OK && x->filled)
        st = tide_fail(err, TIDE_AGAIN, "a hole in the stored log was filled");
    return st;
}

static struct tide_pos on_durable(void *ctx)
{
    struct session *x = ctx;

    ship_lock(x->ship);
    struct tide_pos p = x->ship->confirm;
    x->ship->state.confirmed = pos_max(x->ship->state.confirmed, p);
    ship_unlock(x->ship);
    return p;
}

static int on_idle(void *ctx, struct tide_err *err)
{
    struct session *x = ctx;

    if (ship_stopping(x->ship))
        return tide_fail(err, TIDE_CANCELLED, "stopped");
    return TIDE_OK;
}

/* ---- a session */

/* The end of the parent's log goes to the scanner only: a record may reach from there into the child. */
static tide_status feed_lead(struct ship *s, const struct ship_target *t, struct collector *c, struct tide_err *err)
{
    struct lineage_step step = {.lineage = t->lead_lineage};
    struct log_source *source = NULL;
    TIDE_AUTO(tide_freep) uint8_t *buf = malloc(LEAD_SLICE);
    tide_status st = buf == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory")
                                 : log_source_new(s->o->repo, s->o->instance, &step, 1, &source, err);

    for (struct tide_pos at = t->lead_from; st == TIDE_OK && pos_before(at, t->resume);) {
        struct tide_pos end = pos_min(pos_add(at, LEAD_SLICE), t->resume), got = at;
        st = log_source_read(source, at, end, buf, &got, err);
        if (st == TIDE_OK && pos_before(got, end))
            st = tide_fail(err, TIDE_CORRUPT, "the parent's log ends before the fork");
        if (st == TIDE_OK)
            st = collector_feed(c, at, end, buf, (size_t)pos_distance(at, end), err);
        at = end;
    }
    log_source_free(source);
    return st;
}

static tide_status make_collector(struct ship *s, const struct ship_target *t, struct collector **out,
                                  struct tide_err *err)
{
    bool lead = t->lead_lineage != 0;
    struct collector_options o = {.plugin = s->o->plugin,
                                  .host = &s->host,
                                  .evidence = t->evidence,
                                  .lineage = t->lineage,
                                  .object_bytes = s->o->object_bytes,
                                  .start = t->resume,
                                  .scan_from = lead ? t->lead_from : t->prove_from};

    if (lead ? t->lead_record : t->record)
        o.first_record = o.scan_from;
    tide_status st = collector_new(&o, out, err);
    if (st == TIDE_OK && lead)
        st = feed_lead(s, t, *out, err);
    return st;
}

static tide_status set_tail(struct ship *s, const struct session *x, struct tide_err *err)
{
    struct ship_tail *tail = &s->tail;

    if (tail->lineage != x->target.lineage) {
        free(tail->bytes);
        tail->bytes = NULL;
        tail->valid = false;
    }
    free(tail->evidence);
    free(tail->identity);
    tail->lineage = x->target.lineage;
    tail->branch = x->target.branch;
    tail->evidence = strdup(x->target.evidence);
    tail->identity = strdup(x->identity);
    if (tail->evidence != NULL && tail->identity != NULL)
        return TIDE_OK;
    tail->valid = false;
    return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
}

/* From here on the other threads see the session. */
static tide_status session_begin(struct session *x, struct tide_err *err)
{
    struct ship *s = x->ship;
    struct collector *c = NULL;
    tide_status st = prover_open(s, &x->target, &x->prover, err);

    if (st == TIDE_OK && !x->target.end_expected)
        st = make_collector(s, &x->target, &c, err);
    if (st != TIDE_OK) {
        collector_free(c);
        return st;
    }
    ship_lock(s);
    st = set_tail(s, x, err);
    if (st == TIDE_OK) {
        if (s->state.lineage != x->target.lineage) {
            s->n_clocks = 0;
            s->resolved = (struct ship_clock_reading){.clock_us = TIDE_TIME_NONE};
        }
        s->collector = TIDE_TAKE(c);
        s->confirm = TIDE_POS_NONE;
        s->synchronous = x->id.synchronous != 0;
        s->standby = x->id.standby != 0;
        s->state.lineage = x->target.lineage;
        s->state.received = x->target.resume;
        if (s->state.spooled_bytes == 0)
            s->state.durable = x->target.resume;
        ship_resolve_clocks(s);
        ship_changed(s);
    }
    ship_unlock(s);
    collector_free(c);
    return st;
}

/* What arrived is stored before anything else happens: then the repository alone says where to go on. */
static void session_drain(struct session *x, bool all)
{
    struct ship *s = x->ship;
    struct tide_err err = TIDE_ERR_INIT;

    ship_lock(s);
    if (s->collector != NULL) {
        if (collector_cut(s->collector, all ? COLLECTOR_ALL : COLLECTOR_WHOLE, &err) != TIDE_OK)
            TIDE_LOG(TIDE_LOG_WARN, "wal.ship.cut_failed", TIDE_STR("reason", err.msg));
        s->draining = true;
        ship_changed(s);
        while (!atomic_load(&s->give_up) &&
               (s->storing || collector_has_closed(s->collector) || collector_has_whole(s->collector)))
            ship_wait(s, TIDE_SECOND_US);
        s->draining = false;
        while (s->storing)
            ship_wait(s, TIDE_SECOND_US);
        collector_free(TIDE_TAKE(s->collector));
    }
    s->confirm = TIDE_POS_NONE;
    ship_unlock(s);
}

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
    ship_lock(s);
    s->tail.valid = false;
    ship_unlock(s);
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
        ship_lock(x->ship);
        x->ship->tail.valid = false;
        ship_unlock(x->ship);
        return ship_target_removed(x->ship, &st->lessons, &x->target, &x->id, end->oldest, err);
    case TIDE_STREAM_AHEAD:
        ship_lock(x->ship);
        x->ship->tail.valid = false;
        ship_unlock(x->ship);
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
    ship_lock(x->ship);
    x->ship->tail.valid = false;
    ship_unlock(x->ship);
    x->stream->progress = true;
    tide_err_clear(err);
    return TIDE_OK;
}

/* The hole is closed: the next session goes on at the next one, or at the end. */
static tide_status hole_filled(struct session *x, struct tide_err *err)
{
    session_drain(x, true);
    ship_lock(x->ship);
    x->ship->tail.valid = false;
    ship_unlock(x->ship);
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
    struct tide_log_sink sink = {.struct_size = sizeof sink,
                                 .wake_fd = s->wake_fd,
                                 .ctx = x,
                                 .bytes = on_bytes,
                                 .durable = on_durable,
                                 .idle = on_idle};
    struct tide_log_stream_end end = {.struct_size = sizeof end};

    TIDE_LOG(TIDE_LOG_INFO, "wal.ship.stream", TIDE_STR("instance", s->o->instance),
             TIDE_U64("lineage", x->target.lineage), TIDE_U64("from", x->target.prove_from.lo),
             TIDE_U64("resume", x->target.resume.lo));
    if (prover_done(&x->prover))
        now_proved(x);
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
