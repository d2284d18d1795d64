#ifndef TIDE_STORE_STORE_H
#define TIDE_STORE_STORE_H

/*
 * An object store: keys are '/'-separated, values immutable.  Every call
 * blocks and is thread-safe; drivers retry by themselves what may be retried,
 * so TIDE_UNAVAILABLE is final for the call.
 *
 * Statuses: NOT_FOUND (proved absent), EXISTS (conditional create lost),
 * DENIED, UNAVAILABLE, FULL, IO, CANCELLED.
 */

#include "orchestrator/base/buf.h"
#include "orchestrator/base/thread.h"

struct tide_store;
struct store_writer;

/* Create-only is atomic: exactly one of several racing writers wins. */
#define STORE_FEATURE_CONDITIONAL_CREATE 1u
/* A key that is written is on disk when the call returns. */
#define STORE_FEATURE_DURABLE 2u

struct store_options {
    const char *url;            /* "file:///srv/backups"; tests: "faulty+file:///..." */
    struct tide_cancel *cancel; /* borrowed; NULL: none */
    bool create;                /* make the root when it is missing (init only) */
};

tide_status store_open(const struct store_options *o, struct tide_store **out, struct tide_err *err) TIDE_MUST_CHECK;
void store_close(struct tide_store *s);
uint32_t store_features(const struct tide_store *s);
const char *store_url(const struct tide_store *s);

/* Writing never replaces: EXISTS when the key is there already (with a store that can tell). */
tide_status store_put(struct tide_store *s, const char *key, const void *data, size_t len,
                      struct tide_err *err) TIDE_MUST_CHECK;

/* A large object in pieces.  Nothing is visible before commit; abort leaves nothing.  Both free the writer. */
tide_status store_put_begin(struct tide_store *s, const char *key, struct store_writer **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
tide_status store_writer_write(struct store_writer *w, const void *data, size_t len,
                               struct tide_err *err) TIDE_MUST_CHECK;
tide_status store_writer_commit(struct store_writer *w, struct tide_err *err) TIDE_MUST_CHECK;
void store_writer_abort(struct store_writer *w); /* NULL: nothing */

/* Bytes [offset, offset + len) into data; *got is less only at the end of the object.  Offset at or past the
 * end: *got 0. */
tide_status store_get(struct tide_store *s, const char *key, uint64_t offset, void *data, size_t len, size_t *got,
                      struct tide_err *err) TIDE_MUST_CHECK;
/* The whole object; CORRUPT when it is larger than out->max. */
tide_status store_get_all(struct tide_store *s, const char *key, struct tide_buf *out,
                          struct tide_err *err) TIDE_MUST_CHECK;
/* The last len bytes (fewer when the object is shorter) and its size. */
tide_status store_get_tail(struct tide_store *s, const char *key, void *data, size_t len, size_t *got, uint64_t *size,
                           struct tide_err *err) TIDE_MUST_CHECK;

struct store_entry {
    const char *key; /* whole key; valid during the call */
    uint64_t size;
    int64_t mtime_us;
};

tide_status store_head(struct tide_store *s, const char *key, uint64_t *size, int64_t *mtime_us,
                       struct tide_err *err) TIDE_MUST_CHECK;

/* Keys below prefix (a folder: ends in '/' or is ""), in byte order, strictly greater than `after` (whole key, or
 * NULL), at most limit (0: all).  The callback may stop the listing by returning a status other than OK, which is
 * passed on; TIDE_EXISTS is the customary "seen enough". */
typedef tide_status store_list_fn(void *ctx, const struct store_entry *e, struct tide_err *err);
tide_status store_list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, store_list_fn *fn,
                       void *ctx, struct tide_err *err) TIDE_MUST_CHECK;
/* The names directly below prefix, folders with '/' at the end (e->key is prefix + name). */
tide_status store_list_folder(struct tide_store *s, const char *prefix, store_list_fn *fn, void *ctx,
                              struct tide_err *err) TIDE_MUST_CHECK;

/* Absent keys are fine. */
tide_status store_delete(struct tide_store *s, const char *key, struct tide_err *err) TIDE_MUST_CHECK;
/* The store's clock. */
tide_status store_now(struct tide_store *s, int64_t *now_us, struct tide_err *err) TIDE_MUST_CHECK;

/* Requests so far, by kind, for status -v and the tests that bound them. */
struct store_counters {
    uint64_t puts, gets, lists, heads, deletes, bytes_out, bytes_in;
};
struct store_counters store_counters(const struct tide_store *s);

#endif
