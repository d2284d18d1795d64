#include "orchestrator/repository/tree_blocks.h"

#include <stdlib.h>
#include <string.h>

#define PATCH_ROOM (TREE_BLOCK + PATCH_HEAD + TREE_BLOCK / 512 / 8)

struct block_reader {
    struct pack_reader *packs;
    struct pack_want *wants; /* one a job, then one a patch */
    size_t wants_size;
    uint8_t **patches; /* buffers, made when first needed */
    size_t n_patches;
    struct tide_buf plain;
    /* of the running fetch */
    struct block_job *jobs;
    size_t n_jobs, n_wants;
    block_bad_fn *bad;
    void *bad_ctx;
};

tide_status block_reader_new(struct pack_source *s, struct block_reader **out, struct tide_err *err)
{
    struct block_reader *b = calloc(1, sizeof *b);
    if (b == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading blocks");
    b->plain.max = FRAME_MAX_PLAIN;
    tide_status st = pack_reader_new(s, &b->packs, err);
    if (st != TIDE_OK) {
        free(b);
        return st;
    }
    *out = b;
    return TIDE_OK;
}

void block_reader_free(struct block_reader *b)
{
    if (b == NULL)
        return;
    pack_reader_free(b->packs);
    for (size_t i = 0; i < b->n_patches; i++)
        free(b->patches[i]);
    free(b->patches);
    free(b->wants);
    tide_buf_clear(&b->plain);
    free(b);
}

struct pack_reader *block_reader_packs(struct block_reader *b)
{
    return b->packs;
}

static tide_status reserve_wants(struct block_reader *b, size_t n, struct tide_err *err)
{
    if (2 * n <= b->wants_size)
        return TIDE_OK;
    free(b->wants);
    b->wants_size = 2 * n;
    b->wants = malloc(b->wants_size * sizeof *b->wants);
    if (b->wants != NULL)
        return TIDE_OK;
    b->wants_size = 0;
    return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading %zu blocks", n);
}

static tide_status reserve_patch(struct block_reader *b, size_t i, struct tide_err *err)
{
    if (i < b->n_patches)
        return TIDE_OK;
    uint8_t **patches = realloc(b->patches, (i + 1) * sizeof *patches);
    if (patches == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a patch");
    b->patches = patches;
    b->patches[i] = malloc(PATCH_ROOM);
    if (b->patches[i] == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a patch");
    b->n_patches = i + 1;
    return TIDE_OK;
}

static tide_status want_patches(struct block_reader *b, struct tide_err *err)
{
    size_t k = 0;
    for (size_t i = 0; i < b->n_jobs; i++) {
        const struct block_entry *e = b->jobs[i].entry;
        if (e->kind != BLOCK_PATCHED)
            continue;
        tide_status s = reserve_patch(b, k, err);
        if (s != TIDE_OK)
            return s;
        b->wants[b->n_wants++] = (struct pack_want){
            .ref = &e->patch, .hash = e->patch.hash, .out = b->patches[k++], .size = PATCH_ROOM, .kind = FRAME_PATCH};
    }
    return TIDE_OK;
}

/* First the bases in the order of jobs (a zero block wants nothing), then the patches in the same order. */
static tide_status want_all(struct block_reader *b, struct tide_err *err)
{
    b->n_wants = 0;
    for (size_t i = 0; i < b->n_jobs; i++) {
        struct block_job *j = &b->jobs[i];
        j->failed = false;
        if (j->entry->kind == BLOCK_ZERO) {
            memset(j->out, 0, j->len);
            continue;
        }
        bool patched = j->entry->kind == BLOCK_PATCHED;
        b->wants[b->n_wants++] = (struct pack_want){.ref = &j->entry->base,
                                                    .hash = patched ? NULL : j->entry->base.hash,
                                                    .out = j->out,
                                                    .size = patched ? TREE_BLOCK : j->len,
                                                    .kind = FRAME_DATA};
    }
    return want_patches(b, err);
}

/* A job by the frame that was wanted for it. */
static struct block_job *job_of(struct block_reader *b, const struct pack_want *w)
{
    for (size_t i = 0; i < b->n_jobs; i++) {
        if (w->ref == &b->jobs[i].entry->base || w->ref == &b->jobs[i].entry->patch)
            return &b->jobs[i];
    }
    return NULL;
}

static void want_failed(void *ctx, const struct pack_want *w, const char *key, const struct tide_err *why)
{
    struct block_reader *b = ctx;
    struct block_job *j = job_of(b, w);
    if (j == NULL || j->failed)
        return;
    j->failed = true;
    b->bad(b->bad_ctx, j, key, why);
}

/* A frame that proved, but holds what the map does not mean. */
static tide_status blame_job(struct block_reader *b, struct block_job *j, const struct pack_ref *ref, tide_status s,
                             struct tide_err *why, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    pack_key(pack_source_instance(pack_reader_source(b->packs)), ref->pack, key);
    s = tide_wrap(why, s, "object \"%s\": frame %u", key, ref->frame.number);
    if (b->bad == NULL) {
        if (err != NULL)
            *err = *why;
        return s;
    }
    j->failed = true;
    b->bad(b->bad_ctx, j, key, why);
    return TIDE_OK;
}

static tide_status lay_patch(uint64_t seed, const struct block_job *j, const struct pack_want *base,
                             const struct pack_want *patch, struct tide_err *why)
{
    struct patch p;
    uint8_t hash[FRAME_HASH_SIZE];
    tide_status s = patch_decode(patch->out, patch->len, &p, why);
    if (s != TIDE_OK)
        return s;
    frame_hash(seed, base->out, base->len, hash);
    if (memcmp(hash, p.base_hash, sizeof hash) != 0)
        return tide_fail(why, TIDE_CORRUPT, "the patch belongs to another base");
    if (p.block_len != j->len)
        return tide_fail(why, TIDE_CORRUPT, "the patch makes a block of %u bytes, not %zu", p.block_len, j->len);
    patch_apply(&p, j->out, base->len);
    frame_hash(seed, j->out, j->len, hash);
    if (memcmp(hash, j->entry->base.hash, sizeof hash) != 0)
        return tide_fail(why, TIDE_CORRUPT, "the patched block is not what was referred to");
    return TIDE_OK;
}

static tide_status finish_jobs(struct block_reader *b, struct tide_err *err)
{
    uint64_t seed = pack_source_seed(pack_reader_source(b->packs));
    const struct pack_want *w = b->wants;
    size_t first_patch = 0, k = 0;
    for (size_t i = 0; i < b->n_jobs; i++)
        first_patch += b->jobs[i].entry->kind != BLOCK_ZERO;
    for (size_t i = 0; i < b->n_jobs; i++) {
        struct block_job *j = &b->jobs[i];
        struct tide_err why = TIDE_ERR_INIT;
        tide_status s = TIDE_OK;
        const struct pack_ref *blame = &j->entry->base;
        if (j->entry->kind == BLOCK_ZERO)
            continue;
        const struct pack_want *base = w++;
        const struct pack_want *patch = j->entry->kind == BLOCK_PATCHED ? &b->wants[first_patch + k++] : NULL;
        if (j->failed)
            continue;
        if (patch != NULL) {
            blame = &j->entry->patch;
            s = lay_patch(seed, j, base, patch, &why);
        } else if (base->len != j->len) {
            s = tide_fail(&why, TIDE_CORRUPT, "%zu bytes where %zu belong", base->len, j->len);
        }
        if (s != TIDE_OK)
            s = blame_job(b, j, blame, s, &why, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

tide_status block_reader_fetch(struct block_reader *b, struct block_job *jobs, size_t n, block_bad_fn *bad, void *ctx,
                               struct tide_err *err)
{
    b->jobs = jobs;
    b->n_jobs = n;
    b->bad = bad;
    b->bad_ctx = ctx;
    tide_status s = reserve_wants(b, n, err);
    if (s == TIDE_OK)
        s = want_all(b, err);
    if (s == TIDE_OK)
        s = pack_reader_fetch(b->packs, b->wants, b->n_wants, bad == NULL ? NULL : want_failed, b, err);
    return s != TIDE_OK ? s : finish_jobs(b, err);
}

tide_status block_reader_leaf(struct block_reader *b, const struct leaf_ref *ref, uint64_t file_size, uint32_t number,
                              struct leaf *out, struct tide_err *err)
{
    uint32_t n = tree_blocks_of_leaf(file_size, number);
    if (ref->kind == LEAF_ZERO) {
        out->n = n;
        memset(out->blocks, 0, n * sizeof out->blocks[0]);
        return TIDE_OK;
    }
    tide_buf_reset(&b->plain);
    tide_status s = pack_reader_frame(b->packs, &ref->ref, FRAME_LEAF, ref->ref.hash, &b->plain, err);
    if (s != TIDE_OK)
        return s;
    s = leaf_decode(b->plain.data, b->plain.len, out, err);
    if (s == TIDE_OK && out->n != n)
        s = tide_fail(err, TIDE_CORRUPT, "a map leaf has %u blocks where %u belong", out->n, n);
    if (s == TIDE_OK)
        return s;
    char key[REPO_KEY_MAX];
    pack_key(pack_source_instance(pack_reader_source(b->packs)), ref->ref.pack, key);
    return tide_wrap(err, s, "object \"%s\": frame %u", key, ref->ref.frame.number);
}
