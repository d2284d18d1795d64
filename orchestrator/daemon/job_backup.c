#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "orchestrator/daemon/backup_log.h"
#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/jobfile.h"
#include "orchestrator/daemon/snapshot.h"
#include "orchestrator/daemon/values.h"
#include "orchestrator/repository/lease.h"
#include "orchestrator/repository/tree.h"
#include "wal/branch.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/*
 * A base backup: lease, intent, hot-backup mode and files through the plugin,
 * tables, the log that it needs, and last of all the commit object.
 */

#define BACKUP_LEASE_US (60 * TIDE_SECOND_US)

struct run {
    struct job *job;
    void *handle; /* of the plugin: closing it leaves hot-backup mode */
    struct lease *lease;
    struct jobfile *file;
    struct throttle *throttle;
    struct tree_writer *writer;
    struct snapshot *snapshot;
    struct backup_list backups;
    const struct backup *parent; /* in backups, or NULL */
    struct branch_choice choice;
    struct backup b;
    int64_t begun_us; /* monotonic */
};

static void leave_server(struct run *r)
{
    if (r->handle != NULL)
        r->job->plugin->close(r->handle);
    r->handle = NULL;
}

static void run_clear(struct run *r)
{
    leave_server(r); /* first: whatever else takes time, the server is let go */
    snapshot_free(r->snapshot);
    tree_writer_free(r->writer);
    throttle_free(r->throttle);
    lease_release(r->lease);
    jobfile_close(r->file);
    backup_clear(&r->b);
    backup_list_clear(&r->backups);
}

/* A backup gives way to what the machine is there for. */
static void lower_priority(void)
{
    enum { IOPRIO_WHO_PROCESS = 1, IOPRIO_CLASS_BEST_EFFORT = 2, IOPRIO_LOWEST = 7 };

    (void)setpriority(PRIO_PROCESS, 0, 10);
    (void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_BEST_EFFORT << 13 | IOPRIO_LOWEST);
}

/* ---------------------------------------------------------------- progress */

/* The writer knows what was read, the plugin how much there is. */
static void on_bytes(void *ctx, uint64_t done)
{
    struct run *r = ctx;
    uint64_t total = atomic_load(&r->job->bytes_total);

    if (total == 0 && r->parent != NULL)
        total = r->parent->totals.bytes; /* about as much as last time */

    job_progress(r->job, &(struct tide_progress){.phase = "files",
                                                 .bytes_done = done,
                                                 .bytes_total = total > done ? total : 0,
                                                 .time_us = TIDE_TIME_NONE});
    jobfile_update(r->file, done, total);
}

/* -------------------------------------------------------------------- sink */

static int sink_file(void *ctx, const struct tide_file *f, struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_file(r->writer, f, err);
}

static int sink_drain(void *ctx, struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_drain(r->writer, err);
}

static int sink_data(void *ctx, const struct tide_file *f, const void *data, size_t len, struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_data(r->writer, f, data, len, err);
}

static int sink_piece(void *ctx, const char *name, uint64_t offset, const void *data, size_t len,
                      struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_piece(r->writer, name, offset, data, len, err);
}

static int sink_piece_begin(void *ctx, const struct tide_file *f, struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_piece_begin(r->writer, f, err);
}

static int sink_piece_end(void *ctx, const struct tide_file *f, struct tide_err *err)
{
    const struct run *r = ctx;
    return tree_writer_piece_end(r->writer, f, err);
}

static int sink_snapshot(void *ctx, int action, char *path, size_t path_size, struct tide_err *err)
{
    const struct run *r = ctx;
    return snapshot_act(r->snapshot, action, path, path_size, err);
}

static int sink_started(void *ctx, struct tide_pos start, uint64_t branch, int64_t clock_us, struct tide_err *err)
{
    struct run *r = ctx;

    (void)err;
    r->b.start = start;
    r->b.branch = branch;
    r->b.server_start_us = clock_us;
    tree_writer_set_start(r->writer, start);
    char text[64];
    r->job->plugin->pos_format(start, text, sizeof text);
    TIDE_LOG(TIDE_LOG_INFO, "backup.started", TIDE_STR("instance", r->job->instance), TIDE_STR("backup", r->b.id),
             TIDE_STR("position", text));
    return TIDE_OK;
}

/* ------------------------------------------------------------------- begin */

/* Which lineage the server is on now; the newest backup of its past is the parent. */
static tide_status find_lineage(struct run *r, struct tide_err *err)
{
    struct tide_log_identity id = {.struct_size = sizeof id};
    TIDE_AUTO(lineage_set_clear) struct lineage_set lineages = {0};
    struct lineage_step path[LINEAGE_PATH_MAX];
    struct job *job = r->job;
    size_t n = 0;

    tide_status s = (tide_status)job->plugin->log_identify(r->handle, &id, err);
    if (s == TIDE_OK)
        s = branch_choose(job->repo, job->instance, job->plugin, job->host, &id, true, &r->choice, err);
    if (s == TIDE_OK)
        s = lineage_load(job->repo, job->instance, &lineages, err);
    if (s == TIDE_OK)
        s = lineage_path(&lineages, r->choice.lineage, path, &n, err);
    if (s == TIDE_OK)
        s = backup_list_load(job->repo, job->instance, &r->backups, err);
    for (size_t i = r->backups.n; s == TIDE_OK && i > 0 && r->parent == NULL; i--)
        for (size_t k = 0; k < n; k++)
            if (r->backups.items[i - 1].lineage == path[k].lineage)
                r->parent = &r->backups.items[i - 1];
    return s;
}

static tide_status take_notes(struct run *r, struct tide_err *err)
{
    const json_t *notes = json_object_get(r->job->request, "notes");

    if (json_object_size(notes) == 0)
        return TIDE_OK;
    r->b.notes = json_dumps(notes, JSON_COMPACT);
    return r->b.notes == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

static tide_status declare_intent(struct run *r, struct tide_err *err)
{
    struct intent intent = {.started_us = r->b.started_us};

    tide_status s = backup_new_id(r->b.started_us, r->b.id, err);
    if (s != TIDE_OK)
        return s;
    if (r->parent != NULL)
        (void)snprintf(r->b.parent, sizeof r->b.parent, "%s", r->parent->id);
    (void)snprintf(intent.id, sizeof intent.id, "%s", r->b.id);
    (void)snprintf(intent.parent, sizeof intent.parent, "%s", r->b.parent);
    return intent_put(r->job->repo, r->job->instance, &intent, err);
}

static tide_status begin(struct run *r, struct tide_err *err)
{
    struct job *job = r->job;
    char lock[TIDE_PATH_MAX];

    r->b.started_us = tide_now_us();
    r->begun_us = tide_monotonic_us();
    tide_status s = TIDE_OK;
    if (job_lock_path_or_null(job, "backup", lock) != NULL)
        s = jobfile_open(lock, "backup", "full", &r->file, err);
    if (s == TIDE_OK)
        s = lease_take(
            job->repo,
            &(struct lease_options){.instance = job->instance, .job = "backup", .lease_us = BACKUP_LEASE_US},
            &r->lease, err);
    if (s != TIDE_OK)
        return s;
    job_phase(job, "connecting");
    s = instance_ensure(job->repo, job->instance, job->plugin->name, err);
    if (s == TIDE_OK)
        s = job_plugin_open(job, &r->handle, err);
    if (s == TIDE_OK)
        s = find_lineage(r, err);
    if (s == TIDE_OK)
        s = take_notes(r, err);
    if (s == TIDE_OK)
        s = declare_intent(r, err);
    return s;
}

/* -------------------------------------------------------------------- copy */

static tide_status open_writer(struct run *r, struct tide_err *err)
{
    struct job *job = r->job;
    unsigned jobs = (unsigned)job_number(job, "jobs", job->settings.backup_jobs);

    tide_status s = throttle_new(job_number(job, "limit", job->settings.backup_limit), &r->throttle, err);
    if (s == TIDE_OK)
        s = snapshot_new(job, r->b.id, &r->snapshot, err);
    if (s != TIDE_OK)
        return s;
    return tree_writer_new(&(struct tree_writer_options){.repo = job->repo,
                                                         .instance = job->instance,
                                                         .id = r->b.id,
                                                         .parent = r->parent,
                                                         .jobs = jobs,
                                                         .throttle = r->throttle,
                                                         .inspect = (job->plugin->caps & TIDE_CAP_INSPECT) != 0
                                                                        ? job->plugin->inspect
                                                                        : NULL,
                                                         .cancel = job->cancel,
                                                         .progress = on_bytes,
                                                         .progress_ctx = r},
                           &r->writer, err);
}

/* The plugin's texts live until its next call: copied here. */
static tide_status take_result(struct run *r, const struct tide_backup_result *result, struct tide_err *err)
{
    r->b.lineage = r->choice.lineage;
    if (!tide_pos_is_none(r->b.start) && r->b.branch != result->branch)
        return tide_fail(err, TIDE_IO, "the server changed from branch %llu to %llu while it was backed up",
                         (unsigned long long)r->b.branch, (unsigned long long)result->branch);
    r->b.branch = result->branch;
    r->b.start = result->start;
    r->b.stop = result->stop;
    r->b.server_start_us = result->start_us;
    r->b.server_stop_us = result->stop_us;
    r->b.from_standby = result->from_standby != 0;
    (void)snprintf(r->b.method, sizeof r->b.method, "%s", result->method == NULL ? "files" : result->method);
    (void)snprintf(r->b.server_version, sizeof r->b.server_version, "%s",
                   result->server_version == NULL ? "" : result->server_version);
    r->b.metadata = strdup(result->metadata == NULL ? "{}" : result->metadata);
    return r->b.metadata == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

static tide_status copy(struct run *r, struct tide_err *err)
{
    struct job *job = r->job;
    struct tide_backup_result result = {.struct_size = sizeof result};
    const struct tide_backup_params params = {
        .struct_size = sizeof params,
        .fast = job_flag(job, "fast"),
        .label = r->b.id,
        .prefer_standby = job->settings.prefer_standby,
        .max_lag_s = (uint32_t)((job->settings.max_lag_us + TIDE_SECOND_US - 1) / TIDE_SECOND_US),
        .parent_start = r->parent == NULL ? (struct tide_pos){0} : r->parent->start,
    };
    const struct tide_backup_sink sink = {
        .struct_size = sizeof sink,
        .ctx = r,
        .file = sink_file,
        .drain = sink_drain,
        .data = sink_data,
        .piece_begin = sink_piece_begin,
        .piece = sink_piece,
        .piece_end = sink_piece_end,
        .snapshot = sink_snapshot,
        .started = sink_started,
    };

    tide_status s = open_writer(r, err);
    if (s != TIDE_OK)
        return s;
    s = (tide_status)job->plugin->backup(r->handle, &params, &sink, &result, err);
    if (s == TIDE_OK)
        s = take_result(r, &result, err);
    leave_server(r);
    if (s != TIDE_OK)
        return s;
    job_phase(job, "writing tables");
    return tree_writer_finish(r->writer, &r->b, err);
}

/* ------------------------------------------------------------------ commit */

static tide_status result_document(struct run *r, struct tide_err *err)
{
    const struct backup *b = &r->b;
    const struct tide_plugin *p = r->job->plugin;

    r->job->data = json_pack(
        "{s:i, s:s, s:s, s:o, s:o, s:s, s:i, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:s, s:b, s:b, s:b, s:I, s:o}",
        "schema", 1, "instance", r->job->instance, "id", b->id, "started", value_time(b->started_us), "finished",
        value_time(b->finished_us), "method", b->method, "lineage", (int)b->lineage, "start_position",
        value_position(p, b->start), "end_position", value_position(p, b->stop), "consistent",
        value_time(b->server_stop_us), "files", (json_int_t)b->totals.files, "bytes", (json_int_t)b->totals.bytes,
        "stored_bytes", (json_int_t)b->totals.stored_bytes, "new_bytes", (json_int_t)b->totals.new_bytes,
        "server_version", b->server_version, "from_standby", (int)b->from_standby, "kept", (int)b->kept,
        "only_its_end", (int)b->log_alone, "damaged_pages", (json_int_t)b->totals.damaged_pages, "parent",
        value_string(b->parent));
    if (r->job->data == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    (void)json_object_set_new(r->job->data, "seconds", value_seconds(tide_monotonic_us() - r->begun_us));
    return TIDE_OK;
}

static tide_status commit(struct run *r, struct tide_err *err)
{
    struct job *job = r->job;

    if (!lease_is_held(r->lease))
        TIDE_LOG(TIDE_LOG_WARN, "backup.lease.lost", TIDE_STR("instance", job->instance),
                 TIDE_STR("backup", r->b.id));
    if (tide_cancel_is_set(job->cancel))
        return tide_fail(err, TIDE_CANCELLED, "cancelled");
    TIDE_FAILPOINT("backup-before-commit", err);
    r->b.kept = job_flag(job, "keep");
    r->b.finished_us = tide_now_us();
    tide_status s = backup_commit(job->repo, job->instance, &r->b, err);
    if (s == TIDE_OK && r->b.kept)
        s = backup_pin(job->repo, job->instance, r->b.id, true, err);
    if (s != TIDE_OK)
        return s;
    TIDE_LOG(TIDE_LOG_INFO, "backup.committed", TIDE_STR("instance", job->instance), TIDE_STR("backup", r->b.id),
             TIDE_U64("bytes", r->b.totals.bytes), TIDE_U64("new_bytes", r->b.totals.new_bytes));
    job->degraded = r->b.log_alone || r->b.totals.damaged_pages > 0;
    return result_document(r, err);
}

static tide_status wait_for_log(struct run *r, struct tide_err *err)
{
    TIDE_FAILPOINT("backup-before-log", err);
    job_phase(r->job, "waiting for the log");
    return backup_log_ensure(r->job, &r->b, err);
}

tide_status job_backup(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(run_clear) struct run r = {.job = job};

    lower_priority();
    tide_status s = job_open(job, err);
    if (s == TIDE_OK && job->plugin->backup == NULL)
        return tide_fail(err, TIDE_UNSUPPORTED, "engine \"%s\" cannot be backed up", job->plugin->name);
    if (s == TIDE_OK)
        s = begin(&r, err);
    if (s == TIDE_OK)
        s = copy(&r, err);
    if (s == TIDE_OK)
        s = wait_for_log(&r, err);
    if (s == TIDE_OK)
        s = commit(&r, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", job->instance);
}
