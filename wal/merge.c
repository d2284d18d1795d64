#include "wal/merge.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "wal/index_internal.h"
#include "wal/pos.h"
#include "wal/ship.h"
#include <stdlib.h>
#include <string.h>

#define PAGE 1000u

/* Objects of one level that join; of two writers they may overlap. */
struct run {
    struct log_name *members; /* LOG_MERGE_COUNT; owned */
    size_t n;
    struct tide_pos start, end;
};

struct page {
    struct log_name *names; /* PAGE; owned */
    size_t n;
    uint64_t seen;
    uint32_t lineage;
    unsigned level;
    char last[REPO_KEY_MAX];
};

struct pass {
    const struct merge_options *o;
    struct merge_cursor *c;
    unsigned level;
    struct run run;
    struct page page;
    uint64_t made;
    tide_status disagreed;
    struct tide_err first; /* of what disagreed */
};

static void pass_clear(struct pass *p)
{
    free(p->run.members);
    free(p->page.names);
}

static tide_status take_name(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct page *p = ctx;
    struct log_name n;

    (void)err;
    p->seen++;
    (void)snprintf(p->last, sizeof p->last, "%s", e->key);
    if (log_name_parse(e->key, &n) && n.lineage == p->lineage && n.level == p->level)
        p->names[p->n++] = n;
    return TIDE_OK;
}

static tide_status list_page(struct pass *p, const char *after, struct tide_err *err)
{
    char folder[REPO_KEY_MAX], from[REPO_KEY_MAX] = "";

    if (after != NULL)
        (void)snprintf(from, sizeof from, "%s", after);
    p->page.n = 0;
    p->page.seen = 0;
    log_level_folder(p->o->instance, p->o->lineage, p->level, folder);
    tide_status s =
        store_list(repo_store(p->o->repo), folder, after == NULL ? NULL : from, PAGE, take_name, &p->page, err);
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

static void run_begin(struct run *r, const struct log_name *n)
{
    r->members[0] = *n;
    r->n = 1;
    r->start = n->start;
    r->end = n->end;
}

static tide_status run_merge(struct pass *p, struct tide_err *err)
{
    tide_status s = merge_make(p->o, p->run.members, p->run.n, err);

    if (s == TIDE_OK)
        p->made++;
    if (s == TIDE_NOT_FOUND || s == TIDE_INVALID) {
        /* Somebody else merged and swept meanwhile; or one object cannot hold all of that. */
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s == TIDE_CORRUPT) {
        TIDE_LOG(TIDE_LOG_ERROR, "wal.merge.disagree", TIDE_STR("instance", p->o->instance),
                 TIDE_STR("reason", err->msg));
        if (p->disagreed == TIDE_OK) {
            p->first = *err;
            p->disagreed = s;
        }
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s == TIDE_OK) {
        p->c->from[p->level] = p->run.end;
        p->run.n = 0;
    }
    return s;
}

static tide_status run_add(struct pass *p, const struct log_name *n, struct tide_err *err)
{
    struct run *r = &p->run;
    tide_status s = TIDE_OK;

    if (n->start.hi != n->end.hi || pos_distance(n->start, n->end) > MERGE_MAX_BYTES / 2) {
        r->n = 0; /* large enough, or the last of its file */
        return TIDE_OK;
    }
    if (!pos_before(p->c->from[p->level], n->end))
        return TIDE_OK; /* another writer's, of log that is merged already */
    if (r->n == 0 || pos_before(r->end, n->start) || n->start.hi != r->start.hi) {
        run_begin(r, n);
        return TIDE_OK;
    }
    if (pos_distance(r->start, n->end) > MERGE_MAX_BYTES) {
        if (r->n >= MERGE_MIN_COUNT)
            s = run_merge(p, err);
        run_begin(r, n);
        return s;
    }
    r->members[r->n++] = *n;
    r->end = pos_max(r->end, n->end);
    return r->n == LOG_MERGE_COUNT ? run_merge(p, err) : TIDE_OK;
}

/* A merger that was killed between the large object and the tombstones of the small ones left them there for good. */
static tide_status bury_left_over(struct pass *p, const struct log_name *large, struct tide_err *err)
{
    char after[REPO_KEY_MAX];
    size_t kept = 0;

    log_level_after(p->o->instance, p->o->lineage, p->level, pos_add(large->start, LOG_OBJECT_MAX_BYTES), after);
    tide_status s = list_page(p, tide_pos_is_none(large->start) ? NULL : after, err);
    for (size_t i = 0; s == TIDE_OK && i < p->page.n; i++) {
        const struct log_name *n = &p->page.names[i];
        if (!pos_before(n->start, large->start) && !pos_before(large->end, n->end))
            p->page.names[kept++] = *n;
    }
    return s == TIDE_OK && kept > 0 ? merge_bury_repeated(p->o, large, p->page.names, kept, err) : s;
}

static tide_status find_start(struct pass *p, struct tide_err *err)
{
    struct log_name large;
    tide_status s = log_newest_in_level(p->o->repo, p->o->instance, p->o->lineage, p->level + 1, &large, err);

    p->c->from[p->level] = TIDE_POS_NONE;
    if (s == TIDE_OK) {
        p->c->from[p->level] = large.end;
        s = bury_left_over(p, &large, err);
    } else if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    p->c->started[p->level] = s == TIDE_OK;
    return s;
}

static tide_status merge_level(struct pass *p, struct tide_err *err)
{
    char after[REPO_KEY_MAX];
    struct tide_pos from;
    tide_status s = p->c->started[p->level] ? TIDE_OK : find_start(p, err);

    from = p->c->from[p->level];
    p->run.n = 0;
    log_level_after(p->o->instance, p->o->lineage, p->level, pos_add(from, LOG_OBJECT_MAX_BYTES), after);
    if (s == TIDE_OK)
        s = list_page(p, tide_pos_is_none(from) ? NULL : after, err);
    while (s == TIDE_OK && p->page.seen > 0) {
        struct tide_pos last = p->c->from[p->level];
        for (size_t i = 0; s == TIDE_OK && i < p->page.n; i++) {
            last = p->page.names[i].end;
            s = run_add(p, &p->page.names[i], err);
        }
        /* What is left of a run is listed again by the next pass. */
        if (s == TIDE_OK && p->page.n > 0)
            p->c->from[p->level] = p->run.n > 0 ? p->run.start : last;
        if (s != TIDE_OK || p->page.seen < PAGE)
            break;
        if (tide_cancel_is_set(p->o->cancel))
            return tide_fail(err, TIDE_CANCELLED, "merging cancelled");
        s = list_page(p, p->page.last, err);
    }
    return s;
}

tide_status merge_pass(const struct merge_options *o, struct merge_cursor *c, uint64_t *merged, struct tide_err *err)
{
    TIDE_AUTO(pass_clear)
    struct pass p = {.o = o, .c = c, .page = {.lineage = o->lineage}};

    *merged = 0;
    if (c->lineage != o->lineage) {
        *c = (struct merge_cursor){.lineage = o->lineage};
    }
    p.run.members = calloc(LOG_MERGE_COUNT, sizeof *p.run.members);
    p.page.names = calloc(PAGE, sizeof *p.page.names);
    if (p.run.members == NULL || p.page.names == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory merging log");
    for (unsigned level = 0; level < LOG_LEVEL_MAX; level++) {
        p.level = p.page.level = level;
        tide_status s = merge_level(&p, err);
        *merged = p.made;
        if (s != TIDE_OK)
            return tide_wrap(err, s, "merging log of \"%s\"", o->instance);
    }
    if (p.disagreed != TIDE_OK)
        *err = p.first;
    return p.disagreed;
}

tide_status wal_merge(struct repo *r, const char *instance, uint32_t lineage, int64_t grace_us,
                      struct tide_cancel *cancel, uint64_t *merged, struct tide_err *err)
{
    struct merge_options o = {
        .repo = r, .instance = instance, .lineage = lineage, .grace_us = grace_us, .cancel = cancel};
    struct merge_cursor c = {.lineage = lineage};
    uint64_t deleted = 0;
    tide_status s = merge_pass(&o, &c, merged, err);

    return s == TIDE_OK ? tombstone_sweep(r, instance, MERGE_REASON, &deleted, err) : s;
}
