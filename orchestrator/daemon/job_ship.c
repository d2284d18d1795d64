#include "orchestrator/daemon/job.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/values.h"

/* Ships the log until it is cancelled, and tells its state about once a second. */

static void report_state(void *ctx, const struct wal_ship_state *s)
{
    struct job *job = ctx;
    int64_t now = tide_now_us() + s->skew_us;
    json_t *exposure = s->restorable_us == TIDE_TIME_NONE ? json_null() : value_seconds(now - s->restorable_us);

    json_t *state =
        json_pack("{s:i, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "lineage", (int)s->lineage,
                  "received", value_position(job->plugin, s->received), "durable",
                  value_position(job->plugin, s->durable), "confirmed", value_position(job->plugin, s->confirmed),
                  "restorable", value_time(s->restorable_us), "exposure_seconds", exposure, "unshipped_bytes",
                  (json_int_t)s->unshipped_bytes, "held_back_bytes", (json_int_t)s->held_back_bytes, "spooled_bytes",
                  (json_int_t)s->spooled_bytes, "objects", (json_int_t)s->objects, "bytes", (json_int_t)s->bytes,
                  "commits", (json_int_t)s->commits, "problem", value_string(s->problem));
    if (state == NULL)
        return;
    worker_send_event(job->channel, state);
    json_decref(job->data);
    job->data = state; /* the last one is the result */
}

struct wal_ship_options ship_options(struct job *job, const char *control)
{
    const struct settings *set = &job->settings;

    return (struct wal_ship_options){
        .repo = job->repo,
        .instance = job->instance,
        .plugin = job->plugin,
        .host = job->host,
        .ship_interval_us = set->ship_interval_us,
        .heartbeat_interval_us = set->heartbeat_interval_us,
        .lease_us = set->lease_us,
        .clock_tolerance_us = set->clock_tolerance_us,
        .merge_grace_us = set->merge_grace_us,
        .object_bytes = set->object_bytes,
        .spool_directory = set->spool_directory,
        .spool_limit = set->spool_limit,
        .control_path = control,
        .cancel = job->cancel,
    };
}

tide_status job_ship(struct job *job, struct tide_err *err)
{
    char control[TIDE_PATH_MAX];

    tide_status s = job_open(job, err);
    if (s != TIDE_OK)
        return s;
    struct wal_ship_options o = ship_options(job, control_path_or_null(job, control));
    o.report = report_state;
    o.report_ctx = job;
    s = wal_ship(&o, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "shipping the log of \"%s\"", job->instance);
}
