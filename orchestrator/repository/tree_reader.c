#include "orchestrator/repository/tree_reader.h"
#include "orchestrator/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

#define FILES_CACHE (8u << 20)
#define PACKS_CACHE (2u << 20)

tide_status tree_reader_open(struct repo *r, const char *instance, const struct backup *b, unsigned jobs,
                             struct tree_reader **out, struct tide_err *err)
{
    struct tree_reader *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading a backup");
    t->repo = r;
    t->jobs = jobs == 0 ? 1 : jobs > 64 ? 64 : jobs;
    t->files_root = b->files;
    t->packs_root = b->packs;
    (void)snprintf(t->instance, sizeof t->instance, "%s", instance);
    tide_status s = pack_source_new(r, instance, b->hash_epoch, &t->source, err);
    if (s == TIDE_OK)
        s = pack_reader_new(t->source, &t->walker, err);
    if (s == TIDE_OK)
        s = table_open(t->source, &b->files, TABLE_FILES, FILES_CACHE, &t->files, err);
    if (s == TIDE_OK)
        s = table_open(t->source, &b->packs, TABLE_PACKS, PACKS_CACHE, &t->packs, err);
    if (s != TIDE_OK) {
        tree_reader_close(t);
        return s;
    }
    *out = t;
    return TIDE_OK;
}

void tree_reader_close(struct tree_reader *t)
{
    if (t == NULL)
        return;
    table_close(t->files);
    table_close(t->packs);
    pack_reader_free(t->walker);
    pack_source_free(t->source);
    free(t);
}

tide_status read_lanes_new(struct tree_reader *t, struct read_lane **out, struct tide_err *err)
{
    struct read_lane *lanes = calloc(t->jobs, sizeof *lanes);
    if (lanes == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for %u jobs", t->jobs);
    tide_status s = TIDE_OK;
    for (unsigned i = 0; s == TIDE_OK && i < t->jobs; i++) {
        lanes[i].window = aligned_alloc(4096, WINDOW_BYTES);
        s = lanes[i].window != NULL ? block_reader_new(t->source, &lanes[i].blocks, err)
                                    : tide_fail(err, TIDE_NO_MEMORY, "out of memory for a buffer");
    }
    if (s != TIDE_OK) {
        read_lanes_free(t, lanes);
        return s;
    }
    *out = lanes;
    return TIDE_OK;
}

void read_lanes_free(struct tree_reader *t, struct read_lane *lanes)
{
    for (unsigned i = 0; lanes != NULL && i < t->jobs; i++) {
        block_reader_free(lanes[i].blocks);
        free(lanes[i].window);
    }
    free(lanes);
}

void tree_entry_of(const struct tree_item *i, uint64_t cookie, struct tree_entry *e)
{
    *e = (struct tree_entry){.name = i->name,
                             .link = i->link,
                             .owner = i->owner,
                             .group = i->group,
                             .kind = i->kind,
                             .flags = i->flags,
                             .mode = i->mode,
                             .size = i->size,
                             .mtime_us = i->mtime_us,
                             .cookie = cookie};
}

tide_status tree_reader_walk(struct tree_reader *t, tree_entry_fn *fn, void *ctx, struct tide_err *err)
{
    struct tree_scan *scan = NULL;
    tide_status s = tree_scan_new(t->files, t->walker, NULL, &scan, err);
    for (uint64_t cookie = 0; s == TIDE_OK; cookie++) {
        const struct tree_item *item = NULL;
        struct tree_entry e;
        s = tree_scan_next(scan, &item, err);
        if (s == TIDE_NOT_FOUND) {
            s = TIDE_OK;
            break;
        }
        if (s == TIDE_OK) {
            tree_entry_of(item, cookie, &e);
            s = fn(ctx, &e, err);
        }
    }
    tree_scan_free(scan);
    return s;
}

/* ------------------------------------------------------------------ one file */

static tide_status cat_blocks(struct read_lane *l, const struct block_entry *blocks, uint64_t size, uint64_t first,
                              uint32_t n, tree_data_fn *fn, void *ctx, struct tide_err *err)
{
    for (uint32_t i = 0, some = 0; i < n; i += some) {
        some = n - i < WINDOW_BLOCKS ? n - i : WINDOW_BLOCKS;
        size_t bytes = 0;
        for (uint32_t k = 0; k < some; k++) {
            size_t len = tree_block_len(size, first + i + k);
            l->jobs[k] =
                (struct block_job){.entry = &blocks[i + k], .out = l->window + (size_t)k * TREE_BLOCK, .len = len};
            bytes += len;
        }
        tide_status s = block_reader_fetch(l->blocks, l->jobs, some, NULL, NULL, err);
        if (s == TIDE_OK)
            s = fn(ctx, (first + i) * TREE_BLOCK, l->window, bytes, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status cat_item(struct tree_scan *scan, const struct tree_item *item, struct read_lane *l,
                            tree_data_fn *fn, void *ctx, struct tide_err *err)
{
    if (item->layout == TREE_INLINE)
        return cat_blocks(l, &item->block, item->size, 0, 1, fn, ctx, err);
    for (uint32_t i = 0; i < item->n_leaves; i++) {
        struct leaf_ref ref;
        tide_status s = tree_scan_leaf(scan, &ref, err);
        if (s == TIDE_OK)
            s = block_reader_leaf(l->blocks, &ref, item->size, i, &l->leaf, err);
        if (s == TIDE_OK)
            s = cat_blocks(l, l->leaf.blocks, item->size, (uint64_t)i * TREE_LEAF_BLOCKS, l->leaf.n, fn, ctx, err);
        if (s != TIDE_OK)
            return s == TIDE_NOT_FOUND ? TIDE_CORRUPT : s;
    }
    return TIDE_OK;
}

tide_status tree_reader_cat(struct tree_reader *t, const char *name, tree_data_fn *fn, void *ctx,
                            struct tide_err *err)
{
    struct tree_scan *scan = NULL;
    struct read_lane *lanes = NULL;
    const struct tree_item *item = NULL;
    tide_status s = tree_name_check(name, err);
    if (s == TIDE_OK)
        s = tree_scan_new(t->files, t->walker, name, &scan, err);
    if (s == TIDE_OK) {
        s = tree_scan_next(scan, &item, err);
        if (s == TIDE_NOT_FOUND || (s == TIDE_OK && strcmp(item->name, name) != 0))
            s = tide_fail(err, TIDE_NOT_FOUND, "the backup has no file \"%s\"", name);
    }
    if (s == TIDE_OK)
        s = read_lanes_new(t, &lanes, err);
    if (s == TIDE_OK)
        s = cat_item(scan, item, &lanes[0], fn, ctx, err);
    read_lanes_free(t, lanes);
    tree_scan_free(scan);
    return s;
}

/* ------------------------------------------------------------------ packs */

tide_status tree_reader_packs(struct tree_reader *t, tree_pack_fn *fn, void *ctx, struct tide_err *err)
{
    struct table_cursor *c = NULL;
    struct table_record r;
    tide_status s = table_cursor_new(t->packs, t->walker, NULL, 0, &c, err);
    while (s == TIDE_OK) {
        s = table_cursor_next(c, &r, err);
        if (s == TIDE_NOT_FOUND) {
            s = TIDE_OK;
            break;
        }
        if (s == TIDE_OK && (r.key_len != OBJECT_ID_SIZE || r.value_len < 8))
            s = tide_fail(err, TIDE_CORRUPT, "a pack table has a record that is not valid");
        if (s == TIDE_OK)
            s = fn(ctx, r.key, tide_get_be64(r.value), err);
    }
    table_cursor_free(c);
    return s;
}
