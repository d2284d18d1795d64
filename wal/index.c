#include "wal/index.h"

#include "orchestrator/base/cleanup.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

#define PAGE      1000u
#define LEVELS    (LOG_LEVEL_MAX + 1u)
#define LOOK_NEAR (1u << 20) /* the first look back at level 0, where objects are small and many */

/*
 * What is known of one level: a page of names in key order, and from where on nothing is missing.  Names that end at
 * or before the walk's position are of no more use, because a walk only moves forward.
 */
struct level_page {
    struct log_name *names;
    size_t n, at;
    struct tide_pos floor; /* every object that starts here or later, up to the page's end, was seen */
    bool loaded, more;
    char last[REPO_KEY_MAX];
};

struct log_walk {
    struct repo *repo;
    char instance[REPO_NAME_MAX];
    uint32_t lineage;
    struct tide_pos pos;
    bool fresh; /* from none: the position is still to be found */
    struct level_page levels[LEVELS];
};

struct page_fill {
    struct level_page *page;
    uint32_t lineage;
    unsigned level;
    uint64_t seen;
};

static tide_status take_name(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct page_fill *f = ctx;
    struct log_name n;

    f->seen++;
    if (snprintf(f->page->last, sizeof f->page->last, "%s", e->key) >= (int)sizeof f->page->last)
        return tide_fail(err, TIDE_CORRUPT, "object key \"%s\" is too long", e->key);
    if (log_name_parse(e->key, &n) && n.lineage == f->lineage && n.level == f->level)
        f->page->names[f->page->n++] = n;
    return TIDE_OK;
}

static tide_status load_page(struct log_walk *w, unsigned level, const char *after, struct tide_err *err)
{
    struct level_page *p = &w->levels[level];
    struct page_fill fill = {.page = p, .lineage = w->lineage, .level = level};
    char folder[REPO_KEY_MAX], from[REPO_KEY_MAX];

    if (p->names == NULL && (p->names = calloc(PAGE, sizeof *p->names)) == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing log objects");
    if (after != NULL)
        (void)snprintf(from, sizeof from, "%s", after);
    p->n = p->at = 0;
    p->more = p->loaded = false;
    log_level_folder(w->instance, w->lineage, level, folder);
    tide_status s = store_list(repo_store(w->repo), folder, after == NULL ? NULL : from, PAGE, take_name, &fill, err);
    if (s == TIDE_NOT_FOUND)
        s = TIDE_OK;
    if (s != TIDE_OK)
        return tide_wrap(err, s, "listing the log of \"%s\"", w->instance);
    p->more = fill.seen == PAGE;
    p->loaded = true;
    return TIDE_OK;
}

/* A page that begins with the first object that starts at or after floor. */
static tide_status load_from(struct log_walk *w, unsigned level, struct tide_pos floor, struct tide_err *err)
{
    char after[REPO_KEY_MAX];

    /* log_level_after looks back by the largest object; given that much more, it looks back not at all. */
    log_level_after(w->instance, w->lineage, level, pos_add(floor, LOG_OBJECT_MAX_BYTES), after);
    tide_status s = load_page(w, level, floor.hi == 0 && floor.lo == 0 ? NULL : after, err);
    if (s == TIDE_OK)
        w->levels[level].floor = floor;
    return s;
}

static tide_status load_next(struct log_walk *w, unsigned level, struct tide_pos look_from, struct tide_err *err)
{
    struct level_page *p = &w->levels[level];
    struct tide_pos last = p->n == 0 ? p->floor : p->names[p->n - 1].start;
    struct tide_pos floor = p->floor;

    /* The walk was carried far ahead by a higher level: what lies between is not worth listing. */
    if (pos_before(last, look_from))
        return load_from(w, level, look_from, err);
    tide_status s = load_page(w, level, p->last, err);
    if (s == TIDE_OK)
        p->floor = floor;
    return s;
}

static const struct log_name *best_on_page(struct level_page *p, struct tide_pos pos)
{
    const struct log_name *best = NULL;

    while (p->at < p->n && !pos_before(pos, p->names[p->at].end))
        p->at++;
    for (size_t i = p->at; i < p->n && !pos_before(pos, p->names[i].start); i++)
        if (pos_before(pos, p->names[i].end) && (best == NULL || pos_before(best->end, p->names[i].end)))
            best = &p->names[i];
    return best;
}

static bool page_may_go_on(const struct level_page *p, struct tide_pos pos)
{
    return p->more && (p->n == 0 || !pos_before(pos, p->names[p->n - 1].start));
}

/* The object of a level that contains the walk's position; *out NULL when there is proved to be none. */
static tide_status find_in_level(struct log_walk *w, unsigned level, const struct log_name **out,
                                 struct tide_err *err)
{
    struct level_page *p = &w->levels[level];
    struct tide_pos far = pos_sub(w->pos, LOG_OBJECT_MAX_BYTES);
    struct tide_pos near = level == 0 ? pos_sub(w->pos, LOOK_NEAR) : far;

    if (!p->loaded) {
        tide_status s = load_from(w, level, near, err);
        if (s != TIDE_OK)
            return s;
    }
    for (;;) {
        *out = best_on_page(p, w->pos);
        if (*out != NULL)
            return TIDE_OK;
        tide_status s;
        if (page_may_go_on(p, w->pos))
            s = load_next(w, level, near, err);
        else if (pos_before(far, p->floor))
            s = load_from(w, level, near = far, err);
        else
            return TIDE_OK;
        if (s != TIDE_OK)
            return s;
    }
}

/* The smallest start behind pos (or at it, when at is set) over all levels. */
static tide_status next_start(struct log_walk *w, bool at, struct tide_pos *out, struct tide_err *err)
{
    bool found = false;

    for (unsigned level = 0; level < LEVELS; level++) {
        struct level_page *p = &w->levels[level];
        tide_status s = p->loaded ? TIDE_OK : load_from(w, level, w->pos, err);
        while (s == TIDE_OK) {
            size_t i = 0;
            while (i < p->n && (at ? pos_before(p->names[i].start, w->pos) : !pos_before(w->pos, p->names[i].start)))
                i++;
            if (i < p->n && (!found || pos_before(p->names[i].start, *out))) {
                *out = p->names[i].start;
                found = true;
            }
            if (i < p->n || !p->more)
                break;
            s = load_next(w, level, w->pos, err);
        }
        if (s != TIDE_OK)
            return s;
    }
    return found ? TIDE_OK : tide_fail(err, TIDE_NOT_FOUND, "no later log is stored");
}

tide_status log_walk_open(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos from,
                          struct log_walk **out, struct tide_err *err)
{
    if (!repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "instance name \"%s\" is not valid", instance);
    struct log_walk *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing log objects");
    w->repo = r;
    (void)snprintf(w->instance, sizeof w->instance, "%s", instance);
    w->lineage = lineage;
    w->pos = from;
    w->fresh = tide_pos_is_none(from);
    *out = w;
    return TIDE_OK;
}

void log_walk_close(struct log_walk *w)
{
    if (w == NULL)
        return;
    for (unsigned i = 0; i < LEVELS; i++)
        free(w->levels[i].names);
    free(w);
}

tide_status log_walk_next(struct log_walk *w, struct log_name *out, struct tide_err *err)
{
    if (w->fresh) {
        struct tide_pos first;
        tide_status s = next_start(w, true, &first, err);
        if (s != TIDE_OK)
            return s;
        w->pos = first;
        w->fresh = false;
    }
    for (unsigned level = LEVELS; level-- > 0;) {
        const struct log_name *best = NULL;
        tide_status s = find_in_level(w, level, &best, err);
        if (s != TIDE_OK)
            return s;
        if (best != NULL) {
            *out = *best;
            w->pos = best->end;
            return TIDE_OK;
        }
    }
    return tide_fail(err, TIDE_NOT_FOUND, "no log is stored at this position");
}

struct tide_pos log_walk_position(const struct log_walk *w)
{
    return w->pos;
}

tide_status log_walk_skip_gap(struct log_walk *w, struct tide_pos *resumed, struct tide_err *err)
{
    struct tide_pos next;
    tide_status s = next_start(w, false, &next, err);

    if (s != TIDE_OK)
        return s;
    w->pos = *resumed = next;
    w->fresh = false;
    return TIDE_OK;
}

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

tide_status log_coverage(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos from,
                         struct tide_pos to, struct tide_pos *covered_to, struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    struct log_name n;
    tide_status s = log_walk_open(r, instance, lineage, from, &w, err);

    while (s == TIDE_OK && (tide_pos_is_none(to) || pos_before(w->pos, to)))
        s = log_walk_next(w, &n, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s != TIDE_OK)
        return s;
    *covered_to = tide_pos_is_none(to) ? w->pos : pos_min(w->pos, to);
    return TIDE_OK;
}
