#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/repository/relocation.h"
#include "orchestrator/repository/tree_proved.h"
#include "orchestrator/repository/tree_reader.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SEEN_MAX 4096u

struct verify {
    struct tree_reader *t;
    struct read_lane *lanes;
    struct tide_pool *pool;
    unsigned percent;
    struct tree_proved *proved;
    tree_bad_fn *bad;
    void *ctx;
    struct verify_task *batch;
    _Atomic uint64_t bytes, random;
    pthread_mutex_t lock;
    /* under lock: objects that were told already */
    char *seen[SEEN_MAX];
    unsigned n_seen;
    bool any;
};

struct verify_task {
    struct verify *v;
    unsigned n;
    char *names[WINDOW_BLOCKS]; /* owned; one for a leaf */
    uint64_t sizes[WINDOW_BLOCKS];
    struct block_entry blocks[WINDOW_BLOCKS]; /* of files that are one block */
    bool is_leaf;
    struct leaf_ref ref;
    uint32_t leaf;
};

/* ------------------------------------------------------------------ telling */

/* With the lock held. */
static bool is_new(struct verify *v, const char *key)
{
    for (unsigned i = 0; i < v->n_seen; i++) {
        if (strcmp(v->seen[i], key) == 0)
            return false;
    }
    if (v->n_seen < SEEN_MAX && (v->seen[v->n_seen] = strdup(key)) != NULL)
        v->n_seen++;
    return true;
}

static void tell(struct verify *v, const char *key, const char *file, const struct tide_err *why)
{
    (void)pthread_mutex_lock(&v->lock);
    v->any = true;
    if (is_new(v, key) && v->bad != NULL)
        v->bad(v->ctx, key, file, why);
    (void)pthread_mutex_unlock(&v->lock);
}

/* OK when it was damage, and told. */
static tide_status tell_pack(struct verify *v, const uint8_t *pack, const char *file, tide_status s,
                             const struct tide_err *why, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    if (!pack_is_damage(s, why)) {
        if (err != NULL)
            *err = *why;
        return s;
    }
    pack_key(v->t->instance, pack, key);
    tell(v, key, file, why);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ blocks */

static bool is_sampled(struct verify *v)
{
    if (v->percent >= 100)
        return true;
    /* splitmix64 */
    uint64_t z = atomic_fetch_add(&v->random, UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % 100 < v->percent;
}

struct listener {
    struct verify *v;
    const struct read_lane *lane;
    char *const *names; /* one a job, or the same for all */
    const unsigned *name_of;
    bool any;
};

static void block_failed(void *ctx, const struct block_job *job, const char *key, const struct tide_err *why)
{
    struct listener *l = ctx;
    l->any = true;
    size_t i = (size_t)(job - l->lane->jobs);
    tell(l->v, key, l->names[l->name_of == NULL ? 0 : l->name_of[i]], why);
}

static tide_status fetch(struct verify *v, struct read_lane *l, size_t n, struct listener *to, struct tide_err *err)
{
    uint64_t bytes = 0;
    if (tide_cancel_is_set(repo_cancel(v->t->repo)))
        return tide_fail(err, TIDE_CANCELLED, "verifying was cancelled");
    tide_status s = n == 0 ? TIDE_OK : block_reader_fetch(l->blocks, l->jobs, n, block_failed, to, err);
    for (size_t i = 0; i < n; i++)
        bytes += l->jobs[i].failed ? 0 : l->jobs[i].len;
    atomic_fetch_add(&v->bytes, bytes);
    return s;
}

static tide_status verify_leaf(struct verify *v, struct read_lane *l, struct verify_task *t, struct tide_err *err)
{
    struct tide_err why = TIDE_ERR_INIT;
    struct listener to = {.v = v, .lane = l, .names = t->names};
    /* With the length that it has in this file: a leaf does not tell it. */
    uint64_t left = t->sizes[0] - (uint64_t)t->leaf * TREE_LEAF_SIZE;
    uint64_t key = proved_key_of_frame(&t->ref.ref) + (left < TREE_LEAF_SIZE ? left : 0);
    if (t->ref.kind == LEAF_ZERO || proved_has(v->proved, key))
        return TIDE_OK;
    tide_status s = block_reader_leaf(l->blocks, &t->ref, t->sizes[0], t->leaf, &l->leaf, &why);
    if (s != TIDE_OK)
        return tell_pack(v, t->ref.ref.pack, t->names[0], s, &why, err);
    for (uint32_t i = 0; s == TIDE_OK && i < l->leaf.n; i += WINDOW_BLOCKS) {
        size_t n = 0;
        for (uint32_t k = i; k < l->leaf.n && k < i + WINDOW_BLOCKS; k++) {
            if (l->leaf.blocks[k].kind == BLOCK_ZERO || !is_sampled(v))
                continue;
            l->jobs[n] = (struct block_job){.entry = &l->leaf.blocks[k], .out = l->window + n * TREE_BLOCK};
            l->jobs[n++].len = tree_block_len(t->sizes[0], (uint64_t)t->leaf * TREE_LEAF_BLOCKS + k);
        }
        s = fetch(v, l, n, &to, err);
    }
    if (s == TIDE_OK && !to.any)
        proved_add(v->proved, key);
    return s;
}

static tide_status verify_small(struct verify *v, struct read_lane *l, struct verify_task *t, struct tide_err *err)
{
    unsigned name_of[WINDOW_BLOCKS];
    struct listener to = {.v = v, .lane = l, .names = t->names, .name_of = name_of};
    size_t n = 0;
    for (unsigned i = 0; i < t->n; i++) {
        if (t->blocks[i].kind == BLOCK_ZERO || !is_sampled(v) ||
            proved_has(v->proved, proved_key_of_block(&t->blocks[i])))
            continue;
        name_of[n] = i;
        l->jobs[n] =
            (struct block_job){.entry = &t->blocks[i], .out = l->window + n * TREE_BLOCK, .len = (size_t)t->sizes[i]};
        n++;
    }
    tide_status s = fetch(v, l, n, &to, err);
    for (size_t i = 0; s == TIDE_OK && i < n; i++) {
        if (!l->jobs[i].failed)
            proved_add(v->proved, proved_key_of_block(l->jobs[i].entry));
    }
    return s;
}

static tide_status run_task(void *task, unsigned worker, struct tide_err *err)
{
    struct verify_task *t = task;
    struct read_lane *l = &t->v->lanes[worker];
    return t->is_leaf ? verify_leaf(t->v, l, t, err) : verify_small(t->v, l, t, err);
}

static void drop_task(void *task)
{
    struct verify_task *t = task;
    for (unsigned i = 0; i < t->n; i++)
        free(t->names[i]);
    free(t);
}

/* ------------------------------------------------------------------ the file table */

static tide_status new_task(struct verify *v, struct verify_task **out, struct tide_err *err)
{
    *out = calloc(1, sizeof **out);
    if (*out == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for verifying");
    (*out)->v = v;
    return TIDE_OK;
}

static tide_status add_name(struct verify_task *t, const struct tree_item *item, struct tide_err *err)
{
    t->names[t->n] = strdup(item->name);
    if (t->names[t->n] == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for verifying");
    t->sizes[t->n++] = item->size;
    return TIDE_OK;
}

static tide_status add_leaves(struct verify *v, struct tree_scan *scan, const struct tree_item *item,
                              struct tide_err *err)
{
    for (uint32_t i = 0; i < item->n_leaves; i++) {
        struct verify_task *t = NULL;
        struct leaf_ref ref;
        tide_status s = tree_scan_leaf(scan, &ref, err);
        if (s == TIDE_NOT_FOUND) /* in a bad node, which was told */
            return TIDE_OK;
        if (s == TIDE_OK)
            s = new_task(v, &t, err);
        if (s != TIDE_OK)
            return s;
        t->is_leaf = true;
        t->leaf = i;
        t->ref = ref;
        s = add_name(t, item, err);
        if (s != TIDE_OK) {
            drop_task(t);
            return s;
        }
        s = tide_pool_submit(v->pool, t, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status add_small(struct verify *v, const struct tree_item *item, struct tide_err *err)
{
    tide_status s = v->batch != NULL ? TIDE_OK : new_task(v, &v->batch, err);
    if (s != TIDE_OK)
        return s;
    v->batch->blocks[v->batch->n] = item->block;
    s = add_name(v->batch, item, err);
    if (s == TIDE_OK && v->batch->n == WINDOW_BLOCKS)
        s = tide_pool_submit(v->pool, TIDE_TAKE(v->batch), err);
    return s;
}

static void node_failed(void *ctx, const struct pack_ref *ref, const struct tide_err *why)
{
    struct verify *v = ctx;
    char key[REPO_KEY_MAX];
    pack_key(v->t->instance, ref->pack, key);
    tell(v, key, NULL, why);
}

static tide_status verify_files(struct verify *v, struct tree_scan *scan, struct tide_err *err)
{
    tree_scan_skip_bad(scan, node_failed, v);
    for (;;) {
        const struct tree_item *item = NULL;
        tide_status s = tree_scan_next(scan, &item, err);
        if (s == TIDE_NOT_FOUND)
            break;
        if (s == TIDE_OK && item->layout == TREE_LEAVES)
            s = add_leaves(v, scan, item, err);
        else if (s == TIDE_OK && item->layout == TREE_INLINE)
            s = add_small(v, item, err);
        if (s != TIDE_OK)
            return s;
    }
    tide_status s = v->batch == NULL ? TIDE_OK : tide_pool_submit(v->pool, TIDE_TAKE(v->batch), err);
    return s != TIDE_OK ? s : tide_pool_wait(v->pool, err);
}

/* ------------------------------------------------------------------ what blocks do not cover: index, trailer, notes
 */

static tide_status check_object(struct object_reader *o, struct frame_coder *coder, struct tide_err *err)
{
    struct frame_ref *refs = NULL;
    struct frame_info info = {0};
    size_t n = 0;
    TIDE_AUTO(tide_buf_clear) struct tide_buf notes = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    tide_status s = object_reader_index(o, coder, &refs, &n, err);
    if (s == TIDE_OK && n > 0)
        s = object_reader_frame(o, coder, &refs[n - 1], &notes, &info, err);
    free(refs);
    return s;
}

struct check_packs {
    struct verify *v;
    struct frame_coder *coder;
};

static tide_status check_pack(void *ctx, const uint8_t pack[OBJECT_ID_SIZE], uint64_t live_bytes,
                              struct tide_err *err)
{
    const struct check_packs *c = ctx;
    struct tree_reader *t = c->v->t;
    char key[REPO_KEY_MAX];
    struct object_reader *o = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    (void)live_bytes;
    if (tide_cancel_is_set(repo_cancel(t->repo)))
        return tide_fail(err, TIDE_CANCELLED, "verifying was cancelled");
    if (proved_has(c->v->proved, proved_key_of_pack(pack)))
        return TIDE_OK;
    pack_key(t->instance, pack, key);
    tide_status s = object_reader_open(t->repo, key, OBJECT_PACK, &o, &why);
    if (s == TIDE_OK)
        s = check_object(o, c->coder, &why);
    object_reader_close(o);
    if (s == TIDE_NOT_FOUND) {
        struct relocation *moved = NULL;
        struct tide_err no = TIDE_ERR_INIT;
        tide_status m = relocation_load(t->repo, t->instance, pack, &moved, &no);
        relocation_free(moved);
        if (m == TIDE_OK)
            return TIDE_OK;
    }
    if (s == TIDE_OK)
        proved_add(c->v->proved, proved_key_of_pack(pack));
    return s == TIDE_OK ? s : tell_pack(c->v, pack, NULL, s, &why, err);
}

static tide_status verify_packs(struct verify *v, struct tide_err *err)
{
    struct check_packs c = {.v = v};
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = frame_coder_new(FRAME_ZSTD, 1, &c.coder, err);
    if (s != TIDE_OK)
        return s;
    s = tree_reader_packs(v->t, check_pack, &c, &why);
    frame_coder_free(c.coder);
    if (s == TIDE_OK)
        return s;
    return tell_pack(v, v->t->packs_root.pack, NULL, s, &why, err); /* the pack table itself */
}

static tide_status verify_all(struct verify *v, struct tide_err *err)
{
    struct tree_scan *scan = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = read_lanes_new(v->t, &v->lanes, err);
    if (s == TIDE_OK)
        s = tide_pool_new(v->t->jobs, (size_t)v->t->jobs * 4, run_task, drop_task, &v->pool, err);
    if (s != TIDE_OK)
        return s;
    s = tree_scan_new(v->t->files, v->t->walker, NULL, &scan, &why);
    if (s == TIDE_OK)
        s = verify_files(v, scan, &why);
    tree_scan_free(scan);
    if (s != TIDE_OK) /* the root of the file table, or nothing about the repository */
        s = tell_pack(v, v->t->files_root.pack, NULL, s, &why, err);
    return s != TIDE_OK || v->percent < 100 ? s : verify_packs(v, err);
}

tide_status tree_verify(struct tree_reader *t, unsigned percent, tree_bad_fn *bad, void *ctx, uint64_t *bytes,
                        struct tide_err *err)
{
    return tree_verify_once(t, percent, NULL, bad, ctx, bytes, err);
}

tide_status tree_verify_once(struct tree_reader *t, unsigned percent, struct tree_proved *proved, tree_bad_fn *bad,
                             void *ctx, uint64_t *bytes, struct tide_err *err)
{
    struct verify *v = calloc(1, sizeof *v);
    uint64_t seed = 0;
    tide_status s = tide_random(&seed, sizeof seed, err);
    if (v == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for verifying");
    v->t = t;
    v->percent = percent;
    v->proved = percent < 100 ? NULL : proved;
    v->bad = bad;
    v->ctx = ctx;
    atomic_init(&v->random, seed);
    (void)pthread_mutex_init(&v->lock, NULL);
    if (s == TIDE_OK)
        s = verify_all(v, err);
    tide_pool_free(v->pool);
    if (v->batch != NULL)
        drop_task(v->batch);
    read_lanes_free(t, v->lanes);
    if (s == TIDE_OK && v->any)
        s = tide_fail(err, TIDE_CORRUPT, "the backup is damaged");
    if (bytes != NULL)
        *bytes = atomic_load(&v->bytes);
    for (unsigned i = 0; i < v->n_seen; i++)
        free(v->seen[i]);
    (void)pthread_mutex_destroy(&v->lock);
    free(v);
    return s;
}
