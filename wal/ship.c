#include "wal/ship.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include "wal/ship_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* ---- waiting and telling */

static struct timespec monotonic_in(int64_t us)
{
    int64_t at = tide_monotonic_us() + us;

    return (struct timespec){.tv_sec = at / TIDE_SECOND_US, .tv_nsec = (at % TIDE_SECOND_US) * 1000};
}

void ship_wait(struct ship *s, int64_t us)
{
    struct timespec at = monotonic_in(us < 0 ? 0 : us);

    (void)pthread_cond_timedwait(&s->changed, &s->lock, &at);
}

void ship_changed(struct ship *s)
{
    (void)pthread_cond_broadcast(&s->changed);
}

bool ship_pause(struct ship *s, int64_t us)
{
    int64_t until = tide_monotonic_us() + us;

    ship_lock(s);
    for (int64_t left = us; !ship_stopping(s) && left > 0; left = until - tide_monotonic_us())
        ship_wait(s, left);
    ship_unlock(s);
    return !ship_stopping(s);
}

void ship_fatal(struct ship *s, tide_status status, const struct tide_err *err)
{
    ship_lock(s);
    if (s->fatal == TIDE_OK) {
        s->fatal = status;
        s->fatal_err = *err;
    }
    tide_cancel_set(s->stop);
    ship_changed(s);
    ship_unlock(s);
}

/* The system's reason comes last: of a long text the middle is left out. */
static void shorten(const char *text, char out[256])
{
    size_t len = text == NULL ? 0 : strlen(text);

    if (len < 256)
        (void)snprintf(out, 256, "%s", text == NULL ? "" : text);
    else
        (void)snprintf(out, 256, "%.120s ... %s", text, text + len - 120);
}

void ship_problem(struct ship *s, char slot[256], const char *event, const char *text)
{
    char problem[256];

    shorten(text, problem);
    if (strcmp(slot, problem) == 0)
        return;
    (void)snprintf(slot, sizeof problem, "%s", problem);
    ship_changed(s); /* a flush does not wait for what stands still */
    if (text != NULL)
        TIDE_LOG(TIDE_LOG_WARN, event, TIDE_STR("instance", s->o->instance), TIDE_STR("problem", text));
    else
        TIDE_LOG(TIDE_LOG_INFO, event, TIDE_STR("instance", s->o->instance));
}

void ship_snapshot(struct ship *s, struct wal_ship_state *out)
{
    ship_lock(s);
    struct tide_pos end =
        s->server_end.hi == s->state.received.hi ? pos_max(s->server_end, s->state.received) : s->state.received;
    const char *problems[] = {s->fatal_err.msg, s->store_problem, s->drain_problem, s->stream_problem,
                              s->lease_problem, s->clock_problem, s->notice};
    *out = s->state;
    out->unshipped_bytes = pos_distance(s->state.durable, end);
    out->problem[0] = '\0';
    for (size_t i = 0; i < sizeof problems / sizeof problems[0] && out->problem[0] == '\0'; i++)
        (void)snprintf(out->problem, sizeof out->problem, "%.255s", problems[i]);
    ship_unlock(s);
}

/* ---- the host that the plugin sees: the caller's, cancelled by us */

static void host_log(void *ctx, int level, const char *event, const char *message)
{
    const struct tide_host *h = ((struct ship *)ctx)->o->host;
    h->log(h->ctx, level, event, message);
}

static int host_set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                          const char *hint)
{
    const struct tide_host *h = ((struct ship *)ctx)->o->host;
    return h->set_error(h->ctx, err, status, os_errno, message, hint);
}

static void host_progress(void *ctx, const struct tide_progress *p)
{
    const struct tide_host *h = ((struct ship *)ctx)->o->host;
    h->progress(h->ctx, p);
}

static bool host_cancelled(void *ctx)
{
    return ship_stopping(ctx);
}

static int host_cancel_fd(void *ctx)
{
    return tide_cancel_fd(((struct ship *)ctx)->stop);
}

static const char *host_option(void *ctx, const char *key)
{
    const struct tide_host *h = ((struct ship *)ctx)->o->host;
    return h->option(h->ctx, key);
}

static const char *host_instance(void *ctx)
{
    const struct tide_host *h = ((struct ship *)ctx)->o->host;
    return h->instance(h->ctx);
}

/* ---- life */

static void ship_clear(struct ship *s)
{
    lease_release(s->lease);
    repo_close(s->spool);
    collector_free(s->collector);
    free(s->tail.bytes);
    free(s->tail.evidence);
    free(s->tail.identity);
    if (s->wake_fd >= 0)
        (void)close(s->wake_fd);
    tide_cancel_free(s->stop);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
}

static tide_status ship_init(struct ship *s, const struct wal_ship_options *o, struct tide_err *err)
{
    pthread_condattr_t attr;

    *s = (struct ship){.o = o,
                       .wake_fd = -1,
                       .stored_max_us = TIDE_TIME_NONE,
                       .resolved = {.clock_us = TIDE_TIME_NONE},
                       .state = {.restorable_us = TIDE_TIME_NONE, .server_clock_us = TIDE_TIME_NONE}};
    s->host = (struct tide_host){.struct_size = sizeof s->host,
                                 .abi = TIDE_PLUGIN_ABI,
                                 .ctx = s,
                                 .log = host_log,
                                 .set_error = host_set_error,
                                 .progress = host_progress,
                                 .cancelled = host_cancelled,
                                 .cancel_fd = host_cancel_fd,
                                 .option = host_option,
                                 .instance = host_instance};
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&s->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    tide_status st = tide_cancel_new(&s->stop, err);
    if (st != TIDE_OK)
        return st;
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return s->wake_fd >= 0 ? TIDE_OK : tide_fail_errno(err, errno, "could not make an event descriptor");
}

struct ship_threads {
    pthread_t storer, clock, keeper, drainer;
    bool has_storer, has_clock, has_keeper, has_drainer;
};

static tide_status start(pthread_t *t, bool *has, void *(*fn)(void *), struct ship *s, struct tide_err *err)
{
    int n = pthread_create(t, NULL, fn, s);

    *has = n == 0;
    return n == 0 ? TIDE_OK : tide_fail_errno(err, n, "could not start a thread");
}

static tide_status start_all(struct ship *s, struct ship_threads *t, struct tide_err *err)
{
    tide_status st = start(&t->storer, &t->has_storer, ship_store_main, s, err);

    if (st == TIDE_OK && s->spool != NULL)
        st = start(&t->drainer, &t->has_drainer, ship_drain_main, s, err);
    if (st == TIDE_OK)
        st = start(&t->clock, &t->has_clock, ship_clock_main, s, err);
    if (st == TIDE_OK)
        st = start(&t->keeper, &t->has_keeper, ship_keeper_main, s, err);
    return st;
}

/* The storer first: what was received is stored; then the drainer, then those that only watch. */
static void join_all(struct ship *s, struct ship_threads *t)
{
    ship_lock(s);
    s->ending = true;
    ship_changed(s);
    ship_unlock(s);
    if (t->has_storer)
        (void)pthread_join(t->storer, NULL);
    ship_lock(s);
    s->drain_ending = true;
    ship_changed(s);
    ship_unlock(s);
    if (t->has_drainer)
        (void)pthread_join(t->drainer, NULL);
    tide_cancel_set(s->stop);
    ship_lock(s);
    ship_changed(s);
    ship_unlock(s);
    if (t->has_clock)
        (void)pthread_join(t->clock, NULL);
    if (t->has_keeper)
        (void)pthread_join(t->keeper, NULL);
}

static tide_status run(struct ship *s, struct tide_err *err)
{
    struct ship_threads t = {0};
    struct ship_desk desk;
    tide_status st = ship_desk_open(&desk, s, err);

    if (st != TIDE_OK)
        return st;
    if (!s->o->no_lease)
        st = ship_lease_take(s, err);
    if (st == TIDE_OK && s->o->spool_directory != NULL)
        st = ship_spool_open(s, err);
    if (st == TIDE_OK)
        st = start_all(s, &t, err);
    if (st == TIDE_OK)
        st = ship_stream_run(s, err);
    tide_cancel_set(s->stop);
    join_all(s, &t);
    ship_desk_close(&desk);
    if (s->fatal != TIDE_OK) {
        *err = s->fatal_err;
        return s->fatal;
    }
    return st == TIDE_CANCELLED ? TIDE_OK : st;
}

tide_status wal_ship(const struct wal_ship_options *o, struct tide_err *err)
{
    struct tide_err own = TIDE_ERR_INIT;
    struct ship s;

    if (err == NULL)
        err = &own;
    if ((o->plugin->caps & TIDE_CAP_LOG_STREAM) == 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "the plugin \"%s\" cannot stream a log", o->plugin->name);
    if (o->object_bytes == 0 || o->ship_interval_us <= 0 || o->heartbeat_interval_us <= 0)
        return tide_fail(err, TIDE_INVALID, "object size and intervals of a shipper must not be zero");
    tide_status st = ship_init(&s, o, err);
    if (st == TIDE_OK)
        st = run(&s, err);
    ship_clear(&s);
    return st;
}
