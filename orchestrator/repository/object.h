#ifndef TIDE_REPOSITORY_OBJECT_H
#define TIDE_REPOSITORY_OBJECT_H

/*
 * Sealed objects: a header with a random id, a salt and feature bits, then
 * frames under a key of the object's own.  Small objects have one frame; large
 * ones end with an index frame and a trailer that finds it.
 */

#include "orchestrator/repository/repo.h"

enum object_type {
    OBJECT_INSTANCE = 1,
    OBJECT_LINEAGE = 2,
    OBJECT_INTENT = 3,
    OBJECT_PACK = 4,
    OBJECT_BACKUP = 5,
    OBJECT_LOG = 6,
    OBJECT_PIN = 7,
    OBJECT_TOMBSTONE = 8,
    OBJECT_LEASE = 9,
    OBJECT_HEARTBEAT = 10,
    OBJECT_RELOCATION = 11,
    OBJECT_BRANCH = 12, /* a branch number reserved for a restored instance */
    OBJECT_GAP = 13,
    OBJECT_DRILL = 14,
};

#define OBJECT_ID_SIZE  16u
#define OBJECT_EXT_MAX  256u
#define OBJECT_SMALL_MAX (16u << 20)

struct object_header {
    uint8_t type;
    uint16_t version;
    uint32_t epoch; /* 0: not encrypted */
    uint64_t incompatible, read_only, compatible;
    uint8_t id[OBJECT_ID_SIZE];
    uint8_t salt[32];
    uint8_t ext[OBJECT_EXT_MAX]; /* type-specific, authenticated, not encrypted */
    uint16_t ext_len;
    uint32_t size; /* of the header as stored */
};

/* Where a frame lies. */
struct frame_ref {
    uint32_t number;
    uint32_t stored; /* header and payload */
    uint64_t offset;
};

/* ---- small objects: one frame, one conditional PUT */

struct object_small {
    const char *key;
    enum object_type type;
    const void *ext;
    size_t ext_len;
};

/* EXISTS when the key is taken: read it and decide. */
tide_status object_put(struct repo *r, const struct object_small *o, const void *plain, size_t len, struct tide_err *err) TIDE_MUST_CHECK;
/* Appends the plain bytes to out.  header may be NULL. */
tide_status object_get(struct repo *r, const char *key, enum object_type type, struct tide_buf *out,
                       struct object_header *header, struct tide_err *err) TIDE_MUST_CHECK;

/* ---- large objects */

struct object_writer;

/* An object has at most this many frames before its index (which is one frame itself). */
#define OBJECT_FRAMES_MAX    200000u
#define OBJECT_TRAILER_MAGIC "TIDEEND1"

/* id NULL: a random one.  Who names an object by its id makes the id first, and the key from it.  coder is borrowed
 * and used by the calling thread only; so is the writer. */
tide_status object_writer_begin(struct repo *r, const struct object_small *o, const uint8_t id[OBJECT_ID_SIZE],
                                struct frame_coder *coder, struct object_writer **out, struct tide_err *err) TIDE_MUST_CHECK;
/* ref may be NULL.  After a failure only abort is left. */
tide_status object_writer_frame(struct object_writer *w, enum frame_kind kind, const void *plain, size_t len,
                                struct frame_ref *ref, struct tide_err *err) TIDE_MUST_CHECK;
uint64_t object_writer_size(const struct object_writer *w); /* bytes so far */
uint32_t object_writer_frames(const struct object_writer *w);
/* Writes the index frame and the trailer, and commits.  Frees w in any case. */
tide_status object_writer_commit(struct object_writer *w, uint64_t *size, struct tide_err *err) TIDE_MUST_CHECK;
void object_writer_abort(struct object_writer *w);

/* A header that was read and the key that goes with it: enough to open any frame of the object. */
struct object_reader;

tide_status object_reader_open(struct repo *r, const char *key, enum object_type type, struct object_reader **out,
                               struct tide_err *err) TIDE_MUST_CHECK;
void object_reader_close(struct object_reader *o);
const struct object_header *object_reader_header(const struct object_reader *o);
const struct frame_seal *object_reader_seal(const struct object_reader *o);
const char *object_reader_key(const struct object_reader *o);
uint64_t object_reader_size(const struct object_reader *o); /* 0 until the index was read */
/* Appends the frame's plain bytes.  Thread-safe with a coder a thread. */
tide_status object_reader_frame(struct object_reader *o, struct frame_coder *coder, const struct frame_ref *ref,
                                struct tide_buf *out, struct frame_info *info, struct tide_err *err) TIDE_MUST_CHECK;
/* The refs of all frames, from the index; *refs is the caller's to free(). */
tide_status object_reader_index(struct object_reader *o, struct frame_coder *coder, struct frame_ref **refs, size_t *n,
                                struct tide_err *err) TIDE_MUST_CHECK;

/* For those who keep a header elsewhere (relocations) or build an object in memory (log objects): */
void object_header_encode(const struct object_header *h, struct tide_buf *out);
tide_status object_header_decode(const void *data, size_t len, struct object_header *h, struct tide_err *err) TIDE_MUST_CHECK;
tide_status object_header_new(struct repo *r, enum object_type type, const void *ext, size_t ext_len,
                              struct object_header *h, struct tide_err *err) TIDE_MUST_CHECK;
tide_status object_header_seal(struct repo *r, const struct object_header *h, struct frame_seal *seal, struct tide_err *err) TIDE_MUST_CHECK;

#endif
