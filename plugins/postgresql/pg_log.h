#ifndef TIDE_PLUGIN_PG_LOG_H
#define TIDE_PLUGIN_PG_LOG_H

/* What the files of the log half share: slots, and what is asked of a server about its log. */

#include "plugins/postgresql/pg.h"

/* ------------------------------------------------------------------- slots */

#define PG_SLOT_NAME_SIZE 64

struct pg_slot {
    bool exists, physical, active, reserved;
    bool lost; /* the server gave up what it held */
    uint64_t restart_lsn;
    uint64_t held_bytes;
};

/* Option `slot`, or "tidemark_" and the instance's name in the characters that a slot may have. */
void pg_slot_name(const struct tide_host *host, char buf[PG_SLOT_NAME_SIZE]);
/* Succeeds with exists = false when there is none. */
int pg_slot_read(const struct tide_host *host, PGconn *conn, const char *name, struct pg_slot *slot,
                 struct tide_err *err) PG_MUST_CHECK;
/* reserve: hold log back from now on, instead of from the first confirmation on. */
int pg_slot_create(const struct tide_host *host, PGconn *conn, const char *name, bool reserve,
                   struct tide_err *err) PG_MUST_CHECK;
int pg_slot_drop(const struct tide_host *host, PGconn *conn, const char *name, struct tide_err *err) PG_MUST_CHECK;
/* Creates a slot that is not there and makes one anew that was lost; *made says so. */
int pg_slot_ensure(const struct tide_host *host, PGconn *conn, const char *name, bool *made,
                   struct tide_err *err) PG_MUST_CHECK;

/*
 * While one host streams, the slots of the others are moved to what is
 * confirmed, so that each of them can take over without a gap.  That is done in
 * a thread with connections of its own: a host that does not answer must not
 * hold up the stream.
 */
struct pg_keeper;
/* *out is NULL when there is no other host.  streaming is the connection whose host is left out. */
int pg_keeper_start(struct pg_instance *inst, const PGconn *streaming, struct pg_keeper **out,
                    struct tide_err *err) PG_MUST_CHECK;
void pg_keeper_confirm(struct pg_keeper *keeper, uint64_t lsn); /* keeper may be NULL */
void pg_keeper_stop(struct pg_keeper *keeper);                  /* NULL does nothing */

/* -------------------------------------------------------------- the server */

/* The result of IDENTIFY_SYSTEM. */
struct pg_system {
    uint64_t identifier;
    uint32_t timeline;
    uint64_t flushed;
};
int pg_identify_system(const struct tide_host *host, PGconn *repl, struct pg_system *out,
                       struct tide_err *err) PG_MUST_CHECK;

/* The first position of the oldest segment that the server still has; 0 when that may not be asked. */
int pg_oldest_log(const struct tide_host *host, PGconn *sql, uint32_t segment_size, uint64_t *lsn,
                  struct tide_err *err) PG_MUST_CHECK;

/* Waits for the next result of a command under way; NULL behind the last. */
int pg_next_result(const struct tide_host *host, PGconn *conn, int timeout_ms, bool ignore_cancel, PGresult **res,
                   struct tide_err *err) PG_MUST_CHECK;

#endif
