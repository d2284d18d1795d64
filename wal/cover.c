#include "wal/cover.h"

#include "orchestrator/base/cleanup.h"
#include "wal/pos.h"
#include <stdlib.h>

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

void cover_clear(struct cover *c)
{
    free(c->items);
    *c = (struct cover){0};
}

/* Room for one more of size bytes each; NULL when out of memory. */
static void *grown(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return items;
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *p = realloc(items, more * size);
    if (p != NULL)
        *cap = more;
    return p;
}

tide_status ambiguity_add(struct ambiguity_list *l, const struct ambiguous_range *r, struct tide_err *err)
{
    if (l->n > 0) {
        struct ambiguous_range *last = &l->items[l->n - 1];
        if (last->lineage == r->lineage && r->from_us <= last->to_us && last->from_us <= r->to_us) {
            last->from_us = r->from_us < last->from_us ? r->from_us : last->from_us;
            last->to_us = r->to_us > last->to_us ? r->to_us : last->to_us;
            return TIDE_OK;
        }
    }
    struct ambiguous_range *items = grown(l->items, l->n, &l->cap, sizeof *items);
    if (items == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory computing the restore window");
    l->items = items;
    l->items[l->n++] = *r;
    return TIDE_OK;
}

static struct cover_segment *segment_begin(struct cover *c, struct tide_pos from)
{
    struct cover_segment *items = grown(c->items, c->n, &c->cap, sizeof *items);

    if (items == NULL)
        return NULL;
    c->items = items;
    items[c->n] = (struct cover_segment){
        .from = from, .to = from, .first_us = TIDE_TIME_NONE, .latest_us = TIDE_TIME_NONE, .max_us = TIDE_TIME_NONE};
    return &items[c->n++];
}

struct times {
    int64_t tolerance_us;
    int64_t max_us; /* of the segment so far */
};

static tide_status take_times(struct cover_segment *g, struct times *t, const struct log_name *n,
                              struct ambiguity_list *ambiguous, struct tide_err *err)
{
    int64_t back_us = (int64_t)n->back_ms * 1000;
    int64_t max_us = t->max_us == TIDE_TIME_NONE || n->max_us > t->max_us ? n->max_us : t->max_us;
    bool inner = back_us > t->tolerance_us;
    bool border = t->max_us != TIDE_TIME_NONE && n->min_us < t->max_us - t->tolerance_us;

    if (g->first_us == TIDE_TIME_NONE)
        g->first_us = n->min_us;
    if (inner) {
        /* Where in the object the stamps stepped back, and how far they came again, its name does not say. */
        g->latest_us = n->max_us - back_us > n->min_us ? n->max_us - back_us : n->min_us;
        g->latest_end = n->end;
    } else if (g->latest_us == TIDE_TIME_NONE || n->min_us < g->latest_us - t->tolerance_us ||
               n->max_us >= g->latest_us) {
        g->latest_us = n->max_us;
        g->latest_end = n->end;
    }
    struct ambiguous_range r = {.lineage = n->lineage,
                                .from_us = n->min_us,
                                .to_us = inner || t->max_us == TIDE_TIME_NONE ? max_us : t->max_us,
                                .at = n->start};
    t->max_us = g->max_us = max_us;
    return inner || border ? ambiguity_add(ambiguous, &r, err) : TIDE_OK;
}

tide_status cover_walk(const struct window_options *o, uint32_t lineage, struct tide_pos from, int64_t max_us,
                       struct cover *out, struct ambiguity_list *ambiguous, struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    struct cover_segment *g = NULL;
    struct times t = {.tolerance_us = o->clock_tolerance_us, .max_us = max_us};
    tide_status s = log_walk_open(o->repo, o->instance, lineage, from, &w, err);

    while (s == TIDE_OK) {
        struct log_name n;
        struct tide_pos at = log_walk_position(w);
        s = log_walk_next(w, &n, err);
        if (s == TIDE_NOT_FOUND) {
            g = NULL;
            t.max_us = TIDE_TIME_NONE;
            tide_err_clear(err);
            s = log_walk_skip_gap(w, &at, err);
            continue;
        }
        if (s != TIDE_OK)
            break;
        if (g == NULL && (g = segment_begin(out, tide_pos_is_none(at) ? n.start : at)) == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory computing the restore window");
        g->max_us = t.max_us;
        g->to = n.end;
        if (n.max_us != TIDE_TIME_NONE)
            s = take_times(g, &t, &n, ambiguous, err);
    }
    if (s != TIDE_NOT_FOUND)
        return tide_wrap(err, s, "walking the log of \"%s\" in lineage %u", o->instance, lineage);
    tide_err_clear(err);
    return TIDE_OK;
}

const struct cover_segment *cover_find(const struct cover *c, struct tide_pos from, struct tide_pos to)
{
    for (size_t i = 0; i < c->n; i++)
        if (!pos_before(from, c->items[i].from) && !pos_before(c->items[i].to, to))
            return &c->items[i];
    return NULL;
}
