#ifndef TIDE_WAL_COLLECTOR_H
#define TIDE_WAL_COLLECTOR_H

/*
 * Bytes of the log in, pieces ready to be stored out.  The plugin's scanner
 * reads along and says where records end; pieces are cut there, unless a
 * record is larger than a piece may be.
 *
 * Not thread-safe; callers lock.
 */

#include "orchestrator/repository/logobject.h"
#include "wal/refset.h"

struct collector;

/* A closed piece: the log object that it will be. */
struct log_piece {
    struct log_info info;
    uint8_t *content; /* info.bytes long; owned */
    struct refset refs;
    struct log_piece *next; /* for whoever queues them */
};

void log_piece_free(struct log_piece *p);
/* Sorts the references and stores the piece. */
tide_status log_piece_put(struct repo *r, const char *instance, struct log_piece *p,
                          struct tide_err *err) TIDE_MUST_CHECK;

struct collector_options {
    const struct tide_plugin *plugin;
    const struct tide_host *host;
    const char *evidence;
    uint32_t lineage;
    uint64_t object_bytes;
    struct tide_pos start;        /* of the first byte to be stored */
    struct tide_pos scan_from;    /* of the first byte that will be fed: at or before start */
    struct tide_pos first_record; /* known start of a record at or after scan_from; none: the scanner finds it */
};

tide_status collector_new(const struct collector_options *o, struct collector **out,
                          struct tide_err *err) TIDE_MUST_CHECK;
void collector_free(struct collector *c);

/* Consecutive bytes.  CORRUPT: the scanner found damage; what was whole before it can still be cut. */
tide_status collector_feed(struct collector *c, struct tide_pos start, struct tide_pos end, const void *data,
                           size_t len, struct tide_err *err) TIDE_MUST_CHECK;

enum collector_cut {
    COLLECTOR_WHOLE, /* behind the last complete record */
    COLLECTOR_ALL,   /* everything, an incomplete record as well */
};
/* Closes what is open, if there is anything; it can then be taken. */
tide_status collector_cut(struct collector *c, enum collector_cut how, struct tide_err *err) TIDE_MUST_CHECK;
/* The oldest closed piece, or NULL; the caller's to free. */
struct log_piece *collector_take(struct collector *c);

struct tide_pos collector_end(const struct collector *c);       /* behind the last byte fed */
struct tide_pos collector_whole_end(const struct collector *c); /* where COLLECTOR_WHOLE would cut now */
/* Nothing was written behind the whole end: what was fed there is no log, and is dropped. */
bool collector_ended(const struct collector *c);
bool collector_has_whole(const struct collector *c);     /* COLLECTOR_WHOLE would give something */
bool collector_has_closed(const struct collector *c);    /* collector_take would give something */
uint64_t collector_bytes(const struct collector *c);     /* in memory, closed pieces as well */
int64_t collector_open_since(const struct collector *c); /* monotonic; of the open piece's first byte; 0: empty */

#endif
