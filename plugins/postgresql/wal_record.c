#include "plugins/postgresql/wal_record.h"

#include <string.h>

#define ID_DATA_SHORT   255
#define ID_DATA_LONG    254
#define ID_ORIGIN       253
#define ID_TOPLEVEL_XID 252
#define ID_BLOCK_MAX    32

#define FORK_MASK      0x0f
#define FORK_HAS_IMAGE 0x10
#define FORK_HAS_DATA  0x20
#define FORK_SAME_REL  0x80

#define IMAGE_HAS_HOLE 0x01

int wal_blocks_flush(struct wal_blocks *blocks, struct tide_err *err)
{
    size_t n = blocks->n;

    blocks->n = 0;
    return n > 0 && blocks->sink != NULL ? blocks->sink(blocks->ctx, blocks->refs, n, err) : TIDE_OK;
}

static int add_block(struct wal_blocks *blocks, const struct tide_block_ref *ref, struct tide_err *err)
{
    if (blocks->sink == NULL)
        return TIDE_OK;
    /* Inserts fill one page after another: the same page many times in a row is the usual case. */
    if (blocks->n > 0 && memcmp(&blocks->refs[blocks->n - 1], ref, sizeof *ref) == 0)
        return TIDE_OK;
    if (blocks->n == sizeof blocks->refs / sizeof blocks->refs[0]) {
        int s = wal_blocks_flush(blocks, err);
        if (s != TIDE_OK)
            return s;
    }
    blocks->refs[blocks->n++] = *ref;
    return TIDE_OK;
}

/* Bytes of the record's headers, and how far they were read. */
struct cursor {
    const uint8_t *p;
    uint32_t at, have;
};

static const uint8_t *take(struct cursor *c, uint32_t n)
{
    if (c->have - c->at < n)
        return NULL;
    const uint8_t *p = c->p + c->at;
    c->at += n;
    return p;
}

/* Reads one block header behind its id.  NULL, or what is wrong. */
static const char *read_block(struct cursor *c, const struct wal_layout *layout, struct tide_block_ref *ref,
                              bool *rel_known, uint64_t *payload)
{
    const uint8_t *p = take(c, 3);

    if (p == NULL)
        return "a block header is cut off";
    uint8_t fork_flags = p[0];
    uint16_t data_len = wal_u16(p + 1);

    if (((fork_flags & FORK_HAS_DATA) != 0) != (data_len != 0))
        return "a block's data flag and length disagree";
    *payload += data_len;
    if (fork_flags & FORK_HAS_IMAGE) {
        p = take(c, 5);
        if (p == NULL)
            return "a page image's header is cut off";
        uint16_t image_len = wal_u16(p), hole_offset = wal_u16(p + 2);
        uint8_t bits = p[4];

        if (image_len > WAL_PAGE_SIZE || hole_offset > WAL_PAGE_SIZE)
            return "a page image is longer than a page";
        /* The hole's length is stored only where it does not follow from the image's. */
        if ((bits & layout->compressed_bits) && (bits & IMAGE_HAS_HOLE) && take(c, 2) == NULL)
            return "a page image's header is cut off";
        *payload += image_len;
    }
    if (!(fork_flags & FORK_SAME_REL)) {
        p = take(c, 12);
        if (p == NULL)
            return "a block's relation is cut off";
        ref->space = wal_u32(p);
        ref->database = wal_u32(p + 4);
        ref->relation = wal_u32(p + 8);
        *rel_known = true;
    } else if (!*rel_known) {
        return "a block refers to a relation that was not named";
    }
    p = take(c, 4);
    if (p == NULL)
        return "a block's number is cut off";
    ref->fork = fork_flags & FORK_MASK;
    ref->block = wal_u32(p);
    return NULL;
}

int wal_record_walk(const struct wal_record *record, struct wal_blocks *blocks, struct wal_main *main,
                    const char **why, struct tide_err *err)
{
    struct cursor c = {.p = record->data, .at = WAL_RECORD_HEADER, .have = record->have};
    struct tide_block_ref ref = {0};
    bool rel_known = false;
    int last_block = -1;
    uint64_t payload = 0; /* of blocks and main data, all of it behind the headers */

    memset(main, 0, sizeof *main);
    *why = NULL;
    while (record->total - c.at > payload) {
        const uint8_t *id = take(&c, 1), *p = id;

        if (id == NULL) {
            *why = "headers are longer than any record's";
            return TIDE_CORRUPT;
        }
        if (*id == ID_DATA_SHORT || *id == ID_DATA_LONG) {
            p = take(&c, *id == ID_DATA_SHORT ? 1 : 4);
            if (p != NULL) {
                main->len = *id == ID_DATA_SHORT ? *p : wal_u32(p);
                payload += main->len;
                break; /* it is always the last one */
            }
        } else if (*id == ID_ORIGIN) {
            p = take(&c, 2);
        } else if (*id == ID_TOPLEVEL_XID) {
            p = take(&c, 4);
        } else if (*id <= ID_BLOCK_MAX && *id > last_block) {
            last_block = *id;
            *why = read_block(&c, record->layout, &ref, &rel_known, &payload);
            if (*why != NULL)
                return TIDE_CORRUPT;
            int s = add_block(blocks, &ref, err);
            if (s != TIDE_OK)
                return s;
        } else {
            *why = "an unknown part is in its header";
            return TIDE_CORRUPT;
        }
        if (p == NULL) {
            *why = "its header is cut off";
            return TIDE_CORRUPT;
        }
    }
    if (record->total - c.at != payload) {
        *why = "the lengths in its header do not add up";
        return TIDE_CORRUPT;
    }
    uint32_t at = record->total - main->len;
    if (main->len > 0 && at < record->have) {
        main->data = record->data + at;
        main->have = record->have - at;
    }
    return TIDE_OK;
}
