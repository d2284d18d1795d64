#ifndef TIDE_WAL_PIECE_H
#define TIDE_WAL_PIECE_H

/* What is summed up about a piece of log while it passes. */

#include "wal/collector.h"
#include <jansson.h>

#define PIECE_MAX_REFS   (1u << 20) /* 20 MiB */
#define PIECE_MAX_EVENTS 256u       /* a piece with more is closed early */
#define PIECE_MAX_TEXT   (256u << 10)

struct piece_tally {
    uint64_t n_commits;
    int64_t min_us, max_us;
    int64_t back_us;
    struct tide_pos last_commit_start, last_commit_end;
    json_t *events; /* owned; NULL: none */
    size_t text;    /* bytes in them */
    uint8_t marks;
    struct refset refs;
    bool full; /* close soon: a bound is near */
};

void piece_tally_init(struct piece_tally *t);
void piece_tally_clear(struct piece_tally *t);
tide_status piece_tally_event(struct piece_tally *t, const struct tide_log_event *e,
                              struct tide_err *err) TIDE_MUST_CHECK;
tide_status piece_tally_blocks(struct piece_tally *t, const struct tide_block_ref *refs, size_t n,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* Moves what was summed up into the piece and begins anew. */
tide_status piece_tally_close(struct piece_tally *t, struct log_piece *p, struct tide_err *err) TIDE_MUST_CHECK;

/* A step back in the milliseconds that names carry, rounded up. */
uint32_t piece_back_ms(int64_t back_us);

#endif
