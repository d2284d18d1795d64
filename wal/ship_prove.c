#include "wal/ship_prove.h"

#include "orchestrator/base/cleanup.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

#define SLICE (1u << 20)

static bool copy_tail(struct ship *s, const struct ship_target *t, struct prover *p)
{
    ship_lock(s);
    const struct ship_tail *tail = &s->tail;
    bool here = tail->valid && tail->bytes != NULL && tail->lineage == t->lineage &&
                pos_equal(tail->record, t->prove_from) && pos_equal(tail->end, t->resume);
    if (here && (p->bytes = malloc(tail->len)) != NULL)
        memcpy(p->bytes, tail->bytes, tail->len);
    ship_unlock(s);
    return p->bytes != NULL;
}

tide_status prover_open(struct ship *s, const struct ship_target *t, struct prover *p, struct tide_err *err)
{
    struct lineage_step step = {.lineage = t->lineage};

    *p = (struct prover){.at = t->prove_from, .from = t->prove_from, .to = t->resume};
    if (prover_done(p) || copy_tail(s, t, p))
        return TIDE_OK;
    return log_source_new(s->o->repo, s->o->instance, &step, 1, &p->source, err);
}

void prover_close(struct prover *p)
{
    free(p->bytes);
    log_source_free(p->source);
    *p = (struct prover){0};
}

tide_status prover_check(struct prover *p, struct tide_pos start, const uint8_t *data, size_t len, bool *differs,
                         struct tide_err *err)
{
    TIDE_AUTO(tide_freep) uint8_t *buf = NULL;

    *differs = false;
    if (prover_done(p))
        return TIDE_OK;
    if (!pos_equal(start, p->at))
        return tide_fail(err, TIDE_IO, "the server did not resend the log that was asked for");
    if (pos_distance(start, p->to) < len)
        len = (size_t)pos_distance(start, p->to);
    if (p->bytes == NULL && (buf = malloc(SLICE)) == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory comparing log");
    while (len > 0) {
        size_t n = len > SLICE ? SLICE : len;
        struct tide_pos end = pos_add(p->at, n), got = end;
        const uint8_t *stored = p->bytes == NULL ? buf : p->bytes + (p->at.lo - p->from.lo);
        if (p->bytes == NULL) {
            tide_status st = log_source_read(p->source, p->at, end, buf, &got, err);
            if (st != TIDE_OK)
                return tide_wrap(err, st, "reading the stored end of the log");
        }
        if (!pos_equal(got, end) || memcmp(stored, data, n) != 0) {
            *differs = true;
            return tide_fail(err, TIDE_CORRUPT, "what the server resent differs from what is stored");
        }
        p->at = end;
        data += n;
        len -= n;
    }
    return TIDE_OK;
}
