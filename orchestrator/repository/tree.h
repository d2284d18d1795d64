#ifndef TIDE_REPOSITORY_TREE_H
#define TIDE_REPOSITORY_TREE_H

/*
 * The files of a backup: written in parallel into packs, block by block,
 * against the blocks of a parent backup; and read back the same way.
 *
 * Memory is bounded whatever the instance's size: tables are streamed and
 * merge-joined, nothing loads a whole one.
 */

#include "orchestrator/base/file.h"
#include "orchestrator/pipe/throttle.h"
#include "orchestrator/repository/backup.h"

#define TREE_BLOCK       (128u << 10) /* a file is a row of these at fixed offsets */
#define TREE_LEAF_BLOCKS 512u         /* blocks that one map leaf describes: 64 MiB of file */

typedef void tree_inspect_fn(const struct tide_block_view *block, struct tide_block_verdict *verdict);

struct tree_writer;

struct tree_writer_options {
    struct repo *repo;
    const char *instance;
    const char *id;              /* the backup's */
    const struct backup *parent; /* NULL: none */
    unsigned jobs;
    struct throttle *throttle;    /* of bytes read; NULL: none */
    tree_inspect_fn *inspect;     /* NULL: none */
    struct tide_pos backup_start; /* may be set later: tree_writer_set_start */
    struct tide_cancel *cancel;
    void (*progress)(void *ctx, uint64_t bytes_done); /* from any thread; NULL: none */
    void *progress_ctx;
};

tide_status tree_writer_new(const struct tree_writer_options *o, struct tree_writer **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
void tree_writer_free(struct tree_writer *w); /* aborts what was not committed */
void tree_writer_set_start(struct tree_writer *w, struct tide_pos start);

/* The sink's calls; see tide_plugin.h.  Thread-safe.  f is copied. */
tide_status tree_writer_file(struct tree_writer *w, const struct tide_file *f, struct tide_err *err) TIDE_MUST_CHECK;
tide_status tree_writer_drain(struct tree_writer *w, struct tide_err *err) TIDE_MUST_CHECK;
tide_status tree_writer_data(struct tree_writer *w, const struct tide_file *f, const void *data, size_t len,
                             struct tide_err *err) TIDE_MUST_CHECK;
/* Optional, before a file's first piece: whether its blocks are inspected as they come. */
tide_status tree_writer_piece_begin(struct tree_writer *w, const struct tide_file *f,
                                    struct tide_err *err) TIDE_MUST_CHECK;
tide_status tree_writer_piece(struct tree_writer *w, const char *name, uint64_t offset, const void *data, size_t len,
                              struct tide_err *err) TIDE_MUST_CHECK;
tide_status tree_writer_piece_end(struct tree_writer *w, const struct tide_file *f,
                                  struct tide_err *err) TIDE_MUST_CHECK;

/* Drains, writes the tables, commits the packs; fills b's totals, roots, hash_epoch and damage.  The caller then
 * checks what it must and calls backup_commit. */
tide_status tree_writer_finish(struct tree_writer *w, struct backup *b, struct tide_err *err) TIDE_MUST_CHECK;

/* ---- reading */

struct tree_entry {
    const char *name, *link, *owner, *group; /* valid during the call */
    uint32_t kind, flags, mode;
    uint64_t size;
    int64_t mtime_us;
    uint64_t cookie; /* the reader's: which entry this is */
};

struct tree_reader;

tide_status tree_reader_open(struct repo *r, const char *instance, const struct backup *b, unsigned jobs,
                             struct tree_reader **out, struct tide_err *err) TIDE_MUST_CHECK;
void tree_reader_close(struct tree_reader *t);

/* Every entry, in byte order of names. */
typedef tide_status tree_entry_fn(void *ctx, const struct tree_entry *e, struct tide_err *err);
tide_status tree_reader_walk(struct tree_reader *t, tree_entry_fn *fn, void *ctx,
                             struct tide_err *err) TIDE_MUST_CHECK;

/* One file's whole content, proved, in order, to fn. */
typedef tide_status tree_data_fn(void *ctx, uint64_t offset, const void *data, size_t len, struct tide_err *err);
tide_status tree_reader_cat(struct tree_reader *t, const char *name, tree_data_fn *fn, void *ctx,
                            struct tide_err *err) TIDE_MUST_CHECK;

/*
 * Puts everything below `root`: directories, files (preallocated, O_DIRECT where it can, fsynced), symlinks as
 * recorded.  place() may send an entry elsewhere (tablespaces) or skip it (*path empty); NULL: root/name.  Every
 * frame is proved before its bytes are written.  Resumable: a file that is complete by size and whose blocks hash
 * right is kept when resume is set.  The names in `hold` are written last, after everything else is on disk.
 */
struct tree_extract_options {
    const char *root;
    tide_status (*place)(void *ctx, const struct tree_entry *e, char path[TIDE_PATH_MAX], struct tide_err *err);
    void *place_ctx;
    const char *const *hold; /* NULL-terminated, or NULL */
    bool resume;
    bool direct;   /* try O_DIRECT */
    long uid, gid; /* owner for all, or -1 */
    struct tide_cancel *cancel;
    void (*progress)(void *ctx, uint64_t bytes_done);
    void *progress_ctx;
};
tide_status tree_extract(struct tree_reader *t, const struct tree_extract_options *o,
                         struct tide_err *err) TIDE_MUST_CHECK;

/*
 * Reads back every frame that the backup refers to, through the code that restoring uses.  Each bad or missing
 * object is reported once, with the first file that needs it (NULL: no file's alone); why has the status NOT_FOUND
 * when it is missing.  The call goes on and returns CORRUPT at the end.  percent < 100: a random sample of blocks;
 * else what no file needs is read too: notes, indexes and trailers of packs.
 */
typedef void tree_bad_fn(void *ctx, const char *key, const char *file, const struct tide_err *why);
tide_status tree_verify(struct tree_reader *t, unsigned percent, tree_bad_fn *bad, void *ctx, uint64_t *bytes,
                        struct tide_err *err) TIDE_MUST_CHECK;

/*
 * What was proved already.  Backups of one instance mostly refer to the same frames: with one of these for all of
 * them, each is read once.  Bounded memory (what does not fit is read again); thread-safe.
 */
struct tree_proved;
tide_status tree_proved_new(struct tree_proved **out, struct tide_err *err) TIDE_MUST_CHECK;
void tree_proved_free(struct tree_proved *p);
/* As tree_verify, without what `proved` has, which is added to.  With percent < 100 it is not used. */
tide_status tree_verify_once(struct tree_reader *t, unsigned percent, struct tree_proved *proved, tree_bad_fn *bad,
                             void *ctx, uint64_t *bytes, struct tide_err *err) TIDE_MUST_CHECK;

/* Packs that the backup refers to, and how many of their bytes, in order of ids. */
typedef tide_status tree_pack_fn(void *ctx, const uint8_t pack[OBJECT_ID_SIZE], uint64_t live_bytes,
                                 struct tide_err *err);
tide_status tree_reader_packs(struct tree_reader *t, tree_pack_fn *fn, void *ctx,
                              struct tide_err *err) TIDE_MUST_CHECK;

#endif
