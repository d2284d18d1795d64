#ifndef TIDE_REPOSITORY_PACK_H
#define TIDE_REPOSITORY_PACK_H

/*
 * Packs: objects of 32-64 MiB full of frames.  Written by one thread each;
 * read by any, several neighbouring frames with one request.  FORMAT.md,
 * section 6.
 */

#include "orchestrator/base/bytes.h"
#include "orchestrator/repository/backup.h"
#include <stdatomic.h>

#define PACK_ID_HEX (2 * OBJECT_ID_SIZE + 1)
#define PACK_FULL   (48u << 20) /* a pack that has grown to this is closed */

void pack_key(const char *instance, const uint8_t id[OBJECT_ID_SIZE], char key[REPO_KEY_MAX]);
/* False unless the key's last component is a pack's id. */
bool pack_key_parse(const char *key, uint8_t id[OBJECT_ID_SIZE]);

/*
 * Whether a failure is one object's (missing, damaged, of an unknown version, or sealed with a key that we do not
 * hold, which is what a damaged epoch looks like) and not the store's.
 */
bool pack_is_damage(tide_status s, const struct tide_err *why);

/* ---- writing */

struct pack_writer;

/* What all writers of one backup have stored so far. */
struct pack_counters {
    _Atomic uint64_t packs, bytes;
};

struct pack_writer_options {
    struct repo *repo;
    const char *instance, *backup; /* backup: the id by which an unfinished backup's packs are found again */
    uint32_t hash_epoch;
    struct pack_counters *counters;
};

tide_status pack_writer_new(const struct pack_writer_options *o, struct pack_writer **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
void pack_writer_free(struct pack_writer *p); /* what was not committed is gone */
/* hash is that of the plain bytes and goes into ref.  Closes a full pack first, in the background. */
tide_status pack_writer_append(struct pack_writer *p, enum frame_kind kind, const void *plain, size_t len,
                               const uint8_t hash[FRAME_HASH_SIZE], struct pack_ref *ref,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* Writes down, for a run that comes after a kill, of which block of which file the frame just appended is. */
void pack_writer_note(struct pack_writer *p, const char *name, uint32_t leaf, uint32_t block,
                      const struct pack_ref *ref);
/*
 * The same once all blocks of a leaf are stored and its own frame was just appended: that frame says where they are,
 * and one note replaces those of its blocks in this pack.
 */
void pack_writer_note_leaf(struct pack_writer *p, const char *name, uint32_t leaf, const struct pack_ref *ref);
/* Starts to commit what is open. */
tide_status pack_writer_flush(struct pack_writer *p, struct tide_err *err) TIDE_MUST_CHECK;
/* Until everything flushed is durable. */
tide_status pack_writer_wait(struct pack_writer *p, struct tide_err *err) TIDE_MUST_CHECK;
/* Bytes in the open pack; 0: none is open. */
uint64_t pack_writer_open_size(const struct pack_writer *p);
/* Makes room for `need` more bytes in one pack, without closing before pack_writer_flush, and tells its id. */
tide_status pack_writer_hold(struct pack_writer *p, uint64_t need, uint8_t id[OBJECT_ID_SIZE],
                             struct tide_err *err) TIDE_MUST_CHECK;

/* What a pack's notes say about one leaf's range of one file. */
struct pack_note {
    char name[4096];
    uint32_t leaf, n;
    const uint8_t *blocks; /* n times PACK_NOTE_SIZE */
};
#define PACK_NOTE_SIZE 34u
#define PACK_NOTE_LEAF UINT16_MAX /* in place of a block: the leaf's frame */

/* The notes frame: its hash epoch, and then group after group from a cursor.  NOT_FOUND (err untouched) at the end.
 */
tide_status pack_notes_begin(const void *data, size_t len, uint32_t *hash_epoch, struct tide_cursor *c,
                             struct tide_err *err) TIDE_MUST_CHECK;
tide_status pack_notes_next(struct tide_cursor *c, struct pack_note *note, struct tide_err *err) TIDE_MUST_CHECK;
/* One block of a group; ref->pack stays as it is. */
uint32_t pack_note_block(const struct pack_note *note, uint32_t i, struct pack_ref *ref);

/* ---- reading */

/* The packs of an instance, with their headers kept open.  Thread-safe. */
struct pack_source;

/* hash_epoch: whose seed the hashes in refs have. */
tide_status pack_source_new(struct repo *r, const char *instance, uint32_t hash_epoch, struct pack_source **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
void pack_source_free(struct pack_source *s);
uint64_t pack_source_seed(const struct pack_source *s);
struct repo *pack_source_repo(const struct pack_source *s);
const char *pack_source_instance(const struct pack_source *s);

/* One thread's way into a source. */
struct pack_reader;

tide_status pack_reader_new(struct pack_source *s, struct pack_reader **out, struct tide_err *err) TIDE_MUST_CHECK;
void pack_reader_free(struct pack_reader *r);
struct pack_source *pack_reader_source(const struct pack_reader *r);

struct pack_want {
    const struct pack_ref *ref;
    const uint8_t *hash; /* of the plain bytes; NULL: proved otherwise */
    uint8_t *out;
    size_t size; /* room */
    size_t len;  /* result: plain bytes */
    enum frame_kind kind;
    bool failed; /* result */
};

/* Told of a frame that is missing or does not prove; key is the object to blame. */
typedef void pack_bad_fn(void *ctx, const struct pack_want *want, const char *key, const struct tide_err *why);

/*
 * Reads, proves and opens n frames, with one request for neighbours in a pack.  Packs that were repacked are found
 * through their relocation.  CORRUPT with the pack's key in the text, also for one that is missing; with `bad`, these
 * are told (a missing one as NOT_FOUND), marked as failed, and the rest is read.
 */
tide_status pack_reader_fetch(struct pack_reader *r, struct pack_want *wants, size_t n, pack_bad_fn *bad, void *ctx,
                              struct tide_err *err) TIDE_MUST_CHECK;
/* One frame, appended to out.  hash as in pack_want. */
tide_status pack_reader_frame(struct pack_reader *r, const struct pack_ref *ref, enum frame_kind kind,
                              const uint8_t *hash, struct tide_buf *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
