#ifndef TIDE_REPOSITORY_TREE_READER_H
#define TIDE_REPOSITORY_TREE_READER_H

/* What reading a tree is made of; for tree_reader.c, tree_extract.c, tree_verify.c. */

#include "orchestrator/repository/tree_blocks.h"

#define WINDOW_BLOCKS 32u /* read and written at once: 4 MiB */
#define WINDOW_BYTES  (WINDOW_BLOCKS * TREE_BLOCK)

struct tree_reader {
    struct repo *repo;
    char instance[REPO_NAME_MAX + 1];
    unsigned jobs;
    struct pack_source *source;
    struct table *files, *packs;
    struct pack_ref files_root, packs_root;
    struct pack_reader *walker; /* of the thread that walks the tables */
};

/* What one worker needs. */
struct read_lane {
    struct block_reader *blocks;
    uint8_t *window; /* WINDOW_BYTES, aligned for O_DIRECT */
    struct leaf leaf;
    struct block_job jobs[WINDOW_BLOCKS];
};

tide_status read_lanes_new(struct tree_reader *t, struct read_lane **out, struct tide_err *err) TIDE_MUST_CHECK;
void read_lanes_free(struct tree_reader *t, struct read_lane *lanes);

void tree_entry_of(const struct tree_item *i, uint64_t cookie, struct tree_entry *e);

#endif
