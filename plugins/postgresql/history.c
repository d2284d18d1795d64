#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_pure.h"

#include <string.h>

/* The first n branches of both are the same. */
static bool same_branches(const struct evidence *a, const struct evidence *b, size_t n)
{
    if (a->n_branches < n || b->n_branches < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (a->branches[i].timeline != b->branches[i].timeline || a->branches[i].end != b->branches[i].end)
            return false;
    return true;
}

/* Whether `young` descends from `old`, and where it left it. */
static bool descends(const struct evidence *young, const struct evidence *old, uint64_t *fork)
{
    for (size_t i = 0; i < young->n_branches; i++) {
        if (young->branches[i].timeline != old->timeline)
            continue;
        *fork = young->branches[i].end;
        return old->n_branches == i && same_branches(young, old, i);
    }
    return false;
}

static uint32_t relation_of(const struct evidence *stored, const struct evidence *current, uint64_t *fork)
{
    *fork = 0;
    if (stored->system_identifier != current->system_identifier || stored->segment_size != current->segment_size)
        return TIDE_LOG_FOREIGN;
    if (stored->timeline == current->timeline) {
        /* Every clone of one backup becomes timeline 2; its file says where it forked, and why. */
        bool same = strcmp(stored->history, current->history) == 0;

        return same ? TIDE_LOG_SAME : TIDE_LOG_FOREIGN;
    }
    if (descends(current, stored, fork))
        return TIDE_LOG_CHILD;
    if (descends(stored, current, fork))
        return TIDE_LOG_ANCESTOR;
    *fork = 0;
    return TIDE_LOG_FOREIGN;
}

int pg_log_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end, const char *current,
                  struct tide_log_kinship *out, struct tide_err *err)
{
    struct evidence a, b;
    const char *why_a = evidence_parse(stored, &a), *why_b = evidence_parse(current, &b);
    uint32_t size = out->struct_size;
    int s = TIDE_OK;

    /* A stored log that goes on behind the fork is a child's parent all the same; what to do with its tail is not
     * ours to say. */
    (void)stored_end;
    if (why_a != NULL || why_b != NULL) {
        s = tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "cannot read the evidence of the %s log: %s",
                             why_a != NULL ? "stored" : "server's", why_a != NULL ? why_a : why_b);
    } else {
        uint64_t fork;
        struct tide_log_kinship k = {.struct_size = size, .relation = relation_of(&a, &b, &fork)};

        k.fork = pg_pos(fork);
        pg_copy_out(out, size, &k, sizeof k);
    }
    evidence_clear(&a);
    evidence_clear(&b);
    return s;
}
