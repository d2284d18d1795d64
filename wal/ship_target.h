#ifndef TIDE_WAL_SHIP_TARGET_H
#define TIDE_WAL_SHIP_TARGET_H

/* What a session streams: which lineage, from where, and what the server has to prove first. */

#include "wal/ship_internal.h"

struct ship_target {
    uint32_t lineage;
    uint64_t branch;
    char *evidence;             /* owned */
    struct tide_pos resume;     /* first byte to be stored */
    struct tide_pos prove_from; /* the server resends [prove_from, resume); equal: nothing to prove */
    bool record;                /* a record begins at prove_from */
    bool end_expected; /* nothing is to be stored: the branch ends at resume, and the server says what follows */
    struct tide_pos fill_to; /* a hole is filled up to here, where stored log goes on; none: there is none */
    /* A child with nothing stored yet: its scanner first reads the parent's log from here. */
    uint32_t lead_lineage;
    struct tide_pos lead_from;
    bool lead_record;
};

void ship_target_clear(struct ship_target *t);

#define SHIP_FILL_TRIES 5u

/* What earlier sessions of this run have learned. */
struct ship_lessons {
    uint32_t disproved[SHIP_DISPROVED_MAX]; /* lineages whose bytes the server resent differently */
    size_t n_disproved;
    uint32_t moved_lineage; /* log was removed: go on here; 0: nothing */
    struct tide_pos moved_to, moved_prove_from;
    uint32_t gave_up;       /* a parent whose end can no longer be had */
    unsigned fill_failures; /* holes are given up on after some: the live log must not wait for ever */
    uint32_t unproved_fork; /* a parent whose bytes before the fork can no longer be resent */
};

tide_status ship_target_choose(struct ship *s, struct ship_lessons *lessons, const struct tide_log_identity *id,
                               struct ship_target *out, struct tide_err *err) TIDE_MUST_CHECK;

/* The branch of t ended at fork: the lineage that follows is found or made. */
tide_status ship_target_follow(struct ship *s, const struct ship_lessons *lessons, const struct ship_target *t,
                               struct tide_pos fork, uint64_t branch, const char *evidence,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* The server no longer has the log at t's position. */
tide_status ship_target_removed(struct ship *s, struct ship_lessons *lessons, const struct ship_target *t,
                                const struct tide_log_identity *id, struct tide_pos oldest,
                                struct tide_err *err) TIDE_MUST_CHECK;

#endif
