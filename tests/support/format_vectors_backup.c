/* The vectors of sections 6 to 8: plain bytes of frames, with made-up references. */

#include "tests/support/format_vectors.h"

#include "orchestrator/repository/table_node.h"
#include "orchestrator/repository/tree_item.h"

#include <stdlib.h>
#include <string.h>

#define BYTES_MAX 65536

static struct tide_buf *add(struct vectors *v, const char *name, const char *about)
{
    tide_assert(v->n < VECTORS_MAX);
    struct vector *item = &v->items[v->n++];
    *item = (struct vector){.name = name, .about = about, .bytes = TIDE_BUF_INIT(BYTES_MAX)};
    return &item->bytes;
}

struct pack_ref vectors_ref(uint8_t pack, uint32_t number)
{
    struct pack_ref r = {.frame = {.number = number, .stored = 1000 + number, .offset = 4096 + 2000 * number}};
    memset(r.pack, pack, sizeof r.pack);
    memset(r.hash, (int)(0x10 + number), sizeof r.hash);
    return r;
}

struct leaf *vectors_leaf(void)
{
    struct leaf *l = calloc(1, sizeof *l);
    tide_assert(l != NULL);
    l->n = 3;
    l->blocks[1] = (struct block_entry){.kind = BLOCK_BASE, .base = vectors_ref(0xaa, 7)};
    l->blocks[2] =
        (struct block_entry){.kind = BLOCK_PATCHED, .base = vectors_ref(0xaa, 8), .patch = vectors_ref(0xbb, 0)};
    return l;
}

void vectors_patch(uint8_t base[2048], uint8_t block[2600])
{
    memset(base, 'b', 2048);
    memset(block, 0, 2600);
    memcpy(block, base, 2048);
    memset(block + 512, 'p', 4);
    memset(block + 2560, 'e', 40);
}

static void items(struct vectors *v, struct tide_buf *node)
{
    struct tree_item *i = calloc(1, sizeof *i);
    uint8_t key[TABLE_KEY_MAX], head[NODE_HEAD];
    tide_assert(i != NULL);
    strcpy(i->owner, "postgres");
    strcpy(i->group, "postgres");
    i->mode = 0600;
    i->mtime_us = 1795342529000000;
    table_node_head(head, 0, TABLE_FILES, 2);
    tide_buf_append(node, head, sizeof head);

    strcpy(i->name, "PG_VERSION");
    i->kind = TIDE_FILE_REGULAR;
    i->layout = TREE_INLINE;
    i->size = 3;
    i->block = (struct block_entry){.kind = BLOCK_BASE, .base = vectors_ref(0xaa, 1)};
    struct tide_buf *one = add(v, "entry-one-block", "the value of \"PG_VERSION\", part 0");
    tree_item_encode(i, one);
    table_record_encode(node, key, tree_item_key(i->name, 0, key), one->data, one->len);

    strcpy(i->name, "base/5/1259");
    i->flags = TIDE_FILE_MAY_VANISH | TIDE_FILE_INSPECT;
    i->layout = TREE_LEAVES;
    i->size = 2 * TREE_LEAF_SIZE;
    i->n_leaves = 2;
    struct tide_buf *two = add(v, "entry-leaves", "the value of \"base/5/1259\", part 0: a leaf, and one of zeros");
    tree_item_encode(i, two);
    tree_leaf_ref_encode(&(struct leaf_ref){.kind = LEAF_STORED, .ref = vectors_ref(0xaa, 9)}, two);
    tree_leaf_ref_encode(&(struct leaf_ref){.kind = LEAF_ZERO}, two);
    table_record_encode(node, key, tree_item_key(i->name, 0, key), two->data, two->len);
    free(i);
}

static void root(struct tide_buf *out)
{
    uint8_t key[TABLE_KEY_MAX], head[NODE_HEAD];
    struct tide_buf value = TIDE_BUF_INIT(PACK_REF_SIZE);
    const struct pack_ref below = vectors_ref(0xaa, 10);
    table_node_head(head, 1, TABLE_FILES, 1);
    tide_buf_append(out, head, sizeof head);
    pack_ref_encode(&below, &value);
    table_record_encode(out, key, tree_item_key("PG_VERSION", 0, key), value.data, value.len);
    tide_buf_clear(&value);
}

void vectors_add_backup(struct vectors *v)
{
    uint8_t base[2048], block[2600], hash[FRAME_HASH_SIZE];
    struct leaf *l = vectors_leaf();
    struct tide_buf node = TIDE_BUF_INIT(BYTES_MAX);
    const struct pack_ref r = vectors_ref(0xaa, 7);
    pack_ref_encode(&r, add(v, "reference", "frame 7 of the pack aa aa ..., 1007 bytes at 18096, hash 17 17 ..."));
    leaf_encode(l,
                add(v, "leaf", "three blocks: zeros; that frame; frame 8 with frame 0 of pack bb bb ... as patch"));
    free(l);
    memset(hash, 0x2a, sizeof hash);
    vectors_patch(base, block);
    patch_encode(base, sizeof base, hash, block, sizeof block, 512,
                 add(v, "patch",
                     "base 2048 times b, hash 2a 2a ...; block 2600 long: b, but 4 p at 512, zeros from "
                     "2048, 40 e at 2560; pages of 512"));
    items(v, &node);
    tide_buf_append(add(v, "table-node", "level 0 of a file table with these two"), node.data, node.len);
    tide_buf_clear(&node);
    root(add(v, "root-node", "level 1 above it, which is frame 10 of pack aa aa ..."));
}
