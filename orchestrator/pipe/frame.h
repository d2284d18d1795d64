#ifndef TIDE_PIPE_FRAME_H
#define TIDE_PIPE_FRAME_H

/*
 * Frames: the unit in which everything is stored.  A frame is a 32-byte header
 * and a payload that was compressed, then encrypted; it is proved by its tag
 * and can be read alone.  Byte tables: orchestrator/repository/FORMAT.md.
 *
 * Pure transforms from memory to memory; no I/O.
 */

#include "orchestrator/base/err.h"

#define FRAME_HEADER_SIZE 32u
#define FRAME_MAX_PLAIN   (4u << 20)
#define FRAME_KEY_SIZE    32u
#define FRAME_HASH_SIZE   16u

enum frame_kind {
    FRAME_DATA = 1,  /* a block of a file, or a piece of a small object */
    FRAME_PATCH = 2, /* pages changed since a block's base */
    FRAME_LEAF = 3,
    FRAME_TABLE = 4,
    FRAME_ROOT = 5,
    FRAME_INDEX = 6, /* always the last frame of an object that has one */
    FRAME_META = 7,
    FRAME_LOG = 8,
    FRAME_BLOCK_REFS = 9,
};

enum frame_codec { FRAME_STORED = 0, FRAME_ZSTD = 1, FRAME_LZ4 = 2 };

#define FRAME_LAST 1u /* flag: no frame follows in this object */

/* What all frames of one object share.  Made by repository/object.c from the object's header. */
struct frame_seal {
    bool encrypted;
    uint8_t key[FRAME_KEY_SIZE];    /* the object's own key; wiped with frame_seal_clear */
    uint8_t header_digest[32];      /* SHA-256 of the object's header: associated data of every frame */
};

void frame_seal_clear(struct frame_seal *s);

/* HKDF-SHA256(epoch_key, salt, "tidemark object" || type || version). */
tide_status frame_derive_key(const uint8_t epoch_key[32], const uint8_t salt[32], uint8_t type, uint16_t version,
                             uint8_t out[FRAME_KEY_SIZE], struct tide_err *err) TIDE_MUST_CHECK;

/* Compression and cipher state of one thread; reused for every frame. */
struct frame_coder;

tide_status frame_coder_new(enum frame_codec codec, int level, struct frame_coder **out, struct tide_err *err) TIDE_MUST_CHECK;
void frame_coder_free(struct frame_coder *c);

/* At least size bytes that belong to the coder, for stored bytes on their way in or out; valid until the next call of
 * this function.  NULL: out of memory. */
void *frame_coder_buffer(struct frame_coder *c, size_t size);

struct frame_info {
    uint32_t stored_len; /* payload */
    uint32_t plain_len;
    uint32_t number;
    uint8_t codec, flags, kind;
};

/* Room that sealing len bytes can need, header included. */
size_t frame_bound(size_t len);

/* Seals plain into out (at least frame_bound(len) bytes); *total is what was written, header included.
 * info->number, kind and flags come from the caller, the rest is filled in. */
tide_status frame_seal_bytes(struct frame_coder *c, const struct frame_seal *s, struct frame_info *info,
                             const void *plain, size_t len, void *out, size_t *total, struct tide_err *err) TIDE_MUST_CHECK;

/* Reads a header without proving it (to learn lengths).  CORRUPT when impossible. */
tide_status frame_parse_header(const uint8_t *header, struct frame_info *info, struct tide_err *err) TIDE_MUST_CHECK;

/* Proves and opens the frame of total bytes at stored; it must have the number given.  plain has room for size bytes. */
tide_status frame_open_bytes(struct frame_coder *c, const struct frame_seal *s, const void *stored, size_t total,
                             uint32_t number, void *plain, size_t size, struct frame_info *info,
                             struct tide_err *err) TIDE_MUST_CHECK;

/* XXH3-128 of plain bytes under a seed: recognises changes and proves the decompressor. */
void frame_hash(uint64_t seed, const void *data, size_t len, uint8_t out[FRAME_HASH_SIZE]);

#endif
