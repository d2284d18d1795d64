#include "orchestrator/repository/lineage.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/repo_document.h"

#include <stdlib.h>
#include <string.h>

#define CREATE_TRIES 64u

static void folder_of(const char *instance, char folder[REPO_KEY_MAX])
{
    (void)snprintf(folder, REPO_KEY_MAX, "instances/%s/lineages/", instance);
}

static void lineage_clear(struct lineage *l)
{
    free(l->evidence);
    *l = (struct lineage){0};
}

void lineage_set_clear(struct lineage_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        lineage_clear(&s->items[i]);
    free(s->items);
    *s = (struct lineage_set){0};
}

const struct lineage *lineage_find(const struct lineage_set *s, uint32_t number)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].number == number)
            return &s->items[i];
    return NULL;
}

/* ---- storing */

static json_t *to_json(const struct lineage *l)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o, s:I, s:s, s:s}", "number", (json_int_t)l->number, "parent",
                     (json_int_t)l->parent, "branch", record_hex64_json(l->branch), "start",
                     record_pos_json(l->start), "fork", record_pos_json(l->fork), "created_us",
                     (json_int_t)l->created_us, "engine", l->engine, "evidence",
                     l->evidence == NULL ? "" : l->evidence);
}

tide_status lineage_create(struct repo *r, const char *instance, struct lineage *l, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    folder_of(instance, folder);
    const uint32_t wanted = l->number;
    tide_status s = TIDE_EXISTS;
    for (unsigned i = 0; s == TIDE_EXISTS && i < (wanted != 0 ? 1 : CREATE_TRIES); i++) {
        uint32_t highest;
        l->number = wanted; /* as it came, when this fails */
        s = record_highest(r, folder, &highest, err);
        if (s != TIDE_OK)
            return s;
        if (wanted != 0 && highest >= wanted)
            return tide_fail(err, TIDE_EXISTS, "lineage %u of \"%s\" was made by somebody else meanwhile", wanted,
                             instance);
        if (l->parent != 0 && (l->parent > highest || tide_pos_is_none(l->fork)))
            return tide_fail(err, TIDE_INVALID, "lineage %u of \"%s\" cannot come from lineage %u", highest + 1,
                             instance, l->parent);
        l->number = highest + 1;
        TIDE_AUTO(document_decref) json_t *doc = to_json(l);
        s = doc == NULL ? tide_fail(err, TIDE_INVALID, "the evidence of a lineage of \"%s\" is no text", instance)
                        : record_put_numbered(r, folder, l->number, OBJECT_LINEAGE, doc, err);
    }
    if (s != TIDE_OK)
        l->number = wanted;
    return s;
}

/* ---- loading */

static tide_status from_json(const json_t *doc, struct lineage *l, struct tide_err *err)
{
    const char *engine = NULL, *evidence = NULL;
    tide_status s = record_u32(doc, "number", &l->number, err);
    if (s == TIDE_OK)
        s = record_u32(doc, "parent", &l->parent, err);
    if (s == TIDE_OK)
        s = record_hex64(doc, "branch", &l->branch, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "start", &l->start, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "fork", &l->fork, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "created_us", &l->created_us, err);
    if (s == TIDE_OK)
        s = record_str(doc, "engine", &engine, err);
    if (s == TIDE_OK)
        s = record_str(doc, "evidence", &evidence, err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(l->engine, sizeof(l->engine), "%s", engine);
    l->evidence = strdup(evidence);
    return l->evidence == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory for a lineage") : TIDE_OK;
}

struct lineage_walk {
    struct repo *r;
    struct lineage_set *set;
    size_t folder_len;
};

static tide_status load_one(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct lineage_walk *w = ctx;
    uint32_t number;
    if (!record_number(e->key, w->folder_len, &number))
        return TIDE_OK;
    struct lineage_set *set = w->set;
    struct lineage *grown = realloc(set->items, (set->n + 1) * sizeof(*grown));
    if (grown == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for lineages");
    set->items = grown;

    TIDE_AUTO(document_decref) json_t *doc = NULL;
    TIDE_AUTO(lineage_clear) struct lineage l = {0};
    tide_status s = record_get(w->r, e->key, OBJECT_LINEAGE, &doc, err);
    if (s == TIDE_OK)
        s = from_json(doc, &l, err);
    if (s != TIDE_OK)
        return s;
    /* A parent with a smaller number: so the lineages are a tree, whatever is stored. */
    if (l.number != number || l.parent >= number || (l.parent != 0 && tide_pos_is_none(l.fork)))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" contradicts itself", e->key);
    set->items[set->n++] = TIDE_TAKE(l);
    return TIDE_OK;
}

tide_status lineage_load(struct repo *r, const char *instance, struct lineage_set *out, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    folder_of(instance, folder);
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct lineage_walk w = {.r = r, .set = &set, .folder_len = strlen(folder)};
    tide_status s = store_list(repo_store(r), folder, NULL, 0, load_one, &w, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "loading the lineages of \"%s\"", instance);
    *out = TIDE_TAKE(set);
    return TIDE_OK;
}

/* ---- the way through the tree */

tide_status lineage_path(const struct lineage_set *s, uint32_t number, struct lineage_step path[LINEAGE_PATH_MAX],
                         size_t *n, struct tide_err *err)
{
    struct tide_pos end = {0};
    size_t found = 0;
    for (uint32_t at = number; at != 0;) {
        const struct lineage *l = lineage_find(s, at);
        if (l == NULL)
            return tide_fail(err, at == number ? TIDE_NOT_FOUND : TIDE_CORRUPT, "there is no lineage %u", at);
        struct tide_pos start = l->parent == 0 ? l->start : l->fork;
        /* A child that left its parent before the parent itself forked took nothing from it. */
        bool empty = !tide_pos_is_none(end) && tide_pos_cmp(start, end) >= 0 && l->parent != 0;
        if (!empty) {
            if (found == LINEAGE_PATH_MAX)
                return tide_fail(err, TIDE_UNSUPPORTED, "lineage %u has more than %u ancestors", number,
                                 LINEAGE_PATH_MAX);
            path[found++] = (struct lineage_step){.lineage = at, .start = start, .end = end};
            end = start;
        }
        at = l->parent;
    }
    for (size_t i = 0; i < found / 2; i++) {
        struct lineage_step swap = path[i];
        path[i] = path[found - 1 - i];
        path[found - 1 - i] = swap;
    }
    *n = found;
    return TIDE_OK;
}
