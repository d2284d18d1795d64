#ifndef TIDE_REPOSITORY_TABLE_H
#define TIDE_REPOSITORY_TABLE_H

/*
 * Sorted tables of (key, value) in frames inside packs: nodes of about 256 KiB
 * under a tree of root frames.  Written once in order, read as a stream or by
 * key, never as a whole.  FORMAT.md, section 7.
 */

#include "orchestrator/repository/pack.h"
#include "orchestrator/repository/pack_usage.h"

enum table_type { TABLE_FILES = 1, TABLE_PACKS = 2 };

#define TABLE_KEY_MAX   4352u
#define TABLE_VALUE_MAX (192u << 10)

struct table;
struct table_writer;

/* ---- writing */

struct table_writer_options {
    enum table_type type;
    struct pack_writer *pack; /* borrowed, like the rest */
    uint64_t seed;            /* of the hashes in refs */
    /* Nodes that an older table has byte for byte are referred to, not stored again.  NULL: none. */
    struct table *old;
    struct pack_reader *old_reader;
    bool (*usable)(void *ctx, const struct pack_ref *ref); /* may an old node be referred to?  NULL: yes */
    void *usable_ctx;
};

tide_status table_writer_new(const struct table_writer_options *o, struct table_writer **out,
                             struct tide_err *err) TIDE_MUST_CHECK;
void table_writer_free(struct table_writer *w);
/* Keys must ascend. */
tide_status table_writer_add(struct table_writer *w, const void *key, size_t key_len, const void *value,
                             size_t value_len, struct tide_err *err) TIDE_MUST_CHECK;
/* Bytes of packs that the table's own nodes need are added to usage, when that is not NULL. */
tide_status table_writer_finish(struct table_writer *w, struct pack_ref *root, struct pack_usage *usage,
                                struct tide_err *err) TIDE_MUST_CHECK;

/* ---- reading */

/* Nodes are cached up to about `cache` bytes.  Thread-safe with a reader a thread. */
tide_status table_open(struct pack_source *source, const struct pack_ref *root, enum table_type type, size_t cache,
                       struct table **out, struct tide_err *err) TIDE_MUST_CHECK;
void table_close(struct table *t);
/* Appends the value; NOT_FOUND (err untouched) when the key is not there. */
tide_status table_get(struct table *t, struct pack_reader *r, const void *key, size_t key_len, struct tide_buf *value,
                      struct tide_err *err) TIDE_MUST_CHECK;

struct table_record {
    const uint8_t *key, *value; /* valid until the next call on the cursor */
    size_t key_len, value_len;
};

struct table_cursor;

/* Stands before the first record whose key is not less than key (NULL: the first of all). */
tide_status table_cursor_new(struct table *t, struct pack_reader *r, const void *key, size_t key_len,
                             struct table_cursor **out, struct tide_err *err) TIDE_MUST_CHECK;
void table_cursor_free(struct table_cursor *c);
/* NOT_FOUND (err untouched) behind the last one. */
tide_status table_cursor_next(struct table_cursor *c, struct table_record *r, struct tide_err *err) TIDE_MUST_CHECK;

/* Told of a node that does not prove: its part of the table is left out, and the cursor goes on. */
typedef void table_bad_fn(void *ctx, const struct pack_ref *ref, const struct tide_err *why);
void table_cursor_skip_bad(struct table_cursor *c, table_bad_fn *bad, void *ctx);

/* The reference of the node that begins with exactly this key at level 0; NOT_FOUND (err untouched). */
tide_status table_node_at(struct table *t, struct pack_reader *r, const void *key, size_t key_len,
                          struct pack_ref *ref, struct tide_err *err) TIDE_MUST_CHECK;

#endif
