#ifndef TIDE_REPOSITORY_BLOCKMAP_H
#define TIDE_REPOSITORY_BLOCKMAP_H

/*
 * Map leaves: where the blocks of 64 MiB of a file lie.  A block is nothing
 * but zeros, a base frame, or a base frame and one patch frame.  Byte tables:
 * FORMAT.md, section 6.  Pure transforms from memory to memory.
 */

#include "orchestrator/base/bytes.h"
#include "orchestrator/repository/pack_usage.h"
#include "orchestrator/repository/tree.h"

enum block_kind { BLOCK_ZERO = 0, BLOCK_BASE = 1, BLOCK_PATCHED = 2 };

struct block_entry {
    struct pack_ref base;  /* its hash is that of the whole block as it is to be read: with the patch applied */
    struct pack_ref patch; /* BLOCK_PATCHED; its hash is that of the patch frame's plain bytes */
    uint8_t kind;
};

struct leaf {
    uint32_t n;
    struct block_entry blocks[TREE_LEAF_BLOCKS];
};

void leaf_encode(const struct leaf *l, struct tide_buf *out);
tide_status leaf_decode(const void *data, size_t len, struct leaf *l, struct tide_err *err) TIDE_MUST_CHECK;

/* A leaf of a file, as its entry in the file table refers to it. */
enum leaf_kind { LEAF_ZERO = 0, LEAF_STORED = 1 };

struct leaf_ref {
    struct pack_ref ref;
    uint8_t kind;
};

/* 48 bytes: pack, number, stored, offset, hash. */
#define PACK_REF_SIZE 48u
void pack_ref_encode(const struct pack_ref *r, struct tide_buf *out);
void pack_ref_read(struct tide_cursor *c, struct pack_ref *r);

/* A block outside a leaf: kind, then one or two whole refs. */
void block_entry_encode(const struct block_entry *e, struct tide_buf *out);
bool block_entry_read(struct tide_cursor *c, struct block_entry *e); /* false: unknown kind */

/*
 * A patch frame's plain bytes: the pages of a block that differ from its base.
 * The base is cut or filled with zeros to block_len before pages are laid over it.
 */
#define PATCH_HEAD 24u

struct patch {
    uint32_t page_size, block_len, n_pages;
    const uint8_t *base_hash; /* of the base frame's plain bytes */
    const uint8_t *bitmap, *pages;
    size_t bitmap_len, pages_len;
};

tide_status patch_decode(const void *data, size_t len, struct patch *p, struct tide_err *err) TIDE_MUST_CHECK;
/* block holds the base and has room for TREE_BLOCK bytes; afterwards it holds p->block_len. */
void patch_apply(const struct patch *p, uint8_t *block, size_t base_len);
/* Makes a patch of what differs between base and block; page_size is a power of two from 512 to TREE_BLOCK. */
void patch_encode(const uint8_t *base, size_t base_len, const uint8_t base_hash[FRAME_HASH_SIZE],
                  const uint8_t *block, size_t block_len, uint32_t page_size, struct tide_buf *out);

bool block_is_zero(const void *data, size_t len);

/* The bytes of packs that a block needs. */
tide_status block_entry_usage(const struct block_entry *e, struct pack_usage *u,
                              struct tide_err *err) TIDE_MUST_CHECK;

#endif
