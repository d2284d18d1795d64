#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/tree_internal.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MEMORY  (24u << 20)
#define PARENT_CACHE    (24u << 20)
#define BATCH_FILES     64u
#define BATCH_BYTES     (4u << 20)
#define GATHER_FILES    8192u
#define GATHER_BYTES    (256u << 20)
#define SMALL_LARGEST   (1u << 20) /* larger files are a task of their own */
#define TASKS_PER_JOB   4u
#define DAMAGE_REPORTED 1000u

/* Small files that one worker reads one after the other. */
struct tree_batch {
    struct source_file *files[BATCH_FILES];
    unsigned n;
    uint64_t bytes;
};

/*
 * Small files wait until there are many, and go on in order of their names: directories are read in no order, and
 * looking up the parent's entries one here, one there would read its table over and over.
 */
struct tree_gather {
    struct source_file *files[GATHER_FILES];
    unsigned n;
    uint64_t bytes;
};

struct read_task {
    struct tree_writer *w;
    struct tree_batch *batch;
    struct source_file *file; /* instead: one leaf of it */
    uint32_t leaf;
};

/* ------------------------------------------------------------------ what lanes ask */

uint32_t tree_next_seq(struct tree_writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    uint32_t seq = ++w->seq;
    (void)pthread_mutex_unlock(&w->lock);
    return seq;
}

struct tide_pos tree_start(struct tree_writer *w)
{
    (void)pthread_mutex_lock(&w->lock);
    struct tide_pos start = w->start;
    (void)pthread_mutex_unlock(&w->lock);
    return start;
}

void tree_progress(struct tree_writer *w, uint64_t bytes)
{
    uint64_t done = atomic_fetch_add(&w->bytes_done, bytes) + bytes;
    if (bytes > 0 && w->o.progress != NULL)
        w->o.progress(w->o.progress_ctx, done);
}

tide_status tree_check_cancel(const struct tree_writer *w, struct tide_err *err)
{
    return tide_cancel_is_set(w->o.cancel) ? tide_fail(err, TIDE_CANCELLED, "the backup was cancelled") : TIDE_OK;
}

static tide_status add_damage(struct tree_writer *w, const char *file, uint64_t first_page,
                              const struct tide_block_verdict *v, struct tide_err *err)
{
    uint32_t n = v->n_bad < TIDE_BLOCK_MAX_PAGES ? v->n_bad : TIDE_BLOCK_MAX_PAGES;
    w->damaged_pages += v->n_bad;
    for (uint32_t i = 0; i < n && json_array_size(w->damage) < DAMAGE_REPORTED; i++) {
        json_int_t number = (json_int_t)(first_page + v->bad_pages[i]);
        json_t *page = json_pack("{s:s, s:I}", "file", file, "page", number);
        if (page == NULL) /* JSON holds no name that is not UTF-8 */
            page = json_pack("{s:s, s:I}", "file", "?", "page", number);
        if (page == NULL || json_array_append_new(w->damage, page) != 0)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of damaged pages");
    }
    return TIDE_OK;
}

tide_status tree_damage(struct tree_writer *w, const char *file, uint64_t first_page,
                        const struct tide_block_verdict *v, struct tide_err *err)
{
    (void)pthread_mutex_lock(&w->lock);
    tide_status s = add_damage(w, file, first_page, v, err);
    (void)pthread_mutex_unlock(&w->lock);
    return s;
}

void tree_item_of(const struct tide_file *f, struct tree_item *i)
{
    (void)snprintf(i->name, sizeof i->name, "%s", f->name);
    (void)snprintf(i->link, sizeof i->link, "%s", f->link == NULL ? "" : f->link);
    (void)snprintf(i->owner, sizeof i->owner, "%s", f->owner == NULL ? "" : f->owner);
    (void)snprintf(i->group, sizeof i->group, "%s", f->group == NULL ? "" : f->group);
    i->kind = f->kind;
    i->flags = f->flags;
    i->mode = f->mode;
    i->mtime_us = f->mtime_us;
}

size_t tree_record_key(const char *name, uint32_t seq, uint32_t index, uint8_t *key)
{
    size_t len = tree_item_key(name, UINT32_MAX - seq, key);
    tide_put_be32(key + len, index);
    return len + 4;
}

/* ------------------------------------------------------------------ tasks */

static void batch_free(struct tree_batch *b)
{
    for (unsigned i = 0; b != NULL && i < b->n; i++)
        source_file_release(b->files[i]);
    free(b);
}

static void drop_task(void *task)
{
    struct read_task *t = task;
    batch_free(t->batch);
    source_file_release(t->file);
    free(t);
}

static tide_status run_task(void *task, unsigned worker, struct tide_err *err)
{
    struct read_task *t = task;
    struct tree_lane *l = &t->w->lanes[worker];
    if (t->file != NULL)
        return source_read_leaf(l, t->file, t->leaf, err);
    for (unsigned i = 0; i < t->batch->n; i++) {
        tide_status s = tree_check_cancel(t->w, err);
        if (s == TIDE_OK)
            s = source_read_small(l, t->batch->files[i], err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

/* Takes batch, or a use of file, over in any case. */
static tide_status submit(struct tree_writer *w, struct tree_batch *batch, struct source_file *file, uint32_t leaf,
                          struct tide_err *err)
{
    struct read_task *t = malloc(sizeof *t);
    if (t == NULL) {
        batch_free(batch);
        source_file_release(file);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a task");
    }
    *t = (struct read_task){.w = w, .batch = batch, .file = file, .leaf = leaf};
    return tide_pool_submit(w->pool, t, err);
}

static tide_status submit_large(struct tree_writer *w, struct source_file *f, struct tide_err *err)
{
    uint32_t n = tree_leaves_of(f->f.size);
    tide_status s = TIDE_OK;
    for (uint32_t i = 0; s == TIDE_OK && i < n; i++) {
        atomic_fetch_add(&f->users, 1);
        s = submit(w, NULL, f, i, err);
    }
    source_file_release(f);
    return s;
}

static void gather_free(struct tree_gather *g)
{
    for (unsigned i = 0; g != NULL && i < g->n; i++)
        source_file_release(g->files[i]);
    free(g);
}

static int compare_names(const void *a, const void *b)
{
    struct source_file *x, *y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return strcmp(x->f.name, y->f.name);
}

static tide_status submit_batch(struct tree_writer *w, struct tree_gather *g, unsigned *first, struct tide_err *err)
{
    struct tree_batch *b = calloc(1, sizeof *b);
    if (b == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a task");
    while (*first < g->n && b->n < BATCH_FILES && b->bytes < BATCH_BYTES) {
        struct source_file *f = TIDE_TAKE(g->files[*first]);
        ++*first;
        b->files[b->n++] = f;
        b->bytes += f->f.size;
    }
    return submit(w, b, NULL, TREE_NO_LEAF, err);
}

/* Hands out what was gathered.  Takes g over in any case. */
static tide_status submit_gathered(struct tree_writer *w, struct tree_gather *g, struct tide_err *err)
{
    tide_status s = TIDE_OK;
    if (g == NULL)
        return TIDE_OK;
    qsort(g->files, g->n, sizeof(struct source_file *), compare_names);
    for (unsigned i = 0; s == TIDE_OK && i < g->n;)
        s = submit_batch(w, g, &i, err);
    gather_free(g);
    return s;
}

/* With the lock held: adds f to those that wait; *full when it is time to hand them out. */
static tide_status gather(struct tree_writer *w, struct source_file *f, struct tree_gather **full,
                          struct tide_err *err)
{
    if (w->gather == NULL)
        w->gather = calloc(1, sizeof *w->gather);
    if (w->gather == NULL) {
        source_file_release(f);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a task");
    }
    w->gather->files[w->gather->n++] = f;
    w->gather->bytes += f->f.size;
    if (w->gather->n == GATHER_FILES || w->gather->bytes >= GATHER_BYTES)
        *full = TIDE_TAKE(w->gather);
    return TIDE_OK;
}

static tide_status add_without_content(struct tree_writer *w, const struct tide_file *f, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tree_item *item = calloc(1, sizeof *item);
    if (item == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an entry");
    tree_item_of(f, item);
    uint32_t seq = tree_next_seq(w);
    (void)pthread_mutex_lock(&w->stream_lock);
    tide_status s = lane_item(&w->lanes[w->n_lanes - 1], item, seq, false, err);
    (void)pthread_mutex_unlock(&w->stream_lock);
    return s;
}

static tide_status check_file(const struct tide_file *f, struct tide_err *err)
{
    tide_status s = tree_name_check(f->name, err);
    if (s != TIDE_OK)
        return s;
    if (f->kind < TIDE_FILE_REGULAR || f->kind > TIDE_FILE_SYMLINK)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is of kind %u", f->name, f->kind);
    if ((f->link != NULL && strlen(f->link) >= TREE_NAME_MAX) ||
        (f->owner != NULL && strlen(f->owner) >= TREE_OWNER_MAX) ||
        (f->group != NULL && strlen(f->group) >= TREE_OWNER_MAX))
        return tide_fail(err, TIDE_INVALID, "the link or the owner of \"%s\" is too long", f->name);
    if (f->size / TREE_LEAF_SIZE >= UINT32_MAX - 1)
        return tide_fail(err, TIDE_UNSUPPORTED, "\"%s\" is too large", f->name);
    if (f->kind == TIDE_FILE_REGULAR && f->size > 0 && f->source == NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\" has nothing to be read from", f->name);
    return TIDE_OK;
}

tide_status tree_writer_file(struct tree_writer *w, const struct tide_file *f, struct tide_err *err)
{
    struct source_file *file = NULL;
    struct tree_gather *full = NULL;
    tide_status s = check_file(f, err);
    if (s == TIDE_OK)
        s = tree_check_cancel(w, err);
    if (s == TIDE_OK)
        s = tide_pool_status(w->pool, err);
    if (s != TIDE_OK)
        return s;
    if (f->kind != TIDE_FILE_REGULAR || f->size == 0)
        return add_without_content(w, f, err);
    s = source_file_new(w, f, &file, err);
    if (s != TIDE_OK)
        return s;
    if (f->size > SMALL_LARGEST)
        return submit_large(w, file, err);
    (void)pthread_mutex_lock(&w->lock);
    s = gather(w, file, &full, err);
    (void)pthread_mutex_unlock(&w->lock);
    return s == TIDE_OK ? submit_gathered(w, full, err) : s;
}

tide_status tree_writer_drain(struct tree_writer *w, struct tide_err *err)
{
    (void)pthread_mutex_lock(&w->lock);
    struct tree_gather *rest = TIDE_TAKE(w->gather);
    (void)pthread_mutex_unlock(&w->lock);
    tide_status s = submit_gathered(w, rest, err);
    return s != TIDE_OK ? s : tide_pool_wait(w->pool, err);
}

void tree_writer_set_start(struct tree_writer *w, struct tide_pos start)
{
    (void)pthread_mutex_lock(&w->lock);
    w->start = start;
    (void)pthread_mutex_unlock(&w->lock);
}

/* ------------------------------------------------------------------ life */

static void see_parent(struct tree_writer *w, const struct backup *parent)
{
    /* Hashes of two epochs do not compare: the seed is the parent's as long as its key is held. */
    uint64_t seed = 0;
    struct tide_err why = TIDE_ERR_INIT;
    w->hash_epoch = repo_epoch(w->o.repo);
    if (parent == NULL)
        return;
    if (repo_hash_seed(w->o.repo, parent->hash_epoch, &seed, &why) == TIDE_OK) {
        w->hash_epoch = parent->hash_epoch;
        return;
    }
    TIDE_LOG(TIDE_LOG_WARN, "backup.parent.unusable", TIDE_STR("parent", parent->id), TIDE_STR("error", why.msg));
    w->o.parent = NULL;
}

/* What may be reused: packs of the parent, and of backups that were killed. */
static tide_status open_past(struct tree_writer *w, struct tide_err *err)
{
    bool any = false;
    struct resume *x = NULL;
    tide_status s = resume_new(&x, err);
    if (s == TIDE_OK)
        s = resume_find_intents(x, w->o.repo, w->instance, w->id, &any, err);
    if (s == TIDE_OK && (any || w->o.parent != NULL))
        s = known_packs_load(w->o.repo, w->instance, &w->known, any ? resume_see_pack : NULL, x, err);
    if (s == TIDE_OK && any)
        s = resume_load(x, w->source, w->hash_epoch, err);
    if (s == TIDE_OK && any)
        w->resume = TIDE_TAKE(x);
    resume_free(x);
    if (s == TIDE_OK && w->o.parent != NULL)
        s = table_open(w->source, &w->o.parent->files, TABLE_FILES, PARENT_CACHE, &w->old_files, err);
    return s;
}

static tide_status open_lanes(struct tree_writer *w, struct tide_err *err)
{
    w->n_lanes = w->o.jobs + 1;
    w->lanes = calloc(w->n_lanes, sizeof *w->lanes);
    if (w->lanes == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for %u jobs", w->o.jobs);
    tide_status s = TIDE_OK;
    for (unsigned i = 0; s == TIDE_OK && i < w->n_lanes; i++)
        s = lane_init(&w->lanes[i], w, err);
    return s;
}

static tide_status writer_open(struct tree_writer *w, struct tide_err *err)
{
    see_parent(w, w->o.parent);
    tide_status s = repo_hash_seed(w->o.repo, w->hash_epoch, &w->seed, err);
    if (s == TIDE_OK)
        s = pack_source_new(w->o.repo, w->instance, w->hash_epoch, &w->source, err);
    if (s == TIDE_OK)
        s = open_past(w, err);
    if (s == TIDE_OK)
        s = sorter_new(RECORDS_MEMORY, NULL, &w->records, err);
    if (s == TIDE_OK)
        s = open_lanes(w, err);
    if (s == TIDE_OK)
        s = tide_pool_new(w->o.jobs, (size_t)w->o.jobs * TASKS_PER_JOB, run_task, drop_task, &w->pool, err);
    return s;
}

tide_status tree_writer_new(const struct tree_writer_options *o, struct tree_writer **out, struct tide_err *err)
{
    struct tree_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a backup");
    w->o = *o;
    w->o.jobs = o->jobs == 0 ? 1 : o->jobs > 64 ? 64 : o->jobs;
    w->start = o->backup_start;
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)pthread_mutex_init(&w->stream_lock, NULL);
    (void)snprintf(w->instance, sizeof w->instance, "%s", o->instance);
    (void)snprintf(w->id, sizeof w->id, "%s", o->id);
    w->damage = json_array();
    tide_status s = w->damage == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory for a backup") : TIDE_OK;
    if (s == TIDE_OK)
        s = writer_open(w, err);
    if (s != TIDE_OK) {
        tree_writer_free(w);
        return s;
    }
    *out = w;
    return TIDE_OK;
}

void tree_writer_free(struct tree_writer *w)
{
    if (w == NULL)
        return;
    tide_pool_free(w->pool);
    gather_free(w->gather);
    for (unsigned i = 0; i < w->n_lanes && w->lanes != NULL; i++)
        lane_clear(&w->lanes[i]);
    free(w->lanes);
    tree_streams_clear(w);
    sorter_free(w->records);
    table_close(w->old_files);
    resume_free(w->resume);
    known_packs_clear(&w->known);
    pack_source_free(w->source);
    json_decref(w->damage);
    (void)pthread_mutex_destroy(&w->lock);
    (void)pthread_mutex_destroy(&w->stream_lock);
    free(w);
}
