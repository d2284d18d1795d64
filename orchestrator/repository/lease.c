#include "orchestrator/repository/lease.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/lease_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_GENERATIONS 3u
#define LOOK_US_MAX      TIDE_SECOND_US
#define LOOK_US_MIN      (10 * 1000)

struct lease {
    struct repo *repo;
    char folder[REPO_KEY_MAX];
    struct lease_record self;
    uint32_t generation;           /* the renewing thread's */
    _Atomic int64_t held_until_us; /* monotonic */
    atomic_bool lost;
    bool has_thread;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping; /* under lock */
};

static int64_t clamp_us(int64_t v, int64_t low, int64_t high)
{
    return v < low ? low : v > high ? high : v;
}

bool lease_is_held(const struct lease *l)
{
    struct lease *w = (struct lease *)(uintptr_t)l; /* atomics take no const */
    return !atomic_load(&w->lost) && tide_monotonic_us() < atomic_load(&w->held_until_us);
}

/* Counted from before the request: the others count from when they saw its outcome. */
static void held_from(struct lease *l, int64_t since_us)
{
    atomic_store(&l->held_until_us, since_us + l->self.lease_us);
}

/* ---- renewing */

static void forget_generation(struct lease *l, uint32_t generation)
{
    char key[REPO_KEY_MAX];
    struct tide_err err = TIDE_ERR_INIT;
    tide_status s = record_key(l->folder, generation, key, &err);
    if (s == TIDE_OK)
        s = store_delete(repo_store(l->repo), key, &err);
    if (s != TIDE_OK) /* litter; the next holder clears it */
        TIDE_LOG(TIDE_LOG_DEBUG, "repository.lease.not_cleared", TIDE_STR("reason", err.msg));
}

/* After a lease ran out, somebody else may have held it so long that the generation behind ours is cleared away. */
static tide_status prove_newest(struct lease *l, uint32_t generation, struct tide_err *err)
{
    uint32_t newest = 0;
    tide_status s = record_highest(l->repo, l->folder, &newest, err);
    if (s != TIDE_OK || newest == generation)
        return s;
    forget_generation(l, generation);
    return tide_fail(err, TIDE_EXISTS, "generation %u is newer than %u", newest, generation);
}

/* One more generation.  EXISTS: somebody else made it, or a later one, and the lease is lost. */
static tide_status renew(struct lease *l, struct tide_err *err)
{
    int64_t since_us = tide_monotonic_us();
    bool ran_out = since_us >= atomic_load(&l->held_until_us);
    uint32_t next = l->generation + 1;
    tide_status s = lease_record_put(l->repo, l->folder, next, &l->self, err);
    if (s == TIDE_EXISTS) {
        /* A put that seemed to fail may have arrived: then it is our own. */
        struct lease_record found;
        struct tide_err ignored = TIDE_ERR_INIT;
        tide_status got = lease_record_get(l->repo, l->folder, next, &found, &ignored);
        if (got != TIDE_OK)
            return tide_fail(err, got == TIDE_NOT_FOUND ? TIDE_EXISTS : TIDE_AGAIN, "generation %u is taken", next);
        if (strcmp(found.holder, l->self.holder) != 0)
            return s;
        s = TIDE_OK;
    }
    if (s == TIDE_OK && ran_out)
        s = prove_newest(l, next, err);
    if (s != TIDE_OK)
        return s;
    l->generation = next;
    held_from(l, since_us);
    if (next > KEPT_GENERATIONS)
        forget_generation(l, next - KEPT_GENERATIONS);
    return TIDE_OK;
}

/* Sleeps; true when the lease is to end. */
static bool wait_for_stop(struct lease *l, int64_t us)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    int64_t at = (int64_t)until.tv_sec * TIDE_SECOND_US + until.tv_nsec / 1000 + us;
    until.tv_sec = at / TIDE_SECOND_US;
    until.tv_nsec = (at % TIDE_SECOND_US) * 1000;

    (void)pthread_mutex_lock(&l->lock);
    int rc = 0;
    while (!l->stopping && rc == 0)
        rc = pthread_cond_timedwait(&l->wake, &l->lock, &until);
    bool stop = l->stopping;
    (void)pthread_mutex_unlock(&l->lock);
    return stop;
}

static void *renew_loop(void *arg)
{
    struct lease *l = arg;
    int64_t pause = l->self.lease_us / 3;
    while (!wait_for_stop(l, pause)) {
        struct tide_err err = TIDE_ERR_INIT;
        tide_status s = renew(l, &err);
        pause = s == TIDE_OK ? l->self.lease_us / 3 : l->self.lease_us / 10;
        if (s == TIDE_EXISTS) {
            atomic_store(&l->lost, true);
            TIDE_LOG(TIDE_LOG_WARN, "repository.lease.lost", TIDE_STR("lease", l->folder),
                     TIDE_U64("generation", l->generation));
            break;
        }
        if (s != TIDE_OK)
            TIDE_LOG(TIDE_LOG_WARN, "repository.lease.renew_failed", TIDE_STR("lease", l->folder),
                     TIDE_STR("reason", err.msg));
    }
    return NULL;
}

static tide_status start_thread(struct lease *l, struct tide_err *err)
{
    int rc = pthread_create(&l->thread, NULL, renew_loop, l);
    if (rc != 0)
        return tide_fail_errno(err, rc, "could not start a thread for a lease");
    l->has_thread = true;
    return TIDE_OK;
}

static tide_status lease_new(struct repo *r, const struct lease_options *o, struct lease **out, struct tide_err *err)
{
    struct lease *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a lease");
    pthread_condattr_t attr;
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&l->lock, NULL);
    (void)pthread_cond_init(&l->wake, &attr);
    (void)pthread_condattr_destroy(&attr);
    l->repo = r;
    (void)snprintf(l->folder, sizeof(l->folder), "instances/%s/leases/%s/", o->instance, o->job);
    tide_status s = lease_record_self(&l->self, err);
    l->self.lease_us = o->lease_us;
    l->self.taken_us = tide_now_us();
    *out = l;
    return s;
}

static void stop_thread(struct lease *l)
{
    if (!l->has_thread)
        return;
    (void)pthread_mutex_lock(&l->lock);
    l->stopping = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->lock);
    (void)pthread_join(l->thread, NULL);
    l->has_thread = false;
}

static void lease_free(struct lease *l)
{
    if (l == NULL)
        return;
    stop_thread(l);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

static void lease_freep(struct lease **l)
{
    lease_free(*l);
}

void lease_release(struct lease *l)
{
    if (l == NULL)
        return;
    stop_thread(l);
    if (!atomic_load(&l->lost)) {
        l->self.released = true;
        struct tide_err err = TIDE_ERR_INIT;
        if (renew(l, &err) != TIDE_OK) /* the next one waits a little, no more */
            TIDE_LOG(TIDE_LOG_DEBUG, "repository.lease.release_failed", TIDE_STR("lease", l->folder),
                     TIDE_STR("reason", err.msg));
    }
    lease_free(l);
}

/* ---- taking */

/* What a taker has seen so far: the newest generation, and since when it is the newest. */
struct watch {
    uint32_t newest;
    int64_t since_us;
    struct lease_record holder;
};

static tide_status look(struct lease *l, struct watch *w, struct tide_err *err)
{
    uint32_t newest = 0;
    tide_status s = record_highest(l->repo, l->folder, &newest, err);
    if (s != TIDE_OK)
        return s;
    int64_t now = tide_monotonic_us();
    if (newest == w->newest && w->since_us != 0)
        return TIDE_OK;
    w->newest = newest;
    w->since_us = now;
    w->holder = (struct lease_record){.released = true};
    if (newest == 0)
        return TIDE_OK;
    s = lease_record_get(l->repo, l->folder, newest, &w->holder, err);
    if (s == TIDE_NOT_FOUND) { /* superseded and cleared meanwhile: look again */
        tide_err_clear(err);
        w->since_us = 0;
        w->holder.released = false;
        return TIDE_OK;
    }
    if (s == TIDE_CORRUPT) { /* nobody can renew from it by our proof; waiting its time out is safe */
        TIDE_LOG(TIDE_LOG_WARN, "repository.lease.damaged", TIDE_STR("reason", err == NULL ? "" : err->msg));
        tide_err_clear(err);
        w->holder = (struct lease_record){.lease_us = l->self.lease_us};
        return TIDE_OK;
    }
    return s;
}

static bool is_free(const struct lease *l, const struct watch *w)
{
    if (w->since_us == 0)
        return false;
    if (w->newest == 0 || w->holder.released || lease_holder_is_gone(&w->holder))
        return true;
    int64_t needed = w->holder.lease_us > l->self.lease_us ? w->holder.lease_us : l->self.lease_us;
    return tide_monotonic_us() - w->since_us >= needed;
}

static tide_status busy(const struct lease *l, const struct watch *w, struct tide_err *err)
{
    char since[TIDE_TIME_TEXT];
    tide_time_format(w->holder.taken_us > 0 ? w->holder.taken_us : TIDE_TIME_NONE, since);
    (void)tide_fail(err, TIDE_BUSY, "\"%s\" is held by process %lld on \"%s\" since %s", l->folder,
                    (long long)w->holder.pid, w->holder.host, since);
    return tide_hint(err, TIDE_BUSY, "If that process is gone, the lease ends by itself after %lld s.",
                     (long long)((w->holder.lease_us + TIDE_SECOND_US - 1) / TIDE_SECOND_US));
}

static tide_status pause_a_moment(const struct lease *l, int64_t deadline_us, struct tide_err *err)
{
    int64_t us = clamp_us(l->self.lease_us / 10, LOOK_US_MIN, LOOK_US_MAX);
    int64_t left = deadline_us - tide_monotonic_us();
    us = clamp_us(us, 0, left > 0 ? left : 0);
    struct tide_cancel *cancel = repo_cancel(l->repo);
    struct pollfd p = {.fd = tide_cancel_fd(cancel), .events = POLLIN};
    struct timespec ts = {.tv_sec = us / TIDE_SECOND_US, .tv_nsec = (us % TIDE_SECOND_US) * 1000};
    if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
        return tide_fail_errno(err, errno, "could not wait for a lease");
    return tide_cancel_is_set(cancel) ? tide_fail(err, TIDE_CANCELLED, "cancelled waiting for a lease") : TIDE_OK;
}

/* Generations below the last few of the holder before us mean nothing any more, whoever made them. */
static tide_status clear_old(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct lease *l = ctx;
    uint32_t n;
    (void)err;
    if (record_number(e->key, strlen(l->folder), &n) && n + KEPT_GENERATIONS <= l->generation)
        forget_generation(l, n);
    return TIDE_OK;
}

static tide_status take(struct lease *l, const struct lease_options *o, struct tide_err *err)
{
    struct watch w = {0};
    int64_t deadline = tide_monotonic_us() + o->wait_us;
    for (;;) {
        tide_status s = look(l, &w, err);
        if (s != TIDE_OK)
            return s;
        if (is_free(l, &w)) {
            l->generation = w.newest;
            s = renew(l, err);
            if (s == TIDE_OK)
                return s;
            if (s != TIDE_EXISTS && s != TIDE_AGAIN)
                return s;
            tide_err_clear(err);
            w.since_us = 0; /* somebody was faster: see who */
            s = look(l, &w, err);
            if (s != TIDE_OK)
                return s;
        }
        if (tide_monotonic_us() >= deadline)
            return busy(l, &w, err);
        s = pause_a_moment(l, deadline, err);
        if (s != TIDE_OK)
            return s;
    }
}

tide_status lease_take(struct repo *r, const struct lease_options *o, struct lease **out, struct tide_err *err)
{
    if (!repo_name_is_valid(o->instance) || !repo_name_is_valid(o->job) || o->lease_us <= 0)
        return tide_fail(err, TIDE_INVALID, "a lease \"%s\" of \"%s\" makes no sense", o->job, o->instance);
    TIDE_AUTO(lease_freep) struct lease *l = NULL;
    tide_status s = lease_new(r, o, &l, err);
    if (s == TIDE_OK)
        s = take(l, o, err);
    if (s != TIDE_OK)
        return s;
    s = store_list(repo_store(r), l->folder, NULL, 0, clear_old, l, err);
    if (s == TIDE_OK)
        s = start_thread(l, err);
    if (s != TIDE_OK)
        return s;
    *out = TIDE_TAKE(l);
    return TIDE_OK;
}
