#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/tree_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TORN_READS     12u
#define STABLE_READS   50u
#define STABLE_LARGEST TREE_CHUNK

static void free_strings(struct tide_file *f)
{
    const char **strings[] = {&f->name, &f->source, &f->link, &f->owner, &f->group};
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        free((void *)(uintptr_t)*strings[i]);
        *strings[i] = NULL;
    }
}

static bool copy_strings(struct tide_file *f)
{
    const char **strings[] = {&f->name, &f->source, &f->link, &f->owner, &f->group};
    bool copied = true;
    for (size_t i = 0; i < sizeof strings / sizeof strings[0]; i++) {
        if (*strings[i] == NULL)
            continue;
        *strings[i] = strdup(*strings[i]);
        copied = copied && *strings[i] != NULL;
    }
    return copied;
}

tide_status source_file_new(struct tree_writer *w, const struct tide_file *f, struct source_file **out,
                            struct tide_err *err)
{
    struct source_file *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", f->name);
    s->w = w;
    s->f = *f;
    atomic_init(&s->users, 1);
    atomic_init(&s->end, f->size);
    atomic_init(&s->left, tree_leaves_of(f->size));
    if (!copy_strings(&s->f)) {
        source_file_release(s);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a file");
    }
    s->seq = tree_next_seq(w);
    *out = s;
    return TIDE_OK;
}

void source_file_release(struct source_file *f)
{
    if (f == NULL || atomic_fetch_sub(&f->users, 1) > 1)
        return;
    free_strings(&f->f);
    free(f);
}

/* ------------------------------------------------------------------ what happens to files while they are read */

static bool may_vanish(const struct source_file *f)
{
    return (f->f.flags & TIDE_FILE_MAY_VANISH) != 0;
}

/* *fd stays -1 when the file is gone and may be. */
static tide_status open_source(struct source_file *f, int *fd, struct tide_err *err)
{
    *fd = open(f->f.source, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd >= 0) {
        (void)posix_fadvise(*fd, 0, 0, POSIX_FADV_SEQUENTIAL);
        return TIDE_OK;
    }
    if (errno == ENOENT && may_vanish(f)) {
        atomic_store(&f->vanished, true);
        return TIDE_OK;
    }
    return tide_fail_errno(err, errno, "could not open \"%s\"", f->f.source);
}

/* The file ends at `end`: what other workers read behind it is left out. */
static tide_status ends_at(struct source_file *f, uint64_t end, struct tide_err *err)
{
    if (!may_vanish(f))
        return tide_fail(err, TIDE_IO, "\"%s\" became shorter while it was read: %" PRIu64 " of %" PRIu64 " bytes",
                         f->f.source, end, f->f.size);
    uint64_t known = atomic_load(&f->end);
    while (end < known && !atomic_compare_exchange_weak(&f->end, &known, end))
        ;
    return TIDE_OK;
}

/* Reads a block again until the server has finished writing it; in the end it is stored as it is, and reported. */
static tide_status inspect_block(struct source_file *f, int fd, uint64_t offset, uint8_t *data, size_t len,
                                 struct tide_err *err)
{
    struct tree_writer *w = f->w;
    const struct tide_block_view view = {.struct_size = sizeof view,
                                         .name = f->f.name,
                                         .inspect_number = f->f.inspect_number,
                                         .offset = offset,
                                         .data = data,
                                         .len = len,
                                         .backup_start = tree_start(w)};
    struct tide_block_verdict v;
    for (unsigned i = 0;; i++) {
        v = (struct tide_block_verdict){.struct_size = sizeof v};
        w->o.inspect(&view, &v);
        if (v.verdict != TIDE_BLOCK_TORN)
            return TIDE_OK;
        if (i == TORN_READS)
            break;
        size_t got = 0;
        tide_sleep_us((int64_t)500 << (i < 6 ? i : 6));
        tide_status s = tide_pread_upto(fd, data, len, offset, &got, f->f.source, err);
        if (s != TIDE_OK)
            return s;
        memset(data + got, 0, len - got); /* truncated in between: the log cuts it off again */
    }
    return tree_damage(w, f->f.name, v.page_size == 0 ? 0 : offset / v.page_size, &v, err);
}

static tide_status take_block(struct tree_lane *l, struct source_file *f, int fd, uint64_t offset, uint8_t *data,
                              size_t len, struct tide_err *err)
{
    if ((f->f.flags & TIDE_FILE_INSPECT) != 0 && f->w->o.inspect != NULL && !block_is_zero(data, len)) {
        tide_status s = inspect_block(f, fd, offset, data, len, err);
        if (s != TIDE_OK)
            return s;
    }
    return lane_block(l, data, len, err);
}

/* ------------------------------------------------------------------ reading a range */

struct range {
    uint64_t at, end;
    uint64_t data, hole; /* sparse files: where the next data begins, and where they end, as far as known */
    bool sparse;
};

/* Where the next data of a sparse file lie.  A file may grow into its hole while it is read; the log has those pages.
 */
static tide_status find_data(struct source_file *f, int fd, struct range *r, struct tide_err *err)
{
    off_t data = lseek(fd, (off_t)r->at, SEEK_DATA), hole = (off_t)r->end;
    struct stat st;
    if (data < 0 && errno == ENXIO) { /* nothing but a hole up to the end, wherever that is now */
        if (fstat(fd, &st) != 0)
            return tide_fail_errno(err, errno, "could not examine \"%s\"", f->f.source);
        data = st.st_size;
    } else if (data >= 0) {
        hole = lseek(fd, data, SEEK_HOLE);
    }
    if (data < 0 || hole < 0) {
        r->sparse = false;
        return TIDE_OK;
    }
    /* It may have become shorter than `at`: reading will tell. */
    r->data = (uint64_t)data < r->at ? r->at : (uint64_t)data < r->end ? (uint64_t)data : r->end;
    r->hole = (uint64_t)hole < r->end ? ((uint64_t)hole + TREE_BLOCK - 1) / TREE_BLOCK * TREE_BLOCK : r->end;
    if (r->hole <= r->at || r->hole > r->end)
        r->hole = r->end;
    return TIDE_OK;
}

/* Steps over blocks that lie in a hole. */
static tide_status skip_hole(struct tree_lane *l, struct source_file *f, int fd, struct range *r,
                             struct tide_err *err)
{
    if (!r->sparse || r->data > r->at || (r->data != 0 && r->hole > r->at))
        return TIDE_OK;
    tide_status s = find_data(f, fd, r, err);
    if (s != TIDE_OK || !r->sparse)
        return s;
    uint64_t from = r->at;
    while (r->at < r->end && (r->data - r->at >= TREE_BLOCK || r->data == r->end)) {
        lane_zero_block(l);
        r->at = r->end - r->at < TREE_BLOCK ? r->end : r->at + TREE_BLOCK;
    }
    tree_progress(f->w, r->at - from);
    return TIDE_OK;
}

/* One chunk.  *ended when the file ends in it. */
static tide_status read_chunk(struct tree_lane *l, struct source_file *f, int fd, struct range *r, bool *ended,
                              struct tide_err *err)
{
    uint64_t end = r->sparse && r->hole > r->at ? r->hole : r->end;
    size_t want = end - r->at < TREE_CHUNK ? (size_t)(end - r->at) : TREE_CHUNK, got = 0;
    throttle_take(f->w->o.throttle, want, f->w->o.cancel);
    tide_status s = tide_pread_upto(fd, l->chunk, want, r->at, &got, f->f.source, err);
    for (size_t i = 0; s == TIDE_OK && i < got; i += TREE_BLOCK) {
        size_t len = got - i < TREE_BLOCK ? got - i : TREE_BLOCK;
        s = take_block(l, f, fd, r->at + i, l->chunk + i, len, err);
    }
    if (s != TIDE_OK)
        return s;
    tree_progress(f->w, got);
    r->at += got;
    *ended = got < want;
    return *ended ? ends_at(f, r->at, err) : TIDE_OK;
}

static tide_status read_range(struct tree_lane *l, struct source_file *f, int fd, struct range r,
                              struct tide_err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return tide_fail_errno(err, errno, "could not examine \"%s\"", f->f.source);
    r.sparse = (uint64_t)st.st_blocks * 512 < (uint64_t)st.st_size;
    bool ended = false;
    while (r.at < r.end && !ended) {
        tide_status s = tree_check_cancel(f->w, err);
        if (s == TIDE_OK)
            s = skip_hole(l, f, fd, &r, err);
        if (s == TIDE_OK && r.at < r.end)
            s = read_chunk(l, f, fd, &r, &ended, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status finish_item(struct tree_lane *l, struct source_file *f, const struct block_entry *block,
                               struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tree_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an entry");
    tree_item_of(&f->f, item);
    item->size = atomic_load(&f->end);
    item->layout = block != NULL ? TREE_INLINE : TREE_LEAVES;
    if (block != NULL)
        item->block = *block;
    return lane_item(l, item, f->seq, atomic_load(&f->vanished), err);
}

tide_status source_read_leaf(struct tree_lane *l, struct source_file *f, uint32_t leaf, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = -1;
    struct range r = {.at = (uint64_t)leaf * TREE_LEAF_SIZE};
    r.end = f->f.size - r.at < TREE_LEAF_SIZE ? f->f.size : r.at + TREE_LEAF_SIZE;
    tide_status s = atomic_load(&f->vanished) ? TIDE_OK : open_source(f, &fd, err);
    if (s == TIDE_OK && fd >= 0 && r.at < atomic_load(&f->end)) {
        s = lane_begin(l, f->f.name, leaf, err);
        if (s == TIDE_OK)
            s = read_range(l, f, fd, r, err);
        if (s == TIDE_OK)
            s = lane_end(l, f->seq, err);
    }
    if (s == TIDE_OK && atomic_fetch_sub(&f->left, 1) == 1)
        s = finish_item(l, f, NULL, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", f->f.name);
}

/* ------------------------------------------------------------------ small files */

/* Until two reads agree: a file that is replaced or rewritten in one go. */
static tide_status read_stable(struct tree_lane *l, struct source_file *f, size_t *len, struct tide_err *err)
{
    size_t size = (size_t)f->f.size, now = 0, before = SIZE_MAX;
    TIDE_AUTO(tide_freep) uint8_t *other = malloc(size);
    if (other == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", f->f.name);
    for (unsigned i = 0; i < STABLE_READS; i++) {
        TIDE_AUTO(tide_closep) int fd = -1;
        tide_status s = open_source(f, &fd, err);
        if (s == TIDE_OK && fd >= 0)
            s = tide_pread_upto(fd, l->chunk, size, 0, &now, f->f.source, err);
        if (s != TIDE_OK || fd < 0)
            return s;
        if (now == before && memcmp(other, l->chunk, now) == 0) {
            *len = now;
            return TIDE_OK;
        }
        memcpy(other, l->chunk, now);
        before = now;
        tide_sleep_us(1000);
    }
    return tide_fail(err, TIDE_AGAIN, "\"%s\" changed with each of %u reads", f->f.source, STABLE_READS);
}

static tide_status take_stable(struct tree_lane *l, struct source_file *f, struct tide_err *err)
{
    size_t len = 0;
    tide_status s = read_stable(l, f, &len, err);
    if (s != TIDE_OK || atomic_load(&f->vanished))
        return s;
    for (size_t i = 0; s == TIDE_OK && i < len; i += TREE_BLOCK)
        s = lane_block(l, l->chunk + i, len - i < TREE_BLOCK ? len - i : TREE_BLOCK, err);
    tree_progress(f->w, len);
    if (s == TIDE_OK && len < f->f.size)
        s = ends_at(f, len, err);
    return s;
}

static tide_status take_small(struct tree_lane *l, struct source_file *f, struct tide_err *err)
{
    if ((f->f.flags & TIDE_FILE_STABLE) != 0 && f->f.size <= STABLE_LARGEST)
        return take_stable(l, f, err);
    TIDE_AUTO(tide_closep) int fd = -1;
    tide_status s = open_source(f, &fd, err);
    if (s == TIDE_OK && fd >= 0)
        s = read_range(l, f, fd, (struct range){.at = 0, .end = f->f.size}, err);
    return s;
}

tide_status source_read_small(struct tree_lane *l, struct source_file *f, struct tide_err *err)
{
    tide_status s = lane_begin(l, f->f.name, 0, err);
    if (s == TIDE_OK)
        s = take_small(l, f, err);
    if (s == TIDE_OK && f->f.size <= TREE_BLOCK) {
        s = finish_item(l, f, l->now.n > 0 ? &l->now.blocks[0] : NULL, err);
    } else if (s == TIDE_OK) {
        s = lane_end(l, f->seq, err);
        if (s == TIDE_OK)
            s = finish_item(l, f, NULL, err);
    }
    return s == TIDE_OK ? s : tide_wrap(err, s, "backing up \"%s\"", f->f.name);
}
