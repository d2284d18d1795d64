#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/record.h"
#include "orchestrator/repository/tree_internal.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ packs that may be referred to */

struct load {
    struct known_packs *known;
    known_pack_fn *seen;
    void *ctx;
};

static tide_status known_add(struct known_packs *k, const uint8_t *id, uint64_t size, struct tide_err *err)
{
    if (k->n == k->size) {
        size_t bigger = k->size == 0 ? 256 : 2 * k->size;
        struct known_pack *items = realloc(k->items, bigger * sizeof *items);
        if (items == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of packs");
        k->items = items;
        k->size = bigger;
    }
    memcpy(k->items[k->n].id, id, OBJECT_ID_SIZE);
    k->items[k->n++].size = size;
    return TIDE_OK;
}

static tide_status see_pack(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct load *l = ctx;
    uint8_t id[OBJECT_ID_SIZE];
    if (!pack_key_parse(e->key, id))
        return TIDE_OK;
    tide_status s = known_add(l->known, id, e->size, err);
    if (s == TIDE_OK && l->seen != NULL)
        s = l->seen(l->ctx, id, e->mtime_us, err);
    return s;
}

/* "…/relocations/OLDID/" */
static tide_status see_relocation(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct load *l = ctx;
    uint8_t id[OBJECT_ID_SIZE];
    char key[REPO_KEY_MAX];
    size_t len = strlen(e->key);
    if (len == 0 || len >= sizeof key || e->key[len - 1] != '/')
        return TIDE_OK;
    memcpy(key, e->key, len - 1);
    key[len - 1] = '\0';
    return pack_key_parse(key, id) ? known_add(l->known, id, UINT64_MAX, err) : TIDE_OK;
}

static int compare_known(const void *a, const void *b)
{
    return memcmp(((const struct known_pack *)a)->id, ((const struct known_pack *)b)->id, OBJECT_ID_SIZE);
}

/* A pack that was repacked and is still there counts as repacked. */
static void sort_known(struct known_packs *k)
{
    size_t n = 1;
    qsort(k->items, k->n, sizeof *k->items, compare_known);
    for (size_t i = 1; i < k->n; i++) {
        if (compare_known(&k->items[n - 1], &k->items[i]) != 0)
            k->items[n++] = k->items[i];
        else if (k->items[i].size > k->items[n - 1].size)
            k->items[n - 1].size = k->items[i].size;
    }
    k->n = n;
}

static struct known_pack *known_find(const struct known_packs *k, const uint8_t *id)
{
    struct known_pack key = {.size = 0};
    memcpy(key.id, id, sizeof key.id);
    return k->n == 0 ? NULL : bsearch(&key, k->items, k->n, sizeof key, compare_known);
}

/* Nothing that is about to be deleted is referred to: not even its first bytes are there any more. */
static tide_status bury(void *ctx, const uint8_t id[OBJECT_ID_SIZE], struct tide_err *err)
{
    (void)err;
    struct known_pack *p = known_find(ctx, id);
    if (p != NULL && p->size != UINT64_MAX)
        p->size = 0;
    return TIDE_OK;
}

tide_status known_packs_load(struct repo *r, const char *instance, struct known_packs *k, known_pack_fn *seen,
                             void *ctx, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct load l = {.known = k, .seen = seen, .ctx = ctx};
    (void)snprintf(folder, sizeof folder, "instances/%s/packs/", instance);
    tide_status s = store_list(repo_store(r), folder, NULL, 0, see_pack, &l, err);
    if (s == TIDE_OK || s == TIDE_NOT_FOUND) {
        (void)snprintf(folder, sizeof folder, "instances/%s/relocations/", instance);
        s = store_list_folder(repo_store(r), folder, see_relocation, &l, err);
    }
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        return tide_wrap(err, s, "listing the packs of \"%s\"", instance);
    if (k->n > 0)
        sort_known(k);
    return tombstoned_packs(r, instance, bury, k, err);
}

void known_packs_clear(struct known_packs *k)
{
    free(k->items);
    *k = (struct known_packs){0};
}

bool known_packs_usable(const struct known_packs *k, const struct pack_ref *ref)
{
    const struct known_pack *p = known_find(k, ref->pack);
    return p != NULL && ref->frame.offset <= p->size && ref->frame.stored <= p->size - ref->frame.offset;
}

/* ------------------------------------------------------------------ tombstones */

struct tombstones {
    struct repo *repo;
    pack_id_fn *fn;
    void *ctx;
};

static tide_status read_tombstone(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    const struct tombstones *t = ctx;
    json_t *doc = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = record_get(t->repo, e->key, OBJECT_TOMBSTONE, &doc, &why);
    if (s == TIDE_NOT_FOUND) /* swept since it was listed: its packs are gone from the listing of packs, too */
        return TIDE_OK;
    if (s != TIDE_OK) {
        if (err != NULL)
            *err = why;
        return s;
    }
    const json_t *keys = json_object_get(doc, "keys");
    for (size_t i = 0; s == TIDE_OK && i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        uint8_t id[OBJECT_ID_SIZE];
        if (key != NULL && strstr(key, "/packs/") != NULL && pack_key_parse(key, id))
            s = t->fn(t->ctx, id, err);
    }
    json_decref(doc);
    return s;
}

tide_status tombstoned_packs(struct repo *r, const char *instance, pack_id_fn *fn, void *ctx, struct tide_err *err)
{
    char folder[REPO_KEY_MAX];
    struct tombstones t = {.repo = r, .fn = fn, .ctx = ctx};
    (void)snprintf(folder, sizeof folder, "instances/%s/tombstones/", instance);
    tide_status s = store_list(repo_store(r), folder, NULL, 0, read_tombstone, &t, err);
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

/* ------------------------------------------------------------------ the parent's leaves */

/* Where the parent has the leaf: in record `part` of the file.  NOT_FOUND when it does not reach that far. */
static tide_status find_leaf(struct tree_lane *l, const struct table_record *first, uint32_t leaf,
                             struct tree_item *item, struct leaf_ref *ref, struct tide_err *err)
{
    struct tide_cursor c;
    uint32_t here = 0, at = leaf % TREE_PART_LEAVES;
    uint8_t key[TABLE_KEY_MAX];
    tide_status s = tree_item_decode(first, item, &c, &here, err);
    if (s != TIDE_OK || item->layout != TREE_LEAVES)
        return s;
    if (leaf >= item->n_leaves)
        return TIDE_NOT_FOUND;
    if (leaf >= TREE_PART_LEAVES) {
        uint32_t part = leaf / TREE_PART_LEAVES;
        size_t len = tree_item_key(item->name, part, key);
        tide_buf_reset(&l->value);
        s = table_get(l->w->old_files, l->reader, key, len, &l->value, err);
        const struct table_record r = {.key = key, .key_len = len, .value = l->value.data, .value_len = l->value.len};
        if (s == TIDE_OK)
            s = tree_part_decode(&r, item, part, &c, &here, err);
    }
    for (uint32_t i = 0; s == TIDE_OK && i <= at; i++)
        s = tree_leaf_ref_read(&c, ref, err);
    return s;
}

static tide_status load_old(struct tree_lane *l, const char *name, uint32_t leaf, struct tree_item *item,
                            struct tide_err *err)
{
    uint8_t key[TABLE_KEY_MAX];
    size_t len = tree_item_key(name, 0, key);
    tide_buf_reset(&l->value);
    tide_status s = table_get(l->w->old_files, l->reader, key, len, &l->value, err);
    if (s != TIDE_OK)
        return s;
    const struct table_record r = {.key = key, .key_len = len, .value = l->value.data, .value_len = l->value.len};
    l->old_ref = (struct leaf_ref){.kind = LEAF_ZERO};
    s = find_leaf(l, &r, leaf, item, &l->old_ref, err);
    if (s != TIDE_OK)
        return s;
    l->old.n = 0;
    if (item->layout == TREE_INLINE && leaf == 0) {
        l->old.n = 1;
        l->old.blocks[0] = item->block;
    } else if (item->layout == TREE_LEAVES && l->old_ref.kind == LEAF_ZERO) {
        l->old.n = tree_blocks_of_leaf(item->size, leaf);
        memset(l->old.blocks, 0, l->old.n * sizeof l->old.blocks[0]);
    } else if (item->layout == TREE_LEAVES) {
        tide_buf_reset(&l->plain);
        s = pack_reader_frame(l->reader, &l->old_ref.ref, FRAME_LEAF, l->old_ref.ref.hash, &l->plain, err);
        if (s == TIDE_OK)
            s = leaf_decode(l->plain.data, l->plain.len, &l->old, err);
        if (s == TIDE_NOT_FOUND) /* a pack is missing: more than "the parent does not have it" */
            s = TIDE_CORRUPT;
    }
    l->have_old = s == TIDE_OK && l->old.n > 0;
    return s;
}

tide_status tree_reuse_leaf(struct tree_writer *w, struct tree_lane *l, const char *name, uint32_t leaf,
                            struct tide_err *err)
{
    if (w->old_files == NULL)
        return TIDE_OK;
    TIDE_AUTO(tide_freep) struct tree_item *item = malloc(sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an entry");
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = load_old(l, name, leaf, item, &why);
    if (s == TIDE_NOT_FOUND || s == TIDE_OK)
        return TIDE_OK;
    if (pack_is_damage(s, &why)) {
        /* A damaged parent must not keep us from making a whole backup: what cannot be compared is stored again. */
        if (atomic_fetch_add(&w->unreadable, 1) == 0)
            TIDE_LOG(TIDE_LOG_WARN, "backup.parent.damaged", TIDE_STR("file", name), TIDE_STR("error", why.msg));
        l->have_old = false;
        return TIDE_OK;
    }
    if (err != NULL)
        *err = why;
    return s;
}
