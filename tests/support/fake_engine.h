#ifndef TIDE_TESTS_FAKE_ENGINE_H
#define TIDE_TESTS_FAKE_ENGINE_H

/*
 * A database engine in memory, as a plugin sees one: branches, a log of records
 * on pages, a clock, and a server that fails on demand.  Thread-safe.
 *
 * The log: pages of 256 bytes, each with a header of 8 (magic 2, zero 2, bytes
 * left of a record from the page before 4); segments of 8192 bytes.  A record:
 * length 4 (without page headers), checksum 4, time 8, kind 1, references 1,
 * zero 2, then references of 4 bytes and text; padded to a multiple of 4.  A
 * record of kind FAKE_SWITCH is followed by zeros up to the end of its segment.
 * All numbers are big-endian.
 */

#include "orchestrator/base/err.h"
#include "orchestrator/base/thread.h"
#include "plugins/tide_plugin.h"

#define FAKE_PAGE    256u
#define FAKE_SEGMENT 8192u
#define FAKE_BASE    (UINT64_C(16) * FAKE_SEGMENT) /* where the first branch's log begins */
#define FAKE_RECORD  20u                           /* without references and text */
#define FAKE_DATA    100u                          /* record kinds besides enum tide_log_event_kind */
#define FAKE_SWITCH  101u

struct fake_server;

struct fake_server *fake_server_new(uint64_t identifier);
void fake_server_free(struct fake_server *s);

/* ---- what happens on the server */

/* Appends a record to the current branch; *end when not NULL is where it ends.  text of len bytes, n_refs block
 * references to blocks first_ref.. */
struct tide_pos fake_append(struct fake_server *s, unsigned kind, int64_t time_us, const void *text, size_t len,
                            unsigned n_refs, uint32_t first_ref);
struct tide_pos fake_commit(struct fake_server *s, int64_t time_us, size_t payload);
/* Its end of log, normalised: where the last record (or padding) ends. */
struct tide_pos fake_end(struct fake_server *s);
/* A new branch from fork on, which becomes the current one.  Returns its number. */
uint64_t fake_promote(struct fake_server *s, struct tide_pos fork);
/* The same as another server would look that shares identifier and branches: current bytes behind `from` differ. */
void fake_diverge(struct fake_server *s, struct tide_pos from);
void fake_remove_before(struct fake_server *s, struct tide_pos pos); /* rounded down to a segment */
void fake_set_clock(struct fake_server *s, int64_t us);              /* 0: the real clock */
void fake_set_synchronous(struct fake_server *s, bool on);
void fake_set_standby(struct fake_server *s, bool on);
void fake_set_down(struct fake_server *s, bool down); /* everything fails with AGAIN, streams end */
void fake_set_busy(struct fake_server *s, bool busy); /* log_stream fails with BUSY */
void fake_set_paused(struct fake_server *s, bool on); /* streams send nothing */
void fake_kick(struct fake_server *s);                /* running streams end with AGAIN */

/* ---- what the test wants to know */

struct tide_pos fake_confirmed(struct fake_server *s); /* highest position a stream was told is durable */
unsigned fake_streams(struct fake_server *s);          /* how many log_streams were begun */
uint64_t fake_branch(struct fake_server *s);
/* Bytes [from, to) of a branch, its ancestors' included. */
void fake_read(struct fake_server *s, uint64_t branch, struct tide_pos from, struct tide_pos to, uint8_t *out);
/* Writes the segment that contains pos, of the current branch, to path: complete or up to the end of log and zeros.
 */
void fake_write_segment(struct fake_server *s, uint64_t branch, struct tide_pos pos, const char *path);
void fake_segment_name(uint64_t branch, struct tide_pos pos, char out[32]);
/* The evidence of a branch; the caller's to free(). */
char *fake_evidence(struct fake_server *s, uint64_t branch);

struct fake_commit_record {
    struct tide_pos start, end;
    int64_t time_us;
    uint64_t branch;
};
/* All commits of the server, in the order in which they were made; valid until the next append. */
const struct fake_commit_record *fake_commits(struct fake_server *s, size_t *n);

/* ---- the plugin */

extern const struct tide_plugin fake_plugin;

struct fake_host {
    struct tide_host host;
    struct fake_server *server;
    char option[32];
};
void fake_host_init(struct fake_host *h, struct fake_server *s);

#endif
