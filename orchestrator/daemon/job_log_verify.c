#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/daemon/known_gaps.h"
#include "orchestrator/daemon/values.h"
#include "orchestrator/repository/logobject.h"
#include "wal/window.h"
#include <string.h>

/*
 * Every stored range of log, read back: FOUND, MISSING, CORRUPT.  Log that is
 * recorded as lost when it was lost is no finding of today's.
 */

static const char *const state_names[] = {"FOUND", "MISSING", "CORRUPT"};

struct walk {
    struct job *job;
    json_t *list;
    struct known_gaps gaps;
    uint64_t bad;
};

static void walk_clear(struct walk *w)
{
    known_gaps_clear(&w->gaps);
}

static tide_status add_range(void *ctx, const struct log_range *r, struct tide_err *err)
{
    struct walk *w = ctx;

    bool known = r->state == LOG_MISSING && known_gap(&w->gaps, r->lineage, r->from, r->to);
    json_t *one = json_pack(
        "{s:i, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b}", "lineage", (int)r->lineage, "state", state_names[r->state],
        "from", value_position(w->job->plugin, r->from), "to", value_position(w->job->plugin, r->to), "from_time",
        value_time(r->from_us), "to_time", value_time(r->to_us), "object", value_string(r->key), "why",
        value_string(known ? "recorded as lost when it happened" : r->why), "recorded", (int)known);
    if (one == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    if (r->state != LOG_FOUND && !known)
        w->bad++;
    worker_send_event(w->job->channel, one);
    (void)json_array_append_new(w->list, one);
    return TIDE_OK;
}

tide_status job_log_verify(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set lineages = {0};
    uint32_t only = (uint32_t)job_number(job, "lineage", 0);
    unsigned percent = (unsigned)job_number(job, "percent", 100);
    TIDE_AUTO(walk_clear) struct walk w = {.job = job, .list = json_array()};

    job->data = json_pack("{s:i, s:o}", "schema", 1, "ranges", w.list);
    tide_status s = job_open(job, err);
    if (s == TIDE_OK)
        s = lineage_load(job->repo, job->instance, &lineages, err);
    if (s == TIDE_OK && only != 0 && lineage_find(&lineages, only) == NULL)
        s = tide_fail(err, TIDE_INVALID, "\"%s\" has no lineage %u", job->instance, only);
    if (s == TIDE_OK)
        s = known_gaps_load(job, &w.gaps, err);
    for (size_t i = 0; s == TIDE_OK && i < lineages.n; i++) {
        const struct lineage *l = &lineages.items[i];
        if (only != 0 && l->number != only)
            continue;
        pulse_show_reading(job->pulse, "reading log");
        s = log_verify(job->repo, job->instance, l, (struct tide_pos){0}, (struct tide_pos){0}, percent, job->plugin,
                       job->host, add_range, &w, err);
        if (s == TIDE_CORRUPT)
            s = TIDE_OK; /* counted; the other lineages are looked at, too */
    }
    if (s == TIDE_OK && w.bad > 0)
        return tide_fail(err, TIDE_CORRUPT, "%llu range(s) of the log of \"%s\" are missing or damaged",
                         (unsigned long long)w.bad, job->instance);
    return s;
}
