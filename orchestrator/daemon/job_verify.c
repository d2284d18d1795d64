#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/known_gaps.h"
#include "orchestrator/daemon/values.h"
#include "orchestrator/daemon/verify_loss.h"
#include "orchestrator/repository/tree.h"
#include <stdlib.h>
#include <string.h>

/*
 * Reads back every byte that the window depends on, through the code that a
 * restore uses: lineages, commit objects, the files of every backup, the log.
 * Goes on after a bad object and names each once, with what is lost by it.
 */

struct verifying {
    struct job *job;
    struct verify_facts facts;
    struct known_gaps gaps;
    const struct backup *at;    /* the backup being read */
    struct tree_proved *proved; /* what an earlier one shares with it is not read again */
    json_t *bad;                /* objects */
    uint64_t n_bad, bytes;
    unsigned percent;
};

static void verifying_clear(struct verifying *v)
{
    tree_proved_free(v->proved);
    known_gaps_clear(&v->gaps);
    verify_facts_clear(&v->facts);
}

static void name_bad(struct verifying *v, const char *key, const char *state, const char *what, const char *why)
{
    const json_t *known;
    size_t i;

    /* A pack that several backups share is one bad object. */
    json_array_foreach(v->bad, i, known)
    {
        const char *other = json_string_value(json_object_get(known, "object"));
        if (key != NULL && other != NULL && strcmp(other, key) == 0)
            return;
    }
    json_t *one = json_pack("{s:o, s:s, s:o, s:o}", "object", value_string(key), "state", state, "what",
                            value_string(what), "why", value_string(why));
    if (one == NULL)
        return;
    v->n_bad++;
    worker_send_event(v->job->channel, one);
    (void)json_array_append_new(v->bad, one);
}

/* ----------------------------------------------------------------- backups */

static void bad_in_tree(void *ctx, const char *key, const char *file, const struct tide_err *why)
{
    struct verifying *v = ctx;
    char what[512];

    verify_lose_backup(&v->facts, v->at->id);
    (void)snprintf(what, sizeof what, "backup %s%s%s", v->at->id, file == NULL ? "" : ", file ",
                   file == NULL ? "" : file);
    name_bad(v, key, why->status == TIDE_NOT_FOUND ? "MISSING" : "CORRUPT", what, why->msg);
}

static tide_status verify_backup(struct verifying *v, const struct backup *b, struct tide_err *err)
{
    struct tree_reader *reader = NULL;
    struct tide_err why = TIDE_ERR_INIT;
    uint64_t bytes = 0;
    char phase[64];

    v->at = b;
    (void)snprintf(phase, sizeof phase, "reading %s", b->id);
    pulse_show_reading(v->job->pulse, phase);
    tide_status s = tree_reader_open(v->job->repo, v->job->instance, b, v->job->settings.restore_jobs, &reader, &why);
    if (s == TIDE_OK)
        s = tree_verify_once(reader, v->percent, v->proved, bad_in_tree, v, &bytes, &why);
    else if (s == TIDE_CORRUPT || s == TIDE_NOT_FOUND)
        bad_in_tree(v, NULL, NULL, &why);
    tree_reader_close(reader);
    v->bytes += bytes;
    /* What is bad was named; only what kept us from looking ends the whole. */
    if (s == TIDE_OK || s == TIDE_CORRUPT || s == TIDE_NOT_FOUND)
        return TIDE_OK;
    *err = why;
    return tide_wrap(err, s, "reading backup \"%s\"", b->id);
}

static tide_status verify_backups(struct verifying *v, struct tide_err *err)
{
    const struct backup_list *l = &v->facts.backups;
    tide_status s = tree_proved_new(&v->proved, err);

    for (size_t i = 0; i < l->n_bad; i++)
        name_bad(v, l->bad[i], "CORRUPT", "commit object of a backup", "it does not prove");
    for (size_t i = 0; s == TIDE_OK && i < l->n; i++)
        s = verify_backup(v, &l->items[i], err);
    return s;
}

/* --------------------------------------------------------------------- log */

static tide_status take_range(void *ctx, const struct log_range *r, struct tide_err *err)
{
    struct verifying *v = ctx;
    char what[256], from[64], to[64];

    (void)err;
    if (r->state == LOG_FOUND) {
        if (r->from.hi == r->to.hi && r->to.lo > r->from.lo)
            v->bytes += r->to.lo - r->from.lo;
        return TIDE_OK;
    }
    if (r->state == LOG_MISSING && known_gap(&v->gaps, r->lineage, r->from, r->to))
        return TIDE_OK; /* the window ends before it */
    v->job->plugin->pos_format(r->from, from, sizeof from);
    v->job->plugin->pos_format(r->to, to, sizeof to);
    (void)snprintf(what, sizeof what, "log of lineage %u from %s to %s", r->lineage, from,
                   tide_pos_is_none(r->to) ? "its end" : to);
    verify_lose_log(&v->facts, r);
    name_bad(v, r->key != NULL ? r->key : what, r->state == LOG_MISSING ? "MISSING" : "CORRUPT", what, r->why);
    return TIDE_OK;
}

static tide_status verify_log(struct verifying *v, struct tide_err *err)
{
    const struct lineage_set *set = &v->facts.lineages;
    tide_status s = TIDE_OK;

    for (size_t i = 0; s == TIDE_OK && i < set->n; i++) {
        struct tide_pos from;
        if (!verify_log_from(&v->facts, &set->items[i], &from))
            continue; /* no window begins before its end */
        pulse_show_reading(v->job->pulse, "reading log");
        s = log_verify(v->job->repo, v->job->instance, &set->items[i], from, (struct tide_pos){0}, v->percent,
                       v->job->plugin, v->job->host, take_range, v, err);
        if (s == TIDE_CORRUPT)
            s = TIDE_OK;
    }
    return s;
}

/* ------------------------------------------------------------------- whole */

tide_status job_verify(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(verifying_clear)
    struct verifying v = {.job = job, .bad = json_array(), .percent = (unsigned)job_number(job, "percent", 100)};
    int64_t begun = tide_monotonic_us();

    json_t *lost = json_array();
    job->data = json_pack("{s:i, s:s, s:o, s:o}", "schema", 1, "instance", job->instance, "bad", v.bad, "lost", lost);
    if (job->data == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    tide_status s = job_open(job, err);
    if (s == TIDE_OK)
        s = verify_facts_load(job, &v.facts, err);
    if (s == TIDE_OK)
        s = known_gaps_load(job, &v.gaps, err);
    if (s == TIDE_OK)
        s = verify_backups(&v, err);
    if (s == TIDE_OK)
        s = verify_log(&v, err);
    if (s != TIDE_OK)
        return s;
    verify_losses(&v.facts, lost);
    (void)json_object_set_new(job->data, "backups", json_integer((json_int_t)v.facts.backups.n));
    (void)json_object_set_new(job->data, "bytes", json_integer((json_int_t)v.bytes));
    (void)json_object_set_new(job->data, "percent", json_integer(v.percent));
    (void)json_object_set_new(job->data, "seconds", value_seconds(tide_monotonic_us() - begun));
    if (v.n_bad == 0)
        return TIDE_OK;
    return tide_fail(err, TIDE_CORRUPT, "%llu object(s) of \"%s\" are missing or damaged",
                     (unsigned long long)v.n_bad, job->instance);
}
