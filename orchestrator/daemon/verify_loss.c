#include "orchestrator/daemon/verify_loss.h"

#include "orchestrator/daemon/values.h"
#include <stdlib.h>
#include <string.h>

tide_status verify_facts_load(struct job *job, struct verify_facts *f, struct tide_err *err)
{
    tide_status s = lineage_load(job->repo, job->instance, &f->lineages, err);
    if (s == TIDE_OK)
        s = backup_list_load(job->repo, job->instance, &f->backups, err);
    if (s == TIDE_OK)
        s = window_compute(&(struct window_options){.repo = job->repo,
                                                    .instance = job->instance,
                                                    .clock_tolerance_us = job->settings.clock_tolerance_us,
                                                    .lineages = &f->lineages,
                                                    .backups = &f->backups},
                           &f->windows, err);
    if (s != TIDE_OK)
        return s;
    f->backup_is_bad = calloc(f->backups.n + 1, sizeof *f->backup_is_bad);
    return f->backup_is_bad == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

void verify_facts_clear(struct verify_facts *f)
{
    window_set_clear(&f->windows);
    backup_list_clear(&f->backups);
    lineage_set_clear(&f->lineages);
    free(f->backup_is_bad);
    free(f->log);
}

void verify_lose_backup(struct verify_facts *f, const char *id)
{
    for (size_t i = 0; i < f->backups.n; i++)
        if (strcmp(f->backups.items[i].id, id) == 0)
            f->backup_is_bad[i] = true;
}

void verify_lose_log(struct verify_facts *f, const struct log_range *r)
{
    struct lost_log *grown = realloc(f->log, (f->n_log + 1) * sizeof *grown);

    if (grown == NULL)
        return; /* the object itself is named all the same */
    f->log = grown;
    f->log[f->n_log++] = (struct lost_log){.lineage = r->lineage, .from = r->from, .from_us = r->from_us};
}

/* Whether `ancestor` lies on the way to `number`, or is it. */
static bool is_on_path(const struct lineage_set *set, uint32_t number, uint32_t ancestor)
{
    for (size_t guard = 0; number != 0 && guard <= set->n; guard++) {
        if (number == ancestor)
            return true;
        const struct lineage *l = lineage_find(set, number);
        number = l == NULL ? 0 : l->parent;
    }
    return false;
}

bool verify_log_from(const struct verify_facts *f, const struct lineage *l, struct tide_pos *from)
{
    bool any = false;

    for (size_t i = 0; i < f->backups.n; i++) {
        const struct backup *b = &f->backups.items[i];
        if (b->lineage == l->number) {
            if (!any || tide_pos_cmp(b->start, *from) < 0)
                *from = b->start;
            any = true;
        } else if (is_on_path(&f->lineages, l->number, b->lineage)) {
            *from = l->start;
            return true;
        }
    }
    return any;
}

static void add_loss(json_t *list, uint32_t lineage, int64_t from_us, int64_t to_us)
{
    if (from_us != TIDE_TIME_NONE && to_us != TIDE_TIME_NONE && from_us >= to_us)
        return;
    (void)json_array_append_new(list, json_pack("{s:i, s:o, s:o}", "lineage", (int)lineage, "from",
                                                value_time(from_us), "to", value_time(to_us)));
}

/* The moment from which the first good backup at or after `at` of a lineage serves; NONE: there is no such. */
static int64_t next_good(const struct verify_facts *f, uint32_t lineage, struct tide_pos at)
{
    int64_t best = TIDE_TIME_NONE;

    for (size_t i = 0; i < f->backups.n; i++) {
        const struct backup *b = &f->backups.items[i];
        if (b->lineage != lineage || f->backup_is_bad[i] || tide_pos_cmp(b->start, at) < 0)
            continue;
        if (best == TIDE_TIME_NONE || b->server_stop_us < best)
            best = b->server_stop_us;
    }
    return best;
}

/* A window begins with its first backup: when that is bad, it begins with the next good one. */
static void lose_window_start(const struct verify_facts *f, const struct restore_window *w, json_t *list)
{
    for (size_t i = 0; i < f->backups.n; i++) {
        const struct backup *b = &f->backups.items[i];
        if (!f->backup_is_bad[i] || strcmp(b->id, w->first_backup) != 0)
            continue;
        int64_t good = next_good(f, b->lineage, b->start);
        add_loss(list, w->lineage, w->earliest_us,
                 good == TIDE_TIME_NONE || good > w->latest_us ? w->latest_us : good);
    }
}

void verify_losses(const struct verify_facts *f, json_t *list)
{
    for (size_t i = 0; i < f->windows.n; i++)
        lose_window_start(f, &f->windows.windows[i], list);
    for (size_t i = 0; i < f->n_log; i++)
        add_loss(list, f->log[i].lineage, f->log[i].from_us, next_good(f, f->log[i].lineage, f->log[i].from));
}
