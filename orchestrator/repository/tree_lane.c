#include "orchestrator/repository/tree_internal.h"

#include <stdlib.h>
#include <string.h>

tide_status lane_init(struct tree_lane *l, struct tree_writer *w, struct tide_err *err)
{
    const struct pack_writer_options o = {.repo = w->o.repo,
                                          .instance = w->instance,
                                          .backup = w->id,
                                          .hash_epoch = w->hash_epoch,
                                          .counters = &w->counters};
    l->w = w;
    l->value.max = TABLE_VALUE_MAX;
    l->plain.max = FRAME_MAX_PLAIN;
    l->notes.notes.max = FRAME_MAX_PLAIN;
    l->chunk = aligned_alloc(4096, TREE_CHUNK);
    if (l->chunk == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a buffer");
    tide_status s = pack_writer_new(&o, &l->pack, err);
    return s != TIDE_OK ? s : pack_reader_new(w->source, &l->reader, err);
}

void lane_clear(struct tree_lane *l)
{
    pack_writer_free(l->pack);
    pack_reader_free(l->reader);
    free(l->chunk);
    tide_buf_clear(&l->value);
    tide_buf_clear(&l->plain);
    tide_buf_clear(&l->notes.notes);
    *l = (struct tree_lane){0};
}

tide_status lane_begin(struct tree_lane *l, const char *name, uint32_t leaf, struct tide_err *err)
{
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    l->number = leaf;
    l->same = 0;
    l->now.n = 0;
    l->have_old = l->have_prior = false;
    tide_status s = tree_reuse_leaf(l->w, l, name, leaf, err);
    if (s == TIDE_OK && l->w->resume != NULL)
        s = resume_leaf(l->w->resume, l->reader, &l->notes, name, leaf, &l->prior, &l->have_prior, err);
    return s;
}

void lane_zero_block(struct tree_lane *l)
{
    uint32_t i = l->now.n++;
    tide_assert(i < TREE_LEAF_BLOCKS);
    memset(&l->now.blocks[i], 0, sizeof l->now.blocks[i]);
    if (l->have_old && i < l->old.n && l->old.blocks[i].kind == BLOCK_ZERO)
        l->same++;
}

static bool entry_is_usable(const struct tree_lane *l, const struct block_entry *e)
{
    return known_packs_usable(&l->w->known, &e->base) &&
           (e->kind != BLOCK_PATCHED || known_packs_usable(&l->w->known, &e->patch));
}

/* A block that was stored before, by the parent or by a backup that was killed. */
static bool reuse_block(struct tree_lane *l, uint32_t i, const uint8_t *hash)
{
    const struct block_entry *old = &l->old.blocks[i];
    if (l->have_old && i < l->old.n && old->kind != BLOCK_ZERO &&
        memcmp(old->base.hash, hash, FRAME_HASH_SIZE) == 0 && entry_is_usable(l, old)) {
        l->now.blocks[i] = *old;
        l->same++;
        return true;
    }
    const struct block_entry *prior = &l->prior.blocks[i];
    if (l->have_prior && prior->kind == BLOCK_BASE && memcmp(prior->base.hash, hash, FRAME_HASH_SIZE) == 0 &&
        entry_is_usable(l, prior)) {
        l->now.blocks[i] = *prior;
        return true;
    }
    return false;
}

tide_status lane_block(struct tree_lane *l, const void *data, size_t len, struct tide_err *err)
{
    uint8_t hash[FRAME_HASH_SIZE];
    uint32_t i = l->now.n;
    if (block_is_zero(data, len)) {
        lane_zero_block(l);
        return TIDE_OK;
    }
    tide_assert(i < TREE_LEAF_BLOCKS);
    frame_hash(l->w->seed, data, len, hash);
    if (!reuse_block(l, i, hash)) {
        struct block_entry *e = &l->now.blocks[i];
        memset(e, 0, sizeof *e);
        e->kind = BLOCK_BASE;
        tide_status s = pack_writer_append(l->pack, FRAME_DATA, data, len, hash, &e->base, err);
        if (s != TIDE_OK)
            return s;
        pack_writer_note(l->pack, l->name, l->number, i, &e->base);
    }
    l->now.n++;
    return TIDE_OK;
}

/* ------------------------------------------------------------------ records for the tables */

static tide_status usage_of_leaf(const struct leaf *l, struct pack_usage *u, struct tide_err *err)
{
    tide_status s = TIDE_OK;
    for (uint32_t i = 0; s == TIDE_OK && i < l->n; i++)
        s = block_entry_usage(&l->blocks[i], u, err);
    return s;
}

static void encode_usage(const struct pack_usage *u, struct tide_buf *out)
{
    tide_buf_be16(out, (uint16_t)u->n);
    for (size_t i = 0; i < u->n; i++) {
        tide_buf_append(out, u->items[i].pack, OBJECT_ID_SIZE);
        tide_buf_be64(out, u->items[i].bytes);
    }
}

static tide_status add_record(struct tree_lane *l, const char *name, uint32_t seq, uint32_t index,
                              struct tide_err *err)
{
    uint8_t key[SORTER_KEY_MAX];
    size_t len = tree_record_key(name, seq, index, key);
    tide_status s = tide_buf_check(&l->value, "a record", err);
    return s != TIDE_OK ? s : sorter_add(l->w->records, key, len, l->value.data, l->value.len, err);
}

static bool leaf_is_zero(const struct leaf *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->blocks[i].kind != BLOCK_ZERO)
            return false;
    }
    return true;
}

static tide_status store_leaf(struct tree_lane *l, struct leaf_ref *ref, struct tide_err *err)
{
    uint8_t hash[FRAME_HASH_SIZE];
    ref->kind = LEAF_STORED;
    if (l->have_old && l->old_ref.kind == LEAF_STORED && l->same == l->now.n && l->now.n == l->old.n &&
        known_packs_usable(&l->w->known, &l->old_ref.ref)) {
        *ref = l->old_ref;
        return TIDE_OK;
    }
    tide_buf_reset(&l->plain);
    leaf_encode(&l->now, &l->plain);
    tide_status s = tide_buf_check(&l->plain, "a map leaf", err);
    if (s != TIDE_OK)
        return s;
    frame_hash(l->w->seed, l->plain.data, l->plain.len, hash);
    s = pack_writer_append(l->pack, FRAME_LEAF, l->plain.data, l->plain.len, hash, &ref->ref, err);
    if (s == TIDE_OK)
        pack_writer_note_leaf(l->pack, l->name, l->number, &ref->ref);
    return s;
}

static tide_status end_leaf(struct tree_lane *l, uint32_t seq, struct pack_usage *u, struct tide_err *err)
{
    struct leaf_ref ref = {.kind = LEAF_ZERO};
    tide_status s = usage_of_leaf(&l->now, u, err);
    if (s == TIDE_OK && !leaf_is_zero(&l->now)) {
        s = store_leaf(l, &ref, err);
        if (s == TIDE_OK)
            s = pack_usage_add(u, ref.ref.pack, ref.ref.frame.stored, err);
    }
    if (s != TIDE_OK)
        return s;
    tide_buf_reset(&l->value);
    tree_leaf_ref_encode(&ref, &l->value);
    encode_usage(u, &l->value);
    return add_record(l, l->name, seq, l->number + 1, err);
}

tide_status lane_end(struct tree_lane *l, uint32_t seq, struct tide_err *err)
{
    struct pack_usage u = {0};
    tide_status s = l->now.n == 0 ? TIDE_OK : end_leaf(l, seq, &u, err);
    pack_usage_clear(&u);
    return s;
}

tide_status lane_item(struct tree_lane *l, struct tree_item *item, uint32_t seq, bool dropped, struct tide_err *err)
{
    struct pack_usage u = {0};
    item->n_leaves = 0;
    if (item->size == 0)
        item->layout = TREE_EMPTY;
    if (item->layout == TREE_LEAVES)
        item->n_leaves = tree_leaves_of(item->size);
    tide_status s = item->layout == TREE_INLINE ? block_entry_usage(&item->block, &u, err) : TIDE_OK;
    if (s == TIDE_OK) {
        tide_buf_reset(&l->value);
        tide_buf_u8(&l->value, dropped);
        encode_usage(&u, &l->value);
        tree_item_encode(item, &l->value);
        s = add_record(l, item->name, seq, 0, err);
    }
    pack_usage_clear(&u);
    return s;
}
