#include "orchestrator/repository/tree_item.h"

#include <string.h>

tide_status tree_name_check(const char *name, struct tide_err *err)
{
    size_t len = strlen(name);
    if (len == 0 || len >= TREE_NAME_MAX)
        return tide_fail(err, TIDE_INVALID, "the name of a file in a backup has %zu bytes", len);
    for (const char *p = name; p != NULL; p = strchr(p, '/') == NULL ? NULL : strchr(p, '/') + 1) {
        size_t part = strcspn(p, "/");
        if (part == 0 || (part == 1 && p[0] == '.') || (part == 2 && p[0] == '.' && p[1] == '.'))
            return tide_fail(err, TIDE_INVALID, "\"%s\" is no name for a file in a backup", name);
    }
    return TIDE_OK;
}

size_t tree_item_key(const char *name, uint32_t part, uint8_t *key)
{
    size_t len = strlen(name);
    memcpy(key, name, len + 1);
    tide_put_be32(key + len + 1, part);
    return len + 5;
}

static bool key_decode(const struct table_record *r, char name[TREE_NAME_MAX], uint32_t *part)
{
    if (r->key_len < 6 || r->key_len - 5 >= TREE_NAME_MAX || r->key[r->key_len - 5] != 0 ||
        memchr(r->key, 0, r->key_len - 5) != NULL)
        return false;
    memcpy(name, r->key, r->key_len - 4);
    *part = tide_get_be32(r->key + r->key_len - 4);
    return true;
}

void tree_item_encode(const struct tree_item *i, struct tide_buf *out)
{
    size_t link = strlen(i->link), owner = strlen(i->owner), group = strlen(i->group);
    tide_buf_u8(out, (uint8_t)i->kind);
    tide_buf_u8(out, i->layout);
    tide_buf_be16(out, 0);
    tide_buf_be32(out, i->flags);
    tide_buf_be32(out, i->mode);
    tide_buf_be64(out, i->size);
    tide_buf_be64(out, (uint64_t)i->mtime_us);
    tide_buf_be16(out, (uint16_t)link);
    tide_buf_be16(out, (uint16_t)owner);
    tide_buf_be16(out, (uint16_t)group);
    tide_buf_append(out, i->link, link);
    tide_buf_append(out, i->owner, owner);
    tide_buf_append(out, i->group, group);
    if (i->layout == TREE_INLINE)
        block_entry_encode(&i->block, out);
    if (i->layout == TREE_LEAVES)
        tide_buf_be32(out, i->n_leaves);
}

static bool read_text(struct tide_cursor *c, size_t len, char *out, size_t size)
{
    const uint8_t *p = tide_read_bytes(c, len);
    if (p == NULL || len >= size || memchr(p, 0, len) != NULL)
        return false;
    memcpy(out, p, len);
    out[len] = '\0';
    return true;
}

static bool read_attributes(struct tide_cursor *c, struct tree_item *i)
{
    i->kind = tide_read_u8(c);
    i->layout = tide_read_u8(c);
    bool reserved = tide_read_be16(c) != 0;
    i->flags = tide_read_be32(c);
    i->mode = tide_read_be32(c);
    i->size = tide_read_be64(c);
    i->mtime_us = (int64_t)tide_read_be64(c);
    size_t link = tide_read_be16(c), owner = tide_read_be16(c), group = tide_read_be16(c);
    return !c->bad && !reserved && read_text(c, link, i->link, sizeof i->link) &&
           read_text(c, owner, i->owner, sizeof i->owner) && read_text(c, group, i->group, sizeof i->group);
}

static bool kind_and_layout_agree(const struct tree_item *i)
{
    if (i->kind == TIDE_FILE_DIRECTORY || i->kind == TIDE_FILE_SYMLINK)
        return i->layout == TREE_EMPTY && i->size == 0;
    if (i->kind != TIDE_FILE_REGULAR)
        return false;
    switch (i->layout) {
    case TREE_EMPTY:
        return i->size == 0;
    case TREE_INLINE:
        return i->size > 0 && i->size <= TREE_BLOCK;
    case TREE_LEAVES:
        return i->size > 0 && i->size / TREE_LEAF_SIZE < UINT32_MAX && i->n_leaves == tree_leaves_of(i->size);
    }
    return false;
}

static uint32_t leaves_in_part(uint32_t n_leaves, uint32_t part)
{
    uint64_t first = (uint64_t)part * TREE_PART_LEAVES;
    if (first >= n_leaves)
        return 0;
    return n_leaves - first < TREE_PART_LEAVES ? (uint32_t)(n_leaves - first) : TREE_PART_LEAVES;
}

tide_status tree_item_decode(const struct table_record *r, struct tree_item *i, struct tide_cursor *rest,
                             uint32_t *n_here, struct tide_err *err)
{
    uint32_t part = 0;
    *n_here = i->n_leaves = 0;
    *rest = tide_cursor_of(r->value, r->value_len);
    if (!key_decode(r, i->name, &part) || part != 0 || tree_name_check(i->name, NULL) != TIDE_OK)
        return tide_fail(err, TIDE_CORRUPT, "an entry of a file table has no valid name");
    bool valid = read_attributes(rest, i);
    if (valid && i->layout == TREE_INLINE)
        valid = block_entry_read(rest, &i->block);
    if (valid && i->layout == TREE_LEAVES)
        i->n_leaves = tide_read_be32(rest);
    if (!valid || rest->bad || !kind_and_layout_agree(i))
        return tide_fail(err, TIDE_CORRUPT, "the entry of \"%s\" in a file table is not valid", i->name);
    if (i->layout == TREE_LEAVES)
        *n_here = leaves_in_part(i->n_leaves, 0);
    return TIDE_OK;
}

tide_status tree_part_decode(const struct table_record *r, const struct tree_item *i, uint32_t part,
                             struct tide_cursor *rest, uint32_t *n_here, struct tide_err *err)
{
    char name[TREE_NAME_MAX];
    uint32_t its_part = 0;
    *rest = tide_cursor_of(r->value, r->value_len);
    if (!key_decode(r, name, &its_part) || its_part != part || strcmp(name, i->name) != 0)
        return tide_fail(err, TIDE_CORRUPT, "part %u of \"%s\" is missing in a file table", part, i->name);
    *n_here = leaves_in_part(i->n_leaves, part);
    return TIDE_OK;
}

void tree_leaf_ref_encode(const struct leaf_ref *l, struct tide_buf *out)
{
    tide_buf_u8(out, l->kind);
    if (l->kind == LEAF_STORED)
        pack_ref_encode(&l->ref, out);
}

tide_status tree_leaf_ref_read(struct tide_cursor *c, struct leaf_ref *l, struct tide_err *err)
{
    memset(l, 0, sizeof *l);
    l->kind = tide_read_u8(c);
    if (l->kind == LEAF_STORED)
        pack_ref_read(c, &l->ref);
    if (c->bad || l->kind > LEAF_STORED)
        return tide_fail(err, TIDE_CORRUPT, "a reference to a map leaf is not valid");
    return TIDE_OK;
}

uint32_t tree_leaves_of(uint64_t size)
{
    return (uint32_t)(size / TREE_LEAF_SIZE + (size % TREE_LEAF_SIZE != 0));
}

uint32_t tree_blocks_of_leaf(uint64_t size, uint32_t leaf)
{
    uint64_t left = size - (uint64_t)leaf * TREE_LEAF_SIZE;
    if (left >= TREE_LEAF_SIZE)
        return TREE_LEAF_BLOCKS;
    return (uint32_t)((left + TREE_BLOCK - 1) / TREE_BLOCK);
}

size_t tree_block_len(uint64_t size, uint64_t block)
{
    uint64_t left = size - block * TREE_BLOCK;
    return left < TREE_BLOCK ? (size_t)left : TREE_BLOCK;
}
