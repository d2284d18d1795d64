#include "wal/fetch.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

#define CACHED     2u
#define LIST_AGAIN 3u

/* Of an object no more than this is read at once: several readers of one object then share the work between them. */
#define PART ((size_t)16 << 20)
#define ROOM (PART + ((size_t)2 << 20)) /* with the rest of the frames at both ends */

/* The part of an object that was read last; reads are mostly consecutive. */
struct cached {
    bool full;
    struct log_name name;
    uint64_t bytes, at; /* of the whole content; where the part begins in it */
    struct tide_buf content;
    uint64_t used_at;
};

struct log_source {
    struct repo *repo;
    char instance[REPO_NAME_MAX];
    struct lineage_step *path;
    struct log_walk **walks; /* one a step, opened when needed */
    size_t n;
    struct cached cache[CACHED];
    uint64_t ticks;
};

tide_status log_source_new(struct repo *r, const char *instance, const struct lineage_step *path, size_t n,
                           struct log_source **out, struct tide_err *err)
{
    if (n == 0 || !repo_name_is_valid(instance))
        return tide_fail(err, TIDE_INVALID, "no lineage to read log of \"%s\" from", instance);
    struct log_source *s = calloc(1, sizeof *s);
    struct lineage_step *copy = calloc(n, sizeof *copy);
    struct log_walk **walks = calloc(n, sizeof(struct log_walk *));
    if (s == NULL || copy == NULL || walks == NULL) {
        free(s);
        free(copy);
        free(walks);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log source");
    }
    memcpy(copy, path, n * sizeof *copy);
    s->repo = r;
    (void)snprintf(s->instance, sizeof s->instance, "%s", instance);
    s->path = copy;
    s->walks = walks;
    s->n = n;
    for (size_t i = 0; i < CACHED; i++)
        s->cache[i].content = (struct tide_buf)TIDE_BUF_INIT(ROOM);
    *out = s;
    return TIDE_OK;
}

void log_source_refresh(struct log_source *s)
{
    for (size_t i = 0; i < s->n; i++) {
        log_walk_close(s->walks[i]);
        s->walks[i] = NULL;
    }
}

void log_source_free(struct log_source *s)
{
    if (s == NULL)
        return;
    log_source_refresh(s);
    for (size_t i = 0; i < CACHED; i++)
        tide_buf_clear(&s->cache[i].content);
    free(s->path);
    free(s->walks);
    free(s);
}

/* The step that pos belongs to: the last one that begins at or before it and was not left before it. */
static size_t step_of(const struct log_source *s, struct tide_pos pos)
{
    size_t i = 0;

    while (i + 1 < s->n && !tide_pos_is_none(s->path[i].end) && !pos_before(pos, s->path[i].end))
        i++;
    return i;
}

static bool holds(const struct cached *c, uint32_t lineage, struct tide_pos pos)
{
    if (!c->full || c->name.lineage != lineage || !pos_in(pos, c->name.start, c->name.end))
        return false;
    uint64_t skip = pos.lo - c->name.start.lo;
    return skip >= c->bytes || (skip >= c->at && skip - c->at < c->content.len);
}

static struct cached *cached_at(struct log_source *s, uint32_t lineage, struct tide_pos pos)
{
    for (size_t i = 0; i < CACHED; i++) {
        struct cached *c = &s->cache[i];
        if (holds(c, lineage, pos)) {
            c->used_at = ++s->ticks;
            return c;
        }
    }
    return NULL;
}

static struct cached *cache_room(struct log_source *s)
{
    struct cached *oldest = &s->cache[0];

    for (size_t i = 1; i < CACHED; i++)
        if (s->cache[i].used_at < oldest->used_at)
            oldest = &s->cache[i];
    oldest->full = false;
    oldest->used_at = ++s->ticks;
    tide_buf_reset(&oldest->content);
    return oldest;
}

static tide_status find_object(struct log_source *s, size_t step, struct tide_pos pos, struct log_name *name,
                               struct tide_err *err)
{
    struct log_walk **w = &s->walks[step];

    if (*w != NULL && !pos_equal(log_walk_position(*w), pos)) {
        log_walk_close(*w);
        *w = NULL;
    }
    if (*w == NULL) {
        tide_status st = log_walk_open(s->repo, s->instance, s->path[step].lineage, pos, w, err);
        if (st != TIDE_OK)
            return st;
    }
    return log_walk_next(*w, name, err);
}

static tide_status load(struct log_source *s, const struct log_name *name, struct tide_pos pos, struct cached *c,
                        struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    struct log_info info = {0};
    tide_status st = log_name_key(s->instance, name, key, err);

    if (st == TIDE_OK)
        st = log_object_read_part(s->repo, key, pos.lo - name->start.lo, PART, &info, &c->content, &c->at, err);
    c->bytes = info.bytes;
    log_info_clear(&info);
    if (st != TIDE_OK)
        return st;
    c->name = *name;
    c->full = true;
    return TIDE_OK;
}

/*
 * The object at pos, read and proved.  NOT_FOUND: none is stored there, by a listing made now.  Between listing and
 * reading an object may have been merged into a larger one; an object that stays listed and cannot be had is damage,
 * never an absence.
 */
static tide_status object_at(struct log_source *s, size_t step, struct tide_pos pos, struct cached **out,
                             struct tide_err *err)
{
    *out = cached_at(s, s->path[step].lineage, pos);
    for (unsigned i = 0; *out == NULL; i++) {
        struct log_name name;
        bool listed_before = s->walks[step] != NULL;
        tide_status st = find_object(s, step, pos, &name, err);
        if (st == TIDE_NOT_FOUND && listed_before && i + 1 < LIST_AGAIN) {
            /* What was listed a while ago proves nothing: log was stored, or merged and swept, since. */
            tide_err_clear(err);
            log_walk_close(TIDE_TAKE(s->walks[step]));
            continue;
        }
        if (st != TIDE_OK)
            return st;
        struct cached *c = cache_room(s);
        st = load(s, &name, pos, c, err);
        if (st == TIDE_OK) {
            *out = c;
        } else if (st != TIDE_NOT_FOUND) {
            return st;
        } else if (i + 1 == LIST_AGAIN) {
            return tide_wrap(err, TIDE_CORRUPT, "a log object is listed and gone");
        } else {
            tide_err_clear(err);
            log_walk_close(TIDE_TAKE(s->walks[step]));
        }
    }
    return TIDE_OK;
}

static tide_status any_object(struct log_source *s, size_t step, bool *found, struct tide_err *err)
{
    struct log_walk *w = NULL;
    struct log_name name;
    tide_status st = log_walk_open(s->repo, s->instance, s->path[step].lineage, TIDE_POS_NONE, &w, err);

    if (st == TIDE_OK)
        st = log_walk_next(w, &name, err);
    log_walk_close(w);
    *found = st == TIDE_OK;
    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    return st;
}

/* Nothing is stored at pos.  Is there anything behind it on the path? */
static tide_status later_log(struct log_source *s, size_t step, struct tide_pos pos, bool *later,
                             struct tide_err *err)
{
    struct tide_pos resumed = TIDE_POS_NONE;
    struct log_walk *w = NULL;
    tide_status st = log_walk_open(s->repo, s->instance, s->path[step].lineage, pos, &w, err);

    *later = false;
    if (st == TIDE_OK)
        st = log_walk_skip_gap(w, &resumed, err);
    log_walk_close(w);
    if (st == TIDE_OK)
        *later = tide_pos_is_none(s->path[step].end) || pos_before(resumed, s->path[step].end);
    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    for (size_t i = step + 1; st == TIDE_OK && !*later && i < s->n; i++)
        st = any_object(s, i, later, err);
    return st;
}

static tide_status end_of_log(struct log_source *s, size_t step, struct tide_pos from, struct tide_pos pos,
                              struct tide_pos *got, struct tide_err *err)
{
    bool later;
    tide_status st = later_log(s, step, pos, &later, err);

    if (st != TIDE_OK)
        return st;
    if (later)
        return tide_fail(err, TIDE_CORRUPT,
                         "log of \"%s\" is missing at %016llx-%016llx in lineage %u, and there is log behind it",
                         s->instance, (unsigned long long)pos.hi, (unsigned long long)pos.lo, s->path[step].lineage);
    if (pos_equal(pos, from))
        return tide_fail(err, TIDE_NOT_FOUND, "no log of \"%s\" is stored at this position, nor behind it",
                         s->instance);
    *got = pos;
    return TIDE_OK;
}

tide_status log_source_read(struct log_source *s, struct tide_pos from, struct tide_pos to, uint8_t *buf,
                            struct tide_pos *got, struct tide_err *err)
{
    if (from.hi != to.hi || pos_before(to, from) || tide_pos_is_none(from))
        return tide_fail(err, TIDE_INVALID, "not a range of one log file");
    for (struct tide_pos pos = from; pos_before(pos, to);) {
        size_t step = step_of(s, pos);
        struct cached *c;
        tide_status st = object_at(s, step, pos, &c, err);
        if (st == TIDE_NOT_FOUND) {
            tide_err_clear(err);
            return end_of_log(s, step, from, pos, got, err);
        }
        if (st != TIDE_OK)
            return st;
        uint64_t skip = pos.lo - c->name.start.lo;
        uint64_t n = pos_distance(pos, to), fork = s->path[step].end.lo - pos.lo;
        if (skip >= c->bytes) { /* the file ends here; the engine goes on in the next one */
            *got = pos;
            return TIDE_OK;
        }
        skip -= c->at;
        if (n > c->content.len - skip)
            n = c->content.len - skip;
        if (step + 1 < s->n && s->path[step].end.hi == pos.hi && n > fork)
            n = fork;
        memcpy(buf + (pos.lo - from.lo), c->content.data + skip, (size_t)n);
        pos.lo += n;
    }
    *got = to;
    return TIDE_OK;
}
