#include "orchestrator/repository/backup.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/repository/repo_document.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BACKUP_VERSION 1

void backup_clear(struct backup *b)
{
    free(b->metadata);
    free(b->notes);
    free(b->damage);
    *b = (struct backup){0};
}

tide_status backup_new_id(int64_t now_us, char id[BACKUP_ID_MAX], struct tide_err *err)
{
    uint8_t random[4];
    char hex[9], stamp[24];
    time_t now = (time_t)(now_us / 1000000);
    struct tm tm;
    tide_status s = tide_random(random, sizeof random, err);
    if (s != TIDE_OK)
        return s;
    if (gmtime_r(&now, &tm) == NULL || strftime(stamp, sizeof stamp, "%Y%m%dT%H%M%SZ", &tm) == 0)
        return tide_fail(err, TIDE_INVALID, "the clock shows a time that has no name");
    tide_hex(random, sizeof random, hex);
    (void)snprintf(id, BACKUP_ID_MAX, "%s-%s", stamp, hex);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ to JSON */

static json_t *ref_json(const struct pack_ref *r)
{
    char pack[2 * OBJECT_ID_SIZE + 1], hash[2 * FRAME_HASH_SIZE + 1];
    tide_hex(r->pack, sizeof r->pack, pack);
    tide_hex(r->hash, sizeof r->hash, hash);
    return json_pack("{s:s, s:I, s:I, s:I, s:s}", "pack", pack, "number", (json_int_t)r->frame.number, "stored",
                     (json_int_t)r->frame.stored, "offset", (json_int_t)r->frame.offset, "hash", hash);
}

static json_t *totals_json(const struct backup_totals *t)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "files", (json_int_t)t->files, "bytes",
                     (json_int_t)t->bytes, "stored_bytes", (json_int_t)t->stored_bytes, "new_bytes",
                     (json_int_t)t->new_bytes, "packs", (json_int_t)t->packs, "new_packs", (json_int_t)t->new_packs,
                     "damaged_pages", (json_int_t)t->damaged_pages);
}

static json_t *backup_json(const struct backup *b)
{
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:o, s:I, s:o, "
        "s:o, s:s?, s:s?, s:s?}",
        "version", BACKUP_VERSION, "id", b->id, "parent", b->parent, "method", b->method, "server_version",
        b->server_version, "from_standby", b->from_standby, "kept", b->kept, "log_alone", b->log_alone, "lineage",
        (json_int_t)b->lineage, "branch", record_hex64_json(b->branch), "start", record_pos_json(b->start), "stop",
        record_pos_json(b->stop), "started_us", (json_int_t)b->started_us, "finished_us", (json_int_t)b->finished_us,
        "server_start_us", (json_int_t)b->server_start_us, "server_stop_us", (json_int_t)b->server_stop_us, "totals",
        totals_json(&b->totals), "hash_epoch", (json_int_t)b->hash_epoch, "files", ref_json(&b->files), "packs",
        ref_json(&b->packs), "metadata", b->metadata, "notes", b->notes, "damage", b->damage);
}

static tide_status backup_key(const char *instance, const char *id, char key[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    if (*id == '\0' || strlen(id) >= BACKUP_ID_MAX || strchr(id, '/') != NULL || id[0] == '.')
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no id of a backup", id);
    (void)snprintf(key, REPO_KEY_MAX, "instances/%s/backups/%s", instance, id);
    return TIDE_OK;
}

tide_status backup_commit(struct repo *r, const char *instance, const struct backup *b, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    tide_status s = backup_key(instance, b->id, key, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(document_decref) json_t *doc = backup_json(b);
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the backup \"%s\"", b->id);
    TIDE_FAILPOINT("backup-before-commit", err);
    s = record_put(r, key, OBJECT_BACKUP, doc, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "committing the backup \"%s\"", b->id);
    TIDE_FAILPOINT("backup-after-commit", err);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ from JSON */

static tide_status get_u64(const json_t *doc, const char *member, uint64_t *out, struct tide_err *err)
{
    int64_t v = 0;
    tide_status s = record_i64(doc, member, &v, err);
    if (s == TIDE_OK && v < 0)
        s = tide_fail(err, TIDE_CORRUPT, "the member \"%s\" is negative", member);
    *out = (uint64_t)v;
    return s;
}

static tide_status get_text(const json_t *doc, const char *member, char *out, size_t size, struct tide_err *err)
{
    const char *text = NULL;
    tide_status s = record_str(doc, member, &text, err);
    if (s == TIDE_OK && strlen(text) >= size)
        s = tide_fail(err, TIDE_CORRUPT, "the member \"%s\" is too long", member);
    if (s == TIDE_OK)
        (void)snprintf(out, size, "%s", text);
    return s;
}

static tide_status get_bool(const json_t *doc, const char *member, bool *out, struct tide_err *err)
{
    const json_t *v = json_object_get(doc, member);
    if (!json_is_boolean(v))
        return tide_fail(err, TIDE_CORRUPT, "the member \"%s\" is missing or not a boolean", member);
    *out = json_is_true(v);
    return TIDE_OK;
}

/* Text that may be null. */
static tide_status get_owned(const json_t *doc, const char *member, char **out, struct tide_err *err)
{
    const json_t *v = json_object_get(doc, member);
    if (v == NULL || json_is_null(v))
        return TIDE_OK;
    if (!json_is_string(v))
        return tide_fail(err, TIDE_CORRUPT, "the member \"%s\" is no text", member);
    *out = strdup(json_string_value(v));
    return *out != NULL ? TIDE_OK : tide_fail(err, TIDE_NO_MEMORY, "out of memory for a backup");
}

static tide_status get_ref(const json_t *doc, const char *member, struct pack_ref *r, struct tide_err *err)
{
    const json_t *v = json_object_get(doc, member);
    if (!json_is_object(v) || !document_hex(v, "pack", r->pack, sizeof r->pack) ||
        !document_hex(v, "hash", r->hash, sizeof r->hash))
        return tide_fail(err, TIDE_CORRUPT, "the member \"%s\" is no reference to a frame", member);
    tide_status s = record_u32(v, "number", &r->frame.number, err);
    if (s == TIDE_OK)
        s = record_u32(v, "stored", &r->frame.stored, err);
    return s != TIDE_OK ? s : get_u64(v, "offset", &r->frame.offset, err);
}

static tide_status get_totals(const json_t *doc, struct backup_totals *t, struct tide_err *err)
{
    const struct {
        const char *member;
        uint64_t *out;
    } all[] = {{"files", &t->files},
               {"bytes", &t->bytes},
               {"stored_bytes", &t->stored_bytes},
               {"new_bytes", &t->new_bytes},
               {"packs", &t->packs},
               {"new_packs", &t->new_packs},
               {"damaged_pages", &t->damaged_pages}};
    const json_t *totals = json_object_get(doc, "totals");
    tide_status s = TIDE_OK;
    for (size_t i = 0; s == TIDE_OK && i < sizeof all / sizeof all[0]; i++)
        s = get_u64(totals, all[i].member, all[i].out, err);
    return s;
}

static tide_status get_texts_and_flags(const json_t *doc, struct backup *b, struct tide_err *err)
{
    tide_status s = get_text(doc, "id", b->id, sizeof b->id, err);
    if (s == TIDE_OK)
        s = get_text(doc, "parent", b->parent, sizeof b->parent, err);
    if (s == TIDE_OK)
        s = get_text(doc, "method", b->method, sizeof b->method, err);
    if (s == TIDE_OK)
        s = get_text(doc, "server_version", b->server_version, sizeof b->server_version, err);
    if (s == TIDE_OK)
        s = get_bool(doc, "from_standby", &b->from_standby, err);
    if (s == TIDE_OK)
        s = get_bool(doc, "kept", &b->kept, err);
    if (s == TIDE_OK)
        s = get_bool(doc, "log_alone", &b->log_alone, err);
    if (s == TIDE_OK)
        s = get_owned(doc, "metadata", &b->metadata, err);
    if (s == TIDE_OK)
        s = get_owned(doc, "notes", &b->notes, err);
    if (s == TIDE_OK)
        s = get_owned(doc, "damage", &b->damage, err);
    return s;
}

static tide_status get_places_and_times(const json_t *doc, struct backup *b, struct tide_err *err)
{
    tide_status s = record_u32(doc, "lineage", &b->lineage, err);
    if (s == TIDE_OK)
        s = record_hex64(doc, "branch", &b->branch, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "start", &b->start, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "stop", &b->stop, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "started_us", &b->started_us, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "finished_us", &b->finished_us, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "server_start_us", &b->server_start_us, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "server_stop_us", &b->server_stop_us, err);
    if (s == TIDE_OK)
        s = record_u32(doc, "hash_epoch", &b->hash_epoch, err);
    return s;
}

static tide_status backup_decode(const json_t *doc, struct backup *b, struct tide_err *err)
{
    int64_t version = 0;
    tide_status s = record_i64(doc, "version", &version, err);
    if (s == TIDE_OK && version != BACKUP_VERSION)
        s = tide_fail(err, TIDE_UNSUPPORTED, "version %lld is not known", (long long)version);
    if (s == TIDE_OK)
        s = get_texts_and_flags(doc, b, err);
    if (s == TIDE_OK)
        s = get_places_and_times(doc, b, err);
    if (s == TIDE_OK)
        s = get_totals(doc, &b->totals, err);
    if (s == TIDE_OK)
        s = get_ref(doc, "files", &b->files, err);
    if (s == TIDE_OK)
        s = get_ref(doc, "packs", &b->packs, err);
    return s;
}

tide_status backup_load(struct repo *r, const char *instance, const char *id, struct backup *out,
                        struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    tide_status s = backup_key(instance, id, key, err);
    if (s == TIDE_OK)
        s = record_get(r, key, OBJECT_BACKUP, &doc, err);
    if (s != TIDE_OK)
        return s;
    s = backup_decode(doc, &b, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "object \"%s\"", key);
    *out = TIDE_TAKE(b);
    return TIDE_OK;
}
