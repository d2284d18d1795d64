#ifndef TIDE_WAL_SHIP_H
#define TIDE_WAL_SHIP_H

/*
 * The shipper: receives the log from the plugin, cuts it into objects at
 * record ends, stores them, confirms to the server what is durable, keeps
 * the latest restorable time moving with heartbeats, and merges in the
 * background.
 *
 * Threads: the stream (plugin handle 1), the storer, the clock (plugin handle
 * 2), the merger, the control socket.
 */

#include "wal/branch.h"

struct wal_ship_state {
    uint32_t lineage;
    struct tide_pos received, durable, confirmed;
    int64_t restorable_us;   /* everything acknowledged until then is durable; TIDE_TIME_NONE at first */
    int64_t server_clock_us; /* as last asked */
    uint64_t unshipped_bytes, held_back_bytes, spooled_bytes;
    uint64_t objects, bytes, commits, reconnects;
    int64_t skew_us;   /* server's clock minus ours */
    bool standby;      /* the server is one: only commits move restorable_us */
    char problem[256]; /* why it stands still; empty when it does not */
};

struct wal_ship_options {
    struct repo *repo;
    const char *instance;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    int64_t ship_interval_us, heartbeat_interval_us, lease_us, clock_tolerance_us, merge_grace_us;
    uint64_t object_bytes;       /* an object is closed at this size */
    const char *spool_directory; /* confirm = spool; NULL: confirm = repository */
    uint64_t spool_limit;
    const char *control_path; /* unix socket: "flush" closes the object and writes a heartbeat; NULL: none */
    struct tide_pos until;    /* stop when everything below is durable; none: until cancelled */
    bool no_lease;            /* the caller holds it already */
    struct tide_cancel *cancel;
    void (*report)(void *ctx, const struct wal_ship_state *s); /* about once a second; from one thread */
    void *report_ctx;
};

/*
 * Returns OK on cancellation or when `until` is reached.  BUSY: another shipper holds the lease (or the slot);
 * REFUSED: the server is no child of what is stored; CORRUPT: what the server resent differs from what is stored.
 * A lost server or repository is retried for ever with back-off, and told in the state and the log.
 */
tide_status wal_ship(const struct wal_ship_options *o, struct tide_err *err) TIDE_MUST_CHECK;

/* Asks a live shipper at control_path to close its object and write a heartbeat; waits for it, at most timeout_us.
 * state is filled when not NULL.  NOT_FOUND: nobody listens. */
tide_status wal_ship_flush(const char *control_path, int64_t timeout_us, struct wal_ship_state *state,
                           struct tide_err *err) TIDE_MUST_CHECK;

/* `log put`: one log file, complete or not, into the repository. */
struct wal_put_options {
    struct repo *repo;
    const char *instance, *path, *name;
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    uint64_t object_bytes;
};
tide_status wal_put_file(const struct wal_put_options *o, struct tide_err *err) TIDE_MUST_CHECK;
/* `log put --from DIR`: the last unshipped log out of a dead server's log directory.  *added is the bytes gained. */
tide_status wal_put_directory(const struct wal_put_options *o, uint64_t *added, struct tide_pos *end,
                              struct tide_err *err) TIDE_MUST_CHECK;

/* One pass of merging over a lineage; *merged counts objects made. */
tide_status wal_merge(struct repo *r, const char *instance, uint32_t lineage, int64_t grace_us,
                      struct tide_cancel *cancel, uint64_t *merged, struct tide_err *err) TIDE_MUST_CHECK;

#endif
