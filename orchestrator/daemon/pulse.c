#include "orchestrator/daemon/pulse.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct pulse {
    struct worker_channel *channel;
    const struct tide_store *store;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool stop;
    char phase[64];
    uint64_t read_before; /* the phase */
};

/* In WINDOW seconds: more than a lease needs, less than the slowest repository that is of use. */
#define WINDOW_S     10
#define MIN_REQUESTS 16u
#define MIN_BYTES    (64u << 10)

static uint64_t requests(const struct store_counters *c)
{
    return c->puts + c->gets + c->lists + c->heads + c->deletes;
}

static bool moved(const struct store_counters *a, const struct store_counters *b)
{
    return requests(b) - requests(a) >= MIN_REQUESTS ||
           b->bytes_in + b->bytes_out - a->bytes_in - a->bytes_out >= MIN_BYTES;
}

static void tell(struct pulse *p, const struct store_counters *now)
{
    struct worker_progress w = {.time_us = TIDE_TIME_NONE, .until_us = TIDE_TIME_NONE};

    if (p->phase[0] == '\0') {
        worker_send_alive(p->channel);
        return;
    }
    (void)snprintf(w.phase, sizeof w.phase, "%s", p->phase);
    w.bytes_done = now->bytes_in - p->read_before;
    worker_send_progress(p->channel, &w);
}

static void *run(void *arg)
{
    struct pulse *p = arg;
    struct store_counters last = store_counters(p->store);
    unsigned seconds = 0;

    pthread_mutex_lock(&p->lock);
    while (!p->stop) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
        (void)pthread_cond_timedwait(&p->wake, &p->lock, &until);
        struct store_counters now = store_counters(p->store);
        bool at_work = moved(&last, &now);
        if (!p->stop && at_work)
            tell(p, &now);
        if (!at_work && ++seconds < WINDOW_S)
            continue;
        last = now;
        seconds = 0;
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

tide_status pulse_start(struct worker_channel *channel, const struct tide_store *store, struct pulse **out,
                        struct tide_err *err)
{
    pthread_condattr_t monotonic;
    struct pulse *p = calloc(1, sizeof *p);

    if (p == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    p->channel = channel;
    p->store = store;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&p->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    int failed = pthread_create(&p->thread, NULL, run, p);
    if (failed != 0) {
        pthread_cond_destroy(&p->wake);
        pthread_mutex_destroy(&p->lock);
        free(p);
        return tide_fail_errno(err, failed, "could not start a thread");
    }
    *out = p;
    return TIDE_OK;
}

void pulse_show_reading(struct pulse *p, const char *phase)
{
    pthread_mutex_lock(&p->lock);
    (void)snprintf(p->phase, sizeof p->phase, "%s", phase == NULL ? "" : phase);
    p->read_before = store_counters(p->store).bytes_in;
    pthread_mutex_unlock(&p->lock);
}

void pulse_stop(struct pulse *p)
{
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->wake);
    pthread_mutex_unlock(&p->lock);
    (void)pthread_join(p->thread, NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}
