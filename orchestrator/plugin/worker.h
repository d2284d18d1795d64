#ifndef TIDE_PLUGIN_WORKER_H
#define TIDE_PLUGIN_WORKER_H

/*
 * Jobs run in worker processes: the program executes itself again as
 * "tidemark worker JOB INSTANCE", and only there a plugin is loaded.  Both ends
 * of a socket (descriptor 3 of the worker) talk in lines of JSON:
 *
 *   to the worker     one line: the request
 *   from the worker   {"type":"progress",...}  {"type":"alive"}  {"type":"event",...}
 *                     last: {"type":"result","status":N,"message",...,"data":...}
 *
 * The parent supervises: a worker from which nothing was heard for the
 * progress deadline is stopped, one that dies costs its job only, and one whose
 * parent dies ends by itself.
 */

#include "orchestrator/base/thread.h"
#include <jansson.h>

#define WORKER_FD 3

struct worker_progress {
    char phase[64];
    uint64_t bytes_done, bytes_total; /* total 0: unknown */
    int64_t time_us;                  /* replay: "replayed to"; TIDE_TIME_NONE */
    int64_t until_us;                 /* replay: its target; TIDE_TIME_NONE */
};

struct worker_events {
    void *ctx;
    void (*progress)(void *ctx, const struct worker_progress *p); /* NULL: none */
    /* What a job tells while it runs: findings of a check, the state of a shipper.  NULL: none. */
    void (*event)(void *ctx, const json_t *event);
    /* A line that the worker wrote to stderr, without its end; NULL: the worker writes to ours. */
    void (*log)(void *ctx, const char *line);
};

struct worker_options {
    const char *const *argv;      /* behind the program: {"worker", "backup", "shop", NULL} */
    const char *program;          /* NULL: ourselves */
    const json_t *request;        /* borrowed */
    int64_t progress_deadline_us; /* 0: none */
    struct tide_cancel *cancel;   /* SIGTERM is sent on; NULL: none */
    struct worker_events events;
};

struct worker_result {
    tide_status status;  /* of the job */
    struct tide_err err; /* of the job */
    json_t *data;        /* owned; NULL: none */
    bool degraded;       /* done, but not as it should be: exit code 3 */
};

/*
 * Runs one job and waits for it.  OK: the worker told a result, which may be a failure.  Otherwise the worker could
 * not be started, died, or was stopped for want of progress, as err says; result holds that error too, so callers
 * need only look there.
 */
tide_status worker_run(const struct worker_options *o, struct worker_result *result,
                       struct tide_err *err) TIDE_MUST_CHECK;
void worker_result_clear(struct worker_result *r);

/* ------------------------------------------------------- the worker's end */

struct worker_channel;

/* Takes descriptor 3 over and reads the request.  INVALID when it is not there: not started by worker_run. */
tide_status worker_channel_open(struct worker_channel **out, struct tide_err *err) TIDE_MUST_CHECK;
void worker_channel_close(struct worker_channel *c);
const json_t *worker_channel_request(const struct worker_channel *c);

/* Thread-safe; progress is thinned out to some lines a second.  A parent that is gone is no error here: the signal
 * that tells so is on its way. */
void worker_send_progress(struct worker_channel *c, const struct worker_progress *p);
void worker_send_alive(struct worker_channel *c);
void worker_send_event(struct worker_channel *c, const json_t *event);
/* err may be NULL with TIDE_OK; data is borrowed, NULL: none. */
void worker_send_result(struct worker_channel *c, tide_status s, const struct tide_err *err, bool degraded,
                        const json_t *data);

#endif
