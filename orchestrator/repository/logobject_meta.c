#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/logobject_internal.h"

#include <stdlib.h>
#include <string.h>

void log_info_clear(struct log_info *i)
{
    free(i->events_json);
    *i = (struct log_info){0};
}

void log_meta_clear(struct log_meta *m)
{
    log_info_clear(&m->info);
    free(m->stored);
    *m = (struct log_meta){0};
}

/* ---- what must fit together */

/* Extents cover the range one after the other; only an extent's end may lie beyond its bytes. */
static bool extents_fit(const struct log_info *i)
{
    if (i->n_extents > LOG_EXTENTS_MAX)
        return false;
    if (i->n_extents == 0)
        return i->name.start.hi == i->name.end.hi && i->name.end.lo - i->name.start.lo == i->bytes;
    uint64_t sum = 0;
    struct tide_pos at = i->name.start;
    for (uint32_t k = 0; k < i->n_extents; k++) {
        const struct log_extent *e = &i->extents[k];
        if (tide_pos_cmp(e->start, at) != 0 || tide_pos_cmp(e->start, e->end) >= 0 || e->len == 0 ||
            (e->start.hi == e->end.hi && e->end.lo - e->start.lo < e->len))
            return false;
        sum += e->len;
        at = e->end;
    }
    return sum == i->bytes && tide_pos_cmp(at, i->name.end) == 0;
}

tide_status log_info_check(const struct log_info *i, tide_status bad, struct tide_err *err)
{
    if (i->bytes == 0 || i->bytes > LOG_OBJECT_MAX_BYTES)
        return tide_fail(err, bad, "a log object of %llu bytes is none", (unsigned long long)i->bytes);
    if (!extents_fit(i))
        return tide_fail(err, bad, "the extents of a log object do not cover its range");
    if ((i->n_commits == 0) != (i->name.min_us == TIDE_TIME_NONE))
        return tide_fail(err, bad, "a log object with %llu commits does not say when",
                         (unsigned long long)i->n_commits);
    if (i->received_us < 0)
        return tide_fail(err, bad, "a log object was received before 1970");
    return TIDE_OK;
}

/* ---- bytes */

static void put_pos(struct tide_buf *out, struct tide_pos p)
{
    tide_buf_be64(out, p.hi);
    tide_buf_be64(out, p.lo);
}

static struct tide_pos read_pos(struct tide_cursor *c)
{
    uint64_t hi = tide_read_be64(c);
    return (struct tide_pos){.hi = hi, .lo = tide_read_be64(c)};
}

static void put_time(struct tide_buf *out, int64_t us)
{
    tide_buf_be64(out, us == TIDE_TIME_NONE ? 0 : (uint64_t)us);
}

void log_meta_encode(const struct log_meta *m, struct tide_buf *out)
{
    const struct log_info *i = &m->info;
    size_t events_len = i->events_json == NULL ? 0 : strlen(i->events_json);
    size_t name_len = strlen(m->instance);
    tide_buf_be32(out, m->n_log);
    tide_buf_be32(out, m->n_ref);
    tide_buf_be64(out, i->bytes);
    tide_buf_append(out, i->digest, sizeof(i->digest));
    put_time(out, i->name.min_us);
    put_time(out, i->name.max_us);
    tide_buf_be32(out, i->name.back_ms);
    tide_buf_be32(out, i->n_extents);
    tide_buf_be64(out, i->n_commits);
    put_pos(out, i->last_commit_start);
    put_pos(out, i->last_commit_end);
    put_pos(out, i->first_record);
    put_pos(out, i->last_record_start);
    tide_buf_be64(out, (uint64_t)i->received_us);
    tide_buf_be64(out, m->n_refs);
    tide_buf_be32(out, i->n_events);
    tide_buf_be32(out, (uint32_t)events_len);
    tide_buf_u8(out, (uint8_t)name_len);
    tide_buf_u8(out, i->name.marks);
    tide_buf_be16(out, 0);
    tide_buf_be32(out, 0);
    for (uint32_t k = 0; k < i->n_extents; k++) {
        put_pos(out, i->extents[k].start);
        put_pos(out, i->extents[k].end);
        tide_buf_be32(out, i->extents[k].len);
    }
    for (uint32_t k = 0; k < m->n_log + m->n_ref; k++)
        tide_buf_be32(out, m->stored[k]);
    tide_buf_append(out, m->instance, name_len);
    tide_buf_append(out, i->events_json, events_len);
}

static bool read_time(struct tide_cursor *c, int64_t *us)
{
    uint64_t v = tide_read_be64(c);
    *us = v == 0 ? TIDE_TIME_NONE : (int64_t)v;
    return v <= INT64_MAX;
}

struct lengths {
    uint32_t events, name;
};

/* The part of fixed length. */
static bool read_fixed(struct tide_cursor *c, struct log_meta *m, struct lengths *l)
{
    struct log_info *i = &m->info;
    m->n_log = tide_read_be32(c);
    m->n_ref = tide_read_be32(c);
    i->bytes = tide_read_be64(c);
    const uint8_t *digest = tide_read_bytes(c, sizeof(i->digest));
    if (digest != NULL)
        memcpy(i->digest, digest, sizeof(i->digest));
    bool times = read_time(c, &i->name.min_us);
    times = read_time(c, &i->name.max_us) && times;
    i->name.back_ms = tide_read_be32(c);
    i->n_extents = tide_read_be32(c);
    i->n_commits = tide_read_be64(c);
    i->last_commit_start = read_pos(c);
    i->last_commit_end = read_pos(c);
    i->first_record = read_pos(c);
    i->last_record_start = read_pos(c);
    uint64_t received = tide_read_be64(c);
    i->received_us = (int64_t)received;
    m->n_refs = tide_read_be64(c);
    i->n_events = tide_read_be32(c);
    l->events = tide_read_be32(c);
    l->name = tide_read_u8(c);
    i->name.marks = tide_read_u8(c);
    bool reserved = tide_read_be16(c) == 0;
    reserved = tide_read_be32(c) == 0 && reserved;
    return !c->bad && times && reserved && received <= INT64_MAX && i->n_extents <= LOG_EXTENTS_MAX && m->n_log > 0 &&
           m->n_log <= LOG_FRAMES_MAX && m->n_ref <= LOG_FRAMES_MAX && m->n_refs <= LOG_REFS_MAX &&
           l->events <= LOG_EVENTS_MAX && l->name < REPO_NAME_MAX;
}

static tide_status read_variable(struct tide_cursor *c, struct log_meta *m, const struct lengths *l,
                                 struct tide_err *err)
{
    struct log_info *i = &m->info;
    for (uint32_t k = 0; k < i->n_extents; k++) {
        i->extents[k].start = read_pos(c);
        i->extents[k].end = read_pos(c);
        i->extents[k].len = tide_read_be32(c);
    }
    uint32_t frames = m->n_log + m->n_ref;
    m->stored = calloc(frames, sizeof(*m->stored));
    if (m->stored == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    for (uint32_t k = 0; k < frames; k++)
        m->stored[k] = tide_read_be32(c);
    const uint8_t *name = tide_read_bytes(c, l->name);
    const uint8_t *events = tide_read_bytes(c, l->events);
    if (c->bad || c->left != 0 || (name == NULL && l->name > 0))
        return tide_fail(err, TIDE_CORRUPT, "the description of a log object is cut or too long");
    if (l->name > 0)
        memcpy(m->instance, name, l->name);
    if (strlen(m->instance) != l->name)
        return tide_fail(err, TIDE_CORRUPT, "the description of a log object names no instance");
    if (l->events == 0)
        return TIDE_OK;
    i->events_json = strndup((const char *)events, l->events);
    if (i->events_json == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    if (strlen(i->events_json) != l->events)
        return tide_fail(err, TIDE_CORRUPT, "the events of a log object are no text");
    return TIDE_OK;
}

tide_status log_meta_decode(const void *data, size_t len, struct log_meta *m, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    struct lengths l = {0};
    TIDE_AUTO(log_meta_clear) struct log_meta found = {0};
    if (!read_fixed(&c, &found, &l))
        return tide_fail(err, TIDE_CORRUPT, "the description of a log object makes no sense");
    tide_status s = read_variable(&c, &found, &l, err);
    if (s != TIDE_OK)
        return s;
    *m = TIDE_TAKE(found);
    return TIDE_OK;
}
