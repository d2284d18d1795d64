#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/logobject.h"
#include "orchestrator/repository/record.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

#define RECORD_TRIES 64u

static tide_status folder_of(const char *instance, char folder[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(folder, REPO_KEY_MAX, "instances/%s/gaps/", instance);
    return TIDE_OK;
}

static json_t *to_json(const struct log_gap *g)
{
    return json_pack("{s:I, s:o, s:o, s:I, s:s}", "lineage", (json_int_t)g->lineage, "from", record_pos_json(g->from),
                     "to", record_pos_json(g->to), "noticed_us", (json_int_t)g->noticed_us, "reason", g->reason);
}

static tide_status from_json(const json_t *doc, struct log_gap *g, struct tide_err *err)
{
    const char *reason = NULL;
    tide_status s = record_u32(doc, "lineage", &g->lineage, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "from", &g->from, err);
    if (s == TIDE_OK)
        s = record_pos(doc, "to", &g->to, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "noticed_us", &g->noticed_us, err);
    if (s == TIDE_OK)
        s = record_str(doc, "reason", &reason, err);
    if (s == TIDE_OK)
        (void)snprintf(g->reason, sizeof(g->reason), "%s", reason);
    return s;
}

/* A shipper that restarts meets the same gap again; once is enough. */
static tide_status is_same(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    const struct log_gap *wanted = ctx;
    (void)err;
    bool same = g->lineage == wanted->lineage && tide_pos_cmp(g->from, wanted->from) == 0 &&
                tide_pos_cmp(g->to, wanted->to) == 0;
    return same ? TIDE_EXISTS : TIDE_OK;
}

tide_status log_gap_record(struct repo *r, const char *instance, const struct log_gap *g, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct log_gap wanted = *g;
    tide_status s = log_gap_list(r, instance, is_same, &wanted, err);
    if (s != TIDE_OK)
        return s == TIDE_EXISTS ? TIDE_OK : s;
    TIDE_AUTO(document_decref) json_t *doc = to_json(g);
    if (doc == NULL)
        return tide_fail(err, TIDE_INVALID, "the reason of a gap is no text");
    s = folder_of(instance, folder, err);
    if (s != TIDE_OK)
        return s;
    s = TIDE_EXISTS;
    for (unsigned i = 0; s == TIDE_EXISTS && i < RECORD_TRIES; i++) {
        uint32_t highest = 0;
        s = record_highest(r, folder, &highest, err);
        if (s == TIDE_OK)
            s = record_put_numbered(r, folder, highest + 1, OBJECT_GAP, doc, err);
    }
    return s;
}

struct gap_walk {
    struct repo *r;
    size_t folder_len;
    log_gap_fn *fn;
    void *ctx;
};

static tide_status visit(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct gap_walk *w = ctx;
    uint32_t number;
    if (!record_number(e->key, w->folder_len, &number))
        return TIDE_OK;
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    struct log_gap g = {0};
    tide_status s = record_get(w->r, e->key, OBJECT_GAP, &doc, err);
    if (s == TIDE_OK)
        s = from_json(doc, &g, err);
    return s == TIDE_OK ? w->fn(w->ctx, &g, err) : s;
}

tide_status log_gap_list(struct repo *r, const char *instance, log_gap_fn *fn, void *ctx, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    tide_status s = folder_of(instance, folder, err);
    if (s != TIDE_OK)
        return s;
    struct gap_walk w = {.r = r, .folder_len = strlen(folder), .fn = fn, .ctx = ctx};
    return store_list(repo_store(r), folder, NULL, 0, visit, &w, err);
}
