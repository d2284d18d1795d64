#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/lineage.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

bool repo_name_is_valid(const char *instance)
{
    size_t len = strlen(instance);
    if (len == 0 || len >= REPO_NAME_MAX || strchr("._-", instance[0]) != NULL)
        return false;
    return strspn(instance, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static void instance_key(const char *instance, char key[REPO_KEY_MAX])
{
    (void)snprintf(key, REPO_KEY_MAX, "instances/%s/instance.json", instance);
}

static tide_status bad_name(const char *instance, struct tide_err *err)
{
    return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance: use a-z, 0-9, \".\", \"_\" and \"-\"",
                     instance);
}

tide_status instance_engine(struct repo *r, const char *instance, char engine[32], struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    if (!repo_name_is_valid(instance))
        return bad_name(instance, err);
    instance_key(instance, key);
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    const char *found = NULL;
    tide_status s = record_get(r, key, OBJECT_INSTANCE, &doc, err);
    if (s == TIDE_OK)
        s = record_str(doc, "engine", &found, err);
    if (s != TIDE_OK)
        return s;
    if (strlen(found) >= 32)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" names an engine with a name too long", key);
    (void)snprintf(engine, 32, "%s", found);
    return TIDE_OK;
}

tide_status instance_ensure(struct repo *r, const char *instance, const char *engine, struct tide_err *err)
{
    char found[32];
    tide_status s = instance_engine(r, instance, found, err);
    if (s == TIDE_NOT_FOUND) {
        char key[REPO_KEY_MAX];
        instance_key(instance, key);
        TIDE_AUTO(document_decref) json_t *doc = json_pack("{s:s, s:s}", "name", instance, "engine", engine);
        if (doc == NULL || strlen(engine) >= sizeof(found))
            return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an engine", engine);
        s = record_put(r, key, OBJECT_INSTANCE, doc, err);
        if (s != TIDE_EXISTS)
            return s;
        s = instance_engine(r, instance, found, err); /* somebody was faster */
    }
    if (s != TIDE_OK)
        return s;
    if (strcmp(found, engine) != 0)
        return tide_fail(err, TIDE_REFUSED, "the repository knows \"%s\" as an instance of %s, not of %s", instance,
                         found, engine);
    return TIDE_OK;
}

/* ---- all of them */

struct instance_walk {
    struct repo *r;
    store_list_fn *fn;
    void *ctx;
};

static tide_status visit(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct instance_walk *w = ctx;
    char name[REPO_NAME_MAX], key[REPO_KEY_MAX];
    const char *text = e->key + strlen("instances/");
    size_t len = strlen(text);
    if (len < 2 || len > sizeof(name) || text[len - 1] != '/')
        return TIDE_OK;
    memcpy(name, text, len - 1);
    name[len - 1] = '\0';
    if (!repo_name_is_valid(name))
        return TIDE_OK;

    struct store_entry found = {.key = name};
    instance_key(name, key);
    tide_status s = store_head(repo_store(w->r), key, &found.size, &found.mtime_us, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    return s == TIDE_OK ? w->fn(w->ctx, &found, err) : s;
}

tide_status repo_instances(struct repo *r, store_list_fn *fn, void *ctx, struct tide_err *err)
{
    struct instance_walk w = {.r = r, .fn = fn, .ctx = ctx};
    return store_list_folder(repo_store(r), "instances/", visit, &w, err);
}
