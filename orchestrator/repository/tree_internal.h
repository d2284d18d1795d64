#ifndef TIDE_REPOSITORY_TREE_INTERNAL_H
#define TIDE_REPOSITORY_TREE_INTERNAL_H

/*
 * How a tree is written.  For tree_*.c only.
 *
 *   tree_writer.c   the sink's calls; files become tasks of a pool
 *   tree_source.c   a worker reads one task's file, block by block
 *   tree_stream.c   files whose bytes are handed over
 *   tree_lane.c     one thread's way into packs: block by block, leaf by leaf
 *   tree_reuse.c    what the parent has, and which packs may be referred to
 *   tree_resume.c   what a killed backup left behind
 *   tree_finish.c   from the records of all lanes to the two tables
 */

#include "orchestrator/repository/sorter.h"
#include "orchestrator/repository/tree_item.h"
#include <jansson.h>
#include <pthread.h>

#define TREE_CHUNK (1u << 20) /* read at once; a multiple of TREE_BLOCK */

/* ---- which packs may be referred to: they exist, are long enough, and have no tombstone */

struct known_pack {
    uint8_t id[OBJECT_ID_SIZE];
    uint64_t size; /* UINT64_MAX: repacked */
};

struct known_packs {
    struct known_pack *items; /* in order of ids */
    size_t n, size;
};

typedef tide_status known_pack_fn(void *ctx, const uint8_t id[OBJECT_ID_SIZE], int64_t mtime_us,
                                  struct tide_err *err);
/* seen (may be NULL) is told of every pack object. */
tide_status known_packs_load(struct repo *r, const char *instance, struct known_packs *k, known_pack_fn *seen,
                             void *ctx, struct tide_err *err) TIDE_MUST_CHECK;
void known_packs_clear(struct known_packs *k);
bool known_packs_usable(const struct known_packs *k, const struct pack_ref *ref);
typedef tide_status pack_id_fn(void *ctx, const uint8_t id[OBJECT_ID_SIZE], struct tide_err *err);
/* Every pack that has a tombstone, in no order. */
tide_status tombstoned_packs(struct repo *r, const char *instance, pack_id_fn *fn, void *ctx,
                             struct tide_err *err) TIDE_MUST_CHECK;

/* ---- what killed backups left: blocks by file and leaf */

struct resume;

tide_status resume_new(struct resume **out, struct tide_err *err) TIDE_MUST_CHECK;
void resume_free(struct resume *x);
/* Finds intents without a backup, younger than 7 days; *any tells whether there are some. */
tide_status resume_find_intents(struct resume *x, struct repo *r, const char *instance, const char *own_id, bool *any,
                                struct tide_err *err) TIDE_MUST_CHECK;
/* A known_pack_fn: keeps packs that may belong to one of these intents in mind. */
tide_status resume_see_pack(void *ctx, const uint8_t id[OBJECT_ID_SIZE], int64_t mtime_us,
                            struct tide_err *err) TIDE_MUST_CHECK;
/* Reads the notes of those that do. */
tide_status resume_load(struct resume *x, struct pack_source *source, uint32_t hash_epoch,
                        struct tide_err *err) TIDE_MUST_CHECK;
/* The notes frame that a lane read last. */
struct resume_cache {
    struct tide_buf notes;
    uint32_t pack;
    bool valid;
};
/* Fills l->blocks with BLOCK_BASE where something is known, BLOCK_ZERO elsewhere; *found tells whether there is any.
 */
tide_status resume_leaf(const struct resume *x, struct pack_reader *r, struct resume_cache *cache, const char *name,
                        uint32_t leaf, struct leaf *l, bool *found, struct tide_err *err) TIDE_MUST_CHECK;

/* ---- one thread's way into packs */

struct tree_lane {
    struct tree_writer *w;
    struct pack_writer *pack;
    struct pack_reader *reader;
    uint8_t *chunk; /* TREE_CHUNK bytes */
    struct tide_buf value, plain;
    struct resume_cache notes;
    /* the leaf that is being made */
    char name[TREE_NAME_MAX];
    uint32_t number, same;
    struct leaf now, old, prior;
    bool have_old, have_prior;
    struct leaf_ref old_ref;
};

tide_status lane_init(struct tree_lane *l, struct tree_writer *w, struct tide_err *err) TIDE_MUST_CHECK;
void lane_clear(struct tree_lane *l);
tide_status lane_begin(struct tree_lane *l, const char *name, uint32_t leaf, struct tide_err *err) TIDE_MUST_CHECK;
/* The next block of the leaf. */
tide_status lane_block(struct tree_lane *l, const void *data, size_t len, struct tide_err *err) TIDE_MUST_CHECK;
void lane_zero_block(struct tree_lane *l);
/* Stores the leaf, or refers to the parent's, and hands its record to the sorter. */
tide_status lane_end(struct tree_lane *l, uint32_t seq, struct tide_err *err) TIDE_MUST_CHECK;
/* The entry of the file (attributes in item; its block, when it is one block: then lane_end is not called). */
tide_status lane_item(struct tree_lane *l, struct tree_item *item, uint32_t seq, bool dropped,
                      struct tide_err *err) TIDE_MUST_CHECK;

/* ---- the writer */

struct tree_gather;

struct tree_writer {
    struct tree_writer_options o;
    char instance[REPO_NAME_MAX + 1], id[BACKUP_ID_MAX];
    uint32_t hash_epoch;
    uint64_t seed;
    struct pack_counters counters;
    struct pack_source *source;
    struct known_packs known;
    struct table *old_files; /* the parent's */
    struct resume *resume;   /* NULL: nothing to resume */
    struct sorter *records;
    struct tide_pool *pool;
    struct tree_lane *lanes; /* one a job, and one for handed-over bytes */
    unsigned n_lanes;
    _Atomic uint64_t bytes_done;
    _Atomic uint64_t unreadable; /* leaves of the parent that could not be compared with */
    pthread_mutex_t lock;
    /* under lock */
    uint32_t seq;
    struct tree_gather *gather; /* small files that wait for company */
    json_t *damage;
    uint64_t damaged_pages;
    struct tide_pos start;
    /* handed-over bytes, one at a time */
    pthread_mutex_t stream_lock;
    struct tree_stream *streams;
    unsigned n_streams;
};

#define TREE_NO_LEAF UINT32_MAX
/* Key of a record: name, NUL, newest seq first, 0 for the entry or leaf + 1.  Room for SORTER_KEY_MAX. */
size_t tree_record_key(const char *name, uint32_t seq, uint32_t index, uint8_t *key);

/* A parent's leaf; *found false when it has none there, or it is damaged. */
tide_status tree_reuse_leaf(struct tree_writer *w, struct tree_lane *l, const char *name, uint32_t leaf,
                            struct tide_err *err) TIDE_MUST_CHECK;

void tree_progress(struct tree_writer *w, uint64_t bytes);
tide_status tree_check_cancel(const struct tree_writer *w, struct tide_err *err) TIDE_MUST_CHECK;
struct tide_pos tree_start(struct tree_writer *w);
/* Blocks that stay bad are written down. */
tide_status tree_damage(struct tree_writer *w, const char *file, uint64_t first_page,
                        const struct tide_block_verdict *v, struct tide_err *err) TIDE_MUST_CHECK;
uint32_t tree_next_seq(struct tree_writer *w);
void tree_item_of(const struct tide_file *f, struct tree_item *i);

/* ---- files that are read */

/* A file that several tasks read.  Freed with its last task. */
struct source_file {
    struct tree_writer *w;
    struct tide_file f; /* strings owned */
    uint32_t seq;
    _Atomic unsigned users;
    _Atomic uint32_t left; /* leaves that are not yet read */
    _Atomic uint64_t end;  /* bytes that it was seen to have, at most f.size */
    atomic_bool vanished;
};

tide_status source_file_new(struct tree_writer *w, const struct tide_file *f, struct source_file **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
void source_file_release(struct source_file *f);
tide_status source_read_leaf(struct tree_lane *l, struct source_file *f, uint32_t leaf,
                             struct tide_err *err) TIDE_MUST_CHECK;
/* A file of at most one leaf. */
tide_status source_read_small(struct tree_lane *l, struct source_file *f, struct tide_err *err) TIDE_MUST_CHECK;

struct tree_stream;
void tree_streams_clear(struct tree_writer *w);

#endif
