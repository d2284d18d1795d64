#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "orchestrator/daemon/values.h"
#include "orchestrator/repository/backup.h"
#include "wal/index.h"

/* The base backups of an instance, from their commit objects. */

static json_t *notes_json(const struct backup *b)
{
    json_t *notes = b->notes == NULL ? NULL : json_loads(b->notes, 0, NULL);
    return notes != NULL ? notes : json_object();
}

static json_t *damage_json(const struct backup *b)
{
    json_t *damage = b->damage == NULL ? NULL : json_loads(b->damage, 0, NULL);
    return damage != NULL ? damage : json_array();
}

/* A backup restores by itself when the log between its start and its stop is stored. */
static tide_status is_restorable(struct job *job, const struct backup *b, bool *yes, struct tide_err *err)
{
    struct tide_pos covered = {0};

    tide_status s = log_coverage(job->repo, job->instance, b->lineage, b->start, b->stop, &covered, err);
    *yes = s == TIDE_OK && tide_pos_cmp(covered, b->stop) >= 0;
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

static tide_status add_backup(struct job *job, const struct backup *b, json_t *list, struct tide_err *err)
{
    bool restorable = false, kept = b->kept;

    tide_status s = is_restorable(job, b, &restorable, err);
    if (s == TIDE_OK)
        s = backup_is_pinned(job->repo, job->instance, b->id, &kept, err);
    if (s == TIDE_NOT_FOUND)
        s = TIDE_OK;
    if (s != TIDE_OK)
        return s;
    json_t *one =
        json_pack("{s:s, s:o, s:o, s:s, s:s, s:i, s:o, s:o, s:I, s:I, s:I, s:o, s:b, s:b, s:n, s:o}", "id", b->id,
                  "started", value_time(b->started_us), "finished", value_time(b->finished_us), "kind", "full",
                  "method", b->method, "lineage", (int)b->lineage, "start_position",
                  value_position(job->plugin, b->start), "end_position", value_position(job->plugin, b->stop),
                  "bytes", (json_int_t)b->totals.bytes, "stored_bytes", (json_int_t)b->totals.stored_bytes,
                  "new_bytes", (json_int_t)b->totals.new_bytes, "server_version", value_string(b->server_version),
                  "kept", (int)kept, "restorable", (int)restorable, "verified", "notes", notes_json(b));
    if (one == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    (void)json_object_set_new(one, "parent", value_string(b->parent));
    (void)json_object_set_new(one, "from_standby", json_boolean(b->from_standby));
    (void)json_object_set_new(one, "only_its_end", json_boolean(b->log_alone));
    (void)json_object_set_new(one, "damaged_pages", json_integer((json_int_t)b->totals.damaged_pages));
    (void)json_object_set_new(one, "damage", damage_json(b));
    (void)json_array_append_new(list, one);
    return TIDE_OK;
}

tide_status job_list(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(backup_list_clear) struct backup_list backups = {0};
    struct tide_err why = TIDE_ERR_INIT;

    tide_status s = job_open_repo(job, err);
    if (s != TIDE_OK)
        return s;
    /* The plugin only says positions in the engine's words; a list is needed on hosts without it, too. */
    tide_status opened = job_open_plugin(job, &why);
    if (opened != TIDE_OK)
        TIDE_LOG(TIDE_LOG_DEBUG, "list.plugin", TIDE_STR("message", why.msg));
    s = backup_list_load(job->repo, job->instance, &backups, err);
    if (s != TIDE_OK)
        return s;
    /* Nobody knows such an instance: most likely a slip of the pen, and not a server without backups. */
    if (opened == TIDE_INVALID && backups.n + backups.n_bad == 0) {
        *err = why;
        return opened;
    }
    json_t *list = json_array(), *bad = json_array();
    job->data = json_pack("{s:i, s:o, s:o}", "schema", 1, "backups", list, "unreadable", bad);
    if (job->data == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    for (size_t i = 0; s == TIDE_OK && i < backups.n; i++)
        s = add_backup(job, &backups.items[i], list, err);
    for (size_t i = 0; i < backups.n_bad; i++)
        (void)json_array_append_new(bad, value_string(backups.bad[i]));
    job->degraded = backups.n_bad > 0;
    return s;
}

tide_status job_keep(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(backup_clear) struct backup b = {0};
    const char *id = job_text(job, "backup");
    bool keep = job_flag(job, "keep");

    tide_status s = job_open_repo(job, err);
    if (s == TIDE_OK)
        s = backup_load(job->repo, job->instance, id, &b, err);
    if (s == TIDE_NOT_FOUND) {
        s = tide_fail(err, TIDE_NOT_FOUND, "there is no backup \"%s\" of \"%s\"", id, job->instance);
        return tide_hint(err, s, "See: tidemark list %s.", job->instance);
    }
    if (s == TIDE_OK)
        s = backup_pin(job->repo, job->instance, id, keep, err);
    if (s == TIDE_OK)
        job->data = json_pack("{s:i, s:s, s:b}", "schema", 1, "backup", id, "kept", (int)keep);
    return s;
}
