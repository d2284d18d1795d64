#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/values.h"
#include "wal/window.h"

/* What log is stored: for each lineage its unbroken ranges. */

struct range {
    struct tide_pos from, to;
    int64_t min_us, max_us;
    uint64_t objects, bytes;
    bool open;
};

static void take_object(struct range *r, const struct log_name *n)
{
    if (!r->open)
        *r = (struct range){.from = n->start, .min_us = TIDE_TIME_NONE, .max_us = TIDE_TIME_NONE, .open = true};
    r->to = n->end;
    r->objects++;
    if (n->end.hi == n->start.hi)
        r->bytes += n->end.lo - n->start.lo;
    if (n->min_us != TIDE_TIME_NONE && (r->min_us == TIDE_TIME_NONE || n->min_us < r->min_us))
        r->min_us = n->min_us;
    if (n->max_us != TIDE_TIME_NONE && (r->max_us == TIDE_TIME_NONE || n->max_us > r->max_us))
        r->max_us = n->max_us;
}

static void close_range(struct job *job, struct range *r, json_t *list)
{
    if (!r->open)
        return;
    (void)json_array_append_new(list, json_pack("{s:o, s:o, s:I, s:I, s:o, s:o}", "from",
                                                value_position(job->plugin, r->from), "to",
                                                value_position(job->plugin, r->to), "objects", (json_int_t)r->objects,
                                                "bytes", (json_int_t)r->bytes, "first_commit", value_time(r->min_us),
                                                "last_commit", value_time(r->max_us)));
    r->open = false;
}

static tide_status walk(struct job *job, struct log_walk *w, json_t *list, struct tide_err *err)
{
    struct range r = {0};

    for (;;) {
        struct log_name name;
        struct tide_pos resumed;
        if (tide_cancel_is_set(job->cancel))
            return tide_fail(err, TIDE_CANCELLED, "cancelled");
        tide_status s = log_walk_next(w, &name, err);
        if (s == TIDE_OK) {
            take_object(&r, &name);
            continue;
        }
        close_range(job, &r, list);
        if (s != TIDE_NOT_FOUND)
            return s;
        s = log_walk_skip_gap(w, &resumed, err);
        if (s == TIDE_NOT_FOUND) {
            tide_err_clear(err);
            return TIDE_OK;
        }
        if (s != TIDE_OK)
            return s;
    }
}

static tide_status show_lineage(struct job *job, const struct lineage *l, json_t *list, struct tide_err *err)
{
    struct log_walk *w = NULL;
    json_t *ranges = json_array();

    json_t *one =
        json_pack("{s:i, s:o, s:I, s:o, s:o, s:o, s:o}", "lineage", (int)l->number, "parent",
                  l->parent == 0 ? json_null() : json_integer(l->parent), "branch", (json_int_t)l->branch, "fork",
                  value_position(job->plugin, l->fork), "start", value_position(job->plugin, l->start), "created",
                  value_time(l->created_us), "ranges", ranges);
    if (one == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    (void)json_array_append_new(list, one);
    tide_status s = log_walk_open(job->repo, job->instance, l->number, (struct tide_pos){0}, &w, err);
    if (s == TIDE_OK)
        s = walk(job, w, ranges, err);
    log_walk_close(w);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK; /* nothing stored in it yet */
    }
    return s;
}

tide_status job_log_show(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set lineages = {0};
    struct tide_err why = TIDE_ERR_INIT;

    tide_status s = job_open_repo(job, err);
    if (s != TIDE_OK)
        return s;
    (void)control_flush(job, 5 * 1000000, NULL);
    tide_status opened = job_open_plugin(job, &why); /* for the words of positions only */
    s = lineage_load(job->repo, job->instance, &lineages, err);
    if (s != TIDE_OK)
        return s;
    if (opened == TIDE_INVALID && lineages.n == 0) { /* nobody knows such an instance */
        *err = why;
        return opened;
    }
    json_t *list = json_array();
    job->data = json_pack("{s:i, s:o}", "schema", 1, "lineages", list);
    for (size_t i = 0; s == TIDE_OK && i < lineages.n; i++)
        s = show_lineage(job, &lineages.items[i], list, err);
    return s;
}
