#include "wal/piece.h"

#include "orchestrator/repository/record.h"
#include <stdlib.h>
#include <string.h>

void piece_tally_init(struct piece_tally *t)
{
    *t = (struct piece_tally){.min_us = TIDE_TIME_NONE, .max_us = TIDE_TIME_NONE};
    refset_init(&t->refs, PIECE_MAX_REFS);
}

void piece_tally_clear(struct piece_tally *t)
{
    json_decref(t->events);
    refset_clear(&t->refs);
    piece_tally_init(t);
}

static void tally_commit(struct piece_tally *t, const struct tide_log_event *e)
{
    int64_t us = e->time_us;

    t->n_commits++;
    t->last_commit_start = e->start;
    t->last_commit_end = e->end;
    if (us == TIDE_TIME_NONE) /* unknown: not later than what came before */
        us = t->max_us;
    if (us <= 0) /* a name cannot say more */
        us = 1;
    if (t->max_us == TIDE_TIME_NONE) {
        t->min_us = t->max_us = us;
        return;
    }
    if (us < t->max_us && t->max_us - us > t->back_us)
        t->back_us = t->max_us - us;
    if (us < t->min_us)
        t->min_us = us;
    if (us > t->max_us)
        t->max_us = us;
}

/* Names of restore points are bytes in the server's encoding; JSON wants UTF-8. */
static json_t *text_json(const char *text, size_t len)
{
    json_t *j = json_stringn(text == NULL ? "" : text, text == NULL ? 0 : len);
    if (j != NULL)
        return j;
    char *copy = malloc(len + 1);
    if (copy == NULL)
        return NULL;
    for (size_t i = 0; i < len; i++)
        copy[i] = (text[i] & 0x80) != 0 ? '?' : text[i];
    j = json_stringn(copy, len);
    free(copy);
    return j;
}

static const char *kept_kind(uint32_t kind)
{
    switch (kind) {
    case TIDE_EVENT_RESTORE_POINT:
        return "restore_point";
    case TIDE_EVENT_SETTINGS:
        return "settings";
    case TIDE_EVENT_BRANCH:
        return "branch";
    default:
        return NULL;
    }
}

static uint8_t mark_of(uint32_t kind)
{
    return kind == TIDE_EVENT_RESTORE_POINT ? LOG_MARK_RESTORE_POINT
           : kind == TIDE_EVENT_SETTINGS    ? LOG_MARK_SETTINGS
                                            : LOG_MARK_BRANCH;
}

static json_t *event_json(const struct tide_log_event *e, const char *kind)
{
    json_t *j = json_pack("{s:s, s:i, s:o, s:o, s:I, s:o}", "kind", kind, "code", (int)e->kind, "start",
                          record_pos_json(e->start), "end", record_pos_json(e->end), "number", (json_int_t)e->number,
                          "text", text_json(e->text, e->text_len));
    json_t *time = e->time_us == TIDE_TIME_NONE ? json_null() : json_integer(e->time_us);

    if (j == NULL || json_object_set_new(j, "time_us", time) != 0) {
        json_decref(j);
        return NULL;
    }
    return j;
}

tide_status piece_tally_event(struct piece_tally *t, const struct tide_log_event *e, struct tide_err *err)
{
    const char *kind = kept_kind(e->kind);

    if (e->kind == TIDE_EVENT_COMMIT)
        tally_commit(t, e);
    if (e->kind == TIDE_EVENT_PREPARE)
        t->marks |= LOG_MARK_PREPARED;
    if (kind == NULL)
        return TIDE_OK;
    if (t->events == NULL && (t->events = json_array()) == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log events");
    if (json_array_append_new(t->events, event_json(e, kind)) != 0)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log events");
    t->marks |= mark_of(e->kind);
    t->text += e->text_len;
    if (json_array_size(t->events) >= PIECE_MAX_EVENTS || t->text >= PIECE_MAX_TEXT)
        t->full = true;
    return TIDE_OK;
}

tide_status piece_tally_blocks(struct piece_tally *t, const struct tide_block_ref *refs, size_t n,
                               struct tide_err *err)
{
    tide_status s = refset_add(&t->refs, refs, n, err);

    if (t->refs.n > PIECE_MAX_REFS / 2)
        t->full = true;
    return s;
}

uint32_t piece_back_ms(int64_t back_us)
{
    int64_t ms = (back_us + 999) / 1000;

    return ms > (int64_t)UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
}

tide_status piece_tally_close(struct piece_tally *t, struct log_piece *p, struct tide_err *err)
{
    struct log_info *i = &p->info;

    i->n_commits = t->n_commits;
    i->name.min_us = t->min_us;
    i->name.max_us = t->max_us;
    i->name.back_ms = piece_back_ms(t->back_us);
    i->name.marks = t->marks;
    i->last_commit_start = t->last_commit_start;
    i->last_commit_end = t->last_commit_end;
    if (t->events != NULL) {
        i->n_events = (uint32_t)json_array_size(t->events);
        i->events_json = json_dumps(t->events, JSON_COMPACT | JSON_SORT_KEYS);
        if (i->events_json == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log events");
    }
    p->refs = t->refs;
    refset_init(&t->refs, PIECE_MAX_REFS);
    piece_tally_clear(t);
    return TIDE_OK;
}

void log_piece_free(struct log_piece *p)
{
    if (p == NULL)
        return;
    log_info_clear(&p->info);
    free(p->content);
    refset_clear(&p->refs);
    free(p);
}

tide_status log_piece_put(struct repo *r, const char *instance, struct log_piece *p, struct tide_err *err)
{
    refset_sort(&p->refs);
    return log_object_put(r, instance, &p->info, p->content, p->refs.items, p->refs.n, err);
}
