#include "pitr/plan_internal.h"

#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

/*
 * A parameter that the source raised after the backup (max_connections, ...) makes recovery stop unless the restored
 * instance has it too.  Such changes are rare; objects that hold one carry a mark in their name, so only those are
 * opened.
 */

struct settings_walk {
    struct tide_pos from, to;
    struct tide_buf *text;
};

static tide_status on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct settings_walk *w = ctx;

    (void)err;
    if (e->kind != TIDE_EVENT_SETTINGS || tide_pos_cmp(e->start, w->from) < 0 || tide_pos_cmp(e->start, w->to) >= 0)
        return TIDE_OK;
    tide_buf_append(w->text, e->text, e->text_len);
    if (e->text_len > 0 && e->text[e->text_len - 1] != '\n')
        tide_buf_str(w->text, "\n");
    return TIDE_OK;
}

static tide_status walk_step(const struct plan_state *p, const struct lineage_step *step,
                             const struct settings_walk *range, struct tide_err *err)
{
    const struct plan_options *o = p->o;
    const struct lineage *l = lineage_find(&p->lineages, step->lineage);
    struct settings_walk w = *range;
    struct log_walk *walk = NULL;
    struct log_name name;

    if (tide_pos_cmp(step->start, w.from) > 0)
        w.from = step->start;
    if (!tide_pos_is_none(step->end) && tide_pos_cmp(step->end, w.to) < 0)
        w.to = step->end;
    if (l == NULL || tide_pos_cmp(w.from, w.to) >= 0)
        return TIDE_OK;
    tide_status s = log_walk_open(o->repo, o->instance, step->lineage, w.from, &walk, err);
    while (s == TIDE_OK && tide_pos_cmp(log_walk_position(walk), w.to) < 0) {
        s = log_walk_next(walk, &name, err);
        if (s == TIDE_OK && (name.marks & LOG_MARK_SETTINGS) != 0)
            s = log_scan_object(o->repo, o->instance, o->plugin, o->host, l->evidence, &name, on_event, &w, err);
    }
    log_walk_close(walk);
    /* the walk of the cut has just proved that it is all there */
    return s == TIDE_NOT_FOUND ? tide_wrap(err, TIDE_CORRUPT, "planned log is gone") : s;
}

tide_status plan_settings(const struct plan_state *p, struct plan *plan, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(1u << 20);
    struct settings_walk range = {.from = plan->log_from, .to = plan->log_to, .text = &text};

    for (size_t i = 0; i < plan->n_path; i++) {
        tide_status s = walk_step(p, &plan->path[i], &range, err);
        if (s != TIDE_OK)
            return tide_wrap(err, s, "collecting settings from the log");
    }
    tide_status s = tide_buf_check(&text, "settings in the log", err);
    if (s != TIDE_OK || text.len == 0)
        return s;
    plan->settings = strdup(tide_buf_cstr(&text));
    return plan->settings == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory planning a restore") : TIDE_OK;
}
