#include "orchestrator/daemon/backup_log.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/daemon/control.h"
#include "wal/index.h"
#include <poll.h>

#define LOOK_AGAIN_US    (TIDE_SECOND_US / 2)
#define FLUSH_TIMEOUT_US (10 * TIDE_SECOND_US)
#define PATIENCE_US      (600 * TIDE_SECOND_US) /* with a shipper that makes no progress */

struct waiting {
    struct job *job;
    struct backup *b;
    struct tide_pos covered;
    int64_t moved_us; /* monotonic: when covered last grew */
};

static tide_status look(struct waiting *w, bool *complete, struct tide_err *err)
{
    struct tide_pos covered = {0};

    tide_status s =
        log_coverage(w->job->repo, w->job->instance, w->b->lineage, w->b->start, w->b->stop, &covered, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s != TIDE_OK)
        return s;
    if (tide_pos_cmp(covered, w->covered) > 0) {
        w->covered = covered;
        w->moved_us = tide_monotonic_us();
        job_phase(w->job, "waiting for the log");
    }
    *complete = tide_pos_cmp(covered, w->b->stop) >= 0;
    return TIDE_OK;
}

static tide_status pause_for(struct waiting *w, int64_t us, struct tide_err *err)
{
    struct pollfd p = {.fd = tide_cancel_fd(w->job->cancel), .events = POLLIN};

    (void)poll(&p, 1, (int)(us / 1000));
    return tide_cancel_is_set(w->job->cancel) ? tide_fail(err, TIDE_CANCELLED, "cancelled") : TIDE_OK;
}

/* A shipper retries for ever; only log that becomes durable is progress. */
static void watch_progress(void *ctx, const struct wal_ship_state *s)
{
    struct waiting *w = ctx;

    if (tide_pos_cmp(s->durable, w->covered) <= 0)
        return;
    w->covered = s->durable;
    worker_send_alive(w->job->channel);
}

/* Nobody on this host ships.  BUSY: somebody else does, elsewhere. */
static tide_status ship_alone(struct waiting *w, struct tide_err *err)
{
    struct wal_ship_options o = ship_options(w->job, NULL);

    o.until = w->b->stop;
    /* What is spooled is not stored: a backup needs it in the repository. */
    o.spool_directory = NULL;
    o.report = watch_progress;
    o.report_ctx = w;
    TIDE_LOG(TIDE_LOG_WARN, "backup.ships", TIDE_STR("instance", w->job->instance),
             TIDE_STR("reason", "no shipper runs; the backup stores the log it needs by itself"));
    job_phase(w->job, "shipping log");
    return wal_ship(&o, err);
}

static tide_status out_of_patience(struct waiting *w, struct tide_err *err)
{
    char have[64], need[64];

    w->job->plugin->pos_format(w->covered, have, sizeof have);
    w->job->plugin->pos_format(w->b->stop, need, sizeof need);
    tide_status s =
        tide_fail(err, TIDE_IO,
                  "the shipper has stored no more log for %lld s: it is stored to %s, the backup "
                  "needs it to %s",
                  (long long)(PATIENCE_US / TIDE_SECOND_US), tide_pos_is_none(w->covered) ? "nowhere" : have, need);
    return tide_hint(err, s,
                     "See why it stands still: tidemark status %s.  The backup was not committed; the next one "
                     "reuses what it stored.",
                     w->job->instance);
}

tide_status backup_log_ensure(struct job *job, struct backup *b, struct tide_err *err)
{
    struct waiting w = {.job = job, .b = b, .moved_us = tide_monotonic_us()};
    struct tide_err why = TIDE_ERR_INIT;
    struct wal_ship_state state;
    bool complete = false, elsewhere = false;

    for (;;) {
        bool live = !elsewhere && control_flush(job, FLUSH_TIMEOUT_US, &state);
        tide_status s = look(&w, &complete, err);
        if (s != TIDE_OK || complete)
            return s;
        if (!live && !elsewhere) {
            s = ship_alone(&w, &why);
            if (s != TIDE_OK && s != TIDE_BUSY) {
                *err = why;
                return tide_wrap(err, s, "shipping the log of the backup");
            }
            elsewhere = s == TIDE_BUSY;
            b->log_alone = s == TIDE_OK;
        }
        if (tide_monotonic_us() - w.moved_us > PATIENCE_US)
            return out_of_patience(&w, err);
        s = pause_for(&w, LOOK_AGAIN_US, err);
        if (s != TIDE_OK)
            return s;
    }
}
