#ifndef TIDE_REPOSITORY_TREE_ITEM_H
#define TIDE_REPOSITORY_TREE_ITEM_H

/* Entries of the file table.  FORMAT.md, section 7. */

#include "orchestrator/repository/blockmap.h"
#include "orchestrator/repository/table.h"

#define TREE_NAME_MAX    4096u /* with the NUL behind it */
#define TREE_OWNER_MAX   256u
#define TREE_PART_LEAVES 1024u /* leaves that one record of the file table names: 64 GiB of file */
#define TREE_LEAF_SIZE   ((uint64_t)TREE_BLOCK * TREE_LEAF_BLOCKS)

enum tree_layout { TREE_EMPTY = 0, TREE_INLINE = 1, TREE_LEAVES = 2 };

struct tree_item {
    char name[TREE_NAME_MAX], link[TREE_NAME_MAX], owner[TREE_OWNER_MAX], group[TREE_OWNER_MAX];
    uint32_t kind, flags, mode, n_leaves;
    uint64_t size;
    int64_t mtime_us;
    uint8_t layout;
    struct block_entry block; /* TREE_INLINE */
};

/* INVALID unless name is relative, '/'-separated, without "", "." and "..", and short enough. */
tide_status tree_name_check(const char *name, struct tide_err *err) TIDE_MUST_CHECK;

/* name, NUL, be32 part.  Room for TABLE_KEY_MAX. */
size_t tree_item_key(const char *name, uint32_t part, uint8_t *key);
/* Record 0 of a file up to its leaves. */
void tree_item_encode(const struct tree_item *i, struct tide_buf *out);
/* Takes record 0 apart; *rest stands at its leaves, of which *n_here follow. */
tide_status tree_item_decode(const struct table_record *r, struct tree_item *i, struct tide_cursor *rest,
                             uint32_t *n_here, struct tide_err *err) TIDE_MUST_CHECK;
/* A later record: which part, and the leaves in it. */
tide_status tree_part_decode(const struct table_record *r, const struct tree_item *i, uint32_t part,
                             struct tide_cursor *rest, uint32_t *n_here, struct tide_err *err) TIDE_MUST_CHECK;
void tree_leaf_ref_encode(const struct leaf_ref *l, struct tide_buf *out);
tide_status tree_leaf_ref_read(struct tide_cursor *c, struct leaf_ref *l, struct tide_err *err) TIDE_MUST_CHECK;
/* How many leaves and blocks a size has; bytes of one block. */
uint32_t tree_leaves_of(uint64_t size);
uint32_t tree_blocks_of_leaf(uint64_t size, uint32_t leaf);
size_t tree_block_len(uint64_t size, uint64_t block);

/* ---- the file table as a stream of entries, each followed by its leaves */

struct tree_scan;

tide_status tree_scan_new(struct table *files, struct pack_reader *r, const char *from, struct tree_scan **out,
                          struct tide_err *err) TIDE_MUST_CHECK;
void tree_scan_free(struct tree_scan *s);
void tree_scan_skip_bad(struct tree_scan *s, table_bad_fn *bad, void *ctx);
/* *item is the scan's.  NOT_FOUND (err untouched) at the end. */
tide_status tree_scan_next(struct tree_scan *s, const struct tree_item **item, struct tide_err *err) TIDE_MUST_CHECK;
/* The next leaf of the entry.  NOT_FOUND (err untouched) behind the last. */
tide_status tree_scan_leaf(struct tree_scan *s, struct leaf_ref *l, struct tide_err *err) TIDE_MUST_CHECK;

#endif
