#include "wal/put.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "wal/fetch.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE (1u << 20)

struct putting {
    const struct wal_put_options *o;
    const struct lineage *l;
    const struct put_reader *in;
    bool complete;
    struct log_source *stored;
    uint8_t *buf, *other; /* SLICE each */
    int fd;
    size_t open_file; /* which fd is; n: none */
    struct tide_pos start, end;
    uint64_t added;
    struct tide_pos reached;
};

static void putting_clear(struct putting *p)
{
    log_source_free(p->stored);
    free(p->buf);
    free(p->other);
    if (p->fd >= 0)
        (void)close(p->fd);
}

/* ---- the files as one run of bytes */

static const struct tide_log_file *file_at(struct putting *p, struct tide_pos pos, size_t *index)
{
    for (size_t i = 0; i < p->in->n; i++)
        if (pos_in(pos, p->in->files[i].start, p->in->files[i].end)) {
            *index = i;
            return &p->in->files[i];
        }
    return NULL;
}

/* Up to SLICE bytes at pos, not across the end of a file; *got 0: the file is shorter. */
static tide_status read_files(struct putting *p, struct tide_pos pos, struct tide_pos end, uint8_t *buf, size_t *got,
                              struct tide_err *err)
{
    size_t i = 0;
    const struct tide_log_file *f = file_at(p, pos, &i);
    uint64_t n = pos_distance(pos, end);

    *got = 0;
    if (f == NULL)
        return TIDE_OK;
    if (p->open_file != i) {
        if (p->fd >= 0)
            (void)close(p->fd);
        p->fd = open(p->in->paths[i], O_RDONLY | O_CLOEXEC);
        p->open_file = p->fd < 0 ? p->in->n : i;
    }
    if (p->fd < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", p->in->paths[i]);
    if (n > pos_distance(pos, f->end))
        n = pos_distance(pos, f->end);
    if (n > SLICE)
        n = SLICE;
    return tide_pread_upto(p->fd, buf, (size_t)n, pos.lo - f->start.lo, got, p->in->paths[i], err);
}

/* ---- what is stored already has to agree */

static tide_status compare(struct putting *p, struct tide_pos from, struct tide_pos to, struct tide_err *err)
{
    for (struct tide_pos at = from; pos_before(at, to);) {
        struct tide_pos got;
        size_t n;
        tide_status s = read_files(p, at, to, p->buf, &n, err);
        if (s == TIDE_OK && n == 0) /* a shorter copy of what is stored */
            return TIDE_OK;
        if (s == TIDE_OK)
            s = log_source_read(p->stored, at, pos_add(at, n), p->other, &got, err);
        if (s != TIDE_OK)
            return s;
        if (memcmp(p->buf, p->other, (size_t)pos_distance(at, got)) != 0) {
            (void)tide_fail(err, TIDE_CORRUPT, "the file differs from the log that is stored for \"%s\"",
                            p->o->instance);
            return tide_hint(err, TIDE_CORRUPT,
                             "Nothing was overwritten.  Is it a file of another server, or of another copy of it?");
        }
        if (pos_equal(got, at))
            return TIDE_OK;
        at = got;
    }
    return TIDE_OK;
}

/* ---- a hole in what is stored, filled from the files */

static tide_status put_closed(struct putting *p, struct collector *c, struct tide_err *err)
{
    tide_status s = TIDE_OK;

    for (struct log_piece *piece; s == TIDE_OK && (piece = collector_take(c)) != NULL;) {
        s = log_piece_put(p->o->repo, p->o->instance, piece, err);
        if (s == TIDE_OK) {
            p->added += piece->info.bytes;
            p->reached = pos_max(p->reached, piece->info.name.end);
        }
        log_piece_free(piece);
    }
    return s;
}

/* The scanner comes from a record's start before the hole: from stored log where it is, else from the file. */
static tide_status open_collector(struct putting *p, struct tide_pos hole, struct collector **out,
                                  struct tide_err *err)
{
    struct collector_options o = {.plugin = p->o->plugin,
                                  .host = p->o->host,
                                  .evidence = p->l->evidence,
                                  .lineage = p->l->number,
                                  .object_bytes = p->o->object_bytes,
                                  .start = hole,
                                  .scan_from = pos_min(p->in->files[0].start, hole)};
    struct tide_pos record;
    bool exact = false;
    tide_status s = log_scan_start(p->o->repo, p->o->instance, p->l->number, hole, &record, &exact, err);

    if (s == TIDE_OK && exact)
        o.scan_from = o.first_record = record;
    if (s == TIDE_NOT_FOUND)
        tide_err_clear(err);
    else if (s != TIDE_OK)
        return s;
    return collector_new(&o, out, err);
}

static tide_status feed_stored(struct putting *p, struct collector *c, struct tide_pos to, struct tide_err *err)
{
    while (pos_before(collector_end(c), to)) {
        struct tide_pos at = collector_end(c), end = pos_min(pos_add(at, SLICE), to), got = at;
        tide_status s = log_source_read(p->stored, at, end, p->buf, &got, err);
        if (s == TIDE_OK && pos_equal(got, at))
            s = tide_fail(err, TIDE_CORRUPT, "stored log ends before it should");
        if (s == TIDE_OK)
            s = collector_feed(c, at, got, p->buf, (size_t)pos_distance(at, got), err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

/* Feeds the files up to `to`.  *whole: all of it was there and made sense. */
static tide_status feed_files(struct putting *p, struct collector *c, struct tide_pos to, bool *whole,
                              struct tide_err *err)
{
    *whole = false;
    while (pos_before(collector_end(c), to)) {
        struct tide_pos at = collector_end(c);
        size_t n, index = 0;
        tide_status s = read_files(p, at, to, p->buf, &n, err);
        if (s != TIDE_OK)
            return s;
        /* Who hands over a complete file deletes it then. */
        if (n == 0 && p->complete)
            return tide_fail(err, TIDE_CORRUPT, "\"%s\" is shorter than a log file of its name", p->in->paths[0]);
        if (n == 0)
            return TIDE_OK;
        s = collector_feed(c, at, pos_add(at, n), p->buf, n, err);
        if (s == TIDE_CORRUPT && !p->complete && file_at(p, at, &index) != NULL && index + 1 == p->in->n) {
            /* The server died while it wrote this record: that is how its log ends. */
            tide_err_clear(err);
            return TIDE_OK;
        }
        if (s == TIDE_OK)
            s = put_closed(p, c, err);
        if (s != TIDE_OK)
            return s;
    }
    *whole = true;
    return TIDE_OK;
}

static void collector_freep(struct collector **c)
{
    collector_free(*c);
}

/* to_stored: stored log follows at `to`, and what goes over it is a record that goes on there. */
static tide_status fill_hole(struct putting *p, struct tide_pos from, struct tide_pos to, bool to_stored,
                             struct tide_err *err)
{
    TIDE_AUTO(collector_freep) struct collector *c = NULL;
    bool whole;
    tide_status s = open_collector(p, from, &c, err);

    if (s == TIDE_OK)
        s = feed_stored(p, c, pos_min(p->in->files[0].start, from), err);
    if (s == TIDE_OK)
        s = feed_files(p, c, to, &whole, err);
    if (s != TIDE_OK)
        return s;
    s = collector_cut(c, whole && (to_stored || p->complete) ? COLLECTOR_ALL : COLLECTOR_WHOLE, err);
    return s == TIDE_OK ? put_closed(p, c, err) : s;
}

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

static tide_status put_all(struct putting *p, struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    struct tide_pos at = p->start;
    tide_status s = log_walk_open(p->o->repo, p->o->instance, p->l->number, at, &w, err);

    while (s == TIDE_OK && pos_before(at, p->end)) {
        struct log_name n;
        struct tide_pos to = p->end;
        s = log_walk_next(w, &n, err);
        if (s == TIDE_OK) {
            to = pos_min(n.end, p->end);
            s = compare(p, at, to, err);
            p->reached = pos_max(p->reached, to);
        } else if (s == TIDE_NOT_FOUND) {
            tide_err_clear(err);
            s = log_walk_skip_gap(w, &to, err);
            bool stored = s == TIDE_OK && pos_before(to, p->end);
            if (s == TIDE_NOT_FOUND) {
                tide_err_clear(err);
                s = TIDE_OK;
            }
            to = stored ? to : p->end;
            if (s == TIDE_OK)
                s = fill_hole(p, at, to, stored, err);
        }
        at = to;
    }
    return s;
}

tide_status put_range(const struct wal_put_options *o, const struct lineage *l, const struct put_reader *in,
                      bool complete, uint64_t *added, struct tide_pos *end, struct tide_err *err)
{
    struct lineage_step step = {.lineage = l->number};
    TIDE_AUTO(putting_clear)
    struct putting p = {.o = o,
                        .l = l,
                        .in = in,
                        .complete = complete,
                        .fd = -1,
                        .open_file = in->n,
                        .start = pos_max(in->files[0].start, l->start),
                        .end = in->files[in->n - 1].end,
                        .buf = malloc(SLICE),
                        .other = malloc(SLICE)};

    if (l->parent == 0)
        p.start = in->files[0].start; /* a first lineage may be filled up before its first object */
    p.reached = p.start;
    if (p.buf == NULL || p.other == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    tide_status s = log_source_new(o->repo, o->instance, &step, 1, &p.stored, err);
    if (s == TIDE_OK)
        s = put_all(&p, err);
    *added = p.added;
    *end = p.reached;
    return s;
}
