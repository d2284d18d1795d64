#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/tree_internal.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define INTENT_AGE_US (7 * 24 * 3600 * TIDE_SECOND_US)
#define CLOCK_APART   (3600 * TIDE_SECOND_US) /* between us and the store */
#define INTENTS_MAX   64u
#define GROUPS_MAX    (2u << 20) /* 32 MB; what lies beyond is stored again */
#define PACKS_MAX     (1u << 20)

/* A pack of a killed backup, and its notes. */
struct left_pack {
    uint8_t id[OBJECT_ID_SIZE];
    struct frame_ref notes;
};

/* One group in the notes of a pack: the blocks of one leaf of one file. */
struct group {
    uint64_t hash; /* of name and leaf; the notes themselves decide */
    uint32_t pack, offset;
};

struct resume {
    char intents[INTENTS_MAX][BACKUP_ID_MAX];
    unsigned n_intents;
    int64_t since_us;
    struct left_pack *packs;
    size_t n_packs, packs_size;
    struct group *groups;
    size_t n_groups, groups_size;
};

tide_status resume_new(struct resume **out, struct tide_err *err)
{
    *out = calloc(1, sizeof **out);
    return *out != NULL ? TIDE_OK : tide_fail(err, TIDE_NO_MEMORY, "out of memory for a backup");
}

void resume_free(struct resume *x)
{
    if (x == NULL)
        return;
    free(x->packs);
    free(x->groups);
    free(x);
}

/* ------------------------------------------------------------------ intents */

struct find {
    struct resume *x;
    struct repo *repo;
    const char *instance, *own_id;
    int64_t not_before_us;
};

static tide_status see_intent(void *ctx, const struct intent *i, struct tide_err *err)
{
    struct find *f = ctx;
    char key[REPO_KEY_MAX];
    uint64_t size = 0;
    int64_t mtime = 0;
    struct tide_err why = TIDE_ERR_INIT;
    if (i->started_us < f->not_before_us || strcmp(i->id, f->own_id) == 0 || f->x->n_intents == INTENTS_MAX)
        return TIDE_OK;
    (void)snprintf(key, sizeof key, "instances/%s/backups/%s", f->instance, i->id);
    tide_status s = store_head(repo_store(f->repo), key, &size, &mtime, &why);
    if (s == TIDE_OK)
        return TIDE_OK; /* it was committed: the parent, or nothing to do with us */
    if (s != TIDE_NOT_FOUND) {
        if (err != NULL)
            *err = why;
        return s;
    }
    if (f->x->n_intents == 0 || i->started_us < f->x->since_us)
        f->x->since_us = i->started_us;
    (void)snprintf(f->x->intents[f->x->n_intents++], BACKUP_ID_MAX, "%s", i->id);
    return TIDE_OK;
}

tide_status resume_find_intents(struct resume *x, struct repo *r, const char *instance, const char *own_id, bool *any,
                                struct tide_err *err)
{
    struct find f = {.x = x, .repo = r, .instance = instance, .own_id = own_id};
    f.not_before_us = tide_now_us() - INTENT_AGE_US;
    tide_status s = intent_list(r, instance, see_intent, &f, err);
    *any = x->n_intents > 0;
    return s;
}

/* ------------------------------------------------------------------ packs */

tide_status resume_see_pack(void *ctx, const uint8_t id[OBJECT_ID_SIZE], int64_t mtime_us, struct tide_err *err)
{
    struct resume *x = ctx;
    if (mtime_us < x->since_us - CLOCK_APART || x->n_packs == PACKS_MAX)
        return TIDE_OK;
    if (x->n_packs == x->packs_size) {
        size_t size = x->packs_size == 0 ? 64 : 2 * x->packs_size;
        struct left_pack *packs = realloc(x->packs, size * sizeof *packs);
        if (packs == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the packs of a killed backup");
        x->packs = packs;
        x->packs_size = size;
    }
    memcpy(x->packs[x->n_packs++].id, id, OBJECT_ID_SIZE);
    return TIDE_OK;
}

static bool is_of_intent(const struct resume *x, const struct object_header *h)
{
    for (unsigned i = 0; i < x->n_intents; i++) {
        if (h->ext_len == strlen(x->intents[i]) && memcmp(h->ext, x->intents[i], h->ext_len) == 0)
            return true;
    }
    return false;
}

static uint64_t group_hash(const char *name, uint32_t leaf)
{
    return XXH3_64bits_withSeed(name, strlen(name), leaf);
}

static tide_status add_group(struct resume *x, const struct group *g, struct tide_err *err)
{
    if (x->n_groups == x->groups_size) {
        size_t size = x->groups_size == 0 ? 1024 : 2 * x->groups_size;
        struct group *groups = realloc(x->groups, size * sizeof *groups);
        if (groups == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the blocks of a killed backup");
        x->groups = groups;
        x->groups_size = size;
    }
    x->groups[x->n_groups++] = *g;
    return TIDE_OK;
}

static tide_status take_notes(struct resume *x, uint32_t pack, const struct tide_buf *notes, uint32_t hash_epoch,
                              struct tide_err *err)
{
    struct tide_cursor c;
    uint32_t epoch = 0;
    TIDE_AUTO(tide_freep) struct pack_note *note = malloc(sizeof *note);
    if (note == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the blocks of a killed backup");
    tide_status s = pack_notes_begin(notes->data, notes->len, &epoch, &c, err);
    if (s != TIDE_OK || epoch != hash_epoch)
        return s;
    while (x->n_groups < GROUPS_MAX) {
        struct group g = {.pack = pack, .offset = (uint32_t)(notes->len - c.left)};
        s = pack_notes_next(&c, note, err);
        if (s != TIDE_OK)
            return s == TIDE_NOT_FOUND ? TIDE_OK : s;
        g.hash = group_hash(note->name, note->leaf);
        s = add_group(x, &g, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

/* The notes are the last frame before the index. */
static tide_status read_notes(struct object_reader *o, struct frame_coder *coder, struct frame_ref *at,
                              struct tide_buf *notes, struct tide_err *err)
{
    struct frame_ref *refs = NULL;
    struct frame_info info = {0};
    size_t n = 0;
    tide_status s = object_reader_index(o, coder, &refs, &n, err);
    if (s == TIDE_OK && n > 0) {
        *at = refs[n - 1];
        s = object_reader_frame(o, coder, at, notes, &info, err);
    }
    free(refs);
    if (s == TIDE_OK && info.kind != FRAME_META)
        tide_buf_reset(notes); /* a pack of tables only */
    return s;
}

static tide_status load_pack(struct resume *x, struct pack_source *source, uint32_t i, uint32_t hash_epoch,
                             struct frame_coder *coder, struct tide_buf *notes, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    struct object_reader *o = NULL;
    pack_key(pack_source_instance(source), x->packs[i].id, key);
    tide_status s = object_reader_open(pack_source_repo(source), key, OBJECT_PACK, &o, err);
    if (s == TIDE_OK && is_of_intent(x, object_reader_header(o))) {
        tide_buf_reset(notes);
        s = read_notes(o, coder, &x->packs[i].notes, notes, err);
        if (s == TIDE_OK && notes->len > 0)
            s = take_notes(x, i, notes, hash_epoch, err);
    }
    object_reader_close(o);
    return s;
}

static int compare_groups(const void *a, const void *b)
{
    const struct group *x = a, *y = b;
    return x->hash < y->hash ? -1 : x->hash > y->hash;
}

tide_status resume_load(struct resume *x, struct pack_source *source, uint32_t hash_epoch, struct tide_err *err)
{
    struct frame_coder *coder = NULL;
    TIDE_AUTO(tide_buf_clear) struct tide_buf notes = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    tide_status s = frame_coder_new(FRAME_ZSTD, 1, &coder, err);
    for (uint32_t i = 0; s == TIDE_OK && i < x->n_packs; i++) {
        struct tide_err why = TIDE_ERR_INIT;
        s = load_pack(x, source, i, hash_epoch, coder, &notes, &why);
        /* What cannot be read is not reused; that is all. */
        if (pack_is_damage(s, &why)) {
            TIDE_LOG(TIDE_LOG_WARN, "backup.resume.skipped", TIDE_STR("error", why.msg));
            s = TIDE_OK;
        }
        if (s != TIDE_OK && err != NULL)
            *err = why;
    }
    frame_coder_free(coder);
    if (s == TIDE_OK && x->n_groups > 0)
        qsort(x->groups, x->n_groups, sizeof *x->groups, compare_groups);
    if (s == TIDE_OK)
        TIDE_LOG(TIDE_LOG_INFO, "backup.resume", TIDE_U64("packs", x->n_packs), TIDE_U64("ranges", x->n_groups));
    return s;
}

/* ------------------------------------------------------------------ looking up */

static size_t first_group(const struct resume *x, uint64_t hash)
{
    size_t low = 0, high = x->n_groups;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (x->groups[mid].hash < hash)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

static tide_status cache_notes(const struct resume *x, struct pack_reader *r, struct resume_cache *cache,
                               uint32_t pack, struct tide_err *err)
{
    if (cache->valid && cache->pack == pack)
        return TIDE_OK;
    struct pack_ref ref = {.frame = x->packs[pack].notes};
    memcpy(ref.pack, x->packs[pack].id, sizeof ref.pack);
    cache->valid = false;
    tide_buf_reset(&cache->notes);
    tide_status s = pack_reader_frame(r, &ref, FRAME_META, NULL, &cache->notes, err);
    cache->valid = s == TIDE_OK;
    cache->pack = pack;
    return s;
}

static void take_leaf(struct pack_reader *r, const struct pack_ref *ref, struct leaf *l)
{
    struct tide_err why = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    TIDE_AUTO(tide_freep) struct leaf *stored = malloc(sizeof *stored);
    tide_status s = stored == NULL ? TIDE_NO_MEMORY : pack_reader_frame(r, ref, FRAME_LEAF, ref->hash, &plain, &why);
    if (s == TIDE_OK)
        s = leaf_decode(plain.data, plain.len, stored, &why);
    for (uint32_t i = 0; s == TIDE_OK && i < stored->n; i++) {
        if (stored->blocks[i].kind == BLOCK_BASE)
            l->blocks[i] = stored->blocks[i];
    }
}

static void take_group(const struct resume *x, struct pack_reader *r, const struct group *g,
                       const struct pack_note *note, struct leaf *l)
{
    for (uint32_t i = 0; i < note->n; i++) {
        struct pack_ref ref;
        memcpy(ref.pack, x->packs[g->pack].id, sizeof ref.pack);
        uint32_t block = pack_note_block(note, i, &ref);
        if (block == PACK_NOTE_LEAF) {
            take_leaf(r, &ref, l);
        } else if (block < TREE_LEAF_BLOCKS) {
            l->blocks[block].kind = BLOCK_BASE;
            l->blocks[block].base = ref;
        }
    }
}

tide_status resume_leaf(const struct resume *x, struct pack_reader *r, struct resume_cache *cache, const char *name,
                        uint32_t leaf, struct leaf *l, bool *found, struct tide_err *err)
{
    uint64_t hash = group_hash(name, leaf);
    TIDE_AUTO(tide_freep) struct pack_note *note = NULL;
    *found = false;
    for (size_t i = first_group(x, hash); i < x->n_groups && x->groups[i].hash == hash; i++) {
        const struct group *g = &x->groups[i];
        struct tide_err why = TIDE_ERR_INIT;
        if (note == NULL && (note = malloc(sizeof *note)) == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", name);
        tide_status s = cache_notes(x, r, cache, g->pack, &why);
        if (s == TIDE_OK) {
            struct tide_cursor c = tide_cursor_of(cache->notes.data + g->offset, cache->notes.len - g->offset);
            s = pack_notes_next(&c, note, &why);
        }
        if (s != TIDE_OK) /* gone since it was listed */
            continue;
        if (note->leaf != leaf || strcmp(note->name, name) != 0)
            continue;
        if (!*found)
            memset(l->blocks, 0, sizeof l->blocks);
        *found = true;
        take_group(x, r, g, note, l);
    }
    return TIDE_OK;
}
