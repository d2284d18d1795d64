#include "wal/window.h"

#include "orchestrator/base/cleanup.h"
#include "wal/cover.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

/* A lineage while windows are computed; parents come before children. */
struct branch {
    const struct lineage *l;
    struct cover cover;
    bool walked;
    bool inherited;               /* some backup of an ancestor reaches its start without a gap */
    const struct backup *heir_of; /* that backup */
    int64_t before_us;            /* then: the newest stamp of the log that leads to its start, or none */
};

struct gap_list {
    struct log_gap *items; /* owned; as recorded */
    size_t n, cap;
};

struct computing {
    const struct window_options *o;
    struct branch *branches; /* owned; as lineages */
    struct ambiguity_list ambiguous;
    struct gap_list recorded;
    struct window_set *out;
    size_t windows_cap, gaps_cap;
};

static void computing_clear(struct computing *c)
{
    for (size_t i = 0; c->branches != NULL && i < c->o->lineages->n; i++)
        cover_clear(&c->branches[i].cover);
    free(c->branches);
    free(c->ambiguous.items);
    free(c->recorded.items);
}

static tide_status no_memory(struct tide_err *err)
{
    return tide_fail(err, TIDE_NO_MEMORY, "out of memory computing the restore window");
}

static void *grow(void *items, size_t n, size_t *cap, size_t size)
{
    if (n < *cap)
        return items;
    size_t more = *cap == 0 ? 16 : *cap * 2;
    void *p = realloc(items, more * size);
    if (p != NULL)
        *cap = more;
    return p;
}

static tide_status take_gap(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    struct gap_list *l = ctx;
    struct log_gap *items = grow(l->items, l->n, &l->cap, sizeof *items);

    if (items == NULL)
        return no_memory(err);
    l->items = items;
    l->items[l->n++] = *g;
    return TIDE_OK;
}

/* ---- which log is there */

static struct branch *branch_of(const struct computing *c, uint32_t lineage)
{
    for (size_t i = 0; i < c->o->lineages->n; i++)
        if (c->branches[i].l->number == lineage)
            return &c->branches[i];
    return NULL;
}

/* The backup of this lineage that serves, with log up to `pos`, and has the latest (or the first) consistency point.
 */
static const struct backup *serving(const struct computing *c, uint32_t lineage, const struct cover_segment *g,
                                    struct tide_pos pos, bool latest)
{
    const struct backup *best = NULL;

    for (size_t i = 0; i < c->o->backups->n; i++) {
        const struct backup *b = &c->o->backups->items[i];
        if (b->lineage != lineage || pos_before(b->start, g->from) || pos_before(pos, b->stop) ||
            pos_before(g->to, b->stop))
            continue;
        if (best == NULL || pos_before(b->stop, best->stop) != latest)
            best = b;
    }
    return best;
}

/* Whether a restore can reach the fork of b from a backup before it. */
static void inherit(const struct computing *c, struct branch *b)
{
    const struct branch *p = b->l->parent == 0 ? NULL : branch_of(c, b->l->parent);
    struct tide_pos fork = b->l->fork;

    if (p == NULL)
        return;
    if (p->inherited && pos_equal(fork, p->l->start)) {
        b->inherited = true;
        b->heir_of = p->heir_of;
        b->before_us = p->before_us;
        return;
    }
    for (size_t i = 0; i < p->cover.n && !b->inherited; i++) {
        const struct cover_segment *g = &p->cover.items[i];
        if (pos_before(g->to, fork) || pos_before(fork, g->from))
            continue;
        b->heir_of = serving(c, p->l->number, g, fork, true);
        b->inherited = b->heir_of != NULL;
        if (!b->inherited && p->inherited && i == 0 && pos_equal(g->from, p->l->start)) {
            b->inherited = true;
            b->heir_of = p->heir_of;
        }
        b->before_us = g->max_us; /* with the abandoned tail: rather a warning too much */
    }
}

static tide_status walk(struct computing *c, struct branch *b, struct tide_err *err)
{
    struct tide_pos from = TIDE_POS_NONE;
    bool wanted = b->inherited;

    if (wanted)
        from = b->l->start;
    for (size_t i = 0; i < c->o->backups->n; i++) {
        const struct backup *k = &c->o->backups->items[i];
        if (k->lineage != b->l->number)
            continue;
        if (!wanted || pos_before(k->start, from))
            from = k->start;
        wanted = true;
    }
    if (!wanted)
        return TIDE_OK;
    b->walked = true;
    /* A failover to a host whose clock is behind is a step back, too. */
    int64_t before_us = b->inherited && pos_equal(from, b->l->start) ? b->before_us : TIDE_TIME_NONE;
    return cover_walk(c->o, b->l->number, from, before_us, &b->cover, &c->ambiguous, err);
}

/* ---- windows */

/* The newest heartbeat speaks for the end of the log only. */
static tide_status take_heartbeat(struct computing *c, struct branch *b, int64_t *clock_us, struct tide_err *err)
{
    struct cover_segment *g = &b->cover.items[b->cover.n - 1];
    struct tide_pos pos;
    int64_t us;
    tide_status s = heartbeat_newest(c->o->repo, c->o->instance, b->l->number, &us, &pos, err);

    *clock_us = TIDE_TIME_NONE;
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    if (s != TIDE_OK || pos_before(g->to, pos) || pos_before(pos, g->from))
        return s;
    *clock_us = us;
    if (g->latest_us == TIDE_TIME_NONE || us >= g->latest_us) {
        g->latest_us = us;
        return TIDE_OK;
    }
    /* A commit before the heartbeat is stamped later than its clock: the clock was put back in between. */
    if (us < g->latest_us - c->o->clock_tolerance_us && !pos_before(pos, g->latest_end)) {
        struct ambiguous_range r = {
            .lineage = b->l->number, .from_us = us, .to_us = g->latest_us, .at = g->latest_end};
        g->latest_us = us;
        s = ambiguity_add(&c->ambiguous, &r, err);
    }
    return s;
}

static tide_status add_window(struct computing *c, const struct restore_window *w, struct tide_err *err)
{
    struct restore_window *items = grow(c->out->windows, c->out->n, &c->windows_cap, sizeof *items);

    if (items == NULL)
        return no_memory(err);
    c->out->windows = items;
    c->out->windows[c->out->n++] = *w;
    return TIDE_OK;
}

static tide_status segment_window(struct computing *c, const struct branch *b, size_t i, int64_t beat_us,
                                  struct tide_err *err)
{
    const struct cover_segment *g = &b->cover.items[i];
    const struct backup *first = serving(c, b->l->number, g, g->to, false);
    struct restore_window w = {.lineage = b->l->number, .earliest_us = TIDE_TIME_NONE, .to = g->to};

    if (b->inherited && i == 0 && pos_equal(g->from, b->l->start)) {
        /* A child begins with its first commit; before that, only a heartbeat says that it lives. */
        w.earliest_us = g->first_us != TIDE_TIME_NONE ? g->first_us : beat_us;
        w.from = g->from;
        (void)snprintf(w.first_backup, sizeof w.first_backup, "%s", b->heir_of->id);
    }
    if (w.earliest_us == TIDE_TIME_NONE && first != NULL) {
        w.earliest_us = first->server_stop_us;
        w.from = first->stop;
        (void)snprintf(w.first_backup, sizeof w.first_backup, "%s", first->id);
    }
    if (w.earliest_us == TIDE_TIME_NONE)
        return TIDE_OK;
    w.latest_us = g->latest_us > w.earliest_us ? g->latest_us : w.earliest_us;
    w.live = b->l == &c->o->lineages->items[c->o->lineages->n - 1] && i + 1 == b->cover.n;
    return add_window(c, &w, err);
}

/* ---- gaps */

static const struct log_gap *recorded_in(const struct computing *c, uint32_t lineage, struct tide_pos from,
                                         struct tide_pos to)
{
    for (size_t i = 0; i < c->recorded.n; i++) {
        const struct log_gap *r = &c->recorded.items[i];
        bool before = !tide_pos_is_none(to) && !pos_before(r->from, to);
        bool behind = !tide_pos_is_none(r->to) && !pos_before(from, r->to);
        if (r->lineage == lineage && !before && !behind)
            return r;
    }
    return NULL;
}

static tide_status add_gap(struct computing *c, struct window_gap *g, const char *why, struct tide_err *err)
{
    const struct log_gap *r = recorded_in(c, g->lineage, g->from, g->to);
    struct window_gap *items = grow(c->out->gaps, c->out->n_gaps, &c->gaps_cap, sizeof *items);

    if (items == NULL)
        return no_memory(err);
    (void)snprintf(g->reason, sizeof g->reason, "%s", r != NULL ? r->reason : why);
    c->out->gaps = items;
    c->out->gaps[c->out->n_gaps++] = *g;
    return TIDE_OK;
}

/* Log up to the fork that a child needs. */
static struct tide_pos needed_to(const struct computing *c, const struct branch *b)
{
    struct tide_pos needed = TIDE_POS_NONE;

    for (size_t i = 0; i < c->o->lineages->n; i++)
        if (c->o->lineages->items[i].parent == b->l->number)
            needed = pos_max(needed, c->o->lineages->items[i].fork);
    return needed;
}

static tide_status end_gap(struct computing *c, const struct branch *b, struct tide_pos end, int64_t end_us,
                           struct tide_err *err)
{
    struct tide_pos needed = needed_to(c, b);
    struct window_gap g = {.lineage = b->l->number, .from = end, .from_us = end_us, .to_us = TIDE_TIME_NONE};

    if (pos_before(end, needed)) {
        g.to = needed;
        return add_gap(c, &g, "the log up to the fork is not stored", err);
    }
    const struct log_gap *r = recorded_in(c, b->l->number, end, TIDE_POS_NONE);
    if (r == NULL || pos_before(r->from, end))
        return TIDE_OK;
    g.from = r->from;
    g.to = r->to;
    return add_gap(c, &g, r->reason, err);
}

static tide_status lineage_gaps(struct computing *c, const struct branch *b, struct tide_pos from,
                                struct tide_err *err)
{
    int64_t before_us = TIDE_TIME_NONE;
    tide_status s = TIDE_OK;

    for (size_t i = 0; s == TIDE_OK && i < b->cover.n; i++) {
        const struct cover_segment *n = &b->cover.items[i];
        struct window_gap g = {
            .lineage = b->l->number, .from = from, .to = n->from, .from_us = before_us, .to_us = n->first_us};
        if (pos_before(from, n->from))
            s = add_gap(c, &g, "log objects are missing", err);
        from = n->to;
        before_us = n->latest_us;
    }
    return s == TIDE_OK ? end_gap(c, b, from, before_us, err) : s;
}

static struct tide_pos walk_start(const struct computing *c, const struct branch *b)
{
    struct tide_pos from = b->l->start;
    bool any = b->inherited;

    for (size_t i = 0; i < c->o->backups->n; i++) {
        const struct backup *k = &c->o->backups->items[i];
        if (k->lineage == b->l->number && (!any || pos_before(k->start, from))) {
            from = k->start;
            any = true;
        }
    }
    return from;
}

/* ---- all of it */

static tide_status compute_branch(struct computing *c, struct branch *b, struct tide_err *err)
{
    int64_t beat_us = TIDE_TIME_NONE;

    inherit(c, b);
    tide_status s = walk(c, b, err);
    if (s != TIDE_OK || !b->walked)
        return s;
    if (b->cover.n > 0)
        s = take_heartbeat(c, b, &beat_us, err);
    for (size_t i = 0; s == TIDE_OK && i < b->cover.n; i++)
        s = segment_window(c, b, i, i + 1 == b->cover.n ? beat_us : TIDE_TIME_NONE, err);
    return s == TIDE_OK ? lineage_gaps(c, b, walk_start(c, b), err) : s;
}

tide_status window_compute(const struct window_options *o, struct window_set *out, struct tide_err *err)
{
    TIDE_AUTO(computing_clear) struct computing c = {.o = o, .out = out};
    size_t n = o->lineages->n;
    tide_status s;

    memset(out, 0, sizeof *out);
    c.branches = calloc(n == 0 ? 1 : n, sizeof *c.branches);
    if (c.branches == NULL)
        return no_memory(err);
    for (size_t i = 0; i < n; i++)
        c.branches[i].l = &o->lineages->items[i];
    s = log_gap_list(o->repo, o->instance, take_gap, &c.recorded, err);
    for (size_t i = 0; s == TIDE_OK && i < n; i++)
        s = compute_branch(&c, &c.branches[i], err);
    if (s != TIDE_OK) {
        window_set_clear(out);
        return tide_wrap(err, s, "computing the restore window of \"%s\"", o->instance);
    }
    out->ambiguous = TIDE_TAKE(c.ambiguous.items);
    out->n_ambiguous = c.ambiguous.n;
    return TIDE_OK;
}

void window_set_clear(struct window_set *w)
{
    free(w->windows);
    free(w->ambiguous);
    free(w->gaps);
    *w = (struct window_set){0};
}
