#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/logobject.h"
#include "orchestrator/repository/record.h"
#include "orchestrator/repository/repo_document.h"

#include <stdlib.h>
#include <string.h>

#define NAME_LEN    49u /* 16 hex digits, '-', 32 hex digits */
#define READ_TRIES  5u
#define PRUNE_BATCH 1000u
#define LOOK_AT     8u /* names at the front of the folder: a few that are not ours do no harm */

static tide_status folder_of(const char *instance, uint32_t lineage, char folder[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(folder, REPO_KEY_MAX, "instances/%s/heartbeats/%08x/", instance, lineage);
    return TIDE_OK;
}

/* The clock counts down in the name, so that the newest is the first of a listing. */
static void heartbeat_name(int64_t clock_us, struct tide_pos pos, char out[NAME_LEN + 1])
{
    (void)snprintf(out, NAME_LEN + 1, "%016llx-%016llx%016llx", (unsigned long long)(UINT64_MAX - (uint64_t)clock_us),
                   (unsigned long long)pos.hi, (unsigned long long)pos.lo);
}

tide_status heartbeat_put(struct repo *r, const char *instance, uint32_t lineage, int64_t clock_us,
                          struct tide_pos pos, struct tide_err *err)
{
    char folder[REPO_KEY_MAX], key[REPO_KEY_MAX + NAME_LEN], name[NAME_LEN + 1];
    tide_status s = folder_of(instance, lineage, folder, err);
    if (s != TIDE_OK)
        return s;
    if (clock_us <= 0)
        return tide_fail(err, TIDE_INVALID, "a heartbeat needs a time");
    heartbeat_name(clock_us, pos, name);
    (void)snprintf(key, sizeof(key), "%s%s", folder, name);
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:I, s:I, s:o}", "lineage", (json_int_t)lineage, "clock_us", (json_int_t)clock_us,
                            "pos", record_pos_json(pos));
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a heartbeat");
    s = record_put(r, key, OBJECT_HEARTBEAT, doc, err);
    /* All that a heartbeat says is in its name, so one that is there says the same. */
    return s == TIDE_EXISTS ? TIDE_OK : s;
}

struct first_key {
    size_t folder_len;
    char key[REPO_KEY_MAX];
};

static tide_status take_first(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    struct first_key *f = ctx;
    if (f->key[0] == '\0' && strlen(e->key) == f->folder_len + NAME_LEN)
        (void)snprintf(f->key, sizeof(f->key), "%s", e->key);
    return TIDE_OK;
}

static tide_status read_heartbeat(struct repo *r, const char *key, size_t folder_len, uint32_t lineage,
                                  int64_t *clock_us, struct tide_pos *pos, struct tide_err *err)
{
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    uint32_t found = 0;
    tide_status s = record_get(r, key, OBJECT_HEARTBEAT, &doc, err);
    if (s == TIDE_OK)
        s = record_u32(doc, "lineage", &found, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "clock_us", clock_us, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "pos", pos, err);
    if (s != TIDE_OK)
        return s;
    char name[NAME_LEN + 1];
    heartbeat_name(*clock_us, *pos, name);
    if (found != lineage || strcmp(key + folder_len, name) != 0)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" says something else than its name", key);
    return TIDE_OK;
}

tide_status heartbeat_newest(struct repo *r, const char *instance, uint32_t lineage, int64_t *clock_us,
                             struct tide_pos *pos, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    tide_status s = folder_of(instance, lineage, folder, err);
    if (s != TIDE_OK)
        return s;
    struct first_key first = {.folder_len = strlen(folder)};
    /* The one listed may be pruned before it is read; then there is a newer one. */
    for (unsigned i = 0; i < READ_TRIES; i++) {
        first.key[0] = '\0';
        s = store_list(repo_store(r), folder, NULL, LOOK_AT, take_first, &first, err);
        if (s == TIDE_OK && first.key[0] == '\0')
            s = tide_fail(err, TIDE_NOT_FOUND, "there is no heartbeat of lineage %u of \"%s\"", lineage, instance);
        if (s != TIDE_OK)
            return s;
        s = read_heartbeat(r, first.key, first.folder_len, lineage, clock_us, pos, err);
        if (s != TIDE_NOT_FOUND)
            return s;
    }
    return tide_fail(err, TIDE_IO, "heartbeats of \"%s\" vanish while they are read", instance);
}

/* ---- pruning */

struct prune_list {
    unsigned keep;
    char until[NAME_LEN + 1]; /* names before it; empty: all */
    size_t folder_len, n;
    char (*keys)[REPO_KEY_MAX];
};

static tide_status note_old(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    struct prune_list *l = ctx;
    if (l->keep > 0) {
        l->keep--;
        return TIDE_OK;
    }
    if (l->until[0] != '\0' && strcmp(e->key + l->folder_len, l->until) >= 0)
        return TIDE_EXISTS;
    if (l->n == PRUNE_BATCH)
        return TIDE_EXISTS; /* the next call takes the rest */
    (void)snprintf(l->keys[l->n++], REPO_KEY_MAX, "%s", e->key);
    return TIDE_OK;
}

static tide_status prune(struct repo *r, const char *instance, uint32_t lineage, struct prune_list *l,
                         struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    TIDE_AUTO(tide_freep) char(*keys)[REPO_KEY_MAX] = malloc(PRUNE_BATCH * sizeof(*keys));
    if (keys == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory pruning heartbeats");
    l->keys = keys;
    tide_status s = folder_of(instance, lineage, folder, err);
    if (s == TIDE_OK) {
        l->folder_len = strlen(folder);
        s = store_list(repo_store(r), folder, NULL, 0, note_old, l, err);
    }
    if (s == TIDE_EXISTS)
        s = TIDE_OK;
    for (size_t i = 0; s == TIDE_OK && i < l->n; i++)
        s = store_delete(repo_store(r), keys[i], err);
    return s;
}

tide_status heartbeat_prune(struct repo *r, const char *instance, uint32_t lineage, unsigned keep,
                            struct tide_err *err)
{
    struct prune_list l = {.keep = keep};
    return prune(r, instance, lineage, &l, err);
}

tide_status heartbeat_retract(struct repo *r, const char *instance, uint32_t lineage, int64_t later_than_us,
                              struct tide_err *err)
{
    struct prune_list l = {0};
    if (later_than_us <= 0)
        return tide_fail(err, TIDE_INVALID, "a heartbeat needs a time");
    heartbeat_name(later_than_us, (struct tide_pos){0}, l.until);
    return prune(r, instance, lineage, &l, err);
}
