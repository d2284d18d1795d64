#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/repository/logobject.h"
#include "orchestrator/repository/record.h"
#include "orchestrator/repository/repo_document.h"
#include "orchestrator/repository/repo_internal.h"

#include <stdlib.h>
#include <string.h>

#define KEYS_IN_ONE 4096u
#define CLOCK_APART (5 * 60 * TIDE_SECOND_US)

/* What may be buried: objects of this instance, and never a tombstone. */
static bool may_go(const char *instance, const char *key)
{
    char prefix[REPO_KEY_MAX];
    int len = snprintf(prefix, sizeof(prefix), "instances/%s/", instance);
    return strncmp(key, prefix, (size_t)len) == 0 && strncmp(key + len, "tombstones/", 11) != 0 &&
           strlen(key) < REPO_KEY_MAX;
}

static tide_status put_one(struct repo *r, const char *instance, const char *const *keys, size_t n,
                           const char *reason, int64_t not_before_us, struct tide_err *err)
{
    TIDE_AUTO(document_decref) json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        if (!may_go(instance, keys[i]))
            return tide_fail(err, TIDE_REFUSED, "\"%s\" is not an object of \"%s\" that may be deleted", keys[i],
                             instance);
        if (json_array_append_new(list, json_string(keys[i])) != 0)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a tombstone");
    }
    uint32_t random;
    int64_t now = tide_now_us();
    tide_status s = tide_random(&random, sizeof(random), err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:O, s:s, s:I, s:I}", "keys", list, "reason", reason, "not_before_us",
                            (json_int_t)not_before_us, "created_us", (json_int_t)now);
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a tombstone");
    char key[REPO_KEY_MAX];
    (void)snprintf(key, sizeof(key), "instances/%s/tombstones/%016llx-%08x", instance, (unsigned long long)now,
                   random);
    return record_put(r, key, OBJECT_TOMBSTONE, doc, err);
}

tide_status tombstone_put(struct repo *r, const char *instance, const char *const *keys, size_t n, const char *reason,
                          int64_t not_before_us, struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    tide_status s = TIDE_OK;
    for (size_t at = 0; s == TIDE_OK && at < n; at += KEYS_IN_ONE) {
        size_t some = n - at < KEYS_IN_ONE ? n - at : KEYS_IN_ONE;
        s = put_one(r, instance, keys + at, some, reason, not_before_us, err);
    }
    return s;
}

/* ---- sweeping */

struct name_list {
    char **items;
    size_t n, cap;
};

static void name_list_clear(struct name_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->items[i]);
    free(l->items);
}

static tide_status note_name(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct name_list *l = ctx;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        char **grown = realloc(l->items, cap * sizeof(*grown));
        if (grown == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing tombstones");
        l->items = grown;
        l->cap = cap;
    }
    l->items[l->n] = strdup(e->key);
    if (l->items[l->n] == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing tombstones");
    l->n++;
    return TIDE_OK;
}

/* Deletes what one tombstone names, then itself: cut in between, the next sweep goes on. */
static tide_status bury(struct repo *r, const char *instance, const char *tombstone, const char *reason,
                        int64_t now_us, uint64_t *deleted, struct tide_err *err)
{
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    const char *why = NULL;
    int64_t not_before = 0;
    tide_status s = record_get(r, tombstone, OBJECT_TOMBSTONE, &doc, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err); /* another sweep was faster, or it was taken back */
        return TIDE_OK;
    }
    if (s == TIDE_OK)
        s = record_str(doc, "reason", &why, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "not_before_us", &not_before, err);
    if (s != TIDE_OK)
        return s;
    if (not_before > now_us || (reason != NULL && strcmp(reason, why) != 0))
        return TIDE_OK;

    const json_t *keys = json_object_get(doc, "keys");
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        if (key == NULL || !may_go(instance, key))
            return tide_fail(err, TIDE_CORRUPT, "\"%s\" names what it may not", tombstone);
        s = store_delete(repo_store(r), key, err);
        if (s != TIDE_OK)
            return s;
        ++*deleted;
    }
    return store_delete(repo_store(r), tombstone, err);
}

tide_status tombstone_sweep(struct repo *r, const char *instance, const char *reason, uint64_t *deleted,
                            struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    int64_t now_us = 0;
    *deleted = 0;
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(folder, sizeof(folder), "instances/%s/tombstones/", instance);
    TIDE_AUTO(name_list_clear) struct name_list names = {0};
    tide_status s = repo_check_writable(r, err);
    if (s == TIDE_OK)
        s = store_list(repo_store(r), folder, NULL, 0, note_name, &names, err);
    if (s != TIDE_OK || names.n == 0)
        return s;

    s = store_now(repo_store(r), &now_us, err);
    if (s != TIDE_OK)
        return s;
    int64_t apart = tide_now_us() - now_us;
    if (apart > CLOCK_APART || apart < -CLOCK_APART)
        return tide_fail(err, TIDE_REFUSED, "the repository's clock and ours are %lld s apart: nothing was deleted",
                         (long long)(apart / TIDE_SECOND_US));
    for (size_t i = 0; s == TIDE_OK && i < names.n; i++)
        s = bury(r, instance, names.items[i], reason, now_us, deleted, err);
    return s;
}
