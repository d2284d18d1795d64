#include "orchestrator/daemon/status.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/daemon/jobfile.h"
#include "orchestrator/daemon/values.h"
#include <string.h>

#define FLUSH_TIMEOUT_US (5 * TIDE_SECOND_US)

static const char *const state_names[] = {"protected", "warning", "alert"};

static void facts_clear(struct status_facts *f)
{
    window_set_clear(&f->windows);
    backup_list_clear(&f->backups);
    lineage_set_clear(&f->lineages);
}

/* A live shipper closes its object and writes a heartbeat first, so that what is read then is as new as can be. */
static void ask_shipper(struct status_facts *f)
{
    struct tide_err why = TIDE_ERR_INIT;

    if (f->o->control_path == NULL)
        return;
    tide_status s = wal_ship_flush(f->o->control_path, FLUSH_TIMEOUT_US, &f->shipper, &why);
    f->live = s == TIDE_OK;
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        TIDE_LOG(TIDE_LOG_DEBUG, "status.shipper", TIDE_STR("instance", f->o->instance),
                 TIDE_STR("message", why.msg));
}

static tide_status find_sign(struct status_facts *f, struct tide_err *err)
{
    f->sign_us = f->live ? f->now_us : TIDE_TIME_NONE;
    if (f->live || f->lineages.n == 0)
        return TIDE_OK;
    struct tide_pos pos;
    int64_t at;
    uint32_t newest = f->lineages.items[f->lineages.n - 1].number;
    tide_status s = heartbeat_newest(f->o->repo, f->o->instance, newest, &at, &pos, err);
    if (s == TIDE_OK)
        f->sign_us = at;
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

static void find_latest(struct status_facts *f)
{
    uint32_t newest = f->lineages.n == 0 ? 0 : f->lineages.items[f->lineages.n - 1].number;

    f->latest_us = TIDE_TIME_NONE;
    for (size_t i = 0; i < f->windows.n; i++) {
        const struct restore_window *w = &f->windows.windows[i];
        f->window_is_open |= w->live;
        if (w->lineage == newest && (f->latest_us == TIDE_TIME_NONE || w->latest_us > f->latest_us))
            f->latest_us = w->latest_us;
    }
    f->exposed_since_us = f->latest_us;
    /* The shipper knows the newest clock before the object that proves it has been read by us. */
    if (f->live && f->window_is_open && f->shipper.restorable_us != TIDE_TIME_NONE &&
        f->shipper.restorable_us > f->latest_us && f->shipper.problem[0] == '\0')
        f->exposed_since_us = f->shipper.restorable_us;
}

static tide_status gather(struct status_facts *f, struct tide_err *err)
{
    const struct status_options *o = f->o;

    ask_shipper(f);
    tide_status s = lineage_load(o->repo, o->instance, &f->lineages, err);
    if (s == TIDE_OK)
        s = backup_list_load(o->repo, o->instance, &f->backups, err);
    if (s == TIDE_OK)
        s = window_compute(&(struct window_options){.repo = o->repo,
                                                    .instance = o->instance,
                                                    .clock_tolerance_us = o->settings->clock_tolerance_us,
                                                    .lineages = &f->lineages,
                                                    .backups = &f->backups},
                           &f->windows, err);
    f->now_us = tide_now_us();
    if (s == TIDE_OK)
        s = find_sign(f, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading the state of \"%s\"", o->instance);
    find_latest(f);
    return TIDE_OK;
}

/* ---------------------------------------------------------------- document */

/* What can be asked for precisely: a commit's stamp has microseconds, an ambiguous or idle stretch does not change
 * that; heartbeats bound the end. */
static json_t *windows_json(const struct status_facts *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->windows.n; i++) {
        const struct restore_window *w = &f->windows.windows[i];
        json_t *one = json_pack("{s:o, s:o, s:i, s:f}", "earliest", value_time(w->earliest_us), "latest",
                                value_time(w->latest_us), "lineage", (int)w->lineage, "precision_seconds", 0.000001);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *gaps_json(const struct status_facts *f)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->windows.n_gaps; i++) {
        const struct window_gap *g = &f->windows.gaps[i];
        json_t *one = json_pack("{s:o, s:o, s:i, s:o}", "from", value_time(g->from_us), "to", value_time(g->to_us),
                                "lineage", (int)g->lineage, "reason", value_string(g->reason));
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *last_backup_json(const struct status_facts *f)
{
    if (f->backups.n == 0)
        return json_null();
    const struct backup *b = &f->backups.items[f->backups.n - 1];
    return json_pack("{s:s, s:o, s:I, s:I}", "id", b->id, "finished", value_time(b->finished_us), "bytes",
                     (json_int_t)b->totals.bytes, "stored_bytes", (json_int_t)b->totals.stored_bytes);
}

static json_t *running_json(const struct status_facts *f)
{
    json_t *list = json_array();
    json_t *backup = f->o->backup_lock == NULL ? NULL : jobfile_read(f->o->backup_lock);

    if (backup != NULL)
        (void)json_array_append_new(list, backup);
    if (f->live)
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:n, s:I, s:n, s:n}", "job", "ship", "kind", "ship",
                                                    "started", "bytes_done", (json_int_t)f->shipper.bytes,
                                                    "bytes_total", "eta_seconds"));
    return list;
}

static json_t *exposure_json(const struct status_facts *f)
{
    if (f->exposed_since_us == TIDE_TIME_NONE)
        return json_null();
    int64_t skew = f->live ? f->shipper.skew_us : 0;
    int64_t exposed = f->now_us + skew - f->exposed_since_us;
    return json_real(exposed < 0 ? 0.0 : (double)(exposed / 1000) / 1000.0);
}

static const char *engine_of(const struct status_facts *f)
{
    if (f->o->settings->engine != NULL)
        return f->o->settings->engine;
    return f->lineages.n > 0 ? f->lineages.items[0].engine : "";
}

tide_status status_compute(const struct status_options *o, json_t **doc, struct tide_err *err)
{
    TIDE_AUTO(facts_clear) struct status_facts f = {.o = o, .sign_us = TIDE_TIME_NONE};

    tide_status s = gather(&f, err);
    if (s != TIDE_OK)
        return s;
    json_t *reasons = json_array();
    int worst = status_reasons(&f, reasons);
    *doc = json_pack("{s:s, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:n, s:o}", "name", o->instance,
                     "engine", value_string(engine_of(&f)), "state", state_names[worst], "reasons", reasons,
                     "windows", windows_json(&f), "latest_restorable", value_time(f.latest_us), "exposure_seconds",
                     exposure_json(&f), "unshipped_bytes",
                     f.live ? json_integer((json_int_t)f.shipper.unshipped_bytes) : json_null(), "held_back_bytes",
                     f.live ? json_integer((json_int_t)f.shipper.held_back_bytes) : json_null(), "gaps",
                     gaps_json(&f), "last_backup", last_backup_json(&f), "next_backup", "running", running_json(&f));
    return *doc == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

json_t *status_unreadable(const char *instance, const char *engine, const struct tide_err *why)
{
    return json_pack("{s:s, s:o, s:s, s:[{s:s, s:s, s:n, s:o}], s:[], s:n, s:n, s:n, s:n, s:[], s:n, s:n, s:[]}",
                     "name", instance, "engine", value_string(engine), "state", "alert", "reasons", "code",
                     "repository.unreadable", "severity", "alert", "since", "message", value_string(why->msg),
                     "windows", "latest_restorable", "exposure_seconds", "unshipped_bytes", "held_back_bytes", "gaps",
                     "last_backup", "next_backup", "running");
}
