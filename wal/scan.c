#include "wal/fetch.h"

#include "orchestrator/base/cleanup.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include <stdlib.h>

/*
 * Events out of stored log.  An object says where its first record begins; when a record from before reaches into it,
 * the scanner is fed from that record's start, so that the event that completes here is seen.
 */

#define SLICE (1u << 20)

struct event_filter {
    log_event_fn *fn;
    void *ctx;
    struct tide_pos start, end;
    tide_status stopped; /* by fn */
};

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct event_filter *f = ctx;

    if (!pos_before(f->start, e->end) || pos_before(f->end, e->end))
        return TIDE_OK;
    f->stopped = f->fn(f->ctx, e, err);
    return f->stopped;
}

struct scanning {
    const struct tide_plugin *plugin;
    void *scan;
    struct event_filter filter;
    struct tide_log_mark mark;
};

static void scanning_close(struct scanning *s)
{
    if (s->scan != NULL)
        s->plugin->log_scan_close(s->scan);
}

static tide_status feed(struct scanning *s, const uint8_t *data, size_t len, struct tide_err *err)
{
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = &s->filter, .event = on_event};

    return (tide_status)s->plugin->log_scan_feed(s->scan, data, len, &sink, &s->mark, err);
}

/* Stored log of one lineage in slices. */
static tide_status feed_range(struct scanning *s, struct repo *r, const char *instance, uint32_t lineage,
                              struct tide_pos from, struct tide_pos to, struct tide_err *err)
{
    struct lineage_step step = {.lineage = lineage};
    struct log_source *source = NULL;
    TIDE_AUTO(tide_freep) uint8_t *buf = malloc(SLICE);
    tide_status st = buf == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory reading log")
                                 : log_source_new(r, instance, &step, 1, &source, err);

    for (struct tide_pos at = from; st == TIDE_OK && pos_before(at, to);) {
        struct tide_pos end = pos_min(pos_add(at, SLICE), to), got = at;
        st = log_source_read(source, at, end, buf, &got, err);
        if (st == TIDE_OK && pos_before(got, end))
            st = tide_fail(err, TIDE_CORRUPT, "stored log ends before the object that was listed");
        if (st == TIDE_OK)
            st = feed(s, buf, (size_t)pos_distance(at, end), err);
        at = end;
    }
    log_source_free(source);
    return st;
}

static tide_status scan_from(struct scanning *s, const struct tide_host *host, const char *evidence,
                             struct tide_pos start, struct tide_pos first_record, struct tide_err *err)
{
    struct tide_log_scan_params params = {
        .struct_size = sizeof params, .evidence = evidence, .start = start, .first_record = first_record};

    s->mark = (struct tide_log_mark){.struct_size = sizeof s->mark};
    return (tide_status)s->plugin->log_scan_open(host, &params, &s->scan, err);
}

tide_status log_scan_object(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                            const struct tide_host *host, const char *evidence, const struct log_name *name,
                            log_event_fn *fn, void *ctx, struct tide_err *err)
{
    TIDE_AUTO(scanning_close)
    struct scanning s = {.plugin = plugin, .filter = {.fn = fn, .ctx = ctx, .start = name->start, .end = name->end}};
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    char key[REPO_KEY_MAX];
    tide_status st = log_name_key(instance, name, key, err);

    if (st == TIDE_OK)
        st = log_object_read(r, key, &info, &content, err);
    if (st != TIDE_OK)
        return st;
    struct tide_pos start = name->start;
    bool record = false;
    if (!pos_equal(info.first_record, name->start) && name->start.lo > 0)
        st = log_scan_start(r, instance, name->lineage, name->start, &start, &record, err);
    if (st == TIDE_NOT_FOUND) {
        /* Nothing before it is stored: the record that reaches in, if any, cannot be had. */
        tide_err_clear(err);
        st = TIDE_OK;
        start = name->start;
        record = false;
    }
    if (st != TIDE_OK)
        return st;
    bool alone = pos_equal(start, name->start);
    st = scan_from(&s, host, evidence, start, alone ? info.first_record : record ? start : TIDE_POS_NONE, err);
    if (st == TIDE_OK && !alone)
        st = feed_range(&s, r, instance, name->lineage, start, name->start, err);
    if (st == TIDE_OK)
        st = feed(&s, content.data, content.len, err);
    if (st != TIDE_OK && s.filter.stopped == TIDE_OK)
        return tide_wrap(err, st, "scanning \"%s\"", key);
    return st;
}

static tide_status ignore_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    (void)ctx, (void)e, (void)err;
    return TIDE_OK;
}

tide_status log_record_before(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                              const struct tide_host *host, const struct lineage *l, struct tide_pos pos,
                              struct tide_pos *start, struct tide_err *err)
{
    TIDE_AUTO(scanning_close)
    struct scanning s = {.plugin = plugin, .filter = {.fn = ignore_event, .start = pos, .end = pos}};
    struct tide_pos from;
    bool record = false;
    tide_status st = log_scan_start(r, instance, l->number, pos, &from, &record, err);

    if (st == TIDE_OK)
        st = scan_from(&s, host, l->evidence, from, record ? from : TIDE_POS_NONE, err);
    if (st == TIDE_OK)
        st = feed_range(&s, r, instance, l->number, from, pos, err);
    if (st != TIDE_OK)
        return st;
    if (tide_pos_is_none(s.mark.last_start) || !pos_equal(s.mark.whole_end, pos))
        return tide_fail(err, TIDE_NOT_FOUND, "no record of lineage %u ends at this position", l->number);
    *start = s.mark.last_start;
    return TIDE_OK;
}
