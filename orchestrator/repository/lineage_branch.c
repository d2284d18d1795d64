#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/lineage.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

#define RESERVE_TRIES 64u

static tide_status branch_key(const char *instance, uint64_t branch, char key[REPO_KEY_MAX], struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for an instance", instance);
    (void)snprintf(key, REPO_KEY_MAX, "instances/%s/branches/%016llx", instance, (unsigned long long)branch);
    return TIDE_OK;
}

struct branch_walk {
    size_t folder_len;
    uint64_t highest;
};

static tide_status note_branch(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    struct branch_walk *w = ctx;
    uint64_t v;
    if (strlen(e->key) == w->folder_len + 16 && tide_parse_hex64(e->key + w->folder_len, 16, &v) && v > w->highest)
        w->highest = v;
    return TIDE_OK;
}

/* The highest number that is reserved or that a stored lineage has. */
static tide_status highest_known(struct repo *r, const char *instance, uint64_t *highest, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    (void)snprintf(folder, sizeof(folder), "instances/%s/branches/", instance);
    struct branch_walk w = {.folder_len = strlen(folder)};
    tide_status s = store_list(repo_store(r), folder, NULL, 0, note_branch, &w, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    s = lineage_load(r, instance, &set, err);
    if (s != TIDE_OK)
        return s;
    for (size_t i = 0; i < set.n; i++)
        if (set.items[i].branch > w.highest)
            w.highest = set.items[i].branch;
    *highest = w.highest;
    return TIDE_OK;
}

tide_status lineage_reserve_branch(struct repo *r, const char *instance, uint64_t above, const json_t *what,
                                   uint64_t *branch, struct tide_err *err)
{
    tide_status s = TIDE_EXISTS;
    for (unsigned i = 0; s == TIDE_EXISTS && i < RESERVE_TRIES; i++) {
        char key[REPO_KEY_MAX];
        uint64_t highest = 0;
        s = branch_key(instance, 0, key, err);
        if (s == TIDE_OK)
            s = highest_known(r, instance, &highest, err);
        if (s != TIDE_OK)
            return s;
        if (highest < above)
            highest = above;
        if (highest == UINT64_MAX)
            return tide_fail(err, TIDE_UNSUPPORTED, "\"%s\" has no branch numbers left", instance);
        *branch = highest + 1;
        s = branch_key(instance, *branch, key, err);
        if (s != TIDE_OK)
            return s;
        TIDE_AUTO(document_decref)
        json_t *doc = json_pack("{s:o, s:I, s:O?}", "branch", record_hex64_json(*branch), "created_us",
                                (json_int_t)tide_now_us(), "what", what);
        if (doc == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a branch");
        s = record_put(r, key, OBJECT_BRANCH, doc, err);
    }
    return s;
}

tide_status lineage_branch_is_reserved(struct repo *r, const char *instance, uint64_t branch, bool *reserved,
                                       struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = branch_key(instance, branch, key, err);
    if (s == TIDE_OK)
        s = record_get(r, key, OBJECT_BRANCH, &doc, err);
    *reserved = s == TIDE_OK;
    if (s != TIDE_NOT_FOUND)
        return s;
    tide_err_clear(err);
    return TIDE_OK;
}
