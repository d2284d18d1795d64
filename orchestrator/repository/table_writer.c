#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/blockmap.h"
#include "orchestrator/repository/sorter.h"
#include "orchestrator/repository/table_node.h"

#include <stdlib.h>
#include <string.h>

/*
 * Where a node ends is decided by its keys alone, between a least and a largest size: a table that changed in one
 * place then has the same nodes everywhere else, and those are not stored again.
 */
#define NODE_LEAST   (96u << 10)
#define NODE_LARGEST (512u << 10)
#define CUT_MASK     511u

struct level {
    struct tide_buf plain; /* head and records so far */
    uint32_t n;
    uint8_t first[TABLE_KEY_MAX];
    size_t first_len;
};

struct table_writer {
    struct table_writer_options o;
    struct level *levels[NODE_LEVELS];
    struct pack_usage usage;
    uint8_t last[TABLE_KEY_MAX];
    size_t last_len;
    bool any;
};

tide_status table_writer_new(const struct table_writer_options *o, struct table_writer **out, struct tide_err *err)
{
    struct table_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a table");
    w->o = *o;
    *out = w;
    return TIDE_OK;
}

void table_writer_free(struct table_writer *w)
{
    if (w == NULL)
        return;
    for (unsigned i = 0; i < NODE_LEVELS; i++) {
        if (w->levels[i] != NULL)
            tide_buf_clear(&w->levels[i]->plain);
        free(w->levels[i]);
    }
    pack_usage_clear(&w->usage);
    free(w);
}

static tide_status level_get(struct table_writer *w, unsigned number, struct level **out, struct tide_err *err)
{
    if (number >= NODE_LEVELS)
        return tide_fail(err, TIDE_INVALID, "a table is too large");
    if (w->levels[number] == NULL) {
        struct level *l = calloc(1, sizeof *l);
        if (l == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a table");
        l->plain.max = FRAME_MAX_PLAIN;
        w->levels[number] = l;
    }
    *out = w->levels[number];
    return TIDE_OK;
}

static void level_add(struct level *l, const void *key, size_t key_len, const void *value, size_t value_len)
{
    static const uint8_t head[NODE_HEAD];
    if (l->plain.len == 0)
        tide_buf_append(&l->plain, head, sizeof head);
    if (l->n == 0) {
        memcpy(l->first, key, key_len);
        l->first_len = key_len;
    }
    table_record_encode(&l->plain, key, key_len, value, value_len);
    l->n++;
}

/* True when the older table has this very node. */
static tide_status find_old(struct table_writer *w, const struct level *l, const uint8_t *hash, struct pack_ref *ref,
                            bool *found, struct tide_err *err)
{
    *found = false;
    if (w->o.old == NULL)
        return TIDE_OK;
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = table_node_at(w->o.old, w->o.old_reader, l->first, l->first_len, ref, &why);
    /* An old table that is damaged saves no work, and costs nothing else. */
    if (s == TIDE_NOT_FOUND || s == TIDE_CORRUPT)
        return TIDE_OK;
    if (s != TIDE_OK) {
        if (err != NULL)
            *err = why;
        return s;
    }
    *found =
        memcmp(ref->hash, hash, FRAME_HASH_SIZE) == 0 && (w->o.usable == NULL || w->o.usable(w->o.usable_ctx, ref));
    return TIDE_OK;
}

/* Stores what a level has gathered as one node; *ref tells where. */
static tide_status store_node(struct table_writer *w, unsigned number, struct pack_ref *ref, struct tide_err *err)
{
    struct level *l = w->levels[number];
    uint8_t hash[FRAME_HASH_SIZE];
    bool found = false;
    tide_status s = tide_buf_check(&l->plain, "a table's node", err);
    if (s != TIDE_OK)
        return s;
    table_node_head(l->plain.data, (uint8_t)number, w->o.type, l->n);
    frame_hash(w->o.seed, l->plain.data, l->plain.len, hash);
    if (number == 0)
        s = find_old(w, l, hash, ref, &found, err);
    if (s == TIDE_OK && !found)
        s = pack_writer_append(w->o.pack, number == 0 ? FRAME_TABLE : FRAME_ROOT, l->plain.data, l->plain.len, hash,
                               ref, err);
    if (s == TIDE_OK)
        s = pack_usage_add(&w->usage, ref->pack, ref->frame.stored, err);
    return s;
}

static tide_status close_node(struct table_writer *w, unsigned number, struct tide_err *err);

static tide_status add_child(struct table_writer *w, unsigned number, const struct level *child,
                             const struct pack_ref *ref, struct tide_err *err)
{
    struct level *l = NULL;
    tide_status s = level_get(w, number, &l, err);
    if (s == TIDE_OK && l->plain.len >= NODE_LARGEST / 2)
        s = close_node(w, number, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(tide_buf_clear) struct tide_buf value = TIDE_BUF_INIT(PACK_REF_SIZE);
    pack_ref_encode(ref, &value);
    s = tide_buf_check(&value, "a reference", err);
    if (s == TIDE_OK)
        level_add(l, child->first, child->first_len, value.data, value.len);
    return s;
}

/* Recursion is bounded by NODE_LEVELS. */
static tide_status close_node(struct table_writer *w, unsigned number, struct tide_err *err)
{
    struct level *l = w->levels[number];
    struct pack_ref ref;
    tide_status s = store_node(w, number, &ref, err);
    if (s == TIDE_OK)
        s = add_child(w, number + 1, l, &ref, err);
    l->n = 0;
    tide_buf_reset(&l->plain);
    return s;
}

static bool is_cut(const uint8_t *key, size_t len)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ key[i]) * 16777619u;
    return ((h ^ h >> 15) & CUT_MASK) == 0;
}

tide_status table_writer_add(struct table_writer *w, const void *key, size_t key_len, const void *value,
                             size_t value_len, struct tide_err *err)
{
    struct level *l = NULL;
    if (key_len == 0 || key_len > TABLE_KEY_MAX || value_len > TABLE_VALUE_MAX)
        return tide_fail(err, TIDE_INVALID, "a record of %zu + %zu bytes does not fit into a table", key_len,
                         value_len);
    tide_assert(!w->any || sorter_compare(w->last, w->last_len, key, key_len) < 0);
    tide_status s = level_get(w, 0, &l, err);
    size_t size = l == NULL ? 0 : l->plain.len;
    if (s == TIDE_OK && l->n > 0 && (size >= NODE_LARGEST || (size >= NODE_LEAST && is_cut(key, key_len))))
        s = close_node(w, 0, err);
    if (s != TIDE_OK)
        return s;
    level_add(l, key, key_len, value, value_len);
    memcpy(w->last, key, key_len);
    w->last_len = key_len;
    w->any = true;
    return TIDE_OK;
}

tide_status table_writer_finish(struct table_writer *w, struct pack_ref *root, struct pack_usage *usage,
                                struct tide_err *err)
{
    struct level *l = NULL;
    tide_status s = w->any ? close_node(w, 0, err) : TIDE_OK;
    unsigned top = 1;
    if (s == TIDE_OK)
        s = level_get(w, 1, &l, err);
    for (; s == TIDE_OK && top + 1 < NODE_LEVELS && w->levels[top + 1] != NULL; top++)
        s = close_node(w, top, err);
    if (s == TIDE_OK && w->levels[top]->plain.len == 0) {
        static const uint8_t head[NODE_HEAD];
        tide_buf_append(&w->levels[top]->plain, head, sizeof head);
    }
    if (s == TIDE_OK)
        s = store_node(w, top, root, err);
    for (size_t i = 0; usage != NULL && s == TIDE_OK && i < w->usage.n; i++)
        s = pack_usage_add(usage, w->usage.items[i].pack, w->usage.items[i].bytes, err);
    return s;
}
