#include "wal/hole.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/backup.h"
#include "wal/pos.h"

struct gap_search {
    uint32_t lineage;
    const struct log_hole *hole;
    bool recorded;
};

static tide_status overlaps(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    struct gap_search *q = ctx;
    bool ends_before = !tide_pos_is_none(g->to) && !pos_before(q->hole->from, g->to);

    (void)err;
    if (g->lineage == q->lineage && pos_before(g->from, q->hole->to) && !ends_before)
        q->recorded = true;
    return TIDE_OK;
}

static tide_status newest_backup(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos *start,
                                 struct tide_err *err)
{
    TIDE_AUTO(backup_list_clear) struct backup_list list = {0};
    tide_status s = backup_list_load(r, instance, &list, err);

    *start = TIDE_POS_NONE;
    for (size_t i = 0; s == TIDE_OK && i < list.n; i++)
        if (list.items[i].lineage == lineage)
            *start = pos_max(*start, list.items[i].start);
    return s;
}

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

tide_status log_find_hole(struct repo *r, const char *instance, uint32_t lineage, struct log_hole *out,
                          struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    struct tide_pos from;
    tide_status s = newest_backup(r, instance, lineage, &from, err);

    out->found = false;
    if (s == TIDE_OK)
        s = log_walk_open(r, instance, lineage, from, &w, err);
    /* Where the backup begins nothing may be stored yet; that is no hole of the log behind it. */
    for (bool begun = tide_pos_is_none(from); s == TIDE_OK;) {
        struct log_name n;
        struct log_hole hole = {.found = true, .from = log_walk_position(w)};
        struct gap_search q = {.lineage = lineage, .hole = &hole};
        s = log_walk_next(w, &n, err);
        if (s == TIDE_OK)
            begun = true;
        if (s != TIDE_NOT_FOUND)
            continue;
        tide_err_clear(err);
        s = log_walk_skip_gap(w, &hole.to, err);
        if (s != TIDE_OK)
            break;
        if (begun)
            s = log_gap_list(r, instance, overlaps, &q, err);
        if (s == TIDE_OK && begun && !q.recorded) {
            *out = hole;
            return TIDE_OK;
        }
    }
    if (s != TIDE_NOT_FOUND)
        return tide_wrap(err, s, "looking for holes in the log of \"%s\"", instance);
    tide_err_clear(err);
    return TIDE_OK;
}
