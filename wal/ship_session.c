#include "wal/ship_session.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

#define LEAD_SLICE (1u << 20)

void session_clear(struct session *x)
{
    prover_close(&x->prover);
    ship_target_clear(&x->target);
    free(x->identity);
}

void session_forget_tail(struct session *x)
{
    ship_lock(x->ship);
    x->ship->tail.valid = false;
    ship_unlock(x->ship);
}

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

tide_status session_begin(struct session *x, struct tide_err *err)
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

void session_drain(struct session *x, bool all)
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
