#include "orchestrator/repository/pin.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

#define TRIES 8u

static tide_status pin_folder(const char *instance, const char *id, char out[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance) || *id == '\0' || strlen(id) >= BACKUP_ID_MAX || strchr(id, '/') != NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no backup of \"%s\"", id, instance);
    (void)snprintf(out, REPO_KEY_MAX, "instances/%s/pins/%s/", instance, id);
    return TIDE_OK;
}

static tide_status read_pin(struct repo *r, const char *folder, uint32_t number, bool *kept, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = record_key(folder, number, key, err);
    if (s == TIDE_OK)
        s = record_get(r, key, OBJECT_PIN, &doc, err);
    if (s != TIDE_OK)
        return s;
    const json_t *keep = json_object_get(doc, "keep");
    if (!json_is_boolean(keep))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" does not say whether to keep", key);
    *kept = json_is_true(keep);
    return TIDE_OK;
}

tide_status backup_pin(struct repo *r, const char *instance, const char *id, bool keep, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct backup b = {.lineage = 0};
    tide_status s = pin_folder(instance, id, folder, err);
    if (s == TIDE_OK)
        s = backup_load(r, instance, id, &b, err);
    backup_clear(&b);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:b, s:I}", "keep", keep, "created_us", (json_int_t)tide_now_us());
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a pin");
    for (unsigned i = 0; i < TRIES; i++) {
        uint32_t highest = 0;
        s = record_highest(r, folder, &highest, err);
        if (s == TIDE_OK)
            s = record_put_numbered(r, folder, highest + 1, OBJECT_PIN, doc, err);
        if (s != TIDE_EXISTS)
            return s;
    }
    return s;
}

tide_status backup_is_pinned(struct repo *r, const char *instance, const char *id, bool *kept, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    uint32_t highest = 0;
    tide_status s = pin_folder(instance, id, folder, err);
    if (s == TIDE_OK)
        s = record_highest(r, folder, &highest, err);
    if (s != TIDE_OK)
        return s;
    if (highest > 0)
        return read_pin(r, folder, highest, kept, err);
    struct backup b = {.lineage = 0};
    s = backup_load(r, instance, id, &b, err);
    if (s == TIDE_OK)
        *kept = b.kept;
    backup_clear(&b);
    return s;
}

/* ------------------------------------------------------------------ all at once */

struct apply {
    struct repo *repo;
    struct backup_list *list;
    size_t folder_len; /* of "…/pins/" */
    char folder[REPO_KEY_MAX];
    char seen[BACKUP_ID_MAX]; /* keys come in order: the last number of a backup counts */
    uint32_t number;
};

static tide_status apply_last(struct apply *a, struct tide_err *err)
{
    for (size_t i = 0; a->number > 0 && i < a->list->n; i++) {
        char folder[REPO_KEY_MAX + BACKUP_ID_MAX];
        if (strcmp(a->list->items[i].id, a->seen) != 0)
            continue;
        (void)snprintf(folder, sizeof folder, "%s%s/", a->folder, a->seen);
        return read_pin(a->repo, folder, a->number, &a->list->items[i].kept, err);
    }
    return TIDE_OK;
}

static tide_status see_pin(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct apply *a = ctx;
    const char *id = e->key + a->folder_len, *slash = strchr(id, '/');
    uint32_t number = 0;
    if (slash == NULL || slash - id >= BACKUP_ID_MAX || !record_number(e->key, (size_t)(slash + 1 - e->key), &number))
        return TIDE_OK;
    size_t len = (size_t)(slash - id);
    if (strlen(a->seen) != len || memcmp(a->seen, id, len) != 0) {
        tide_status s = apply_last(a, err);
        if (s != TIDE_OK)
            return s;
        memcpy(a->seen, id, len);
        a->seen[len] = '\0';
    }
    a->number = number;
    return TIDE_OK;
}

tide_status pins_apply(struct repo *r, const char *instance, struct backup_list *l, struct tide_err *err)
{
    struct apply a = {.repo = r, .list = l};
    a.folder_len = (size_t)snprintf(a.folder, sizeof a.folder, "instances/%s/pins/", instance);
    tide_status s = l->n == 0 ? TIDE_OK : store_list(repo_store(r), a.folder, NULL, 0, see_pin, &a, err);
    return s == TIDE_OK || s == TIDE_NOT_FOUND ? apply_last(&a, err) : s;
}
