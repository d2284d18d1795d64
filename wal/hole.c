#include "wal/hole.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/backup.h"
#include "wal/pos.h"

struct gap_search {
    const struct log_hole *hole;
    bool recorded;
};

static tide_status overlaps(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    struct gap_search *q = ctx;
    bool ends_before = !tide_pos_is_none(g->to) && !pos_before(q->hole->from, g->to);

    (void)err;
    if (g->lineage == q->hole->lineage && pos_before(g->from, q->hole->to) && !ends_before)
        q->recorded = true;
    return TIDE_OK;
}

/* The step of the path from which on log is needed, and where in it. */
static tide_status needed_from(struct repo *r, const char *instance, const struct lineage_step *path, size_t n,
                               size_t *step, struct tide_pos *from, struct tide_err *err)
{
    TIDE_AUTO(backup_list_clear) struct backup_list list = {0};
    tide_status s = backup_list_load(r, instance, &list, err);

    *step = 0;
    *from = TIDE_POS_NONE;
    for (size_t i = 0; s == TIDE_OK && i < list.n; i++) {
        const struct backup *b = &list.items[i];
        for (size_t k = *step; k < n; k++) {
            bool left_before = !tide_pos_is_none(path[k].end) && pos_before(path[k].end, b->stop);
            if (path[k].lineage != b->lineage || left_before)
                continue;
            *from = k > *step ? b->start : pos_max(*from, b->start);
            *step = k;
        }
    }
    return s;
}

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

/* Holes of one lineage in [from, end); *begun: log before it is stored, so that its absence here is a hole. */
static tide_status hole_in_step(struct repo *r, const char *instance, const struct lineage_step *step,
                                struct tide_pos from, bool *begun, struct log_hole *out, struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    bool bounded = !tide_pos_is_none(step->end);
    tide_status s = log_walk_open(r, instance, step->lineage, from, &w, err);

    while (s == TIDE_OK && (!bounded || pos_before(log_walk_position(w), step->end))) {
        struct log_name n;
        struct log_hole hole = {.found = true, .lineage = step->lineage, .from = log_walk_position(w)};
        struct gap_search q = {.hole = &hole};
        s = log_walk_next(w, &n, err);
        if (s == TIDE_OK) {
            *begun = true;
            continue;
        }
        if (s != TIDE_NOT_FOUND)
            return s;
        tide_err_clear(err);
        s = log_walk_skip_gap(w, &hole.to, err);
        bool over = s == TIDE_NOT_FOUND;
        if (s != TIDE_OK && !over)
            return s;
        if (over)
            tide_err_clear(err);
        if (over && !bounded)
            return TIDE_OK;
        if (bounded && (over || pos_before(step->end, hole.to)))
            hole.to = step->end;
        s = *begun && !tide_pos_is_none(hole.from) ? log_gap_list(r, instance, overlaps, &q, err) : TIDE_OK;
        if (s == TIDE_OK && *begun && !tide_pos_is_none(hole.from) && !q.recorded) {
            *out = hole;
            return TIDE_OK;
        }
        if (over)
            break;
    }
    return s;
}

tide_status log_find_hole(struct repo *r, const char *instance, const struct lineage_set *set, uint32_t lineage,
                          struct log_hole *out, struct tide_err *err)
{
    struct lineage_step path[LINEAGE_PATH_MAX];
    struct tide_pos from;
    size_t n = 0, step = 0;
    bool begun = false;
    tide_status s = lineage_path(set, lineage, path, &n, err);

    *out = (struct log_hole){0};
    if (s == TIDE_OK)
        s = needed_from(r, instance, path, n, &step, &from, err);
    for (size_t i = step; s == TIDE_OK && i < n && !out->found; i++)
        s = hole_in_step(r, instance, &path[i], i == step ? from : path[i].start, &begun, out, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "looking for holes in the log of \"%s\"", instance);
}
