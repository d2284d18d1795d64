#include "orchestrator/repository/blockmap.h"

#include <string.h>

#define LEAF_VERSION   1u
#define PATCH_VERSION  1u
#define LEAF_PACKS_MAX (2 * TREE_LEAF_BLOCKS)

/* ------------------------------------------------------------------ references */

void pack_ref_encode(const struct pack_ref *r, struct tide_buf *out)
{
    tide_buf_append(out, r->pack, sizeof r->pack);
    tide_buf_be32(out, r->frame.number);
    tide_buf_be32(out, r->frame.stored);
    tide_buf_be64(out, r->frame.offset);
    tide_buf_append(out, r->hash, sizeof r->hash);
}

static void read_into(struct tide_cursor *c, void *out, size_t len)
{
    const uint8_t *p = tide_read_bytes(c, len);
    if (p != NULL)
        memcpy(out, p, len);
    else
        memset(out, 0, len);
}

/* Number, size and offset, which are the same in a leaf and outside. */
static void frame_read(struct tide_cursor *c, struct pack_ref *r)
{
    r->frame.number = tide_read_be32(c);
    r->frame.stored = tide_read_be32(c);
    r->frame.offset = tide_read_be64(c);
    read_into(c, r->hash, sizeof r->hash);
}

void pack_ref_read(struct tide_cursor *c, struct pack_ref *r)
{
    read_into(c, r->pack, sizeof r->pack);
    frame_read(c, r);
}

void block_entry_encode(const struct block_entry *e, struct tide_buf *out)
{
    tide_buf_u8(out, e->kind);
    if (e->kind != BLOCK_ZERO)
        pack_ref_encode(&e->base, out);
    if (e->kind == BLOCK_PATCHED)
        pack_ref_encode(&e->patch, out);
}

bool block_entry_read(struct tide_cursor *c, struct block_entry *e)
{
    memset(e, 0, sizeof *e);
    e->kind = tide_read_u8(c);
    if (e->kind > BLOCK_PATCHED)
        return false;
    if (e->kind != BLOCK_ZERO)
        pack_ref_read(c, &e->base);
    if (e->kind == BLOCK_PATCHED)
        pack_ref_read(c, &e->patch);
    return true;
}

/* ------------------------------------------------------------------ leaves */

struct pack_ids {
    uint32_t n;
    const uint8_t *ids[LEAF_PACKS_MAX];
};

/* Neighbours mostly lie in the pack of the one before. */
static uint16_t pack_index(struct pack_ids *p, const uint8_t *id)
{
    for (uint32_t i = p->n; i > 0; i--) {
        if (memcmp(p->ids[i - 1], id, OBJECT_ID_SIZE) == 0)
            return (uint16_t)(i - 1);
    }
    p->ids[p->n] = id;
    return (uint16_t)p->n++;
}

static void leaf_frame_encode(struct pack_ids *packs, const struct pack_ref *r, struct tide_buf *out)
{
    tide_buf_be16(out, pack_index(packs, r->pack));
    tide_buf_be32(out, r->frame.number);
    tide_buf_be32(out, r->frame.stored);
    tide_buf_be64(out, r->frame.offset);
    tide_buf_append(out, r->hash, sizeof r->hash);
}

void leaf_encode(const struct leaf *l, struct tide_buf *out)
{
    struct pack_ids packs = {.n = 0};
    for (uint32_t i = 0; i < l->n; i++) {
        const struct block_entry *e = &l->blocks[i];
        if (e->kind != BLOCK_ZERO)
            (void)pack_index(&packs, e->base.pack);
        if (e->kind == BLOCK_PATCHED)
            (void)pack_index(&packs, e->patch.pack);
    }
    tide_buf_u8(out, LEAF_VERSION);
    tide_buf_u8(out, 0);
    tide_buf_be16(out, (uint16_t)l->n);
    tide_buf_be16(out, (uint16_t)packs.n);
    tide_buf_be16(out, 0);
    for (uint32_t i = 0; i < packs.n; i++)
        tide_buf_append(out, packs.ids[i], OBJECT_ID_SIZE);
    for (uint32_t i = 0; i < l->n; i++) {
        const struct block_entry *e = &l->blocks[i];
        tide_buf_u8(out, e->kind);
        if (e->kind != BLOCK_ZERO)
            leaf_frame_encode(&packs, &e->base, out);
        if (e->kind == BLOCK_PATCHED)
            leaf_frame_encode(&packs, &e->patch, out);
    }
}

static bool leaf_frame_read(struct tide_cursor *c, const uint8_t *ids, uint32_t n_ids, struct pack_ref *r)
{
    uint16_t pack = tide_read_be16(c);
    frame_read(c, r);
    if (c->bad || pack >= n_ids)
        return false;
    memcpy(r->pack, ids + (size_t)pack * OBJECT_ID_SIZE, OBJECT_ID_SIZE);
    return true;
}

static bool leaf_block_read(struct tide_cursor *c, const uint8_t *ids, uint32_t n_ids, struct block_entry *e)
{
    memset(e, 0, sizeof *e);
    e->kind = tide_read_u8(c);
    if (c->bad || e->kind > BLOCK_PATCHED)
        return false;
    if (e->kind != BLOCK_ZERO && !leaf_frame_read(c, ids, n_ids, &e->base))
        return false;
    return e->kind != BLOCK_PATCHED || leaf_frame_read(c, ids, n_ids, &e->patch);
}

tide_status leaf_decode(const void *data, size_t len, struct leaf *l, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    uint8_t version = tide_read_u8(&c);
    uint8_t reserved = tide_read_u8(&c);
    uint32_t n = tide_read_be16(&c);
    uint32_t n_packs = tide_read_be16(&c);
    reserved |= (uint8_t)(tide_read_be16(&c) != 0);
    if (!c.bad && version != LEAF_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "a map leaf has version %u", version);
    const uint8_t *ids = tide_read_bytes(&c, (size_t)n_packs * OBJECT_ID_SIZE);
    if (c.bad || reserved != 0 || n == 0 || n > TREE_LEAF_BLOCKS || n_packs > LEAF_PACKS_MAX)
        return tide_fail(err, TIDE_CORRUPT, "a map leaf's head is not valid");
    l->n = n;
    for (uint32_t i = 0; i < n; i++) {
        if (!leaf_block_read(&c, ids, n_packs, &l->blocks[i]))
            return tide_fail(err, TIDE_CORRUPT, "block %u of a map leaf is not valid", i);
    }
    if (c.left != 0)
        return tide_fail(err, TIDE_CORRUPT, "a map leaf has %zu bytes too many", c.left);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ patches */

static size_t bitmap_size(uint32_t block_len, uint32_t page_size)
{
    size_t pages = (block_len + page_size - 1) / page_size;
    return (pages + 7) / 8;
}

/* The last page of a file's last block may be short. */
static size_t page_len(size_t block_len, uint32_t page_size, size_t page)
{
    size_t at = page * page_size;
    return block_len - at < page_size ? block_len - at : page_size;
}

/* Counts the pages that the bitmap names, and their bytes; false when it names one that the block does not have. */
static bool patch_measure(const struct patch *p, uint32_t *n, size_t *bytes)
{
    size_t pages = (p->block_len + p->page_size - 1) / p->page_size;
    *n = 0;
    *bytes = 0;
    for (size_t i = 0; i < p->bitmap_len * 8; i++) {
        if ((p->bitmap[i / 8] >> (i % 8) & 1) == 0)
            continue;
        if (i >= pages)
            return false;
        (*n)++;
        *bytes += page_len(p->block_len, p->page_size, i);
    }
    return true;
}

tide_status patch_decode(const void *data, size_t len, struct patch *p, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    uint8_t version = tide_read_u8(&c);
    uint8_t shift = tide_read_u8(&c);
    p->n_pages = tide_read_be16(&c);
    p->block_len = tide_read_be32(&c);
    p->base_hash = tide_read_bytes(&c, FRAME_HASH_SIZE);
    if (!c.bad && version != PATCH_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "a patch has version %u", version);
    if (c.bad || shift < 9 || shift > 17 || p->block_len == 0 || p->block_len > TREE_BLOCK)
        return tide_fail(err, TIDE_CORRUPT, "a patch's head is not valid");
    p->page_size = 1u << shift;
    p->bitmap_len = bitmap_size(p->block_len, p->page_size);
    p->bitmap = tide_read_bytes(&c, p->bitmap_len);
    p->pages_len = c.left;
    p->pages = tide_read_bytes(&c, c.left);
    uint32_t n = 0;
    size_t bytes = 0;
    if (c.bad || !patch_measure(p, &n, &bytes) || n != p->n_pages || bytes != p->pages_len)
        return tide_fail(err, TIDE_CORRUPT, "a patch's bitmap and pages do not agree");
    return TIDE_OK;
}

void patch_apply(const struct patch *p, uint8_t *block, size_t base_len)
{
    if (base_len < p->block_len)
        memset(block + base_len, 0, p->block_len - base_len);
    const uint8_t *from = p->pages;
    for (size_t i = 0; i < p->bitmap_len * 8; i++) {
        if ((p->bitmap[i / 8] >> (i % 8) & 1) == 0)
            continue;
        size_t len = page_len(p->block_len, p->page_size, i);
        memcpy(block + i * p->page_size, from, len);
        from += len;
    }
}

static bool page_differs(const uint8_t *base, size_t base_len, const uint8_t *page, size_t at, size_t len)
{
    size_t common = at >= base_len ? 0 : base_len - at < len ? base_len - at : len;
    return (common > 0 && memcmp(base + at, page, common) != 0) || !block_is_zero(page + common, len - common);
}

void patch_encode(const uint8_t *base, size_t base_len, const uint8_t base_hash[FRAME_HASH_SIZE],
                  const uint8_t *block, size_t block_len, uint32_t page_size, struct tide_buf *out)
{
    uint8_t bitmap[TREE_BLOCK / 512 / 8] = {0};
    uint16_t n = 0;
    size_t pages = (block_len + page_size - 1) / page_size;
    for (size_t i = 0; i < pages; i++) {
        size_t at = i * page_size;
        if (page_differs(base, base_len, block + at, at, page_len(block_len, page_size, i))) {
            bitmap[i / 8] = (uint8_t)(bitmap[i / 8] | 1u << (i % 8));
            n++;
        }
    }
    tide_buf_u8(out, PATCH_VERSION);
    tide_buf_u8(out, (uint8_t)__builtin_ctz(page_size));
    tide_buf_be16(out, n);
    tide_buf_be32(out, (uint32_t)block_len);
    tide_buf_append(out, base_hash, FRAME_HASH_SIZE);
    tide_buf_append(out, bitmap, bitmap_size((uint32_t)block_len, page_size));
    for (size_t i = 0; i < pages; i++) {
        if (bitmap[i / 8] >> (i % 8) & 1)
            tide_buf_append(out, block + i * page_size, page_len(block_len, page_size, i));
    }
}

/* ------------------------------------------------------------------ others */

bool block_is_zero(const void *data, size_t len)
{
    const uint8_t *p = data;
    if (len == 0)
        return true;
    /* A buffer that begins with a zero and equals itself moved by one is all zeros. */
    return p[0] == 0 && memcmp(p, p + 1, len - 1) == 0;
}

tide_status block_entry_usage(const struct block_entry *e, struct pack_usage *u, struct tide_err *err)
{
    tide_status s = TIDE_OK;
    if (e->kind != BLOCK_ZERO)
        s = pack_usage_add(u, e->base.pack, e->base.frame.stored, err);
    if (s == TIDE_OK && e->kind == BLOCK_PATCHED)
        s = pack_usage_add(u, e->patch.pack, e->patch.frame.stored, err);
    return s;
}
