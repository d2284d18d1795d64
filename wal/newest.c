#include "wal/index.h"

#include "wal/index_internal.h"
#include "wal/pos.h"
#include <string.h>

/*
 * A store lists forwards only, and a lineage may have a million names.  So the last page of a level is found by
 * galloping: steps that double while the page stays full, then halving between a full page and an empty one.
 */

#define PAGE 1000u

struct probe {
    uint32_t lineage;
    unsigned level;
    uint64_t seen;
    bool any;
    struct log_name last; /* of this page, in key order */
    bool found;
    struct log_name *best; /* of all pages: the one that ends last */
};

static tide_status see_name(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct probe *p = ctx;
    struct log_name n;

    (void)err;
    p->seen++;
    if (!log_name_parse(e->key, &n) || n.lineage != p->lineage || n.level != p->level)
        return TIDE_OK;
    p->last = n;
    p->any = true;
    if (!p->found || !pos_before(n.end, p->best->end))
        *p->best = n;
    p->found = true;
    return TIDE_OK;
}

static tide_status probe_from(struct repo *r, const char *instance, struct probe *p, struct tide_pos start,
                              struct tide_err *err)
{
    char folder[REPO_KEY_MAX], after[REPO_KEY_MAX];

    p->seen = 0;
    p->any = false;
    log_level_folder(instance, p->lineage, p->level, folder);
    /* log_level_after looks back by the largest object. */
    log_level_after(instance, p->lineage, p->level, pos_add(start, LOG_OBJECT_MAX_BYTES), after);
    tide_status s = store_list(repo_store(r), folder, tide_pos_is_none(start) ? NULL : after, PAGE, see_name, p, err);
    return s == TIDE_NOT_FOUND ? TIDE_OK : s;
}

static struct tide_pos middle(struct tide_pos a, struct tide_pos b)
{
    if (a.hi != b.hi)
        return (struct tide_pos){a.hi + (b.hi - a.hi + 1) / 2, 0};
    return (struct tide_pos){a.hi, a.lo + (b.lo - a.lo) / 2};
}

/* Between a position with a full page behind it and one with nothing behind it. */
static tide_status close_in(struct repo *r, const char *instance, struct probe *p, struct tide_pos full,
                            struct tide_pos empty, struct tide_err *err)
{
    for (;;) {
        struct tide_pos at = middle(full, empty);
        /* No middle is left: go on page by page. */
        bool stuck = !pos_before(full, at) || !pos_before(at, empty);
        tide_status s = probe_from(r, instance, p, stuck ? pos_add(full, 1) : at, err);
        if (s != TIDE_OK)
            return s;
        if (p->seen > 0 && p->seen < PAGE)
            return TIDE_OK;
        if (p->seen == 0 && stuck)
            return TIDE_OK;
        if (p->seen == 0 || !p->any)
            empty = at;
        else
            full = p->last.start;
    }
}

static tide_status last_of_level(struct repo *r, const char *instance, struct probe *p, struct tide_pos floor,
                                 struct tide_err *err)
{
    tide_status s = probe_from(r, instance, p, floor, err);
    uint64_t step = LOG_OBJECT_MAX_BYTES;

    if (s != TIDE_OK || p->seen < PAGE || !p->any)
        return s;
    for (struct tide_pos full = p->last.start;;) {
        struct tide_pos at = pos_add(full, step);
        s = probe_from(r, instance, p, at, err);
        if (s != TIDE_OK || (p->seen > 0 && p->seen < PAGE))
            return s;
        if (p->seen == 0)
            return close_in(r, instance, p, full, at, err);
        full = p->last.start;
        step = step > UINT64_MAX / 2 ? UINT64_MAX : step * 2;
    }
}

tide_status log_newest_in_level(struct repo *r, const char *instance, uint32_t lineage, unsigned level,
                                struct log_name *out, struct tide_err *err)
{
    struct log_name best = {0};
    struct probe p = {.lineage = lineage, .level = level, .best = &best};
    tide_status s = last_of_level(r, instance, &p, TIDE_POS_NONE, err);

    if (s == TIDE_OK && !p.found)
        return tide_fail(err, TIDE_NOT_FOUND, "nothing is stored at level %u", level);
    *out = best;
    return s;
}

tide_status log_newest(struct repo *r, const char *instance, uint32_t lineage, struct log_name *out,
                       struct tide_err *err)
{
    struct log_name best = {0};
    struct probe p = {.lineage = lineage, .best = &best};

    /* What ends later at a lower level cannot start before the higher one's end by more than the largest object. */
    for (unsigned level = LOG_LEVEL_MAX + 1; level-- > 0;) {
        struct tide_pos floor = p.found ? pos_sub(best.end, LOG_OBJECT_MAX_BYTES) : TIDE_POS_NONE;
        struct log_name higher = best;
        bool had = p.found;
        p.level = level;
        tide_status s = last_of_level(r, instance, &p, floor, err);
        if (s != TIDE_OK)
            return tide_wrap(err, s, "looking for the newest log of \"%s\"", instance);
        if (had && !pos_before(higher.end, best.end))
            best = higher; /* the same end: readers prefer the highest level */
    }
    if (!p.found)
        return tide_fail(err, TIDE_NOT_FOUND, "no log of \"%s\" is stored in lineage %u", instance, lineage);
    *out = best;
    return TIDE_OK;
}
