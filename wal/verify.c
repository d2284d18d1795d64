#include "wal/window.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <string.h>

#define LIST_AGAIN 3u

/* Ranges are told one behind: the times around one are known when the next begins. */
struct verifying {
    struct repo *repo;
    const char *instance;
    const struct lineage *l;
    unsigned percent;
    const struct tide_plugin *plugin; /* NULL: digests only */
    const struct tide_host *host;
    log_range_fn *fn;
    void *ctx;

    struct log_range range; /* not told yet; from none: none */
    char key[REPO_KEY_MAX], why[512];
    int64_t last_us; /* newest commit time so far */
    void *scan;
    struct tide_pos scanned; /* where the scanner stands */
    struct log_name before;  /* the object before this one */
    bool has_before;
};

static tide_status tell(struct verifying *v, struct tide_err *err)
{
    if (pos_equal(v->range.from, v->range.to))
        return TIDE_OK;
    struct log_range r = v->range;
    v->range.from = v->range.to = TIDE_POS_NONE;
    r.key = v->key[0] == '\0' ? NULL : v->key;
    r.why = v->why[0] == '\0' ? NULL : v->why;
    return v->fn(v->ctx, &r, err);
}

static tide_status begin_range(struct verifying *v, enum log_range_state state, struct tide_pos from,
                               struct tide_pos to, const char *key, const char *why, struct tide_err *err)
{
    tide_status s = tell(v, err);

    v->range = (struct log_range){.lineage = v->l->number,
                                  .state = state,
                                  .from = from,
                                  .to = to,
                                  .from_us = v->last_us,
                                  .to_us = TIDE_TIME_NONE};
    (void)snprintf(v->key, sizeof v->key, "%s", key);
    (void)snprintf(v->why, sizeof v->why, "%s", why);
    return s;
}

static void take_times(struct verifying *v, const struct log_name *n)
{
    struct log_range *r = &v->range;

    if (n->max_us == TIDE_TIME_NONE)
        return;
    if (r->state == LOG_FOUND) {
        if (r->from_us == TIDE_TIME_NONE)
            r->from_us = n->min_us;
        r->to_us = r->to_us == TIDE_TIME_NONE || n->max_us > r->to_us ? n->max_us : r->to_us;
    }
    if (v->last_us == TIDE_TIME_NONE || n->max_us > v->last_us)
        v->last_us = n->max_us;
}

static tide_status found(struct verifying *v, const struct log_name *n, struct tide_pos at, struct tide_err *err)
{
    tide_status s = TIDE_OK;

    if (v->range.state != LOG_FOUND || !pos_equal(v->range.to, at) || tide_pos_is_none(v->range.to)) {
        if (v->range.state != LOG_FOUND && v->range.to_us == TIDE_TIME_NONE && n->min_us != TIDE_TIME_NONE)
            v->range.to_us = n->min_us;
        s = begin_range(v, LOG_FOUND, at, n->end, "", "", err);
        v->range.from_us = TIDE_TIME_NONE;
    }
    v->range.to = n->end;
    take_times(v, n);
    return s;
}

/* ---- one object */

static int ignore_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    (void)ctx;
    (void)e;
    (void)err;
    return TIDE_OK;
}

static void scan_close(struct verifying *v)
{
    if (v->scan != NULL)
        v->plugin->log_scan_close(v->scan);
    v->scan = NULL;
}

/* The records' own checksums.  A scanner goes on from object to object as long as they join. */
static tide_status scan_content(struct verifying *v, const struct log_info *info, const struct tide_buf *content,
                                struct tide_err *err)
{
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .event = ignore_event};
    struct tide_log_mark mark = {.struct_size = sizeof mark};
    size_t skip = (size_t)pos_distance(info->name.start, v->scanned);

    if (v->scan != NULL && !pos_in(v->scanned, info->name.start, info->name.end))
        scan_close(v);
    if (v->scan == NULL) {
        struct tide_log_scan_params params = {.struct_size = sizeof params,
                                              .evidence = v->l->evidence,
                                              .start = info->name.start,
                                              .first_record = info->first_record};
        if (tide_pos_is_none(info->first_record))
            return TIDE_OK; /* it holds the middle of one record */
        tide_status s = (tide_status)v->plugin->log_scan_open(v->host, &params, &v->scan, err);
        if (s != TIDE_OK)
            return s;
        skip = 0;
    }
    v->scanned = info->name.end;
    if (skip >= content->len)
        return TIDE_OK;
    tide_status s =
        (tide_status)v->plugin->log_scan_feed(v->scan, content->data + skip, content->len - skip, &sink, &mark, err);
    /* The next file of an engine that has files begins a new scan. */
    if (s != TIDE_OK || info->name.start.hi != info->name.end.hi)
        scan_close(v);
    return s;
}

static tide_status compare_overlap(struct verifying *v, const struct log_name *n, const struct tide_buf *content,
                                   struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf before = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(v->instance, &v->before, key, err);

    if (s == TIDE_OK)
        s = log_object_read(v->repo, key, NULL, &before, err);
    if (s != TIDE_OK)
        return TIDE_OK; /* told about when it was its turn */
    uint64_t skip = pos_distance(v->before.start, n->start);
    uint64_t both = skip < before.len ? before.len - skip : 0;
    if (both > content->len)
        both = content->len;
    if (both > 0 && memcmp(before.data + skip, content->data, (size_t)both) != 0)
        return tide_fail(err, TIDE_CORRUPT, "it holds other bytes than \"%s\", which overlaps it", key);
    return TIDE_OK;
}

/* No restore needs them, but the next incremental backup does. */
static tide_status prove_refs(const struct verifying *v, const char *key, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = NULL;
    size_t n = 0;

    return log_object_refs(v->repo, key, &refs, &n, err);
}

static bool chosen(const struct verifying *v, const char *key)
{
    uint32_t h = 2166136261u;

    for (const char *p = key; *p != '\0'; p++)
        h = (h ^ (uint8_t)*p) * 16777619u;
    return v->percent >= 100 || h % 100 < v->percent;
}

static tide_status prove(struct verifying *v, const struct log_name *n, const char *key, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    bool overlaps = v->has_before && pos_before(n->start, v->before.end);

    if (!chosen(v, key)) {
        if (v->plugin != NULL)
            scan_close(v);
        return TIDE_OK;
    }
    if (v->plugin == NULL && !overlaps)
        return log_object_verify(v->repo, key, NULL, err);
    tide_status s = log_object_read(v->repo, key, &info, &content, err);
    if (s == TIDE_OK)
        s = prove_refs(v, key, err);
    if (s == TIDE_OK && overlaps)
        s = compare_overlap(v, n, &content, err);
    if (s == TIDE_OK && v->plugin != NULL)
        s = scan_content(v, &info, &content, err);
    return s;
}

/* Statuses that say something about the object, and not about the way to it. */
static bool is_verdict(tide_status s)
{
    return s == TIDE_CORRUPT || s == TIDE_NOT_FOUND || s == TIDE_UNSUPPORTED || s == TIDE_INVALID;
}

static tide_status take_object(struct verifying *v, const struct log_name *n, struct tide_pos at, struct tide_pos end,
                               struct tide_err *err)
{
    struct tide_err own = TIDE_ERR_INIT;
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(v->instance, n, key, err);

    if (s != TIDE_OK)
        return s;
    s = prove(v, n, key, &own);
    if (s != TIDE_OK && !is_verdict(s)) {
        if (err != NULL)
            *err = own;
        return s;
    }
    if (s == TIDE_NOT_FOUND)
        return s;
    struct log_name part = *n;
    part.end = end;
    v->has_before = s == TIDE_OK;
    v->before = *n;
    if (s == TIDE_OK)
        return found(v, &part, at, err);
    if (v->plugin != NULL)
        scan_close(v);
    s = begin_range(v, LOG_CORRUPT, at, end, key, own.msg, err);
    v->range.to_us = n->max_us;
    take_times(v, n);
    return s;
}

/* ---- the walk */

static tide_status missing(struct verifying *v, struct tide_pos from, struct tide_pos to, struct tide_err *err)
{
    v->has_before = false;
    if (v->plugin != NULL)
        scan_close(v);
    return begin_range(v, LOG_MISSING, from, to, "", "no log object is stored for this range", err);
}

/* Nothing is stored at the walk's position: true in *over when nothing is behind it, either. */
static tide_status step_over(struct verifying *v, struct log_walk *w, struct tide_pos to, bool *over,
                             struct tide_err *err)
{
    struct tide_pos at = log_walk_position(w), resumed;
    tide_status s = log_walk_skip_gap(w, &resumed, err);
    bool bounded = !tide_pos_is_none(to);

    *over = s == TIDE_NOT_FOUND || (s == TIDE_OK && bounded && !pos_before(resumed, to));
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s != TIDE_OK)
        return s;
    if (*over)
        return bounded && pos_before(at, to) ? missing(v, at, to, err) : TIDE_OK;
    return tide_pos_is_none(at) ? TIDE_OK : missing(v, at, resumed, err);
}

static void walk_closep(struct log_walk **w)
{
    log_walk_close(*w);
}

static tide_status verify_walk(struct verifying *v, struct tide_pos from, struct tide_pos to, struct tide_err *err)
{
    TIDE_AUTO(walk_closep) struct log_walk *w = NULL;
    tide_status s = log_walk_open(v->repo, v->instance, v->l->number, from, &w, err);
    unsigned again = 0;

    while (s == TIDE_OK && (tide_pos_is_none(to) || pos_before(log_walk_position(w), to))) {
        struct log_name n;
        struct tide_pos at = log_walk_position(w);
        bool over = false;
        s = log_walk_next(w, &n, err);
        if (s == TIDE_NOT_FOUND) {
            tide_err_clear(err);
            s = step_over(v, w, to, &over, err);
            if (over)
                break;
            continue;
        }
        if (s != TIDE_OK)
            break;
        if (tide_pos_is_none(at))
            at = n.start;
        struct tide_pos end = tide_pos_is_none(to) ? n.end : pos_min(n.end, to);
        s = take_object(v, &n, at, end, err);
        if (s != TIDE_NOT_FOUND) {
            again = 0;
            continue;
        }
        /* Merged since it was listed?  Then another one is listed now. */
        s = TIDE_OK;
        if (++again < LIST_AGAIN) {
            log_walk_close(TIDE_TAKE(w));
            s = log_walk_open(v->repo, v->instance, v->l->number, at, &w, err);
        } else {
            again = 0;
            s = missing(v, at, end, err);
        }
    }
    return s == TIDE_OK ? tell(v, err) : s;
}

tide_status log_verify(struct repo *r, const char *instance, const struct lineage *l, struct tide_pos from,
                       struct tide_pos to, unsigned percent, const struct tide_plugin *plugin,
                       const struct tide_host *host, log_range_fn *fn, void *ctx, struct tide_err *err)
{
    struct verifying v = {.repo = r,
                          .instance = instance,
                          .l = l,
                          .percent = percent,
                          .plugin = plugin,
                          .host = host,
                          .fn = fn,
                          .ctx = ctx,
                          .last_us = TIDE_TIME_NONE};
    tide_status s = verify_walk(&v, from, to, err);

    if (v.plugin != NULL)
        scan_close(&v);
    return s;
}
