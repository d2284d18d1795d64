#include "wal/ship_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "wal/backoff.h"
#include "wal/pos.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A last record larger than this is read back from the repository when it is needed. */
#define TAIL_MAX (1u << 20)

static void wake_stream(struct ship *s)
{
    uint64_t one = 1;
    /* The counter cannot overflow, and a full one is readable all the same. */
    ssize_t n = write(s->wake_fd, &one, sizeof one);
    (void)n;
}

void ship_stored(struct ship *s, struct tide_pos end, int64_t max_us)
{
    const struct wal_ship_options *o = s->o;

    s->state.durable = end;
    /* A commit that is stamped later than the server's clock says nothing about what was acknowledged when. */
    if (max_us != TIDE_TIME_NONE && s->state.server_clock_us != TIDE_TIME_NONE &&
        max_us <= tide_now_us() + s->state.skew_us + o->clock_tolerance_us) {
        if (max_us > s->stored_max_us)
            s->stored_max_us = max_us;
        if (max_us > s->state.restorable_us)
            s->state.restorable_us = max_us;
    }
    ship_resolve_clocks(s);
    if (!tide_pos_is_none(o->until) && !pos_before(end, o->until))
        tide_cancel_set(s->stop);
    ship_changed(s);
}

/* Keeps the last record, so that the server can be asked to resend it. */
static void keep_tail(struct ship *s, const struct log_piece *p)
{
    struct ship_tail *t = &s->tail;
    struct tide_pos start = p->info.name.start, record = p->info.last_record_start;
    size_t len = (size_t)pos_distance(record, p->info.name.end);

    free(t->bytes);
    t->bytes = NULL;
    t->len = 0;
    t->record = TIDE_POS_NONE;
    t->end = p->info.name.end;
    t->valid = t->lineage == p->info.name.lineage && t->evidence != NULL && t->identity != NULL;
    if (tide_pos_is_none(record) || pos_before(record, start) || len == 0 || len > TAIL_MAX || len > p->info.bytes)
        return;
    t->bytes = malloc(len);
    if (t->bytes == NULL)
        return;
    memcpy(t->bytes, p->content + (p->info.bytes - len), len);
    t->len = len;
    t->record = record;
}

static void piece_done(struct ship *s, const struct log_piece *p)
{
    s->state.objects++;
    s->state.bytes += p->info.bytes;
    s->state.commits += p->info.n_commits;
    keep_tail(s, p);
    s->confirm = p->info.name.end;
    if (s->spool == NULL)
        ship_stored(s, p->info.name.end, p->info.name.max_us);
    ship_problem(s, s->store_problem, "wal.ship.stored", NULL);
    wake_stream(s);
    ship_changed(s);
}

static tide_status put_piece(struct ship *s, struct log_piece *p, struct tide_err *err)
{
    TIDE_FAILPOINT("ship-before-put", err);
    tide_status st =
        s->spool != NULL ? ship_spool_store(s, p, err) : log_piece_put(s->o->repo, s->o->instance, p, err);
    if (st != TIDE_OK)
        return st;
    TIDE_FAILPOINT("ship-after-put", err);
    TIDE_FAILPOINT("ship-before-confirm", err);
    return TIDE_OK;
}

/* The same piece again and again, until it is stored, refused, or nobody waits any more. */
static tide_status store_piece(struct ship *s, struct log_piece *p)
{
    struct backoff b = {.seed = (uint64_t)tide_now_us()};

    for (;;) {
        struct tide_err err = TIDE_ERR_INIT;
        bool last_try = ship_stopping(s);
        tide_status st = put_piece(s, p, &err);
        if (st == TIDE_OK)
            return st;
        if (st == TIDE_CORRUPT || st == TIDE_INVALID) {
            /* The same name with other content, or what cannot be stored at all: never acknowledged. */
            ship_fatal(s, st, &err);
            return st;
        }
        ship_lock(s);
        ship_problem(s, s->store_problem, "wal.ship.not_stored", err.msg);
        ship_unlock(s);
        if (last_try)
            return st;
        (void)ship_pause(s, backoff_next(&b));
    }
}

static bool is_due(const struct ship *s, const struct collector *c, int64_t *due_us)
{
    if (!collector_has_whole(c))
        return false;
    if (s->synchronous || s->draining || ship_stopping(s))
        return true;
    if (s->flushing && !pos_before(collector_whole_end(c), s->flush_to))
        return true;
    if (!tide_pos_is_none(s->o->until) && !pos_before(collector_whole_end(c), s->o->until))
        return true;
    int64_t due = collector_open_since(c) + s->o->ship_interval_us, now = tide_monotonic_us();
    if (now < due && due - now < *due_us)
        *due_us = due - now;
    return now >= due;
}

/* The next piece to store, or NULL and how long to wait.  Under lock. */
static struct log_piece *next_piece(struct ship *s, int64_t *wait_us)
{
    struct tide_err err = TIDE_ERR_INIT;

    if (s->collector == NULL || atomic_load(&s->give_up))
        return NULL;
    struct log_piece *p = collector_take(s->collector);
    if (p != NULL || !is_due(s, s->collector, wait_us))
        return p;
    if (collector_cut(s->collector, COLLECTOR_WHOLE, &err) != TIDE_OK) {
        ship_problem(s, s->store_problem, "wal.ship.cut_failed", err.msg);
        return NULL;
    }
    return collector_take(s->collector);
}

void *ship_store_main(void *arg)
{
    struct ship *s = arg;

    ship_lock(s);
    for (;;) {
        int64_t wait_us = TIDE_SECOND_US;
        struct log_piece *p = next_piece(s, &wait_us);
        if (p == NULL) {
            if (s->ending)
                break;
            ship_wait(s, wait_us);
            continue;
        }
        s->storing = true;
        s->in_flight = p->info.bytes;
        ship_unlock(s);
        tide_status st = store_piece(s, p);
        ship_lock(s);
        s->storing = false;
        s->in_flight = 0;
        if (st == TIDE_OK)
            piece_done(s, p);
        else
            atomic_store(&s->give_up, true); /* what comes behind it must not be stored before it */
        ship_changed(s);
        log_piece_free(p);
    }
    ship_unlock(s);
    return NULL;
}
