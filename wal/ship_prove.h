#ifndef TIDE_WAL_SHIP_PROVE_H
#define TIDE_WAL_SHIP_PROVE_H

/* Compares what a server resends with what is stored.  Used by the stream's thread only. */

#include "wal/fetch.h"
#include "wal/ship_target.h"

struct prover {
    struct tide_pos at, to; /* [at, to) is still to be proved */
    uint8_t *bytes;         /* owned copy of the stored bytes from `from` on; NULL: read from the source */
    struct tide_pos from;
    struct log_source *source; /* owned */
};

tide_status prover_open(struct ship *s, const struct ship_target *t, struct prover *p,
                        struct tide_err *err) TIDE_MUST_CHECK;
void prover_close(struct prover *p);
/* Bytes that begin at `start`; what lies behind `to` is not looked at.  CORRUPT: they differ (*differs is set), or
 * what is stored cannot be read. */
tide_status prover_check(struct prover *p, struct tide_pos start, const uint8_t *data, size_t len, bool *differs,
                         struct tide_err *err) TIDE_MUST_CHECK;
static inline bool prover_done(const struct prover *p)
{
    return tide_pos_cmp(p->at, p->to) >= 0;
}

#endif
