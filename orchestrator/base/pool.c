#include "orchestrator/base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 1024
#define QUEUE_MAX   ((size_t)1 << 20)

struct worker {
    struct tide_pool *pool;
    unsigned number;
    pthread_t thread;
};

struct tide_pool {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* a task waits, or the pool closes */
    pthread_cond_t space; /* the queue has room, or the pool failed */
    pthread_cond_t idle;  /* nothing waits and nothing runs */
    tide_task_fn *run;
    tide_task_free_fn *drop;
    void **queue; /* ring of capacity */
    size_t capacity, head, waiting;
    size_t busy; /* tasks that a thread has taken and not yet dropped */
    bool closing;
    tide_status failed;
    struct tide_err first;
    unsigned n_workers;
    struct worker workers[];
};

static void *take_task(struct tide_pool *p)
{
    void *task = p->queue[p->head];
    p->head = (p->head + 1) % p->capacity;
    p->waiting--;
    return task;
}

static void drop_task(struct tide_pool *p, void *task)
{
    if (p->drop != NULL)
        p->drop(task);
}

/* Drops what waits.  Called and left with the lock held; drop itself runs without it. */
static void drop_waiting(struct tide_pool *p)
{
    while (p->waiting > 0) {
        void *task = take_task(p);
        (void)pthread_mutex_unlock(&p->lock);
        drop_task(p, task);
        (void)pthread_mutex_lock(&p->lock);
    }
}

/* With the lock held: runs one task outside it, or only drops it when the pool has failed. */
static void work_once(struct tide_pool *p, unsigned number)
{
    void *task = take_task(p);
    bool stopped = p->failed != TIDE_OK;
    p->busy++;
    (void)pthread_cond_signal(&p->space);
    (void)pthread_mutex_unlock(&p->lock);

    struct tide_err err = TIDE_ERR_INIT;
    tide_status s = stopped ? TIDE_OK : p->run(task, number, &err);
    drop_task(p, task);

    (void)pthread_mutex_lock(&p->lock);
    if (s != TIDE_OK && p->failed == TIDE_OK) {
        p->failed = s;
        p->first = err;
        (void)pthread_cond_broadcast(&p->space);
        drop_waiting(p);
    }
    p->busy--;
    if (p->busy == 0 && p->waiting == 0)
        (void)pthread_cond_broadcast(&p->idle);
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct tide_pool *p = w->pool;
    (void)pthread_mutex_lock(&p->lock);
    for (;;) {
        while (p->waiting == 0 && !p->closing)
            (void)pthread_cond_wait(&p->work, &p->lock);
        if (p->closing)
            break;
        work_once(p, w->number);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Signals belong to the main thread: a worker that took one would see its system calls interrupted. */
static tide_status start_workers(struct tide_pool *p, unsigned n, struct tide_err *err)
{
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    while (rc == 0 && p->n_workers < n) {
        struct worker *w = &p->workers[p->n_workers];
        w->pool = p;
        w->number = p->n_workers;
        rc = pthread_create(&w->thread, NULL, worker_main, w);
        if (rc == 0)
            p->n_workers++;
    }
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0)
        return tide_fail_errno(err, rc, "could not start thread %u of %u", p->n_workers + 1, n);
    return TIDE_OK;
}

tide_status tide_pool_new(unsigned n_workers, size_t queue, tide_task_fn *run, tide_task_free_fn *drop,
                          struct tide_pool **out, struct tide_err *err)
{
    if (n_workers == 0 || n_workers > WORKERS_MAX || queue == 0 || queue > QUEUE_MAX)
        return tide_fail(err, TIDE_INVALID, "a pool of %u threads and %zu waiting tasks", n_workers, queue);
    struct tide_pool *p = calloc(1, sizeof(*p) + n_workers * sizeof(p->workers[0]));
    void **ring = calloc(queue, sizeof(*ring));
    if (p == NULL || ring == NULL) {
        free(p);
        free(ring);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a thread pool");
    }
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->work, NULL);
    (void)pthread_cond_init(&p->space, NULL);
    (void)pthread_cond_init(&p->idle, NULL);
    p->run = run;
    p->drop = drop;
    p->queue = ring;
    p->capacity = queue;

    tide_status s = start_workers(p, n_workers, err);
    if (s != TIDE_OK) {
        tide_pool_free(p);
        return s;
    }
    *out = p;
    return TIDE_OK;
}

/* With the lock held. */
static tide_status first_failure(const struct tide_pool *p, struct tide_err *err)
{
    if (p->failed != TIDE_OK && err != NULL)
        *err = p->first;
    return p->failed;
}

tide_status tide_pool_submit(struct tide_pool *p, void *task, struct tide_err *err)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->failed == TIDE_OK && p->waiting == p->capacity)
        (void)pthread_cond_wait(&p->space, &p->lock);
    tide_status s = first_failure(p, err);
    if (s == TIDE_OK) {
        p->queue[(p->head + p->waiting) % p->capacity] = task;
        p->waiting++;
        (void)pthread_cond_signal(&p->work);
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (s != TIDE_OK)
        drop_task(p, task);
    return s;
}

tide_status tide_pool_wait(struct tide_pool *p, struct tide_err *err)
{
    (void)pthread_mutex_lock(&p->lock);
    while (p->waiting > 0 || p->busy > 0)
        (void)pthread_cond_wait(&p->idle, &p->lock);
    tide_status s = first_failure(p, err);
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

tide_status tide_pool_status(struct tide_pool *p, struct tide_err *err)
{
    (void)pthread_mutex_lock(&p->lock);
    tide_status s = first_failure(p, err);
    (void)pthread_mutex_unlock(&p->lock);
    return s;
}

void tide_pool_free(struct tide_pool *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&p->lock);
    p->closing = true;
    (void)pthread_cond_broadcast(&p->work);
    drop_waiting(p);
    (void)pthread_mutex_unlock(&p->lock);

    for (unsigned i = 0; i < p->n_workers; i++)
        (void)pthread_join(p->workers[i].thread, NULL);
    (void)pthread_cond_destroy(&p->idle);
    (void)pthread_cond_destroy(&p->space);
    (void)pthread_cond_destroy(&p->work);
    (void)pthread_mutex_destroy(&p->lock);
    free(p->queue);
    free(p);
}
