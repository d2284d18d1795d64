#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/repository/tree_extract.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct extract_task *extract_task_new(struct extract *x)
{
    struct extract_task *t = calloc(1, sizeof *t);
    if (t != NULL)
        t->x = x;
    return t;
}

void extract_task_free(void *task)
{
    struct extract_task *t = task;
    target_release(t->target);
    for (unsigned i = 0; i < t->n; i++)
        free(t->small[i].path);
    free(t);
}

tide_status extract_check(const struct extract *x, struct tide_err *err)
{
    return tide_cancel_is_set(x->o.cancel) ? tide_fail(err, TIDE_CANCELLED, "the restore was cancelled") : TIDE_OK;
}

static void note_progress(struct extract *x, uint64_t bytes)
{
    uint64_t done = atomic_fetch_add(&x->bytes_done, bytes) + bytes;
    if (x->o.progress != NULL)
        x->o.progress(x->o.progress_ctx, done);
}

/* Whether bytes that lie in the target already are the block's. */
static bool is_right(const struct extract *x, const struct block_entry *e, const uint8_t *data, size_t len)
{
    uint8_t hash[FRAME_HASH_SIZE];
    if (e->kind == BLOCK_ZERO)
        return block_is_zero(data, len);
    frame_hash(pack_source_seed(x->t->source), data, len, hash);
    return memcmp(hash, e->base.hash, sizeof hash) == 0;
}

/* ------------------------------------------------------------------ a leaf */

struct window {
    const struct block_entry *blocks;
    uint64_t offset; /* in the file */
    uint32_t n;
    size_t len[WINDOW_BLOCKS];
    bool needed[WINDOW_BLOCKS]; /* to be written */
};

/* What is there already and right is left alone; a new file has zeros everywhere. */
static tide_status choose_blocks(const struct extract *x, struct read_lane *l, struct target *t, struct window *w,
                                 struct tide_err *err)
{
    size_t got = 0, bytes = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        w->needed[i] = w->blocks[i].kind != BLOCK_ZERO;
        bytes += w->len[i];
    }
    if (!t->existing)
        return TIDE_OK;
    tide_status s = target_read(t, l->window, bytes, w->offset, &got, err);
    for (uint32_t i = 0; s == TIDE_OK && i < w->n; i++) {
        size_t at = (size_t)i * TREE_BLOCK;
        w->needed[i] = got < at + w->len[i] || !is_right(x, &w->blocks[i], l->window + at, w->len[i]);
    }
    return s;
}

static tide_status fetch_blocks(struct read_lane *l, const struct window *w, struct tide_err *err)
{
    size_t n = 0;
    for (uint32_t i = 0; i < w->n; i++) {
        if (w->needed[i])
            l->jobs[n++] = (struct block_job){
                .entry = &w->blocks[i], .out = l->window + (size_t)i * TREE_BLOCK, .len = w->len[i]};
    }
    return n == 0 ? TIDE_OK : block_reader_fetch(l->blocks, l->jobs, n, NULL, NULL, err);
}

/* Neighbours are written at once. */
static tide_status write_blocks(const struct read_lane *l, const struct window *w, struct target *t,
                                struct tide_err *err)
{
    for (uint32_t i = 0; i < w->n;) {
        size_t len = 0, first = (size_t)i * TREE_BLOCK;
        while (i < w->n && w->needed[i])
            len += w->len[i++];
        if (len == 0) {
            i++;
            continue;
        }
        tide_status s = target_write(t, l->window + first, len, w->offset + first, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status write_window(struct extract *x, struct read_lane *l, struct target *t, struct window *w,
                                struct tide_err *err)
{
    uint64_t bytes = 0;
    tide_status s = extract_check(x, err);
    if (s == TIDE_OK)
        s = choose_blocks(x, l, t, w, err);
    if (s == TIDE_OK)
        s = fetch_blocks(l, w, err);
    if (s == TIDE_OK)
        s = write_blocks(l, w, t, err);
    for (uint32_t i = 0; i < w->n; i++)
        bytes += w->len[i];
    if (s == TIDE_OK)
        note_progress(x, bytes);
    return s;
}

static bool is_dense(const struct leaf *l)
{
    for (uint32_t i = 0; i < l->n; i++) {
        if (l->blocks[i].kind == BLOCK_ZERO)
            return false;
    }
    return true;
}

static tide_status write_leaf(struct extract *x, struct read_lane *l, const struct extract_task *task,
                              struct tide_err *err)
{
    struct target *t = task->target;
    uint64_t offset = (uint64_t)task->leaf * TREE_LEAF_SIZE;
    uint64_t len = t->size - offset < TREE_LEAF_SIZE ? t->size - offset : TREE_LEAF_SIZE;
    if (task->ref.kind == LEAF_ZERO && !t->existing) {
        note_progress(x, len);
        return TIDE_OK;
    }
    tide_status s = block_reader_leaf(l->blocks, &task->ref, t->size, task->leaf, &l->leaf, err);
    if (s == TIDE_OK && !t->existing && is_dense(&l->leaf))
        s = target_reserve(t, offset, len, err);
    for (uint32_t i = 0; s == TIDE_OK && i < l->leaf.n; i += WINDOW_BLOCKS) {
        struct window w = {.blocks = &l->leaf.blocks[i], .offset = offset + (uint64_t)i * TREE_BLOCK};
        w.n = l->leaf.n - i < WINDOW_BLOCKS ? l->leaf.n - i : WINDOW_BLOCKS;
        for (uint32_t k = 0; k < w.n; k++)
            w.len[k] = tree_block_len(t->size, (uint64_t)task->leaf * TREE_LEAF_BLOCKS + i + k);
        s = write_window(x, l, t, &w, err);
        if (s == TIDE_OK)
            TIDE_FAILPOINT("extract-mid", err);
    }
    return s;
}

/* ------------------------------------------------------------------ small files */

static tide_status open_small(const struct extract *x, const struct small_file *f, struct target **out,
                              struct tide_err *err)
{
    /* Attributes only: content is one block, or none. */
    struct tree_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", f->path);
    item->size = f->size;
    item->mode = f->mode;
    item->mtime_us = f->mtime_us;
    item->layout = TREE_INLINE;
    tide_status s = target_open(f->path, item, &x->target, out, err);
    free(item);
    return s;
}

static tide_status write_small(struct extract *x, const struct small_file *f, const uint8_t *data,
                               struct tide_err *err)
{
    struct target *t = NULL;
    tide_status s = open_small(x, f, &t, err);
    /* What was right a moment ago was not fetched: a file that had to be made anew would stay empty. */
    if (s == TIDE_OK && f->there && !t->existing)
        s = tide_fail(err, TIDE_IO, "\"%s\" changed while it was restored", f->path);
    if (s == TIDE_OK && f->size > 0 && !f->there)
        s = target_write(t, data, (size_t)f->size, 0, err);
    if (s == TIDE_OK)
        s = target_finish(t, err);
    target_release(t);
    return s;
}

/* A file that an earlier run has written whole. */
static bool small_is_there(const struct extract *x, struct small_file *f, uint8_t *data)
{
    struct stat st;
    size_t got = 0;
    TIDE_AUTO(tide_closep) int fd = open(f->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
           (uint64_t)st.st_size == f->size &&
           tide_pread_upto(fd, data, (size_t)f->size, 0, &got, f->path, NULL) == TIDE_OK && got == f->size &&
           is_right(x, &f->block, data, got);
}

static tide_status write_batch(struct extract *x, struct read_lane *l, struct extract_task *task,
                               struct tide_err *err)
{
    size_t n = 0;
    for (unsigned i = 0; i < task->n; i++) {
        uint8_t *data = l->window + (size_t)i * TREE_BLOCK;
        task->small[i].there = x->o.resume && small_is_there(x, &task->small[i], data);
        if (task->small[i].size > 0 && !task->small[i].there)
            l->jobs[n++] =
                (struct block_job){.entry = &task->small[i].block, .out = data, .len = (size_t)task->small[i].size};
    }
    tide_status s = n == 0 ? TIDE_OK : block_reader_fetch(l->blocks, l->jobs, n, NULL, NULL, err);
    for (unsigned i = 0; s == TIDE_OK && i < task->n; i++) {
        s = extract_check(x, err);
        if (s == TIDE_OK)
            s = write_small(x, &task->small[i], l->window + (size_t)i * TREE_BLOCK, err);
        if (s == TIDE_OK)
            note_progress(x, task->small[i].size);
    }
    if (s == TIDE_OK)
        TIDE_FAILPOINT("extract-mid", err);
    return s;
}

tide_status extract_run(void *task, unsigned worker, struct tide_err *err)
{
    struct extract_task *t = task;
    struct read_lane *l = &t->x->lanes[worker];
    if (t->target == NULL)
        return write_batch(t->x, l, t, err);
    tide_status s = write_leaf(t->x, l, t, err);
    if (s == TIDE_OK && atomic_fetch_sub(&t->target->left, 1) == 1)
        s = target_finish(t->target, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "restoring \"%s\"", t->target->path);
}
