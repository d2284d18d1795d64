#include "orchestrator/base/log.h"
#include "orchestrator/repository/backup.h"
#include "orchestrator/repository/pack.h"
#include "orchestrator/repository/pin.h"

#include <stdlib.h>
#include <string.h>

struct names {
    char **items;
    size_t n, size;
};

static tide_status name_add(struct names *l, const char *name, struct tide_err *err)
{
    if (l->n == l->size) {
        size_t size = l->size == 0 ? 16 : 2 * l->size;
        char **items = realloc(l->items, size * sizeof *items);
        if (items == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of backups");
        l->items = items;
        l->size = size;
    }
    l->items[l->n] = strdup(name);
    if (l->items[l->n] == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of backups");
    l->n++;
    return TIDE_OK;
}

static void names_clear(struct names *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
}

static tide_status see_backup(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    return name_add(ctx, e->key, err);
}

static tide_status note_bad(struct backup_list *l, const char *key, const struct tide_err *why, struct tide_err *err)
{
    struct names bad = {.items = l->bad, .n = l->n_bad, .size = l->n_bad};
    TIDE_LOG(TIDE_LOG_ERROR, "backup.damaged", TIDE_STR("key", key), TIDE_STR("error", why->msg));
    /* Rare: growing by one each time does no harm. */
    char **items = realloc(l->bad, (l->n_bad + 1) * sizeof *items);
    if (items == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of backups");
    l->bad = bad.items = items;
    bad.size = l->n_bad + 1;
    tide_status s = name_add(&bad, key, err);
    l->n_bad = bad.n;
    return s;
}

static tide_status load_one(struct repo *r, const char *instance, const char *key, struct backup_list *l,
                            struct tide_err *err)
{
    struct tide_err why = TIDE_ERR_INIT;
    const char *id = strrchr(key, '/') + 1;
    tide_status s = backup_load(r, instance, id, &l->items[l->n], &why);
    if (s == TIDE_OK) {
        l->n++;
        return TIDE_OK;
    }
    if (s == TIDE_NOT_FOUND) /* deleted since it was listed */
        return TIDE_OK;
    if (pack_is_damage(s, &why) || s == TIDE_INVALID)
        return note_bad(l, key, &why, err);
    if (err != NULL)
        *err = why;
    return s;
}

static int compare_backups(const void *a, const void *b)
{
    return strcmp(((const struct backup *)a)->id, ((const struct backup *)b)->id);
}

static tide_status load_all(struct repo *r, const char *instance, const struct names *keys, struct backup_list *l,
                            struct tide_err *err)
{
    l->items = calloc(keys->n == 0 ? 1 : keys->n, sizeof *l->items);
    if (l->items == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of backups");
    for (size_t i = 0; i < keys->n; i++) {
        tide_status s = load_one(r, instance, keys->items[i], l, err);
        if (s != TIDE_OK)
            return s;
    }
    qsort(l->items, l->n, sizeof *l->items, compare_backups);
    return pins_apply(r, instance, l, err);
}

tide_status backup_list_load(struct repo *r, const char *instance, struct backup_list *out, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct names keys = {.n = 0};
    struct backup_list l = {.n = 0};
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(folder, sizeof folder, "instances/%s/backups/", instance);
    tide_status s = store_list(repo_store(r), folder, NULL, 0, see_backup, &keys, err);
    if (s == TIDE_OK || s == TIDE_NOT_FOUND)
        s = load_all(r, instance, &keys, &l, err);
    names_clear(&keys);
    if (s != TIDE_OK) {
        backup_list_clear(&l);
        return tide_wrap(err, s, "listing the backups of \"%s\"", instance);
    }
    *out = l;
    return TIDE_OK;
}

void backup_list_clear(struct backup_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        backup_clear(&l->items[i]);
    for (size_t i = 0; i < l->n_bad; i++)
        free(l->bad[i]);
    free(l->items);
    free(l->bad);
    *l = (struct backup_list){.n = 0};
}
