#ifndef TIDE_WAL_SHIP_INTERNAL_H
#define TIDE_WAL_SHIP_INTERNAL_H

/*
 * What the shipper's threads share.  One lock, one condition that is broadcast
 * on every change: nothing here is so frequent that more would pay.
 *
 *   stream   ship_stream.c, ship_session.c, ship_sink.c, ship_target.c, ship_prove.c
 *                                                         receives, proves, feeds the collector
 *   storer   ship_store.c                                 stores closed pieces, confirms
 *   clock    ship_clock.c                                 the server's clock, heartbeats, flush
 *   keeper   ship_keeper.c                                lease, merging, sweeping
 *   drainer  ship_spool.c                                 with a spool: copies it to the repository
 *   desk     ship_control.c                               control socket, report, outer cancellation
 */

#include "orchestrator/base/thread.h"
#include "orchestrator/repository/lease.h"
#include "wal/branch_internal.h"
#include "wal/collector.h"
#include "wal/ship.h"
#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>

#define SHIP_PENDING_MAX   (64u << 20) /* bytes that wait to be stored before the stream has to wait */
#define SHIP_CLOCKS        16u
#define SHIP_DISPROVED_MAX 64u

/* A reading of the server's clock: everything acknowledged before it lies below end. */
struct ship_clock_reading {
    int64_t clock_us;
    struct tide_pos end;
};

/* What was stored last, so that a reconnect needs nothing from the repository. */
struct ship_tail {
    bool valid;
    uint32_t lineage;
    uint64_t branch;
    char *evidence;         /* of the lineage; owned */
    char *identity;         /* evidence of the server when it was streamed; owned */
    struct tide_pos end;    /* durable for the server's purposes: repository or spool */
    struct tide_pos record; /* start of the last record; none: not in memory */
    uint8_t *bytes;         /* [record, end); owned */
    size_t len;
};

struct ship {
    const struct wal_ship_options *o;
    struct tide_host host; /* the caller's, with our own cancellation */
    struct tide_cancel *stop;
    struct repo *spool;
    int wake_fd;
    _Atomic bool give_up; /* the storer must not retry any more */

    pthread_mutex_t lock;
    pthread_cond_t changed;

    /* everything below: under lock */
    struct wal_ship_state state;
    char stream_problem[256], store_problem[256], drain_problem[256], clock_problem[256], lease_problem[256],
        notice[256];
    struct collector *collector; /* NULL between sessions */
    uint64_t in_flight;          /* bytes of the piece that is being stored */
    bool storing, draining;
    bool ending, drain_ending; /* the storer, the drainer ends when nothing is left */
    uint64_t spool_puts;
    bool synchronous;
    struct tide_pos confirm; /* what the server may be told; none until the session has proved itself */
    struct ship_tail tail;
    struct lease *lease;

    struct ship_clock_reading clocks[SHIP_CLOCKS];
    size_t n_clocks;
    struct ship_clock_reading resolved; /* the newest whose end is durable */
    struct tide_pos server_end;         /* as last asked */
    bool clock_put_back;                /* by the server; for the clock thread */
    int64_t stored_max_us;              /* newest commit time in the repository that is believed */
    int64_t last_arrival_us;            /* monotonic */
    uint32_t gap_lineage;               /* notice asks for a backup behind this gap; 0: it does not */
    struct tide_pos gap_to;
    uint64_t flush_wanted, flush_done;
    bool flushing;
    struct tide_pos flush_to; /* the piece that reaches it is closed at once */

    tide_status fatal; /* why it all ends, when not by cancellation */
    struct tide_err fatal_err;
};

static inline void ship_lock(struct ship *s)
{
    (void)pthread_mutex_lock(&s->lock);
}

static inline void ship_unlock(struct ship *s)
{
    (void)pthread_mutex_unlock(&s->lock);
}

static inline bool ship_stopping(const struct ship *s)
{
    return tide_cancel_is_set(s->stop);
}

/* ---- ship.c */

/* Waits for a change, at most us; under lock. */
void ship_wait(struct ship *s, int64_t us);
void ship_changed(struct ship *s); /* wakes the others; under lock */
/* Sleeps unless stopped; false when stopped.  Not under lock. */
bool ship_pause(struct ship *s, int64_t us);
/* The first reason ends the shipper. */
void ship_fatal(struct ship *s, tide_status status, const struct tide_err *err);
/* Sets or clears (NULL) a problem; a change is logged once.  Under lock. */
void ship_problem(struct ship *s, char slot[256], const char *event, const char *text);
void ship_snapshot(struct ship *s, struct wal_ship_state *out);

/* ---- ship_state.c */
json_t *ship_state_json(const struct wal_ship_state *st);
bool ship_state_parse(const json_t *doc, struct wal_ship_state *out);

/* ---- ship_stream.c */
tide_status ship_stream_run(struct ship *s, struct tide_err *err) TIDE_MUST_CHECK;

/* ---- the other threads */
void *ship_store_main(void *ship);
void *ship_clock_main(void *ship);
void *ship_keeper_main(void *ship);
void *ship_drain_main(void *ship);

/* A piece of the current session became durable in the repository; under lock. */
void ship_stored(struct ship *s, struct tide_pos end, int64_t max_us);
/* Readings of the clock below what is durable move the restorable time; under lock. */
void ship_resolve_clocks(struct ship *s);

/* ---- ship_spool.c: copies what is left over from before; retries until stopped. */
tide_status ship_spool_open(struct ship *s, struct tide_err *err) TIDE_MUST_CHECK;
tide_status ship_spool_store(struct ship *s, struct log_piece *p, struct tide_err *err) TIDE_MUST_CHECK;
/* Waits until nothing is spooled; false when stopped. */
bool ship_spool_wait_empty(struct ship *s);

/* ---- ship_keeper.c */
tide_status ship_lease_take(struct ship *s, struct tide_err *err) TIDE_MUST_CHECK;

/* ---- ship_control.c */
struct ship_desk {
    struct ship *ship;
    int listen_fd;
    pthread_t thread;
    bool running;
};
tide_status ship_desk_open(struct ship_desk *d, struct ship *s, struct tide_err *err) TIDE_MUST_CHECK;
void ship_desk_close(struct ship_desk *d);

#endif
