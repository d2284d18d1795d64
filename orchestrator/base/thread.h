#ifndef TIDE_BASE_THREAD_H
#define TIDE_BASE_THREAD_H

/* Threads: a bounded pool that carries the first failure, and cancellation that poll() can see. */

#include "orchestrator/base/err.h"

/* Set once, from anywhere, signal handlers included; never unset. */
struct tide_cancel;

tide_status tide_cancel_new(struct tide_cancel **out, struct tide_err *err) TIDE_MUST_CHECK;
void tide_cancel_free(struct tide_cancel *c);
void tide_cancel_set(struct tide_cancel *c);          /* async-signal-safe */
bool tide_cancel_is_set(const struct tide_cancel *c); /* NULL: false */
int tide_cancel_fd(const struct tide_cancel *c);      /* readable once set; -1 for NULL */

/*
 * A pool of threads that take tasks from a bounded queue.  The first task that fails stops the pool: later
 * ones are dropped, and pool_submit and pool_wait return that failure.
 */
typedef tide_status tide_task_fn(void *task, unsigned worker, struct tide_err *err);
typedef void tide_task_free_fn(void *task);

struct tide_pool;

/* run is called in a worker (0..n-1); drop frees a task whether run or not.  queue bounds waiting tasks. */
tide_status tide_pool_new(unsigned n_workers, size_t queue, tide_task_fn *run, tide_task_free_fn *drop,
                          struct tide_pool **out, struct tide_err *err) TIDE_MUST_CHECK;
/* Takes the task over in any case; blocks while the queue is full, and so is not for use inside a task. */
tide_status tide_pool_submit(struct tide_pool *p, void *task, struct tide_err *err) TIDE_MUST_CHECK;
/* Until nothing waits and nothing runs. */
tide_status tide_pool_wait(struct tide_pool *p, struct tide_err *err) TIDE_MUST_CHECK;
/* The first failure so far, without waiting. */
tide_status tide_pool_status(struct tide_pool *p, struct tide_err *err) TIDE_MUST_CHECK;
void tide_pool_free(struct tide_pool *p); /* drops what waits, joins */

#endif
