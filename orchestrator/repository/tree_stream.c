#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/tree_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/*
 * Bytes that are handed over are stored by the calling thread, through a lane of their own.  A file that comes in
 * pieces keeps its unfinished block here, and the entries of its unfinished leaf.
 */
#define STREAMS_MAX 128u

struct tree_stream {
    char name[TREE_NAME_MAX];
    uint32_t seq;
    uint64_t at; /* bytes so far */
    size_t held; /* of them in block */
    bool inspect;
    uint64_t inspect_number;
    uint8_t block[TREE_BLOCK];
    struct leaf leaf; /* blocks of the leaf at `at` so far */
    struct tree_stream *next;
};

static struct tree_lane *stream_lane(struct tree_writer *w)
{
    return &w->lanes[w->n_lanes - 1];
}

static void note_progress(struct tree_writer *w, size_t len)
{
    throttle_take(w->o.throttle, len, w->o.cancel);
    tree_progress(w, len);
}

/* ------------------------------------------------------------------ whole files */

static tide_status store_whole(struct tree_lane *l, const struct tide_file *f, struct tree_item *item,
                               const uint8_t *data, size_t len, struct tide_err *err)
{
    uint32_t seq = tree_next_seq(l->w);
    tide_status s = TIDE_OK;
    for (size_t at = 0; s == TIDE_OK && at < len; at += TREE_LEAF_SIZE) {
        size_t here = len - at < TREE_LEAF_SIZE ? len - at : (size_t)TREE_LEAF_SIZE;
        s = lane_begin(l, f->name, (uint32_t)(at / TREE_LEAF_SIZE), err);
        for (size_t i = 0; s == TIDE_OK && i < here; i += TREE_BLOCK)
            s = lane_block(l, data + at + i, here - i < TREE_BLOCK ? here - i : TREE_BLOCK, err);
        if (s == TIDE_OK && len > TREE_BLOCK)
            s = lane_end(l, seq, err);
    }
    if (s != TIDE_OK)
        return s;
    item->size = len;
    item->layout = len <= TREE_BLOCK ? TREE_INLINE : TREE_LEAVES;
    if (len > 0 && len <= TREE_BLOCK)
        item->block = l->now.blocks[0];
    return lane_item(l, item, seq, false, err);
}

tide_status tree_writer_data(struct tree_writer *w, const struct tide_file *f, const void *data, size_t len,
                             struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tree_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an entry");
    tide_status s = tree_name_check(f->name, err);
    if (s == TIDE_OK)
        s = tide_pool_status(w->pool, err);
    if (s != TIDE_OK)
        return s;
    tree_item_of(f, item);
    note_progress(w, len);
    (void)pthread_mutex_lock(&w->stream_lock);
    s = store_whole(stream_lane(w), f, item, data, len, err);
    (void)pthread_mutex_unlock(&w->stream_lock);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", f->name);
}

/* ------------------------------------------------------------------ pieces */

static struct tree_stream **find_stream(struct tree_writer *w, const char *name)
{
    struct tree_stream **at = &w->streams;
    while (*at != NULL && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

static tide_status open_stream(struct tree_writer *w, const char *name, struct tree_stream **out,
                               struct tide_err *err)
{
    tide_status s = tree_name_check(name, err);
    if (s != TIDE_OK)
        return s;
    if (w->n_streams == STREAMS_MAX)
        return tide_fail(err, TIDE_UNSUPPORTED, "more than %u files come in pieces at once", STREAMS_MAX);
    struct tree_stream *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", name);
    (void)snprintf(t->name, sizeof t->name, "%s", name);
    t->seq = tree_next_seq(w);
    t->next = w->streams;
    w->streams = t;
    w->n_streams++;
    *out = t;
    return TIDE_OK;
}

static void close_stream(struct tree_writer *w, struct tree_stream **at)
{
    struct tree_stream *t = *at;
    *at = t->next;
    w->n_streams--;
    free(t);
}

void tree_streams_clear(struct tree_writer *w)
{
    while (w->streams != NULL)
        close_stream(w, &w->streams);
}

/* The leaf that t is in, before its last byte. */
static uint32_t leaf_of(const struct tree_stream *t)
{
    return (uint32_t)((t->at - 1) / TREE_LEAF_SIZE);
}

/* Puts the lane where t's leaf stands.  Streams take turns rarely within a leaf, so looking things up again is cheap.
 */
static tide_status enter_leaf(struct tree_lane *l, const struct tree_stream *t, struct tide_err *err)
{
    uint32_t leaf = leaf_of(t);
    if (t->leaf.n > 0 && l->number == leaf && l->now.n == t->leaf.n && strcmp(l->name, t->name) == 0)
        return TIDE_OK;
    tide_status s = lane_begin(l, t->name, leaf, err);
    if (s != TIDE_OK)
        return s;
    l->now = t->leaf;
    for (uint32_t i = 0; i < t->leaf.n; i++) {
        if (l->have_old && i < l->old.n &&
            memcmp(&l->old.blocks[i], &t->leaf.blocks[i], sizeof t->leaf.blocks[i]) == 0)
            l->same++;
    }
    return TIDE_OK;
}

/* What comes once cannot be read again: a block that is not as it should be is reported as it came. */
static tide_status inspect_held(struct tree_writer *w, const struct tree_stream *t, struct tide_err *err)
{
    const struct tide_block_view view = {.struct_size = sizeof view,
                                         .name = t->name,
                                         .inspect_number = t->inspect_number,
                                         .offset = t->at - t->held,
                                         .data = t->block,
                                         .len = t->held,
                                         .backup_start = tree_start(w)};
    struct tide_block_verdict v = {.struct_size = sizeof v};

    w->o.inspect(&view, &v);
    if (v.verdict != TIDE_BLOCK_TORN)
        return TIDE_OK;
    return tree_damage(w, t->name, v.page_size == 0 ? 0 : view.offset / v.page_size, &v, err);
}

/* The held block is complete, or the file ends with it. */
static tide_status store_held(struct tree_lane *l, struct tree_stream *t, struct tide_err *err)
{
    tide_status s = enter_leaf(l, t, err);
    if (s == TIDE_OK && t->inspect && l->w->o.inspect != NULL)
        s = inspect_held(l->w, t, err);
    if (s == TIDE_OK)
        s = lane_block(l, t->block, t->held, err);
    if (s != TIDE_OK)
        return s;
    t->held = 0;
    t->leaf.n = l->now.n;
    t->leaf.blocks[t->leaf.n - 1] = l->now.blocks[t->leaf.n - 1];
    if (t->at % TREE_LEAF_SIZE != 0)
        return TIDE_OK;
    t->leaf.n = 0;
    return lane_end(l, t->seq, err);
}

/* data NULL: zeros */
static tide_status take_bytes(struct tree_lane *l, struct tree_stream *t, const uint8_t *data, uint64_t len,
                              struct tide_err *err)
{
    while (len > 0) {
        size_t some = TREE_BLOCK - t->held < len ? TREE_BLOCK - t->held : (size_t)len;
        if (data != NULL) {
            memcpy(t->block + t->held, data, some);
            data += some;
        } else {
            memset(t->block + t->held, 0, some);
        }
        t->held += some;
        t->at += some;
        len -= some;
        if (t->held == TREE_BLOCK) {
            tide_status s = store_held(l, t, err);
            if (s != TIDE_OK)
                return s;
        }
    }
    return TIDE_OK;
}

static tide_status take_piece(struct tree_writer *w, const char *name, uint64_t offset, const void *data, size_t len,
                              struct tide_err *err)
{
    struct tree_stream *t = *find_stream(w, name);
    tide_status s = t != NULL ? TIDE_OK : open_stream(w, name, &t, err);
    if (s != TIDE_OK)
        return s;
    if (offset < t->at)
        return tide_fail(err, TIDE_INVALID, "a piece of \"%s\" at %" PRIu64 " comes after byte %" PRIu64, name,
                         offset, t->at);
    /* What is left out is a hole. */
    s = take_bytes(stream_lane(w), t, NULL, offset - t->at, err);
    return s != TIDE_OK ? s : take_bytes(stream_lane(w), t, data, len, err);
}

tide_status tree_writer_piece_begin(struct tree_writer *w, const struct tide_file *f, struct tide_err *err)
{
    tide_status s = tide_pool_status(w->pool, err);
    if (s != TIDE_OK)
        return s;
    (void)pthread_mutex_lock(&w->stream_lock);
    struct tree_stream *t = *find_stream(w, f->name);
    s = t != NULL ? TIDE_OK : open_stream(w, f->name, &t, err);
    if (s == TIDE_OK) {
        t->inspect = (f->flags & TIDE_FILE_INSPECT) != 0;
        t->inspect_number = f->inspect_number;
    }
    (void)pthread_mutex_unlock(&w->stream_lock);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", f->name);
}

tide_status tree_writer_piece(struct tree_writer *w, const char *name, uint64_t offset, const void *data, size_t len,
                              struct tide_err *err)
{
    tide_status s = tide_pool_status(w->pool, err);
    if (s == TIDE_OK)
        s = tree_check_cancel(w, err);
    if (s != TIDE_OK)
        return s;
    note_progress(w, len);
    (void)pthread_mutex_lock(&w->stream_lock);
    s = take_piece(w, name, offset, data, len, err);
    (void)pthread_mutex_unlock(&w->stream_lock);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", name);
}

static tide_status end_stream(struct tree_writer *w, struct tree_stream *t, const struct tide_file *f,
                              struct tree_item *item, struct tide_err *err)
{
    struct tree_lane *l = stream_lane(w);
    tide_status s = TIDE_OK;
    /* A hole at the end is told by an empty piece behind it; anything else that is missing was lost. */
    if (f->size != t->at)
        return tide_fail(err, TIDE_INVALID, "%" PRIu64 " bytes came, %" PRIu64 " were announced", t->at, f->size);
    if (t->held > 0)
        s = store_held(l, t, err);
    if (s == TIDE_OK && t->leaf.n > 0) {
        s = enter_leaf(l, t, err);
        if (s == TIDE_OK && t->at > TREE_BLOCK)
            s = lane_end(l, t->seq, err);
    }
    if (s != TIDE_OK)
        return s;
    item->size = t->at;
    item->layout = t->at <= TREE_BLOCK ? TREE_INLINE : TREE_LEAVES;
    item->block = t->leaf.blocks[0];
    return lane_item(l, item, t->seq, false, err);
}

tide_status tree_writer_piece_end(struct tree_writer *w, const struct tide_file *f, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tree_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an entry");
    tide_status s = tree_name_check(f->name, err);
    if (s != TIDE_OK)
        return s;
    tree_item_of(f, item);
    (void)pthread_mutex_lock(&w->stream_lock);
    struct tree_stream **at = find_stream(w, f->name), *t = *at;
    s = t != NULL ? TIDE_OK : open_stream(w, f->name, &t, err); /* an empty file has no piece */
    if (s == TIDE_OK) {
        s = end_stream(w, t, f, item, err);
        close_stream(w, find_stream(w, f->name));
    }
    (void)pthread_mutex_unlock(&w->stream_lock);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", f->name);
}
