#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/pack_source.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RUN_MAX (4u << 20)  /* bytes that one request fetches at most, unless a single frame is larger */
#define GAP_MAX (64u << 10) /* bytes between two frames that are read along rather than asked for separately */

struct pack_reader {
    struct pack_source *source;
    struct frame_coder *coder;
    uint8_t *io;
    size_t io_size;
    struct pack_want **order;
    size_t order_size;
    uint8_t *frame; /* room for one frame of any size */
};

/* Neighbours in one object that are fetched by one request. */
struct run {
    struct pack_handle *handle;
    struct pack_want **wants;
    size_t n;
    uint64_t offset; /* in the object where they lie now */
    size_t len;
};

struct report {
    pack_bad_fn *bad;
    void *ctx;
};

tide_status pack_reader_new(struct pack_source *s, struct pack_reader **out, struct tide_err *err)
{
    struct pack_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading packs");
    r->source = s;
    tide_status st = frame_coder_new(FRAME_ZSTD, 1, &r->coder, err);
    if (st != TIDE_OK) {
        free(r);
        return st;
    }
    *out = r;
    return TIDE_OK;
}

void pack_reader_free(struct pack_reader *r)
{
    if (r == NULL)
        return;
    frame_coder_free(r->coder);
    free(r->io);
    free(r->order);
    free(r->frame);
    free(r);
}

struct pack_source *pack_reader_source(const struct pack_reader *r)
{
    return r->source;
}

static tide_status reserve_io(struct pack_reader *r, size_t len, struct tide_err *err)
{
    if (len <= r->io_size)
        return TIDE_OK;
    free(r->io);
    r->io = malloc(len);
    r->io_size = r->io == NULL ? 0 : len;
    return r->io != NULL ? TIDE_OK : tide_fail(err, TIDE_NO_MEMORY, "out of memory reading %zu bytes", len);
}

/* Tells of one failed want, or returns the failure when nobody listens. */
static tide_status blame(const struct report *to, struct pack_want *w, const char *key, tide_status s,
                         const struct tide_err *why, struct tide_err *err)
{
    if (pack_is_damage(s, why) && to->bad != NULL) {
        w->failed = true;
        to->bad(to->ctx, w, key, why);
        return TIDE_OK;
    }
    if (err != NULL)
        *err = *why;
    if (s != TIDE_NOT_FOUND)
        return s;
    /* To whoever needs the frame, a pack that is not there is damage, not an answer. */
    if (err != NULL)
        err->status = TIDE_CORRUPT;
    return TIDE_CORRUPT;
}

static tide_status blame_all(const struct report *to, struct pack_want **wants, size_t n, const char *key,
                             tide_status s, const struct tide_err *why, struct tide_err *err)
{
    for (size_t i = 0; i < n; i++) {
        tide_status st = blame(to, wants[i], key, s, why, err);
        if (st != TIDE_OK)
            return st;
    }
    return TIDE_OK;
}

/* Where a frame lies now.  NULL: it was left behind when its pack was repacked. */
static const struct frame_ref *locate(const struct pack_handle *h, const struct pack_want *w)
{
    return h->moved == NULL ? &w->ref->frame : relocation_find(h->moved, w->ref->frame.number);
}

static tide_status open_frame(struct pack_reader *r, const struct run *run, struct pack_want *w, struct tide_err *err)
{
    const struct frame_ref *at = locate(run->handle, w);
    struct frame_info info = {0};
    const uint8_t *stored = r->io + (at->offset - run->offset);
    tide_status s = frame_open_bytes(r->coder, run->handle->seal, stored, w->ref->frame.stored, w->ref->frame.number,
                                     w->out, w->size, &info, err);
    if (s != TIDE_OK)
        return s;
    if (info.kind != w->kind)
        return tide_fail(err, TIDE_CORRUPT, "kind %u, not %u", info.kind, w->kind);
    w->len = info.plain_len;
    if (w->hash != NULL) {
        uint8_t hash[FRAME_HASH_SIZE];
        frame_hash(pack_source_seed(r->source), w->out, w->len, hash);
        if (memcmp(hash, w->hash, sizeof hash) != 0)
            return tide_fail(err, TIDE_CORRUPT, "the content is not what was referred to");
    }
    return TIDE_OK;
}

static tide_status open_run(struct pack_reader *r, const struct run *run, const struct report *to,
                            struct tide_err *err)
{
    for (size_t i = 0; i < run->n; i++) {
        struct tide_err why = TIDE_ERR_INIT;
        tide_status s = open_frame(r, run, run->wants[i], &why);
        if (s == TIDE_OK)
            continue;
        s = tide_wrap(&why, s, "object \"%s\": frame %u", run->handle->key, run->wants[i]->ref->frame.number);
        s = blame(to, run->wants[i], run->handle->key, s, &why, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status get_run(struct pack_reader *r, const struct run *run, struct tide_err *err)
{
    size_t got = 0;
    tide_status s = reserve_io(r, run->len, err);
    if (s == TIDE_OK)
        s = store_get(repo_store(pack_source_repo(r->source)), run->handle->key, run->offset, r->io, run->len, &got,
                      err);
    if (s == TIDE_OK && got < run->len)
        s = tide_fail(err, TIDE_CORRUPT, "object \"%s\" ends before byte %" PRIu64, run->handle->key,
                      run->offset + run->len);
    return s;
}

static size_t stored_limit(void)
{
    return frame_bound(FRAME_MAX_PLAIN);
}

/*
 * Takes wants from the front as long as they lie close together.  A want that cannot be located ends the run; when
 * it is the first, run->n stays 0.
 */
static void gather_run(struct pack_handle *h, struct pack_want **wants, size_t n, struct run *run)
{
    *run = (struct run){.handle = h, .wants = wants};
    for (size_t i = 0; i < n; i++) {
        const struct frame_ref *at = locate(h, wants[i]);
        uint32_t stored = wants[i]->ref->frame.stored;
        if (at == NULL || at->stored != stored || stored > stored_limit())
            return;
        if (i == 0)
            run->offset = at->offset;
        uint64_t end = run->offset + run->len;
        if (i > 0 &&
            (at->offset < run->offset || at->offset > end + GAP_MAX || at->offset + stored - run->offset > RUN_MAX))
            return;
        if (at->offset + stored > end)
            run->len = (size_t)(at->offset + stored - run->offset);
        run->n++;
    }
}

/* One run from the front of wants, all in the pack of handle; *done tells how many wants are settled. */
static tide_status fetch_run(struct pack_reader *r, struct pack_handle *h, struct pack_want **wants, size_t n,
                             const struct report *to, size_t *done, struct tide_err *err)
{
    struct run run;
    struct tide_err why = TIDE_ERR_INIT;
    gather_run(h, wants, n, &run);
    if (run.n == 0) {
        tide_status s = tide_fail(&why, TIDE_CORRUPT, "object \"%s\" does not hold frame %u as it was referred to",
                                  h->key, wants[0]->ref->frame.number);
        *done = 1;
        return blame(to, wants[0], h->key, s, &why, err);
    }
    *done = run.n;
    tide_status s = get_run(r, &run, &why);
    if (s == TIDE_OK)
        return open_run(r, &run, to, err);
    if (s == TIDE_NOT_FOUND) {
        *done = 0;
        return s;
    }
    /* A pack that was cut short still has its first frames: ask for them one by one. */
    if (s == TIDE_CORRUPT && run.n > 1 && to->bad != NULL) {
        *done = 0;
        s = TIDE_OK;
        for (size_t one = 0; s == TIDE_OK && *done < run.n; *done += one)
            s = fetch_run(r, h, wants + *done, 1, to, &one, err);
        return s;
    }
    return blame_all(to, run.wants, run.n, h->key, s, &why, err);
}

/* All wants of one pack, ordered by offset. */
static tide_status fetch_pack(struct pack_reader *r, struct pack_want **wants, size_t n, const struct report *to,
                              struct tide_err *err)
{
    struct pack_handle *h = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    bool again = true;
    for (size_t done = 0, now = 0; done < n; done += now) {
        tide_status s = h != NULL ? TIDE_OK : pack_source_acquire(r->source, wants[0]->ref->pack, &h, &why);
        if (s != TIDE_OK) {
            char key[REPO_KEY_MAX];
            pack_key(pack_source_instance(r->source), wants[0]->ref->pack, key);
            return blame_all(to, wants + done, n - done, key, s, &why, err);
        }
        now = 0;
        s = fetch_run(r, h, wants + done, n - done, to, &now, err);
        if (s == TIDE_NOT_FOUND && now == 0 && again) {
            /* Repacked and removed since its header was read: there is a relocation now. */
            pack_source_forget(r->source, h);
            pack_source_release(r->source, TIDE_TAKE(h));
            again = false;
            continue;
        }
        if (s == TIDE_NOT_FOUND && now == 0) {
            s = tide_fail(&why, s, "object \"%s\" is gone", h->key);
            s = blame_all(to, wants + done, n - done, h->key, s, &why, err);
            pack_source_release(r->source, h);
            return s;
        }
        if (s != TIDE_OK) {
            pack_source_release(r->source, h);
            return s;
        }
    }
    pack_source_release(r->source, h);
    return TIDE_OK;
}

static int compare_wants(const void *a, const void *b)
{
    struct pack_want *x, *y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    int c = memcmp(x->ref->pack, y->ref->pack, OBJECT_ID_SIZE);
    if (c != 0)
        return c;
    if (x->ref->frame.offset != y->ref->frame.offset)
        return x->ref->frame.offset < y->ref->frame.offset ? -1 : 1;
    return 0;
}

static tide_status make_order(struct pack_reader *r, struct pack_want *wants, size_t n, struct tide_err *err)
{
    if (n > r->order_size) {
        free(r->order);
        r->order = malloc(n * sizeof *r->order);
        r->order_size = r->order == NULL ? 0 : n;
        if (r->order == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory reading %zu frames", n);
    }
    for (size_t i = 0; i < n; i++) {
        wants[i].failed = false;
        wants[i].len = 0;
        r->order[i] = &wants[i];
    }
    qsort(r->order, n, sizeof(struct pack_want *), compare_wants);
    return TIDE_OK;
}

tide_status pack_reader_fetch(struct pack_reader *r, struct pack_want *wants, size_t n, pack_bad_fn *bad, void *ctx,
                              struct tide_err *err)
{
    const struct report to = {.bad = bad, .ctx = ctx};
    tide_status s = make_order(r, wants, n, err);
    size_t same = 0;
    for (size_t i = 0; s == TIDE_OK && i < n; i += same) {
        for (same = 1; i + same < n; same++) {
            if (memcmp(r->order[i]->ref->pack, r->order[i + same]->ref->pack, OBJECT_ID_SIZE) != 0)
                break;
        }
        s = fetch_pack(r, r->order + i, same, &to, err);
    }
    return s;
}

tide_status pack_reader_frame(struct pack_reader *r, const struct pack_ref *ref, enum frame_kind kind,
                              const uint8_t *hash, struct tide_buf *out, struct tide_err *err)
{
    if (r->frame == NULL)
        r->frame = malloc(FRAME_MAX_PLAIN);
    if (r->frame == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a frame");
    struct pack_want w = {.ref = ref, .kind = kind, .hash = hash, .out = r->frame, .size = FRAME_MAX_PLAIN};
    tide_status s = pack_reader_fetch(r, &w, 1, NULL, NULL, err);
    if (s != TIDE_OK)
        return s;
    tide_buf_append(out, w.out, w.len);
    return tide_buf_check(out, "a frame", err);
}
