#include "wal/merge.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/record.h"
#include "wal/piece.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

/* The large object while it is put together. */
struct making {
    const struct merge_options *o;
    struct tide_buf content;
    struct log_piece piece; /* content stays in the buffer */
    json_t *events;
    bool any_commit;
};

static void making_clear(struct making *m)
{
    tide_buf_clear(&m->content);
    refset_clear(&m->piece.refs);
    log_info_clear(&m->piece.info);
    json_decref(m->events);
}

/* The step back of stamps across the border: exact, since what counts is the maximum before against each stamp after.
 */
static void join_times(struct log_name *all, const struct log_name *one)
{
    if (one->max_us == TIDE_TIME_NONE)
        return;
    if (all->max_us == TIDE_TIME_NONE) {
        all->min_us = one->min_us;
        all->max_us = one->max_us;
        all->back_ms = one->back_ms;
        return;
    }
    uint32_t step = one->min_us < all->max_us ? piece_back_ms(all->max_us - one->min_us) : 0;
    if (step > all->back_ms)
        all->back_ms = step;
    if (one->back_ms > all->back_ms)
        all->back_ms = one->back_ms;
    if (one->min_us < all->min_us)
        all->min_us = one->min_us;
    if (one->max_us > all->max_us)
        all->max_us = one->max_us;
}

static void join_records(struct log_info *all, const struct log_info *one)
{
    if (tide_pos_is_none(all->first_record))
        all->first_record = one->first_record;
    if (!tide_pos_is_none(one->last_record_start))
        all->last_record_start = one->last_record_start;
    if (one->n_commits > 0) {
        all->last_commit_start = one->last_commit_start;
        all->last_commit_end = one->last_commit_end;
    }
    all->n_commits += one->n_commits;
    if (one->received_us > all->received_us)
        all->received_us = one->received_us;
}

/* Events that lie behind `from`: what lies before is known from the object that overlaps. */
static tide_status join_events(struct making *m, const struct log_info *one, struct tide_pos from,
                               struct tide_err *err)
{
    if (one->events_json == NULL)
        return TIDE_OK;
    json_t *list = json_loads(one->events_json, 0, NULL);
    tide_status s = TIDE_OK;
    if (!json_is_array(list))
        s = tide_fail(err, TIDE_CORRUPT, "a log object's events are not a list");
    for (size_t i = 0; s == TIDE_OK && i < json_array_size(list); i++) {
        struct tide_pos end;
        json_t *e = json_array_get(list, i);
        s = record_pos(e, "end", &end, err);
        if (s == TIDE_OK && pos_before(from, end) && json_array_append(m->events, e) != 0)
            s = tide_fail(err, TIDE_NO_MEMORY, "out of memory merging log");
    }
    json_decref(list);
    return s;
}

static tide_status join_refs(struct making *m, const char *key, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = NULL;
    size_t n = 0;
    tide_status s = log_object_refs(m->o->repo, key, &refs, &n, err);

    return s == TIDE_OK ? refset_add(&m->piece.refs, refs, n, err) : s;
}

/* What both hold has to agree; the rest is added. */
static tide_status join_content(struct making *m, const struct log_name *n, const struct tide_buf *content,
                                const char *key, struct tide_err *err)
{
    size_t skip = (size_t)pos_distance(m->piece.info.name.start, n->start);
    size_t both = m->content.len > skip ? m->content.len - skip : 0;

    if (both > content->len)
        both = content->len;
    if (skip > m->content.len)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" is larger by its name than by its content", key);
    if (both > 0 && memcmp(m->content.data + skip, content->data, both) != 0)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" and an object that overlaps it hold different bytes", key);
    tide_buf_append(&m->content, content->data + both, content->len - both);
    return tide_buf_check(&m->content, "merged log", err);
}

static tide_status join_one(struct making *m, const struct log_name *n, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    struct log_name *all = &m->piece.info.name;
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(m->o->instance, n, key, err);

    if (s == TIDE_OK)
        s = log_object_read(m->o->repo, key, &info, &content, err);
    if (s == TIDE_OK)
        s = join_content(m, n, &content, key, err);
    if (s != TIDE_OK || (pos_before(all->start, n->end) && !pos_before(all->end, n->end)))
        return s; /* it only repeats */
    join_times(all, n);
    all->marks |= n->marks;
    join_records(&m->piece.info, &info);
    s = join_events(m, &info, all->end, err);
    all->end = n->end;
    return s == TIDE_OK ? join_refs(m, key, err) : s;
}

static tide_status put(struct making *m, struct tide_err *err)
{
    struct log_info *i = &m->piece.info;

    i->bytes = m->content.len;
    i->extents[0] = (struct log_extent){.start = i->name.start, .end = i->name.end, .len = (uint32_t)m->content.len};
    i->n_extents = 1;
    if (json_array_size(m->events) > 0) {
        i->n_events = (uint32_t)json_array_size(m->events);
        i->events_json = json_dumps(m->events, JSON_COMPACT | JSON_SORT_KEYS);
        if (i->events_json == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory merging log");
    }
    tide_status s = crypto_sha256(m->content.data, m->content.len, i->digest, err);
    if (s != TIDE_OK)
        return s;
    TIDE_FAILPOINT("merge-before-put", err);
    m->piece.content = m->content.data;
    s = log_piece_put(m->o->repo, m->o->instance, &m->piece, err);
    m->piece.content = NULL;
    tide_buf_clear(&m->content);
    return s;
}

/* Only what can be read back may replace what is there. */
static tide_status prove(struct making *m, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(m->o->instance, &m->piece.info.name, key, err);

    if (s == TIDE_OK)
        s = log_object_read(m->o->repo, key, &info, &content, err);
    if (s == TIDE_OK && memcmp(info.digest, m->piece.info.digest, sizeof info.digest) != 0)
        s = tide_fail(err, TIDE_CORRUPT, "\"%s\" holds other bytes than were merged", key);
    return s;
}

tide_status merge_bury(const struct merge_options *o, const struct log_name *members, size_t n, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) char(*keys)[REPO_KEY_MAX] = calloc(n, sizeof *keys);
    TIDE_AUTO(tide_freep) const char **list = calloc(n, sizeof *list);
    int64_t now;
    tide_status s = store_now(repo_store(o->repo), &now, err);

    if (keys == NULL || list == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory merging log");
    for (size_t i = 0; s == TIDE_OK && i < n; i++) {
        s = log_name_key(o->instance, &members[i], keys[i], err);
        list[i] = keys[i];
    }
    if (s == TIDE_OK)
        s = tombstone_put(o->repo, o->instance, list, n, MERGE_REASON, now + o->grace_us, err);
    return s;
}

tide_status merge_make(const struct merge_options *o, const struct log_name *members, size_t n, struct tide_err *err)
{
    TIDE_AUTO(making_clear)
    struct making m = {.o = o, .content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES), .events = json_array()};
    tide_status s = TIDE_OK;

    if (m.events == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory merging log");
    refset_init(&m.piece.refs, PIECE_MAX_REFS * 2);
    m.piece.info.name = (struct log_name){.lineage = o->lineage,
                                          .level = (uint8_t)(members[0].level + 1),
                                          .start = members[0].start,
                                          .end = members[0].start,
                                          .min_us = TIDE_TIME_NONE,
                                          .max_us = TIDE_TIME_NONE};
    for (size_t i = 0; s == TIDE_OK && i < n; i++)
        s = tide_cancel_is_set(o->cancel) ? tide_fail(err, TIDE_CANCELLED, "merging cancelled")
                                          : join_one(&m, &members[i], err);
    if (s == TIDE_OK)
        s = put(&m, err);
    if (s == TIDE_OK)
        s = prove(&m, err);
    if (s != TIDE_OK)
        return s;
    TIDE_FAILPOINT("merge-before-tombstone", err);
    return merge_bury(o, members, n, err);
}

static tide_status compare_member(const struct merge_options *o, const struct log_name *large,
                                  const struct tide_buf *whole, const struct log_name *member, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    const size_t skip = (size_t)pos_distance(large->start, member->start);
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(o->instance, member, key, err);

    if (s == TIDE_OK)
        s = log_object_read(o->repo, key, &info, &content, err);
    if (s != TIDE_OK)
        return s;
    if (skip > whole->len || content.len > whole->len - skip ||
        (content.len > 0 && memcmp(whole->data + skip, content.data, content.len) != 0))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" and the merged object around it hold different bytes", key);
    return TIDE_OK;
}

tide_status merge_bury_repeated(const struct merge_options *o, const struct log_name *large,
                                const struct log_name *members, size_t n, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf whole = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    char key[REPO_KEY_MAX];
    tide_status s = log_name_key(o->instance, large, key, err);

    if (s == TIDE_OK)
        s = log_object_read(o->repo, key, &info, &whole, err);
    for (size_t i = 0; s == TIDE_OK && i < n; i++)
        s = compare_member(o, large, &whole, &members[i], err);
    return s == TIDE_OK ? merge_bury(o, members, n, err) : s;
}
