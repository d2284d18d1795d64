#ifndef TIDE_REPOSITORY_LOGOBJECT_H
#define TIDE_REPOSITORY_LOGOBJECT_H

/*
 * Log objects: instances/NAME/log/LINEAGE/LEVEL/START-END-MIN-MAX-BACK-MARKS
 * (32, 32, 16, 16, 8 and 2 hex digits).  Immutable pieces of log.  Names alone
 * show coverage, commit times, and which objects hold rare events.
 */

#include "orchestrator/repository/object.h"

#define LOG_LEVEL_MAX   3u
#define LOG_MERGE_COUNT 64u
/* No object holds more; so an object that contains a position starts at most this far before it (same hi). */
#define LOG_OBJECT_MAX_BYTES (64u << 20)

#define LOG_MARK_RESTORE_POINT 1u
#define LOG_MARK_SETTINGS      2u
#define LOG_MARK_BRANCH        4u
#define LOG_MARK_PREPARED      8u

struct log_name {
    uint32_t lineage;
    uint8_t level;
    struct tide_pos start, end;
    int64_t min_us, max_us; /* commit times; TIDE_TIME_NONE: no commit */
    uint32_t back_ms;       /* largest step back of commit stamps within, against the running maximum */
    uint8_t marks;          /* LOG_MARK_*: so that nobody opens every object to find these */
};

tide_status log_name_key(const char *instance, const struct log_name *n, char key[REPO_KEY_MAX], struct tide_err *err) TIDE_MUST_CHECK;
bool log_name_parse(const char *key, struct log_name *n);
/* The folder of a level, and the key after which listing finds every object that may contain pos. */
void log_level_folder(const char *instance, uint32_t lineage, unsigned level, char out[REPO_KEY_MAX]);
void log_level_after(const char *instance, uint32_t lineage, unsigned level, struct tide_pos pos, char out[REPO_KEY_MAX]);

/* Position bookkeeping where an engine skips (binlog files): bytes of [start, end) are len long. */
struct log_extent {
    struct tide_pos start, end;
    uint32_t len;
};

struct log_info {
    struct log_name name;
    uint64_t bytes;          /* of content */
    uint8_t digest[32];      /* SHA-256 of content */
    uint64_t n_commits;
    struct tide_pos last_commit_start, last_commit_end; /* none without commits */
    struct tide_pos first_record;      /* start of the first record that begins inside; none */
    struct tide_pos last_record_start; /* none when no record ends inside */
    int64_t received_us;     /* shipper's clock when the object was closed */
    struct log_extent extents[8];
    uint32_t n_extents;
    uint32_t n_events;
    char *events_json;       /* owned: restore points, settings, branches: JSON array; NULL: none */
};

void log_info_clear(struct log_info *i);

/* Seals content (and block references, sorted and unique) into one object and puts it by conditional create.  The
 * same name with the same digest is success; with another digest CORRUPT, and nothing may be acknowledged. */
tide_status log_object_put(struct repo *r, const char *instance, const struct log_info *info, const void *content,
                           const struct tide_block_ref *refs, size_t n_refs, struct tide_err *err) TIDE_MUST_CHECK;
/* The authenticated description only: at most two requests. */
tide_status log_object_info(struct repo *r, const char *key, struct log_info *out, struct tide_err *err) TIDE_MUST_CHECK;
/* Proves and appends the whole content; checks that it is the object its name claims.  info may be NULL. */
tide_status log_object_read(struct repo *r, const char *key, struct log_info *info, struct tide_buf *content,
                            struct tide_err *err) TIDE_MUST_CHECK;
/* A part of it: the whole frames that hold the bytes from `from` on, `len` of them or as far as there are some.  *at is
 * the place of the first byte that was appended.  Each frame is proved; the digest only where the part is the whole. */
tide_status log_object_read_part(struct repo *r, const char *key, uint64_t from, uint64_t len, struct log_info *info,
                                 struct tide_buf *content, uint64_t *at, struct tide_err *err) TIDE_MUST_CHECK;
/* The block references; *refs is the caller's to free(). */
tide_status log_object_refs(struct repo *r, const char *key, struct tide_block_ref **refs, size_t *n, struct tide_err *err) TIDE_MUST_CHECK;

/* Every stored byte: content, references, and that the object ends where it should.  info may be NULL. */
tide_status log_object_verify(struct repo *r, const char *key, struct log_info *info, struct tide_err *err) TIDE_MUST_CHECK;

/* heartbeats/LINEAGE/: the newest statement "everything acknowledged before clock lies below pos". */
tide_status heartbeat_put(struct repo *r, const char *instance, uint32_t lineage, int64_t clock_us, struct tide_pos pos,
                          struct tide_err *err) TIDE_MUST_CHECK;
/* NOT_FOUND without one. */
tide_status heartbeat_newest(struct repo *r, const char *instance, uint32_t lineage, int64_t *clock_us, struct tide_pos *pos,
                             struct tide_err *err) TIDE_MUST_CHECK;
/* Deletes those that speak for a later clock: the server's was put back, and they promise what has not come. */
tide_status heartbeat_retract(struct repo *r, const char *instance, uint32_t lineage, int64_t later_than_us,
                              struct tide_err *err) TIDE_MUST_CHECK;
/* Deletes all but the newest `keep`. */
tide_status heartbeat_prune(struct repo *r, const char *instance, uint32_t lineage, unsigned keep, struct tide_err *err) TIDE_MUST_CHECK;

/* gaps/N: log that is known to be lost. */
struct log_gap {
    uint32_t lineage;
    struct tide_pos from, to; /* to none: unknown */
    int64_t noticed_us;
    char reason[256];
};
tide_status log_gap_record(struct repo *r, const char *instance, const struct log_gap *g, struct tide_err *err) TIDE_MUST_CHECK;
typedef tide_status log_gap_fn(void *ctx, const struct log_gap *g, struct tide_err *err);
tide_status log_gap_list(struct repo *r, const char *instance, log_gap_fn *fn, void *ctx, struct tide_err *err) TIDE_MUST_CHECK;

/* tombstones/ID: keys that go after a grace period, with the reason. */
tide_status tombstone_put(struct repo *r, const char *instance, const char *const *keys, size_t n, const char *reason,
                          int64_t not_before_us, struct tide_err *err) TIDE_MUST_CHECK;
/* Deletes what is due by the store's clock; *deleted counts keys. */
tide_status tombstone_sweep(struct repo *r, const char *instance, const char *reason, uint64_t *deleted, struct tide_err *err) TIDE_MUST_CHECK;

#endif
