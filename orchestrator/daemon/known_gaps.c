#include "orchestrator/daemon/known_gaps.h"

#include <stdlib.h>

static tide_status add(void *ctx, const struct log_gap *gap, struct tide_err *err)
{
    struct known_gaps *g = ctx;
    struct log_gap *grown = realloc(g->items, (g->n + 1) * sizeof *grown);

    if (grown == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    g->items = grown;
    g->items[g->n++] = *gap;
    return TIDE_OK;
}

tide_status known_gaps_load(struct job *job, struct known_gaps *out, struct tide_err *err)
{
    return log_gap_list(job->repo, job->instance, add, out, err);
}

void known_gaps_clear(struct known_gaps *g)
{
    free(g->items);
    *g = (struct known_gaps){0};
}

bool known_gap(const struct known_gaps *g, uint32_t lineage, struct tide_pos from, struct tide_pos to)
{
    for (size_t i = 0; i < g->n; i++) {
        const struct log_gap *gap = &g->items[i];
        if (gap->lineage != lineage || tide_pos_cmp(from, gap->from) < 0)
            continue;
        if (tide_pos_is_none(gap->to) || (!tide_pos_is_none(to) && tide_pos_cmp(to, gap->to) <= 0))
            return true;
    }
    return false;
}
