#include "tests/support/history.h"

#include "wal/collector.h"
#include "wal/merge.h"
#include "wal/pos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void must(tide_status s, const char *what, const struct tide_err *err)
{
    if (s == TIDE_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

struct history *history_new(unsigned seed)
{
    struct history *h = calloc(1, sizeof *h);

    tide_assert(h != NULL);
    h->w = fake_world_new();
    h->seed = seed;
    return h;
}

void history_free(struct history *h)
{
    for (size_t i = 0; i < h->n_backups; i++)
        free(h->backups[i].metadata);
    fake_world_free(h->w);
    free(h);
}

unsigned history_below(struct history *h, unsigned n)
{
    return (unsigned)rand_r(&h->seed) % n;
}

struct history_lineage *history_fork(struct history *h, const struct history_lineage *parent, struct tide_pos fork)
{
    struct history_lineage *l = &h->lineages[h->n_lineages++];

    tide_assert(h->n_lineages <= HISTORY_LINEAGES);
    l->parent = parent == NULL ? 0 : parent->number;
    l->branch = parent == NULL ? fake_branch(h->w->server) : fake_promote(h->w->server, fork);
    l->start = l->end = parent == NULL ? (struct tide_pos){0, FAKE_BASE} : fork;
    l->number = fake_world_lineage(h->w, l->parent, l->start, l->branch);
    return l;
}

static struct history_lineage *newest(struct history *h)
{
    return &h->lineages[h->n_lineages - 1];
}

void history_commit(struct history *h, int64_t time_us)
{
    struct history_lineage *l = newest(h);
    size_t n;

    tide_assert(l->n_commits < HISTORY_COMMITS);
    l->end = fake_commit(h->w->server, time_us, history_below(h, 200));
    const struct fake_commit_record *all = fake_commits(h->w->server, &n);
    l->commits[l->n_commits++] = all[n - 1];
}

struct tide_pos history_record(struct history *h, unsigned kind, const char *text)
{
    struct history_lineage *l = newest(h);

    l->end = fake_append(h->w->server, kind, FAKE_T0, text, text == NULL ? 0 : strlen(text), 0, 0);
    return l->end;
}

static void keep(struct history *h, const struct log_name *name)
{
    tide_assert(h->n_objects < HISTORY_OBJECTS);
    h->objects[h->n_objects++] = *name;
}

static void put_closed(struct history *h, struct collector *c)
{
    struct tide_err err = TIDE_ERR_INIT;

    for (struct log_piece *p; (p = collector_take(c)) != NULL; log_piece_free(p)) {
        keep(h, &p->info.name);
        must(log_piece_put(h->w->t->repo, "shop", p, &err), "storing", &err);
    }
}

void history_store(struct history *h, const struct history_lineage *l, struct tide_pos from, struct tide_pos to,
                   unsigned commits)
{
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = (size_t)pos_distance(from, to);
    char *evidence = fake_evidence(h->w->server, l->branch);
    uint8_t *bytes = malloc(len + 1);
    struct collector *c = NULL;
    struct collector_options o = {.plugin = &fake_plugin,
                                  .host = &h->w->host.host,
                                  .evidence = evidence,
                                  .lineage = l->number,
                                  .object_bytes = 1 << 20,
                                  .start = from,
                                  .first_record = from.lo % FAKE_SEGMENT == 0 ? (struct tide_pos){0} : from};

    tide_assert(bytes != NULL && len > 0);
    fake_read(h->w->server, l->branch, from, to, bytes);
    must(collector_new(&o, &c, &err), "collector", &err);
    for (size_t at = 0; at < len;) {
        size_t n = 1 + history_below(h, commits * 200);
        if (n > len - at)
            n = len - at;
        must(collector_feed(c, pos_add(from, at), pos_add(from, at + n), bytes + at, n, &err), "feeding", &err);
        at += n;
        /* whole records mostly; now and then in the middle of one, as when it is larger than an object */
        must(collector_cut(c, at == len || history_below(h, 4) == 0 ? COLLECTOR_ALL : COLLECTOR_WHOLE, &err),
             "cutting", &err);
    }
    put_closed(h, c);
    collector_free(c);
    free(bytes);
    free(evidence);
}

void history_overlap(struct history *h, const struct history_lineage *l)
{
    if (l->n_commits < 3)
        return;
    size_t a = history_below(h, (unsigned)l->n_commits - 2);
    size_t b = a + 1 + history_below(h, (unsigned)(l->n_commits - a - 1));
    struct log_name n = fake_world_store(h->w, l->number, l->branch, l->commits[a].end, l->commits[b].end);

    for (size_t i = 0; i < h->n_objects; i++)
        if (memcmp(&h->objects[i], &n, sizeof n) == 0)
            return;
    keep(h, &n);
}

static int by_key(const void *a, const void *b)
{
    const struct log_name *x = a, *y = b;
    int c = tide_pos_cmp(x->start, y->start);
    return c != 0 ? c : tide_pos_cmp(x->end, y->end);
}

void history_merge(struct history *h, const struct history_lineage *l, bool bury)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct merge_options o = {.repo = h->w->t->repo, .instance = "shop", .lineage = l->number};
    struct log_name run[HISTORY_OBJECTS];
    unsigned level = history_below(h, 2);
    size_t n = 0, from, many;

    for (size_t i = 0; i < h->n_objects; i++)
        if (h->objects[i].lineage == l->number && h->objects[i].level == level)
            run[n++] = h->objects[i];
    if (n < 2)
        return;
    qsort(run, n, sizeof run[0], by_key);
    from = history_below(h, (unsigned)n - 1);
    many = 2 + history_below(h, (unsigned)(n - from - 1));
    struct tide_pos end = run[from].end;
    size_t joined = 1;
    while (joined < many && !pos_before(end, run[from + joined].start))
        end = pos_max(end, run[from + joined++].end);
    if (joined < 2)
        return;
    struct log_name before[HISTORY_OBJECTS];
    memcpy(before, run, sizeof run);
    must(merge_make(&o, run + from, joined, &err), "merging", &err);
    struct log_name made;
    must(log_newest(h->w->t->repo, "shop", l->number, &made, &err), "newest", &err);
    struct log_walk *walk = NULL;
    must(log_walk_open(h->w->t->repo, "shop", l->number, run[from].start, &walk, &err), "walk", &err);
    must(log_walk_next(walk, &made, &err), "made", &err);
    log_walk_close(walk);
    if (made.level == level + 1 && pos_equal(made.start, run[from].start))
        keep(h, &made);
    for (size_t i = 0; bury && i < joined; i++)
        for (size_t k = 0; k < h->n_objects; k++)
            if (memcmp(&h->objects[k], &run[from + i], sizeof run[0]) == 0)
                history_lose(h, k--);
}

void history_lose(struct history *h, size_t object)
{
    struct tide_err err = TIDE_ERR_INIT;
    char key[REPO_KEY_MAX];

    must(log_name_key("shop", &h->objects[object], key, &err), "key", &err);
    must(store_delete(repo_store(h->w->t->repo), key, &err), "losing", &err);
    h->objects[object] = h->objects[--h->n_objects];
}

const struct backup *history_backup(struct history *h, const struct history_lineage *l, struct tide_pos start,
                                    struct tide_pos stop, int64_t stop_us)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct backup *b = &h->backups[h->n_backups];

    tide_assert(h->n_backups < HISTORY_BACKUPS);
    *b = (struct backup){.lineage = l->number,
                         .branch = l->branch,
                         .start = start,
                         .stop = stop,
                         .started_us = stop_us - 1000,
                         .finished_us = stop_us + 1000,
                         .server_start_us = stop_us - 1000,
                         .server_stop_us = stop_us,
                         .method = "files",
                         .server_version = "1",
                         .metadata = strdup("{}")};
    (void)snprintf(b->id, sizeof b->id, "20261122T%06zuZ-00000000", ++h->n_backups);
    must(backup_commit(h->w->t->repo, "shop", b, &err), "backup", &err);
    return b;
}

static const struct history_lineage *lineage_of(const struct history *h, uint32_t number)
{
    for (size_t i = 0; i < h->n_lineages; i++)
        if (h->lineages[i].number == number)
            return &h->lineages[i];
    return NULL;
}

/* A child may leave before its parent itself began; then that parent gave nothing. */
static size_t commits_until(const struct history *h, const struct history_lineage *l, struct tide_pos end,
                            struct fake_commit_record *out)
{
    const struct history_lineage *parent = lineage_of(h, l->parent);
    size_t n =
        parent == NULL ? 0 : commits_until(h, parent, tide_pos_is_none(end) ? l->start : pos_min(l->start, end), out);

    for (size_t i = 0; i < l->n_commits; i++)
        if (tide_pos_is_none(end) || !pos_before(end, l->commits[i].end))
            out[n++] = l->commits[i];
    return n;
}

size_t history_path_commits(const struct history *h, const struct history_lineage *l,
                            struct fake_commit_record out[HISTORY_COMMITS])
{
    return commits_until(h, l, (struct tide_pos){0}, out);
}

/* The lineage on the way to l that owns the byte at pos. */
static const struct history_lineage *owner(const struct history *h, const struct history_lineage *l,
                                           struct tide_pos pos)
{
    while (l->parent != 0 && pos_before(pos, l->start))
        l = lineage_of(h, l->parent);
    return l;
}

struct tide_pos history_covered(const struct history *h, const struct history_lineage *l, struct tide_pos from)
{
    struct tide_pos at = from;

    for (bool moved = true; moved;) {
        const struct history_lineage *o = owner(h, l, at), *child = l;
        struct tide_pos limit = {0};
        while (child != o) {
            limit = child->start;
            child = lineage_of(h, child->parent);
        }
        moved = false;
        for (size_t i = 0; i < h->n_objects && !moved; i++) {
            const struct log_name *n = &h->objects[i];
            if (n->lineage != o->number || !pos_in(at, n->start, n->end))
                continue;
            at = tide_pos_is_none(limit) ? n->end : pos_min(n->end, limit);
            moved = true;
        }
    }
    return at;
}
