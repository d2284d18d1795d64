#include "pitr/plan_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"

#include <stdlib.h>
#include <string.h>

static void state_clear(struct plan_state *p)
{
    window_set_clear(&p->windows);
    backup_list_clear(&p->backups);
    lineage_set_clear(&p->lineages);
}

static tide_status state_load(struct plan_state *p, struct tide_err *err)
{
    const struct plan_options *o = p->o;
    tide_status s = lineage_load(o->repo, o->instance, &p->lineages, err);
    if (s == TIDE_OK)
        s = backup_list_load(o->repo, o->instance, &p->backups, err);
    if (s == TIDE_OK)
        s = window_compute(&(struct window_options){.repo = o->repo,
                                                    .instance = o->instance,
                                                    .clock_tolerance_us = o->clock_tolerance_us,
                                                    .lineages = &p->lineages,
                                                    .backups = &p->backups},
                           &p->windows, err);
    if (s == TIDE_OK && o->lineage != 0 && lineage_find(&p->lineages, o->lineage) == NULL)
        s = tide_fail(err, TIDE_INVALID, "\"%s\" has no lineage %u", o->instance, o->lineage);
    return s;
}

/* The window that holds a time; on two lineages, the one that was live then: the younger. */
static const struct restore_window *window_at(const struct plan_state *p, int64_t us)
{
    const struct restore_window *best = NULL;

    for (size_t i = 0; i < p->windows.n; i++) {
        const struct restore_window *w = &p->windows.windows[i];
        if (p->o->lineage != 0 && w->lineage != p->o->lineage)
            continue;
        if (us >= w->earliest_us && us <= w->latest_us && (best == NULL || w->lineage >= best->lineage))
            best = w;
    }
    return best;
}

static const struct restore_window *live_window(const struct plan_state *p)
{
    const struct restore_window *best = NULL;

    for (size_t i = 0; i < p->windows.n; i++) {
        const struct restore_window *w = &p->windows.windows[i];
        if (p->o->lineage != 0 ? w->lineage == p->o->lineage : w->live)
            best = w;
    }
    return best;
}

static const struct ambiguous_range *ambiguity_at(const struct plan_state *p, uint32_t lineage, int64_t us)
{
    for (size_t i = 0; i < p->windows.n_ambiguous; i++) {
        const struct ambiguous_range *a = &p->windows.ambiguous[i];
        if (a->lineage == lineage && us >= a->from_us && us < a->to_us)
            return a;
    }
    return NULL;
}

static const struct backup *backup_named(const struct plan_state *p, const char *id)
{
    for (size_t i = 0; i < p->backups.n; i++)
        if (strcmp(p->backups.items[i].id, id) == 0)
            return &p->backups.items[i];
    return NULL;
}

/*
 * Names of objects say where stamps may have run back; the log itself says whether the time has more than one
 * meaning. One meaning: stamps pass it once, and for good.
 */
static tide_status prove_one_meaning(const struct plan_state *p, const struct restore_window *w,
                                     const struct ambiguous_range *a, int64_t us, struct tide_err *err)
{
    const struct backup *first = backup_named(p, w->first_backup);
    struct lineage_step path[LINEAGE_PATH_MAX];
    struct crossing_set found;
    size_t n = 0;
    tide_status s = lineage_path(&p->lineages, w->lineage, path, &n, err);

    if (s == TIDE_OK)
        s = crossings_find(&(struct crossing_options){.repo = p->o->repo,
                                                      .instance = p->o->instance,
                                                      .plugin = p->o->plugin,
                                                      .host = p->o->host,
                                                      .lineages = &p->lineages,
                                                      .path = path,
                                                      .n_path = n,
                                                      .from = first == NULL ? w->from : first->start,
                                                      .time_us = us,
                                                      .tolerance_us = p->o->clock_tolerance_us},
                           &found, err);
    if (s != TIDE_OK)
        return s;
    return found.n <= 1 && !found.ran_back ? TIDE_OK : plan_refuse_ambiguous(p, a, &found, us, err);
}

/* The lineage on whose stored log a position lies: the youngest that begins at or before it. */
static tide_status lineage_of_target(struct plan_state *p, struct tide_err *err)
{
    const struct plan_options *o = p->o;
    const struct target *t = o->target;
    const struct restore_window *w;

    if (t->kind == TARGET_TIME) {
        p->time_us = t->time_us;
        w = window_at(p, t->time_us);
        if (w == NULL)
            return plan_refuse_time(p, t->time_us, err);
        const struct ambiguous_range *a = ambiguity_at(p, w->lineage, t->time_us);
        p->lineage = w->lineage;
        return a == NULL ? TIDE_OK : prove_one_meaning(p, w, a, t->time_us, err);
    }
    if (t->kind == TARGET_BACKUP) {
        for (size_t i = 0; i < p->backups.n; i++) {
            if (strcmp(p->backups.items[i].id, t->text) == 0) {
                p->lineage = p->backups.items[i].lineage;
                return TIDE_OK;
            }
        }
        tide_status s = tide_fail(err, TIDE_OUTSIDE, "\"%s\" has no backup \"%s\"", o->instance, t->text);
        return tide_hint(err, s, "list them with: tidemark list %s", o->instance);
    }
    w = live_window(p);
    if (w == NULL)
        return plan_refuse_time(p, tide_now_us(), err);
    p->lineage = w->lineage;
    if (t->kind == TARGET_LATEST)
        p->time_us = w->latest_us;
    return TIDE_OK;
}

static enum cut_rule rule_of(const struct target *t)
{
    switch (t->kind) {
    case TARGET_TIME:
        return CUT_TIME;
    case TARGET_POSITION:
        return CUT_POSITION;
    case TARGET_TRANSACTION:
        return CUT_TRANSACTION;
    case TARGET_NAME:
        return CUT_NAME;
    case TARGET_LATEST:
    case TARGET_BACKUP:
        return CUT_NOTHING;
    }
    return CUT_NOTHING;
}

/* The step of the path that a backup was taken on, or n: it is on another branch, or behind the fork. */
static size_t step_of_backup(const struct lineage_step *path, size_t n, const struct backup *b)
{
    for (size_t i = 0; i < n; i++) {
        if (path[i].lineage != b->lineage)
            continue;
        return tide_pos_is_none(path[i].end) || tide_pos_cmp(b->stop, path[i].end) <= 0 ? i : n;
    }
    return n;
}

/*
 * PostgreSQL notices that it is consistent only on the record behind: "immediate" fails where the stored log ends
 * with the backup.  Naming the last record before the consistency point needs nothing behind it.
 */
static tide_status last_record(const struct plan_state *p, struct plan *plan, struct tide_err *err)
{
    const struct lineage *l = lineage_find(&p->lineages, plan->backup.lineage);
    tide_status s = log_record_before(p->o->repo, p->o->instance, p->o->plugin, p->o->host, l, plan->backup.stop,
                                      &plan->target_start, err);
    if (s != TIDE_NOT_FOUND)
        return s;
    tide_err_clear(err);
    return TIDE_OK;
}

static tide_status describe(struct plan *plan, const struct plan_state *p, const struct cut *cut,
                            struct tide_err *err)
{
    const struct lineage *l = lineage_find(&p->lineages, p->lineage);

    plan->lineage = p->lineage;
    plan->branch = l->branch;
    plan->evidence = strdup(l->evidence);
    if (plan->evidence == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory planning a restore");
    plan->included = cut->included;
    plan->excluded = cut->excluded;
    plan->log_objects = cut->objects;
    plan->log_bytes = cut->bytes;
    /* Recovery ends with the last commit, or with a transaction that was prepared behind it. */
    const struct plan_commit *last = tide_pos_is_none(cut->prepared.start) ? &cut->included : &cut->prepared;
    bool replay = !tide_pos_is_none(last->start) && tide_pos_cmp(last->start, plan->backup.stop) >= 0;
    plan->kind = replay ? TIDE_TARGET_COMMIT : TIDE_TARGET_CONSISTENT;
    plan->log_from = plan->backup.start;
    plan->log_to = replay ? last->end : plan->backup.stop;
    plan->expected_end = plan->log_to;
    plan->target_us = p->time_us != TIDE_TIME_NONE ? p->time_us : plan->included.time_us;
    plan->target_start = last->start;
    return replay ? TIDE_OK : last_record(p, plan, err);
}

static tide_status find_cut(const struct plan_state *p, const struct backup *b, const struct lineage_step *path,
                            size_t n, struct cut *cut, struct tide_err *err)
{
    const struct target *t = p->o->target;
    struct cut_options co = {.repo = p->o->repo,
                             .instance = p->o->instance,
                             .plugin = p->o->plugin,
                             .host = p->o->host,
                             .lineages = &p->lineages,
                             .path = path,
                             .n_path = n,
                             .from = b->start,
                             .rule = rule_of(t),
                             .time_us = t->time_us,
                             .position = t->position,
                             .transaction = t->transaction,
                             .name = t->text,
                             .exclusive = t->exclusive};
    struct lineage_step clipped[LINEAGE_PATH_MAX];

    if (t->kind == TARGET_BACKUP) {
        /* all that is stored up to the backup's own consistency point */
        memcpy(clipped, path, n * sizeof *path);
        clipped[n - 1].end = b->stop;
        co.path = clipped;
    }
    return cut_find(&co, cut, err);
}

/* What of a backup's log or of the target is missing, as a refusal. */
static tide_status serve_refusal(const struct plan_state *p, const struct backup *b, const struct cut *cut,
                                 struct tide_err *err)
{
    const struct target *t = p->o->target;
    char at[64];

    if (tide_pos_cmp(cut->covered, b->stop) < 0) {
        p->o->plugin->pos_format(cut->covered, at, sizeof at);
        tide_status s =
            tide_fail(err, TIDE_OUTSIDE, "the log that backup \"%s\" needs is not stored beyond %s on lineage %u",
                      b->id, at, cut->covered_lineage);
        return tide_hint(err, s, "tidemark log verify %s shows what is missing", p->o->instance);
    }
    if (!cut->found)
        return tide_fail(err, TIDE_OUTSIDE, "%s \"%s\" is not in the stored log of \"%s\" behind backup \"%s\"",
                         t->kind == TARGET_NAME ? "restore point" : "transaction", t->text, p->o->instance, b->id);
    if (t->kind == TARGET_POSITION && tide_pos_cmp(cut->covered, t->position) < 0) {
        p->o->plugin->pos_format(cut->covered, at, sizeof at);
        return tide_fail(err, TIDE_OUTSIDE, "the log of \"%s\" is stored only up to %s", p->o->instance, at);
    }
    return tide_fail(err, TIDE_OUTSIDE, "the target lies before backup \"%s\" is consistent", b->id);
}

static bool serves(const struct plan_state *p, const struct backup *b, const struct cut *cut)
{
    const struct target *t = p->o->target;

    if (tide_pos_cmp(cut->covered, b->stop) < 0 || !cut->found)
        return false;
    /* What was committed before the backup began is in it, however late. */
    if (t->kind == TARGET_TIME && b->server_stop_us > t->time_us)
        return false;
    if (t->kind == TARGET_POSITION &&
        (tide_pos_cmp(t->position, b->stop) < 0 ||
         (tide_pos_is_none(cut->excluded.start) && tide_pos_cmp(cut->covered, t->position) < 0)))
        return false;
    return tide_pos_is_none(cut->excluded.start) || tide_pos_cmp(cut->excluded.start, b->stop) >= 0;
}

static bool is_candidate(const struct plan_state *p, const struct backup *b)
{
    const struct target *t = p->o->target;

    if (p->o->backup_id != NULL)
        return strcmp(p->o->backup_id, b->id) == 0;
    if (t->kind == TARGET_BACKUP)
        return strcmp(t->text, b->id) == 0;
    if (t->kind == TARGET_POSITION)
        return tide_pos_cmp(b->stop, t->position) <= 0;
    return t->kind != TARGET_TIME || b->server_stop_us <= t->time_us;
}

/* The window says the coverage of a time target reaches it; the walk has to agree, or the store changed under us. */
static tide_status prove_time(const struct plan_state *p, const struct cut *cut, struct tide_err *err)
{
    const struct restore_window *w = window_at(p, p->time_us);

    if (p->o->target->kind != TARGET_TIME || !tide_pos_is_none(cut->excluded.start))
        return TIDE_OK;
    if (w == NULL || tide_pos_cmp(cut->covered, w->to) >= 0)
        return TIDE_OK;
    return plan_refuse_time(p, p->time_us, err);
}

/* Newest first: the first backup that serves the target is the one with the least log to replay. */
static tide_status choose_backup(const struct plan_state *p, struct plan *plan, struct tide_err *err)
{
    struct lineage_step path[LINEAGE_PATH_MAX];
    size_t n = 0;
    bool tried = false;
    tide_status s = lineage_path(&p->lineages, p->lineage, path, &n, err);

    for (size_t i = p->backups.n; s == TIDE_OK && i-- > 0;) {
        struct backup *b = &p->backups.items[i];
        size_t step = step_of_backup(path, n, b);
        struct cut cut;
        if (step == n || !is_candidate(p, b))
            continue;
        tried = true;
        s = find_cut(p, b, path + step, n - step, &cut, err);
        if (s != TIDE_OK)
            break;
        if (!serves(p, b, &cut)) {
            (void)serve_refusal(p, b, &cut, err);
            continue;
        }
        s = prove_time(p, &cut, err);
        if (s != TIDE_OK)
            return s;
        plan->n_path = n - step;
        memcpy(plan->path, path + step, plan->n_path * sizeof *path);
        plan->backup = TIDE_TAKE(*b);
        tide_err_clear(err);
        return describe(plan, p, &cut, err);
    }
    if (s != TIDE_OK)
        return s;
    if (p->o->target->kind == TARGET_TIME && p->o->backup_id == NULL)
        return plan_refuse_time(p, p->time_us, err);
    if (!tried)
        return tide_fail(err, TIDE_OUTSIDE, "no base backup of \"%s\" serves \"%s\"", p->o->instance,
                         p->o->target->text);
    return TIDE_OUTSIDE; /* the refusal of the last candidate stands in err */
}

tide_status plan_build(const struct plan_options *o, struct plan *out, struct tide_err *err)
{
    struct store_counters before = store_counters(repo_store(o->repo));
    TIDE_AUTO(state_clear) struct plan_state p = {.o = o, .time_us = TIDE_TIME_NONE};

    memset(out, 0, sizeof *out);
    tide_status s = state_load(&p, err);
    if (s == TIDE_OK)
        s = lineage_of_target(&p, err);
    if (s == TIDE_OK)
        s = choose_backup(&p, out, err);
    if (s == TIDE_OK)
        s = plan_settings(&p, out, err);
    if (s != TIDE_OK) {
        plan_clear(out);
        return s;
    }
    struct store_counters after = store_counters(repo_store(o->repo));
    out->requests = after.gets + after.lists + after.heads - before.gets - before.lists - before.heads;
    return TIDE_OK;
}

void plan_clear(struct plan *p)
{
    backup_clear(&p->backup);
    free(p->evidence);
    free(p->settings);
    memset(p, 0, sizeof *p);
}
