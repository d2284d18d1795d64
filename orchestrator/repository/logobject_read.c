#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/logobject_internal.h"
#include "orchestrator/repository/repo_internal.h"

#include <stdlib.h>
#include <string.h>

/* The first request: for a description alone, and when the content is wanted, too. */
#define FIRST_INFO    ((size_t)16 << 10)
#define FIRST_CONTENT ((size_t)256 << 10)
#define WINDOW_MAX    ((size_t)8 << 20)

/* A log object whose description is proved, and the stored bytes that were fetched last. */
struct log_reader {
    struct repo *repo;
    const char *key;
    struct frame_seal seal;
    struct frame_coder *coder;
    struct log_meta meta;
    uint64_t body; /* where frame 1 begins */
    struct tide_buf window;
    uint64_t window_at;
};

static void reader_clear(struct log_reader *l)
{
    repo_coder_give(l->repo, l->coder);
    frame_seal_clear(&l->seal);
    log_meta_clear(&l->meta);
    tide_buf_clear(&l->window);
}

/* At least len bytes at offset, in the window; when it must be fetched, then at best up to `end`. */
static tide_status fetch(struct log_reader *l, uint64_t offset, size_t len, uint64_t end, const uint8_t **out,
                         struct tide_err *err)
{
    bool inside = offset >= l->window_at && offset - l->window_at <= l->window.len &&
                  l->window.len - (offset - l->window_at) >= len;
    if (!inside) {
        uint64_t ahead = end - offset;
        size_t want = ahead < WINDOW_MAX ? (size_t)ahead : WINDOW_MAX;
        if (want < len)
            want = len;
        tide_buf_reset(&l->window);
        if (!tide_buf_reserve(&l->window, want))
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
        size_t got = 0;
        tide_status s = store_get(repo_store(l->repo), l->key, offset, l->window.data, want, &got, err);
        if (s != TIDE_OK)
            return s;
        l->window_at = offset;
        l->window.len = got;
        if (got < len)
            return tide_fail(err, TIDE_CORRUPT, "the object ends at %llu, within a frame",
                             (unsigned long long)(offset + got));
    }
    *out = l->window.data + (offset - l->window_at);
    return TIDE_OK;
}

/* ---- header and description */

static tide_status open_header(struct log_reader *l, const struct log_name *name, struct object_header *h,
                               struct tide_err *err)
{
    struct log_name said = *name;
    tide_status s = object_header_decode(l->window.data, l->window.len, h, err);
    if (s == TIDE_OK)
        s = object_check_type(h, OBJECT_LOG, err);
    if (s != TIDE_OK)
        return s;
    if (!log_ext_decode(h, &said) || !log_name_equal(&said, name))
        return tide_fail(err, TIDE_CORRUPT, "the object's header says another range than its name");
    return object_header_seal(l->repo, h, &l->seal, err);
}

static tide_status open_meta(struct log_reader *l, uint32_t at, const struct log_name *name, const char *instance,
                             struct tide_err *err)
{
    const uint8_t *stored = NULL;
    struct frame_info info;
    tide_status s = fetch(l, at, FRAME_HEADER_SIZE, at + FIRST_INFO, &stored, err);
    if (s == TIDE_OK)
        s = frame_parse_header(stored, &info, err);
    if (s != TIDE_OK)
        return s;
    size_t total = FRAME_HEADER_SIZE + (size_t)info.stored_len;
    s = fetch(l, at, total, at + total, &stored, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    s = object_open_frame(l->coder, &l->seal, stored, total, 0, &plain, &info, err);
    if (s != TIDE_OK)
        return s;
    if (info.kind != FRAME_META || info.flags != 0)
        return tide_fail(err, TIDE_CORRUPT, "the object does not begin with a description");
    s = log_meta_decode(plain.data, plain.len, &l->meta, err);
    if (s != TIDE_OK)
        return s;

    struct log_name *said = &l->meta.info.name;
    said->lineage = name->lineage;
    said->level = name->level;
    said->start = name->start;
    said->end = name->end;
    if (!log_name_equal(said, name) || strcmp(l->meta.instance, instance) != 0)
        return tide_fail(err, TIDE_CORRUPT, "the object's description does not fit its name");
    l->body = at + total;
    if ((l->meta.info.bytes + LOG_FRAME_PLAIN - 1) / LOG_FRAME_PLAIN != l->meta.n_log)
        return tide_fail(err, TIDE_CORRUPT, "%llu bytes of log do not lie in %u frames",
                         (unsigned long long)l->meta.info.bytes, l->meta.n_log);
    return log_info_check(&l->meta.info, TIDE_CORRUPT, err);
}

static tide_status open_object(struct log_reader *l, size_t first, struct tide_err *err)
{
    char instance[REPO_NAME_MAX];
    struct log_name name;
    if (!log_name_parse_key(l->key, instance, &name))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no name of a log object", l->key);
    l->window = (struct tide_buf)TIDE_BUF_INIT(WINDOW_MAX);
    if (!tide_buf_reserve(&l->window, first))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    size_t got = 0;
    tide_status s = store_get(repo_store(l->repo), l->key, 0, l->window.data, first, &got, err);
    if (s != TIDE_OK)
        return s;
    l->window.len = got;
    struct object_header h;
    s = open_header(l, &name, &h, err);
    if (s == TIDE_OK)
        s = repo_coder_take(l->repo, &l->coder, err);
    return s == TIDE_OK ? open_meta(l, h.size, &name, instance, err) : s;
}

/* ---- the other frames */

/* Where frame `number` begins (1 + n_log + n_ref: where the object ends). */
static uint64_t frame_at(const struct log_reader *l, uint32_t number)
{
    uint64_t at = l->body;
    for (uint32_t k = 1; k < number; k++)
        at += l->meta.stored[k - 1];
    return at;
}

/* Frames [from, to), all of one kind, appended to out one after the other; fn, when given, takes each. */
static tide_status read_frames(struct log_reader *l, uint32_t from, uint32_t to, enum frame_kind kind,
                               struct tide_buf *out,
                               tide_status (*fn)(void *ctx, struct tide_buf *b, struct tide_err *), void *ctx,
                               struct tide_err *err)
{
    uint32_t last = l->meta.n_log + l->meta.n_ref;
    uint64_t at = frame_at(l, from), end = frame_at(l, to);
    tide_status s = TIDE_OK;
    for (uint32_t number = from; s == TIDE_OK && number < to; number++) {
        const uint8_t *stored = NULL;
        struct frame_info info;
        size_t total = l->meta.stored[number - 1];
        if (total < FRAME_HEADER_SIZE || total > FRAME_HEADER_SIZE + LOG_FRAME_PLAIN)
            return tide_fail(err, TIDE_CORRUPT, "frame %u is said to take %zu bytes", number, total);
        s = fetch(l, at, total, end, &stored, err);
        if (s == TIDE_OK)
            s = object_open_frame(l->coder, &l->seal, stored, total, number, out, &info, err);
        if (s != TIDE_OK)
            return s;
        bool full = kind != FRAME_LOG || number == l->meta.n_log || info.plain_len == LOG_FRAME_PLAIN;
        if (info.kind != kind || info.flags != (number == last ? FRAME_LAST : 0) || !full ||
            info.plain_len > LOG_FRAME_PLAIN)
            return tide_fail(err, TIDE_CORRUPT, "frame %u is not what belongs there", number);
        at += total;
        s = fn == NULL ? TIDE_OK : fn(ctx, out, err);
    }
    return s;
}

static tide_status read_content(struct log_reader *l, struct tide_buf *content, struct tide_err *err)
{
    const struct log_info *i = &l->meta.info;
    size_t before = content->len;
    if (content->len > content->max || i->bytes > content->max - content->len)
        return tide_fail(err, TIDE_INVALID, "there is no room for %llu bytes of log", (unsigned long long)i->bytes);
    if (!tide_buf_reserve(content, (size_t)i->bytes))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log");
    tide_status s = read_frames(l, 1, 1 + l->meta.n_log, FRAME_LOG, content, NULL, NULL, err);
    uint8_t digest[CRYPTO_SHA256_SIZE];
    if (s == TIDE_OK && content->len - before != i->bytes)
        s = tide_fail(err, TIDE_CORRUPT, "the object holds %zu bytes of log and says %llu", content->len - before,
                      (unsigned long long)i->bytes);
    if (s == TIDE_OK)
        s = crypto_sha256(content->data + before, content->len - before, digest, err);
    if (s == TIDE_OK && memcmp(digest, i->digest, sizeof(digest)) != 0)
        s = tide_fail(err, TIDE_CORRUPT, "the log in the object does not have the digest that it should");
    if (s != TIDE_OK)
        content->len = before;
    return s;
}

struct refs_target {
    struct tide_block_ref *refs;
    size_t n, max;
};

static tide_status take_refs(void *ctx, struct tide_buf *b, struct tide_err *err)
{
    struct refs_target *t = ctx;
    tide_status s = log_refs_decode(b->data, b->len, t->refs, &t->n, t->max, err);
    tide_buf_reset(b);
    return s;
}

static tide_status read_refs(struct log_reader *l, struct refs_target *t, struct tide_err *err)
{
    const struct log_meta *m = &l->meta;
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(LOG_FRAME_PLAIN);
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = calloc((size_t)m->n_refs + 1, sizeof(*refs));
    if (refs == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for block references");
    *t = (struct refs_target){.refs = refs, .max = (size_t)m->n_refs};
    tide_status s =
        read_frames(l, 1 + m->n_log, 1 + m->n_log + m->n_ref, FRAME_BLOCK_REFS, &plain, take_refs, t, err);
    if (s == TIDE_OK && t->n != m->n_refs)
        s = tide_fail(err, TIDE_CORRUPT, "the object holds %zu block references and says %llu", t->n,
                      (unsigned long long)m->n_refs);
    t->refs = s == TIDE_OK ? TIDE_TAKE(refs) : NULL;
    return s;
}

static tide_status check_end(struct log_reader *l, struct tide_err *err)
{
    uint64_t end = frame_at(l, 1 + l->meta.n_log + l->meta.n_ref);
    uint8_t byte;
    size_t got = 0;
    tide_status s = store_get(repo_store(l->repo), l->key, end, &byte, 1, &got, err);
    if (s == TIDE_OK && got != 0)
        s = tide_fail(err, TIDE_CORRUPT, "the object goes on behind its last frame");
    return s;
}

/* ---- for users */

tide_status log_object_info(struct repo *r, const char *key, struct log_info *out, struct tide_err *err)
{
    TIDE_AUTO(reader_clear) struct log_reader l = {.repo = r, .key = key};
    tide_status s = open_object(&l, FIRST_INFO, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading \"%s\"", key);
    *out = TIDE_TAKE(l.meta.info);
    return TIDE_OK;
}

tide_status log_object_read(struct repo *r, const char *key, struct log_info *info, struct tide_buf *content,
                            struct tide_err *err)
{
    TIDE_AUTO(reader_clear) struct log_reader l = {.repo = r, .key = key};
    tide_status s = open_object(&l, FIRST_CONTENT, err);
    if (s == TIDE_OK)
        s = read_content(&l, content, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading \"%s\"", key);
    if (info != NULL)
        *info = TIDE_TAKE(l.meta.info);
    return TIDE_OK;
}

static tide_status read_part(struct log_reader *l, uint64_t from, uint64_t len, struct tide_buf *content,
                             uint64_t *at, struct tide_err *err)
{
    uint64_t bytes = l->meta.info.bytes, left = from < bytes ? bytes - from : 0;
    uint64_t to = from < bytes ? from + (len < left ? len : left) : bytes;
    uint32_t first = (uint32_t)(from < bytes ? from / LOG_FRAME_PLAIN : l->meta.n_log);
    uint32_t end = (uint32_t)((to + LOG_FRAME_PLAIN - 1) / LOG_FRAME_PLAIN);
    *at = from < bytes ? (uint64_t)first * LOG_FRAME_PLAIN : bytes;
    if (first == 0 && end == l->meta.n_log)
        return read_content(l, content, err);
    uint64_t stop = (uint64_t)end * LOG_FRAME_PLAIN, want = (stop < bytes ? stop : bytes) - *at;
    size_t before = content->len;
    if (content->len > content->max || want > content->max - content->len)
        return tide_fail(err, TIDE_INVALID, "there is no room for %llu bytes of log", (unsigned long long)want);
    if (!tide_buf_reserve(content, (size_t)want))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log");
    tide_status s = read_frames(l, 1 + first, 1 + end, FRAME_LOG, content, NULL, NULL, err);
    if (s == TIDE_OK && content->len - before != want)
        s = tide_fail(err, TIDE_CORRUPT, "frames of log hold %zu bytes instead of %llu", content->len - before,
                      (unsigned long long)want);
    if (s != TIDE_OK)
        content->len = before;
    return s;
}

tide_status log_object_read_part(struct repo *r, const char *key, uint64_t from, uint64_t len, struct log_info *info,
                                 struct tide_buf *content, uint64_t *at, struct tide_err *err)
{
    TIDE_AUTO(reader_clear) struct log_reader l = {.repo = r, .key = key};
    tide_status s = open_object(&l, FIRST_CONTENT, err);
    if (s == TIDE_OK)
        s = read_part(&l, from, len, content, at, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading \"%s\"", key);
    if (info != NULL)
        *info = TIDE_TAKE(l.meta.info);
    return TIDE_OK;
}

tide_status log_object_refs(struct repo *r, const char *key, struct tide_block_ref **refs, size_t *n,
                            struct tide_err *err)
{
    TIDE_AUTO(reader_clear) struct log_reader l = {.repo = r, .key = key};
    struct refs_target t = {0};
    tide_status s = open_object(&l, FIRST_INFO, err);
    if (s == TIDE_OK)
        s = read_refs(&l, &t, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading the block references of \"%s\"", key);
    *refs = t.refs;
    *n = t.n;
    return TIDE_OK;
}

tide_status log_object_verify(struct repo *r, const char *key, struct log_info *info, struct tide_err *err)
{
    TIDE_AUTO(reader_clear) struct log_reader l = {.repo = r, .key = key};
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    struct refs_target t = {0};
    tide_status s = open_object(&l, FIRST_CONTENT, err);
    if (s == TIDE_OK)
        s = read_content(&l, &content, err);
    if (s == TIDE_OK)
        s = read_refs(&l, &t, err);
    free(t.refs);
    if (s == TIDE_OK)
        s = check_end(&l, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "verifying \"%s\"", key);
    if (info != NULL)
        *info = TIDE_TAKE(l.meta.info);
    return TIDE_OK;
}
