#ifndef TIDE_WAL_SHIP_SESSION_H
#define TIDE_WAL_SHIP_SESSION_H

/* One conversation with the server, and what the one after it has to know. */

#include "wal/backoff.h"
#include "wal/ship_prove.h"
#include "wal/ship_target.h"

struct stream {
    struct ship *ship;
    void *inst; /* the plugin's handle; NULL: to be opened */
    struct ship_lessons lessons;
    struct backoff backoff;
    bool ever_streamed, progress;
    int64_t busy_since;
    unsigned foreign;
};

struct session {
    struct ship *ship;
    struct stream *stream;
    struct tide_log_identity id;
    char *identity; /* owned; what id.evidence points to */
    struct ship_target target;
    struct prover prover;
    bool proved, differs;
    bool filled; /* a hole was: stored log goes on */
};

/* ---- ship_session.c */
void session_clear(struct session *x);
/* From here on the other threads see the session. */
tide_status session_begin(struct session *x, struct tide_err *err) TIDE_MUST_CHECK;
/* What arrived is stored before anything else happens: then the repository alone says where to go on.  all: an
 * incomplete record as well. */
void session_drain(struct session *x, bool all);
/* What was stored last is no basis for the next session any more. */
void session_forget_tail(struct session *x);

/* ---- ship_sink.c */
struct tide_log_sink session_sink(struct session *x);
/* The server has resent what it had to. */
void session_proved(struct session *x);

#endif
