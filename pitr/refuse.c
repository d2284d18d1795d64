#include "pitr/plan_internal.h"

#include <stdio.h>
#include <string.h>

/* The gap that keeps a time from being reached: the newest one before it with nothing restorable (whose last moment
 * is `reached`) between. */
static const struct window_gap *gap_before(const struct plan_state *p, int64_t us, int64_t reached)
{
    const struct window_gap *found = NULL;

    for (size_t i = 0; i < p->windows.n_gaps; i++) {
        const struct window_gap *g = &p->windows.gaps[i];
        if (p->o->lineage != 0 && g->lineage != p->o->lineage)
            continue;
        if (reached != TIDE_TIME_NONE && g->to_us != TIDE_TIME_NONE && reached > g->to_us)
            continue;
        if (g->from_us != TIDE_TIME_NONE && g->from_us <= us && (found == NULL || g->from_us >= found->from_us))
            found = g;
    }
    return found;
}

/* Words for where the log is missing, and why nothing behind it can be reached. */
static tide_status refuse_gap(const struct plan_state *p, const struct window_gap *gap, int64_t us,
                              struct tide_err *err)
{
    char asked[TIDE_TIME_TEXT], from[64], to[64];
    bool inside = gap->to_us == TIDE_TIME_NONE || us <= gap->to_us;

    tide_time_format(us, asked);
    p->o->plugin->pos_format(gap->from, from, sizeof from);
    if (tide_pos_is_none(gap->to))
        (void)snprintf(to, sizeof to, "its end");
    else
        p->o->plugin->pos_format(gap->to, to, sizeof to);
    return tide_fail(err, TIDE_OUTSIDE, "%s %s of \"%s\": lineage %u is missing from %s to %s%s%s%s", asked,
                     inside ? "lies in a gap of the log" : "lies behind a gap of the log", p->o->instance,
                     gap->lineage, from, to, gap->reason[0] == '\0' ? "" : " (", gap->reason,
                     gap->reason[0] == '\0' ? "" : ")");
}

static void nearest_text(int64_t us, char out[40])
{
    if (us == TIDE_TIME_NONE)
        out[0] = '\0';
    else
        tide_time_format(us, out);
}

tide_status plan_refuse_time(const struct plan_state *p, int64_t us, struct tide_err *err)
{
    int64_t before, after;
    char asked[TIDE_TIME_TEXT];
    tide_status s;

    tide_time_format(us, asked);
    window_nearest(&p->windows, p->o->lineage, us, &before, &after);
    const struct window_gap *gap = gap_before(p, us, before);
    if (p->windows.n == 0) {
        s = tide_fail(err, TIDE_OUTSIDE, "nothing of \"%s\" can be restored yet", p->o->instance);
        return tide_hint(err, s, "%s",
                         p->backups.n == 0
                             ? "there is no base backup; take one with: tidemark backup"
                             : "the log that the base backups need is not stored; see: tidemark log verify");
    }
    s = gap != NULL
            ? refuse_gap(p, gap, us, err)
            : tide_fail(err, TIDE_OUTSIDE, "%s is outside the restore window of \"%s\"", asked, p->o->instance);
    if (err != NULL) {
        nearest_text(before, err->before);
        nearest_text(after, err->after);
        s = tide_hint(err, s, "nearest restorable times: before %s, after %s",
                      err->before[0] == '\0' ? "(none)" : err->before, err->after[0] == '\0' ? "(none)" : err->after);
    }
    return s;
}

/* "lsn:0/3000028 (after TIME, before TIME)" for each. */
static void candidates_text(const struct plan_state *p, const struct crossing_set *found, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < found->n && used < size; i++) {
        const struct crossing *c = &found->items[i];
        bool none = tide_pos_is_none(c->included.end);
        char at[64], last[TIDE_TIME_TEXT], next[TIDE_TIME_TEXT];
        p->o->plugin->pos_format(none ? c->excluded.start : c->included.end, at, sizeof at);
        tide_time_format(c->included.time_us, last);
        tide_time_format(c->excluded.time_us, next);
        int n = snprintf(out + used, size - used, "%slsn:%s (last commit %s, next %s)", i == 0 ? "" : "; ", at, last,
                         next);
        used += n < 0 ? 0 : (size_t)n;
    }
}

tide_status plan_refuse_ambiguous(const struct plan_state *p, const struct ambiguous_range *a,
                                  const struct crossing_set *candidates, int64_t us, struct tide_err *err)
{
    char asked[TIDE_TIME_TEXT], from[TIDE_TIME_TEXT], to[TIDE_TIME_TEXT], at[64], text[400];
    int64_t before, after, ignored;

    tide_time_format(us, asked);
    tide_time_format(a->from_us, from);
    tide_time_format(a->to_us, to);
    p->o->plugin->pos_format(a->at, at, sizeof at);
    tide_status s =
        tide_fail(err, TIDE_OUTSIDE,
                  "%s means more than one moment: commit stamps of lineage %u ran back from %s to %s near %s", asked,
                  a->lineage, to, from, at);
    if (err == NULL)
        return s;
    candidates_text(p, candidates, text, sizeof text);
    s = tide_hint(err, s, "Choose a position: %s", text);
    window_nearest(&p->windows, a->lineage, a->from_us - 1, &before, &ignored);
    window_nearest(&p->windows, a->lineage, a->to_us, &ignored, &after);
    nearest_text(before, err->before);
    nearest_text(after, err->after);
    return s;
}
