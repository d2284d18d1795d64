#include "pitr/crossing.h"

#include <string.h>

static const struct plan_commit no_commit = {.time_us = TIDE_TIME_NONE};

struct crossing_walk {
    const struct crossing_options *o;
    struct crossing_set *set;
    const char *evidence; /* of the lineage at hand */
    struct tide_pos seen; /* records that end at or before it were in an earlier object, or are the parent's */
    struct tide_pos clip; /* where the next lineage forks off; none */
    bool later;           /* the stamps have passed the time */
    int64_t newest_us;    /* stamp so far */
    struct plan_commit last;
    /* the newest object with commits that was not read: `last` is in it */
    struct log_name unread;
    const char *unread_evidence;
    bool have_unread;
};

static struct plan_commit commit_of(const struct tide_log_event *e)
{
    return (struct plan_commit){.start = e->start, .end = e->end, .time_us = e->time_us, .transaction = e->number};
}

/* ---- the last commit of an object that was passed by its name */

static tide_status take_last(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct crossing_walk *w = ctx;

    (void)err;
    if (e->kind == TIDE_EVENT_COMMIT && tide_pos_cmp(e->start, w->o->from) >= 0)
        w->last = commit_of(e);
    return TIDE_OK;
}

static tide_status read_last(struct crossing_walk *w, struct tide_err *err)
{
    const struct crossing_options *o = w->o;

    if (!w->have_unread)
        return TIDE_OK;
    w->have_unread = false;
    return log_scan_object(o->repo, o->instance, o->plugin, o->host, w->unread_evidence, &w->unread, take_last, w,
                           err);
}

/* ---- one commit */

static tide_status take_commit(struct crossing_walk *w, const struct plan_commit *c, struct tide_err *err)
{
    int64_t us = c->time_us;

    if (us != TIDE_TIME_NONE && us > w->o->time_us && !w->later) {
        tide_status s = read_last(w, err);
        if (s != TIDE_OK)
            return s;
        if (w->set->n < CROSSINGS_MAX)
            w->set->items[w->set->n++] = (struct crossing){.included = w->last, .excluded = *c};
        w->later = true;
    } else if (us != TIDE_TIME_NONE && us <= w->o->time_us && w->later && w->newest_us - us > w->o->tolerance_us) {
        w->later = false;
        w->set->ran_back = true;
    }
    if (us != TIDE_TIME_NONE && us > w->newest_us)
        w->newest_us = us;
    w->last = *c;
    w->have_unread = false;
    return TIDE_OK;
}

static tide_status on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct crossing_walk *w = ctx;
    struct plan_commit c = commit_of(e);

    if (e->kind != TIDE_EVENT_COMMIT || tide_pos_cmp(e->start, w->o->from) < 0 || tide_pos_cmp(e->end, w->seen) <= 0)
        return TIDE_OK;
    if (!tide_pos_is_none(w->clip) && tide_pos_cmp(e->start, w->clip) >= 0)
        return TIDE_EXISTS;
    return take_commit(w, &c, err);
}

/* ---- objects */

/* True when no commit in it changes what is known, but for the newest stamp and the last commit. */
static bool name_settles(const struct crossing_walk *w, const struct log_name *n)
{
    bool overlaps = tide_pos_cmp(n->start, w->seen) < 0;
    bool straddles = !tide_pos_is_none(w->clip) && tide_pos_cmp(n->end, w->clip) > 0;

    if (n->max_us == TIDE_TIME_NONE)
        return true;
    if (overlaps || straddles)
        return false;
    if (!w->later)
        return n->max_us <= w->o->time_us;
    /* stamps later than the time, and those before it by no more than what is normal */
    return n->min_us > w->o->time_us || (n->max_us <= w->newest_us && w->newest_us - n->min_us <= w->o->tolerance_us);
}

static tide_status take_object(struct crossing_walk *w, const struct log_name *n, struct tide_err *err)
{
    const struct crossing_options *o = w->o;

    if (n->max_us == TIDE_TIME_NONE)
        return TIDE_OK;
    if (name_settles(w, n)) {
        if (n->max_us > w->newest_us)
            w->newest_us = n->max_us;
        w->unread = *n;
        w->unread_evidence = w->evidence;
        w->have_unread = true;
        return TIDE_OK;
    }
    tide_status s = log_scan_object(o->repo, o->instance, o->plugin, o->host, w->evidence, n, on_event, w, err);
    if (s == TIDE_EXISTS) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    return s == TIDE_NOT_FOUND ? tide_wrap(err, TIDE_CORRUPT, "a log object that was listed is gone") : s;
}

/* One lineage of the path.  *more: the walk reached the fork. */
static tide_status walk_step(struct crossing_walk *w, const struct lineage_step *step, bool *more,
                             struct tide_err *err)
{
    const struct crossing_options *o = w->o;
    const struct lineage *l = lineage_find(o->lineages, step->lineage);
    struct log_walk *walk = NULL;

    *more = false;
    if (l == NULL)
        return tide_fail(err, TIDE_CORRUPT, "lineage %u of \"%s\" is missing", step->lineage, o->instance);
    w->evidence = l->evidence;
    w->clip = step->end;
    tide_status s = log_walk_open(o->repo, o->instance, step->lineage,
                                  tide_pos_cmp(step->start, o->from) > 0 ? step->start : o->from, &walk, err);
    while (s == TIDE_OK) {
        struct log_name name;
        w->seen = log_walk_position(walk);
        *more = !tide_pos_is_none(step->end) && tide_pos_cmp(w->seen, step->end) >= 0;
        if (*more)
            break;
        s = log_walk_next(walk, &name, err);
        if (s == TIDE_NOT_FOUND) {
            tide_err_clear(err);
            s = TIDE_OK;
            break;
        }
        if (s == TIDE_OK)
            s = take_object(w, &name, err);
    }
    log_walk_close(walk);
    return s;
}

tide_status crossings_find(const struct crossing_options *o, struct crossing_set *out, struct tide_err *err)
{
    struct crossing_walk w = {.o = o, .set = out, .newest_us = INT64_MIN / 2, .last = no_commit};

    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < o->n_path; i++) {
        bool more = false;
        if (!tide_pos_is_none(o->path[i].end) && tide_pos_cmp(o->path[i].end, o->from) <= 0)
            continue;
        tide_status s = walk_step(&w, &o->path[i], &more, err);
        if (s != TIDE_OK)
            return tide_wrap(err, s, "looking for what a time means");
        if (!more)
            break;
    }
    return TIDE_OK;
}
