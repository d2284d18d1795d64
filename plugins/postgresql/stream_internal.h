#ifndef TIDE_PLUGIN_PG_STREAM_INTERNAL_H
#define TIDE_PLUGIN_PG_STREAM_INTERNAL_H

/* One run of log_stream: stream.c copies, stream_ends.c begins it and says how it ended. */

#include "plugins/postgresql/pg_log.h"

#define STREAM_END_TIMEOUT_MS 60000

struct stream {
    struct pg_instance *inst;
    const struct tide_host *host;
    const struct tide_log_stream_params *params;
    const struct tide_log_sink *sink;
    struct tide_log_stream_end *end;
    PGconn *conn;
    struct pg_keeper *keeper;
    uint64_t received; /* end of what came */
    uint64_t reported; /* durable position of the last status */
    int64_t status_at, heard_at;
    bool unreserved; /* the slot held nothing when we began */
    bool asked;      /* for an answer since something was heard */
};

/*
 * Is this the server that the evidence describes, and does it have the place?
 * *go: streaming may be begun; else st->end says why not.
 */
int pg_stream_compare(struct stream *st, bool *go, struct tide_err *err) PG_MUST_CHECK;
/* Makes sure of the slot and asks for the stream; *res is PGRES_COPY_BOTH, or for pg_stream_judge(). */
int pg_stream_start(struct stream *st, PGresult **res, struct tide_err *err) PG_MUST_CHECK;
/* What the server answered instead of a stream, or at its end, as st->end or as a status. */
int pg_stream_judge(struct stream *st, const PGresult *res, struct tide_err *err) PG_MUST_CHECK;
void pg_stream_set_end(struct stream *st, enum tide_log_stream_reason reason, uint64_t end);

#endif
