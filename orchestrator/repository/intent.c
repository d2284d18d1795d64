#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/backup.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>
#include <unistd.h>

tide_status intent_put(struct repo *r, const char *instance, const struct intent *i, struct tide_err *err)
{
    char key[REPO_KEY_MAX], host[256] = "";
    if (!repo_name_is_valid(instance) || *i->id == '\0' || strchr(i->id, '/') != NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no backup of \"%s\"", i->id, instance);
    (void)snprintf(key, sizeof key, "instances/%s/intents/%s", instance, i->id);
    if (gethostname(host, sizeof host - 1) != 0)
        host[0] = '\0';
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:s, s:s, s:I, s:s, s:I}", "id", i->id, "parent", i->parent, "started_us",
                            (json_int_t)i->started_us, "host", host, "pid", (json_int_t)getpid());
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an intent");
    return record_put(r, key, OBJECT_INTENT, doc, err);
}

struct list {
    struct repo *repo;
    intent_fn *fn;
    void *ctx;
};

static tide_status decode(const json_t *doc, struct intent *i, struct tide_err *err)
{
    const char *id = NULL, *parent = NULL;
    tide_status s = record_str(doc, "id", &id, err);
    if (s == TIDE_OK)
        s = record_str(doc, "parent", &parent, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "started_us", &i->started_us, err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(i->id, sizeof i->id, "%s", id);
    (void)snprintf(i->parent, sizeof i->parent, "%s", parent);
    return TIDE_OK;
}

static tide_status see_intent(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    const struct list *l = ctx;
    struct intent i = {.started_us = 0};
    struct tide_err why = TIDE_ERR_INIT;
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = record_get(l->repo, e->key, OBJECT_INTENT, &doc, &why);
    if (s == TIDE_OK)
        s = decode(doc, &i, &why);
    if (s == TIDE_OK)
        return l->fn(l->ctx, &i, err);
    if (s == TIDE_NOT_FOUND) /* removed since it was listed */
        return TIDE_OK;
    if (s == TIDE_CORRUPT || s == TIDE_UNSUPPORTED) {
        /* A note of work in progress; a damaged one must not stand in the way of backups. */
        TIDE_LOG(TIDE_LOG_WARN, "backup.intent.damaged", TIDE_STR("key", e->key), TIDE_STR("error", why.msg));
        return TIDE_OK;
    }
    if (err != NULL)
        *err = why;
    return s;
}

tide_status intent_list(struct repo *r, const char *instance, intent_fn *fn, void *ctx, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct list l = {.repo = r, .fn = fn, .ctx = ctx};
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(folder, sizeof folder, "instances/%s/intents/", instance);
    tide_status s = store_list(repo_store(r), folder, NULL, 0, see_intent, &l, err);
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}
