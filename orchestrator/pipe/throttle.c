#include "orchestrator/pipe/throttle.h"
#include "orchestrator/base/clock.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

/* What may pass at once after a pause; also what keeps short sleeps from adding up. */
#define BURST_US (TIDE_SECOND_US / 10)
/* No single piece costs more: a mistyped limit must not put a job to sleep for years. */
#define COST_MAX_US (60 * TIDE_SECOND_US)

struct throttle {
    pthread_mutex_t lock;
    uint64_t rate;
    int64_t paid_until_us; /* monotonic: when what was let through so far has been paid for */
};

tide_status throttle_new(uint64_t bytes_per_second, struct throttle **out, struct tide_err *err)
{
    struct throttle *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a throttle");
    int rc = pthread_mutex_init(&t->lock, NULL);
    if (rc != 0) {
        free(t);
        return tide_fail_errno(err, rc, "could not make a mutex");
    }
    t->rate = bytes_per_second;
    *out = t;
    return TIDE_OK;
}

void throttle_free(struct throttle *t)
{
    if (t == NULL)
        return;
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* Sleeps until the moment, or until cancelled. */
static void sleep_until(int64_t until_us, const struct tide_cancel *cancel)
{
    for (;;) {
        int64_t left = until_us - tide_monotonic_us();
        if (left <= 0 || tide_cancel_is_set(cancel))
            return;
        struct timespec ts = {.tv_sec = left / TIDE_SECOND_US, .tv_nsec = (left % TIDE_SECOND_US) * 1000};
        struct pollfd p = {.fd = tide_cancel_fd(cancel), .events = POLLIN};
        if (ppoll(&p, 1, &ts, NULL) < 0 && errno != EINTR)
            return;
    }
}

void throttle_take(struct throttle *t, uint64_t len, const struct tide_cancel *cancel)
{
    if (t == NULL || t->rate == 0 || len == 0)
        return;
    int64_t now = tide_monotonic_us();
    double seconds = (double)len / (double)t->rate;
    int64_t cost = seconds < 60 ? (int64_t)(seconds * (double)TIDE_SECOND_US) : COST_MAX_US;

    (void)pthread_mutex_lock(&t->lock);
    if (t->paid_until_us < now - BURST_US)
        t->paid_until_us = now - BURST_US;
    t->paid_until_us += cost;
    int64_t until = t->paid_until_us;
    (void)pthread_mutex_unlock(&t->lock);

    sleep_until(until, cancel);
}
