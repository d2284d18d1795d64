#include "wal/ship_session.h"

#include "orchestrator/base/clock.h"
#include "wal/pos.h"

void session_proved(struct session *x)
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
        session_proved(x);
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

struct tide_log_sink session_sink(struct session *x)
{
    return (struct tide_log_sink){.struct_size = sizeof(struct tide_log_sink),
                                  .wake_fd = x->ship->wake_fd,
                                  .ctx = x,
                                  .bytes = on_bytes,
                                  .durable = on_durable,
                                  .idle = on_idle};
}
