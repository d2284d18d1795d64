#include "wal/ship_internal.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/backoff.h"
#include "wal/pos.h"
#include <string.h>

#define FLUSH_MAX_US    (20 * TIDE_SECOND_US)
#define HEARTBEATS_KEPT 4u
#define PRUNE_EVERY     32u

struct clock_thread {
    struct ship *ship;
    void *inst;
    struct backoff backoff;
    int64_t next_ask_us, next_beat_us; /* monotonic */
    uint32_t beat_lineage;
    int64_t beat_clock_us;
    unsigned beats;
    bool retract; /* heartbeats may be stored that speak of a time which the server's clock has not reached */
};

void ship_resolve_clocks(struct ship *s)
{
    size_t kept = 0;

    for (size_t i = 0; i < s->n_clocks; i++) {
        struct ship_clock_reading r = s->clocks[i];
        if (pos_before(s->state.durable, r.end)) {
            s->clocks[kept++] = r;
            continue;
        }
        if (s->resolved.clock_us == TIDE_TIME_NONE || r.clock_us > s->resolved.clock_us)
            s->resolved = r;
        if (r.clock_us > s->state.restorable_us)
            s->state.restorable_us = r.clock_us;
    }
    s->n_clocks = kept;
}

static void take_reading(struct ship *s, const struct tide_clock *c, int64_t before_us, int64_t after_us)
{
    int64_t was = s->state.server_clock_us;
    if (was != TIDE_TIME_NONE && c->clock_us < was - s->o->clock_tolerance_us) {
        /* The server's clock was put back: what was said in terms of the old one would over-report. */
        s->n_clocks = 0;
        s->clock_put_back = true;
        s->resolved.clock_us = s->stored_max_us = TIDE_TIME_NONE;
        if (s->state.restorable_us != TIDE_TIME_NONE)
            s->state.restorable_us -= was - c->clock_us;
    }
    s->state.server_clock_us = c->clock_us;
    s->state.held_back_bytes = c->held_back_bytes;
    s->state.skew_us = c->clock_us - (before_us + (after_us - before_us) / 2);
    s->state.standby = c->standby != 0;
    if (c->synchronous != TIDE_WAITING_UNKNOWN)
        s->synchronous = c->synchronous == TIDE_WAITING_YES;
    if (c->standby || tide_pos_is_none(c->end))
        return;
    s->server_end = c->end;
    if (s->n_clocks == SHIP_CLOCKS) {
        memmove(s->clocks, s->clocks + 1, (SHIP_CLOCKS - 1) * sizeof s->clocks[0]);
        s->n_clocks--;
    }
    s->clocks[s->n_clocks++] = (struct ship_clock_reading){.clock_us = c->clock_us, .end = c->end};
    ship_resolve_clocks(s);
    ship_changed(s);
}

/* Asks the server.  *end is none when no promise was made. */
static bool ask(struct clock_thread *t, struct tide_pos *end)
{
    struct ship *s = t->ship;
    struct tide_clock c = {.struct_size = sizeof c};
    struct tide_err err = TIDE_ERR_INIT;
    tide_status st = TIDE_OK;

    ship_lock(s);
    uint32_t lineage = s->state.lineage;
    ship_unlock(s);
    if (t->inst == NULL)
        st = (tide_status)s->o->plugin->open(&s->host, &t->inst, &err);
    int64_t before = tide_now_us();
    if (st == TIDE_OK)
        st = (tide_status)s->o->plugin->clock(t->inst, &c, &err);
    int64_t after = tide_now_us();
    if (st != TIDE_OK) {
        s->o->plugin->close(t->inst);
        t->inst = NULL;
    }
    ship_lock(s);
    /* A position of another branch means nothing to this one. */
    bool ours = c.branch == 0 || c.branch == s->tail.branch;
    if (st == TIDE_OK && ours && lineage == s->state.lineage && s->collector != NULL)
        take_reading(s, &c, before, after);
    if (!ship_stopping(s))
        ship_problem(s, s->clock_problem, st == TIDE_OK ? "wal.ship.clock" : "wal.ship.no_clock",
                     st == TIDE_OK ? NULL : err.msg);
    ship_unlock(s);
    *end = c.end;
    return st == TIDE_OK;
}

/*
 * A heartbeat from before the clock was put back promises moments that are still to come.  The server's clock may
 * have been put back while nobody shipped, too.
 */
static void retract(struct clock_thread *t, uint32_t lineage, int64_t server_clock_us)
{
    const struct wal_ship_options *o = t->ship->o;
    struct tide_err err = TIDE_ERR_INIT;

    if (lineage == 0 || server_clock_us == TIDE_TIME_NONE)
        return;
    tide_status st = heartbeat_retract(o->repo, o->instance, lineage, server_clock_us + o->clock_tolerance_us, &err);
    t->retract = st != TIDE_OK;
    if (st != TIDE_OK)
        TIDE_LOG(TIDE_LOG_DEBUG, "wal.ship.not_retracted", TIDE_STR("reason", err.msg));
}

/* The statement that others can read.  Only when commits do not say as much by themselves. */
static void beat(struct clock_thread *t, bool now)
{
    struct ship *s = t->ship;
    struct tide_err err = TIDE_ERR_INIT;

    ship_lock(s);
    struct ship_clock_reading r = s->resolved;
    uint32_t lineage = s->state.lineage;
    bool spooled = s->state.spooled_bytes > 0;
    bool news = r.clock_us != TIDE_TIME_NONE && r.clock_us > s->stored_max_us && lineage != 0;
    bool again = s->clock_put_back || lineage != t->beat_lineage;
    int64_t server_clock_us = s->state.server_clock_us;
    s->clock_put_back = false;
    ship_unlock(s);
    if (again) {
        t->beat_lineage = lineage;
        t->beat_clock_us = TIDE_TIME_NONE;
        t->next_beat_us = 0;
        t->retract = true;
    }
    if (t->retract)
        retract(t, lineage, server_clock_us);
    if (!news || spooled || r.clock_us <= t->beat_clock_us || (!now && tide_monotonic_us() < t->next_beat_us))
        return;
    tide_status st = heartbeat_put(s->o->repo, s->o->instance, lineage, r.clock_us, r.end, &err);
    if (st == TIDE_OK && ++t->beats % PRUNE_EVERY == 0)
        st = heartbeat_prune(s->o->repo, s->o->instance, lineage, HEARTBEATS_KEPT, &err);
    /* The next one says more; the storer tells when the repository is away. */
    if (st != TIDE_OK)
        TIDE_LOG(TIDE_LOG_DEBUG, "wal.ship.no_heartbeat", TIDE_STR("reason", err.msg));
    t->beat_clock_us = r.clock_us;
    t->next_beat_us = tide_monotonic_us() + s->o->heartbeat_interval_us;
}

static void flush(struct clock_thread *t, uint64_t wanted)
{
    struct ship *s = t->ship;
    struct tide_pos end = TIDE_POS_NONE;
    bool asked = ask(t, &end);
    int64_t deadline = tide_monotonic_us() + FLUSH_MAX_US;

    ship_lock(s);
    if ((!asked || tide_pos_is_none(end)) && s->collector != NULL)
        end = collector_whole_end(s->collector);
    s->flushing = true;
    s->flush_to = end;
    ship_changed(s);
    /* While there is no stream, or nowhere to store, the answer is the state as it is. */
    while (pos_before(s->state.durable, end) && !ship_stopping(s) && tide_monotonic_us() < deadline &&
           s->collector != NULL && s->store_problem[0] == '\0' && s->drain_problem[0] == '\0')
        ship_wait(s, deadline - tide_monotonic_us());
    ship_unlock(s);
    beat(t, true);
    ship_lock(s);
    s->flushing = false;
    s->flush_done = wanted;
    ship_changed(s);
    ship_unlock(s);
}

/* Every ship_interval when nothing arrives, so that an idle server's restorable time moves; else more seldom. */
static void plan_next(struct clock_thread *t, bool answered)
{
    struct ship *s = t->ship;
    const struct wal_ship_options *o = s->o;
    int64_t now = tide_monotonic_us(), pause;

    if (!answered) {
        pause = backoff_next(&t->backoff);
    } else {
        backoff_reset(&t->backoff);
        pause = o->ship_interval_us < o->heartbeat_interval_us ? o->ship_interval_us : o->heartbeat_interval_us;
    }
    t->next_ask_us = now + (pause < 10000 ? 10000 : pause);
}

void *ship_clock_main(void *arg)
{
    struct clock_thread t = {.ship = arg, .beat_clock_us = TIDE_TIME_NONE};
    struct ship *s = arg;

    t.backoff.seed = (uint64_t)tide_now_us() ^ 0x5eed;
    ship_lock(s);
    while (!ship_stopping(s)) {
        uint64_t wanted = s->flush_wanted;
        int64_t now = tide_monotonic_us();
        if (wanted == s->flush_done && (now < t.next_ask_us || s->collector == NULL)) {
            int64_t us = t.next_ask_us - now;
            ship_wait(s, us > 0 && s->collector != NULL ? us : TIDE_SECOND_US / 5);
            continue;
        }
        bool flushing = wanted != s->flush_done;
        ship_unlock(s);
        if (flushing) {
            flush(&t, wanted);
        } else {
            struct tide_pos end;
            plan_next(&t, ask(&t, &end));
        }
        beat(&t, false);
        ship_lock(s);
    }
    /* Nobody waits for a flush that will not come. */
    s->flush_done = s->flush_wanted;
    ship_changed(s);
    ship_unlock(s);
    s->o->plugin->close(t.inst);
    return NULL;
}
