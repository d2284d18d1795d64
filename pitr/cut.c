#include "pitr/cut.h"

#include <string.h>

static const struct plan_commit no_commit = {.time_us = TIDE_TIME_NONE};
static const struct cut no_cut = {.included = {.time_us = TIDE_TIME_NONE},
                                  .excluded = {.time_us = TIDE_TIME_NONE},
                                  .prepared = {.time_us = TIDE_TIME_NONE}};

struct cut_walk {
    const struct cut_options *o;
    struct cut *cut;
    struct tide_pos seen; /* records that end at or before it were in an earlier object, or are the parent's */
    struct tide_pos clip; /* commits at or behind it are on an abandoned tail; none: no fork ahead */
    bool target_passed;   /* CUT_TRANSACTION, CUT_NAME: what comes next is excluded */
    /* the newest object that was skipped by its name and has commits */
    struct log_name skipped;
    const char *skipped_evidence;
    bool have_skipped;
    /* the same of those in which a transaction was prepared */
    struct log_name skipped_prepared;
    const char *skipped_prepared_evidence;
    bool have_skipped_prepared;
    bool vanished; /* an object was listed and is gone: merged away meanwhile, or lost */
};

static struct plan_commit commit_of(const struct tide_log_event *e)
{
    return (struct plan_commit){.start = e->start, .end = e->end, .time_us = e->time_us, .transaction = e->number};
}

static bool is_excluded(struct cut_walk *w, const struct tide_log_event *e)
{
    const struct cut_options *o = w->o;

    switch (o->rule) {
    case CUT_NOTHING:
        return false;
    case CUT_TIME:
        return o->exclusive ? e->time_us >= o->time_us : e->time_us > o->time_us;
    case CUT_POSITION: {
        int c = tide_pos_cmp(e->end, o->position);
        return o->exclusive ? c >= 0 : c > 0;
    }
    case CUT_TRANSACTION:
        if (w->target_passed)
            return true;
        if (e->number != o->transaction)
            return false;
        w->target_passed = true;
        w->cut->found = true;
        return o->exclusive;
    case CUT_NAME:
        return w->target_passed;
    }
    return false;
}

/* Behind the target, and in front of the first commit that is excluded, none is wanted. */
static bool is_before_target(const struct cut_walk *w, struct tide_pos end)
{
    const struct cut_options *o = w->o;

    if (o->rule != CUT_POSITION)
        return !w->target_passed;
    int c = tide_pos_cmp(end, o->position);
    return o->exclusive ? c < 0 : c <= 0;
}

/* TIDE_EXISTS is "seen enough": the scan stops there. */
static tide_status on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct cut_walk *w = ctx;

    (void)err;
    if (tide_pos_cmp(e->start, w->o->from) < 0 || tide_pos_cmp(e->end, w->seen) <= 0)
        return TIDE_OK;
    if (!tide_pos_is_none(w->clip) && tide_pos_cmp(e->start, w->clip) >= 0)
        return TIDE_EXISTS;
    if (e->kind == TIDE_EVENT_RESTORE_POINT && w->o->rule == CUT_NAME && e->text != NULL &&
        strlen(w->o->name) == e->text_len && memcmp(w->o->name, e->text, e->text_len) == 0) {
        w->target_passed = true;
        w->cut->found = true;
    }
    if (e->kind == TIDE_EVENT_PREPARE && is_before_target(w, e->end))
        w->cut->prepared = commit_of(e);
    if (e->kind != TIDE_EVENT_COMMIT)
        return TIDE_OK;
    if (is_excluded(w, e)) {
        w->cut->excluded = commit_of(e);
        return TIDE_EXISTS;
    }
    w->cut->included = commit_of(e);
    return TIDE_OK;
}

/* Never NOT_FOUND, which would read as the end of the log. */
static tide_status scan(struct cut_walk *w, const struct log_name *name, const char *evidence, struct tide_err *err)
{
    tide_status s =
        log_scan_object(w->o->repo, w->o->instance, w->o->plugin, w->o->host, evidence, name, on_event, w, err);
    if (s == TIDE_EXISTS) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    if (s == TIDE_NOT_FOUND) {
        w->vanished = true;
        return tide_wrap(err, TIDE_CORRUPT, "a log object of \"%s\" that was listed is gone", w->o->instance);
    }
    return s;
}

/*
 * True when the name alone says that no commit in the object ends the target.  An object that reaches beyond the fork
 * says nothing: its commits may all be on the abandoned tail.
 */
static bool name_settles(const struct cut_walk *w, const struct log_name *n)
{
    const struct cut_options *o = w->o;

    if (!tide_pos_is_none(w->clip) && tide_pos_cmp(n->end, w->clip) > 0)
        return n->max_us == TIDE_TIME_NONE && n->marks == 0;

    switch (o->rule) {
    case CUT_NOTHING:
        return true;
    case CUT_TIME:
        return n->max_us == TIDE_TIME_NONE || n->max_us < o->time_us || (!o->exclusive && n->max_us == o->time_us);
    case CUT_POSITION:
        return tide_pos_cmp(n->end, o->position) < 0;
    case CUT_TRANSACTION:
        return n->max_us == TIDE_TIME_NONE;
    case CUT_NAME:
        return w->target_passed ? n->max_us == TIDE_TIME_NONE : (n->marks & LOG_MARK_RESTORE_POINT) == 0;
    }
    return false;
}

static void note_skipped(struct cut_walk *w, const struct log_name *name, const char *evidence)
{
    if (name->max_us != TIDE_TIME_NONE) {
        w->skipped = *name;
        w->skipped_evidence = evidence;
        w->have_skipped = true;
    }
    if ((name->marks & LOG_MARK_PREPARED) != 0 && is_before_target(w, name->end)) {
        w->skipped_prepared = *name;
        w->skipped_prepared_evidence = evidence;
        w->have_skipped_prepared = true;
    }
}

/* One lineage of the path.  *more: the walk reached the fork and goes on in the child. */
static tide_status walk_step(struct cut_walk *w, const struct lineage_step *step, bool *more, struct tide_err *err)
{
    const struct cut_options *o = w->o;
    const struct lineage *l = lineage_find(o->lineages, step->lineage);
    struct tide_pos from = tide_pos_cmp(step->start, o->from) > 0 ? step->start : o->from;
    struct log_walk *walk = NULL;

    *more = false;
    if (l == NULL)
        return tide_fail(err, TIDE_CORRUPT, "lineage %u of \"%s\" is missing", step->lineage, o->instance);
    tide_status s = log_walk_open(o->repo, o->instance, step->lineage, from, &walk, err);
    w->clip = step->end;
    w->cut->covered = from;
    w->cut->covered_lineage = step->lineage;
    while (s == TIDE_OK && tide_pos_is_none(w->cut->excluded.start)) {
        struct log_name name;
        if (!tide_pos_is_none(step->end) && tide_pos_cmp(log_walk_position(walk), step->end) >= 0) {
            *more = true;
            break;
        }
        w->seen = log_walk_position(walk);
        s = log_walk_next(walk, &name, err);
        if (s != TIDE_OK)
            break;
        w->cut->objects++;
        w->cut->bytes += name.end.hi == name.start.hi ? name.end.lo - name.start.lo : 0;
        w->cut->covered = log_walk_position(walk);
        if (!name_settles(w, &name))
            s = scan(w, &name, l->evidence, err);
        else
            note_skipped(w, &name, l->evidence);
    }
    log_walk_close(walk);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    return s;
}

/* Everything in an object that its name let us skip. */
static tide_status scan_skipped(struct cut_walk *w, const struct log_name *name, const char *evidence,
                                struct cut *out, struct tide_err *err)
{
    struct cut_options all = *w->o;
    struct cut_walk again = {.o = &all, .cut = out};

    *out = no_cut;
    all.rule = CUT_NOTHING;
    tide_status s = scan(&again, name, evidence, err);
    w->vanished = again.vanished;
    return s;
}

/* The last commit before the cut may lie in an object that its name let us skip: look into that one only. */
static tide_status find_included(struct cut_walk *w, struct tide_err *err)
{
    struct cut c;

    if (!w->have_skipped || tide_pos_cmp(w->cut->included.start, w->skipped.start) >= 0)
        return TIDE_OK;
    tide_status s = scan_skipped(w, &w->skipped, w->skipped_evidence, &c, err);
    if (s == TIDE_OK && c.included.time_us != TIDE_TIME_NONE)
        w->cut->included = c.included;
    return s;
}

/* The same for the last transaction that was prepared; of no interest in front of a commit. */
static tide_status find_prepared(struct cut_walk *w, struct tide_err *err)
{
    struct tide_pos last = w->cut->included.start;
    struct cut c;

    if (tide_pos_cmp(w->cut->prepared.start, last) > 0)
        last = w->cut->prepared.start;
    if (w->have_skipped_prepared && tide_pos_cmp(last, w->skipped_prepared.end) < 0) {
        tide_status s = scan_skipped(w, &w->skipped_prepared, w->skipped_prepared_evidence, &c, err);
        if (s != TIDE_OK)
            return s;
        if (tide_pos_cmp(c.prepared.start, last) > 0)
            w->cut->prepared = c.prepared;
    }
    if (tide_pos_cmp(w->cut->prepared.start, w->cut->included.start) <= 0)
        w->cut->prepared = no_commit;
    return TIDE_OK;
}

static tide_status walk_path(struct cut_walk *w, struct tide_err *err)
{
    const struct cut_options *o = w->o;

    *w->cut = no_cut;
    w->cut->found = o->rule != CUT_TRANSACTION && o->rule != CUT_NAME;
    for (size_t i = 0; i < o->n_path; i++) {
        bool more = false;
        if (!tide_pos_is_none(o->path[i].end) && tide_pos_cmp(o->path[i].end, o->from) <= 0)
            continue;
        tide_status s = walk_step(w, &o->path[i], &more, err);
        if (s != TIDE_OK)
            return s;
        if (!more)
            break;
    }
    tide_status s = find_included(w, err);
    return s == TIDE_OK ? find_prepared(w, err) : s;
}

tide_status cut_find(const struct cut_options *o, struct cut *out, struct tide_err *err)
{
    struct cut_walk w = {.o = o, .cut = out};
    tide_status s = walk_path(&w, err);

    if (s != TIDE_OK && w.vanished) {
        /* the listing is from before a merge: list again, then fail */
        tide_err_clear(err);
        w = (struct cut_walk){.o = o, .cut = out};
        s = walk_path(&w, err);
    }
    return s;
}
