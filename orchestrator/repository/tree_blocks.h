#ifndef TIDE_REPOSITORY_TREE_BLOCKS_H
#define TIDE_REPOSITORY_TREE_BLOCKS_H

/* Reading blocks: base frames, patches laid over them, every one proved.  What restore, cat and verify share. */

#include "orchestrator/repository/tree_item.h"

struct block_job {
    const struct block_entry *entry;
    uint8_t *out; /* room for len bytes; for TREE_BLOCK when the block has a patch */
    size_t len;   /* that the block must have */
    bool failed;
};

/* Told of a block that cannot be had; key is the object to blame. */
typedef void block_bad_fn(void *ctx, const struct block_job *job, const char *key, const struct tide_err *why);

/* One thread's. */
struct block_reader;

tide_status block_reader_new(struct pack_source *s, struct block_reader **out, struct tide_err *err) TIDE_MUST_CHECK;
void block_reader_free(struct block_reader *b);
struct pack_reader *block_reader_packs(struct block_reader *b);
/* Neighbours are fetched together.  As pack_reader_fetch: without `bad` the first damage fails the call. */
tide_status block_reader_fetch(struct block_reader *b, struct block_job *jobs, size_t n, block_bad_fn *bad, void *ctx,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* A leaf of a file of that size: proved, and with the number of blocks that the file must have there. */
tide_status block_reader_leaf(struct block_reader *b, const struct leaf_ref *ref, uint64_t file_size, uint32_t number,
                              struct leaf *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
