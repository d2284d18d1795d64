#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/logobject_internal.h"
#include "orchestrator/repository/repo_internal.h"

#include <stdlib.h>
#include <string.h>

#define META_FIXED  176u
#define REF_LARGEST 26u

void log_sealed_clear(struct log_sealed *s)
{
    tide_buf_clear(&s->buf);
    s->start = 0;
}

/* What sealing one object needs to have at hand. */
struct sealing {
    struct frame_coder *coder;
    struct frame_seal seal;
    struct log_meta meta;
    struct tide_buf *out;
};

static tide_status seal_frame(struct sealing *s, enum frame_kind kind, bool last, const void *plain, size_t len,
                              struct tide_err *err)
{
    uint32_t done = s->meta.n_log + s->meta.n_ref;
    struct frame_info info = {.number = done + 1, .kind = (uint8_t)kind, .flags = last ? FRAME_LAST : 0};
    size_t total = 0;
    if (!tide_buf_reserve(s->out, frame_bound(len)))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    tide_status st = frame_seal_bytes(s->coder, &s->seal, &info, plain, len, s->out->data + s->out->len, &total, err);
    if (st != TIDE_OK)
        return st;
    s->out->len += total;
    s->meta.stored[done] = (uint32_t)total;
    if (kind == FRAME_LOG)
        s->meta.n_log++;
    else
        s->meta.n_ref++;
    return TIDE_OK;
}

static tide_status seal_content(struct sealing *s, const uint8_t *content, bool refs_follow, struct tide_err *err)
{
    uint64_t left = s->meta.info.bytes;
    tide_status st = TIDE_OK;
    while (st == TIDE_OK && left > 0) {
        size_t len = left < LOG_FRAME_PLAIN ? (size_t)left : LOG_FRAME_PLAIN;
        st = seal_frame(s, FRAME_LOG, left == len && !refs_follow, content, len, err);
        content += len;
        left -= len;
    }
    return st;
}

static tide_status seal_refs(struct sealing *s, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(LOG_FRAME_PLAIN);
    for (size_t i = 1; i < n; i++)
        if (log_ref_cmp(&refs[i - 1], &refs[i]) >= 0)
            return tide_fail(err, TIDE_INVALID, "block references are not sorted and unique");
    tide_status st = TIDE_OK;
    for (size_t at = 0; st == TIDE_OK && at < n;) {
        tide_buf_reset(&plain);
        log_refs_encode(refs, n, &at, &plain);
        st = tide_buf_check(&plain, "block references", err);
        if (st == TIDE_OK)
            st = seal_frame(s, FRAME_BLOCK_REFS, at == n, plain.data, plain.len, err);
    }
    return st;
}

/*
 * The description comes first and says how long the other frames became.  So room is left for it, and what of that is
 * not needed lies unused before the object.
 */
static tide_status seal_head(struct sealing *s, const struct object_header *h, size_t room, struct log_sealed *out,
                             struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    TIDE_AUTO(tide_buf_clear) struct tide_buf head = TIDE_BUF_INIT(room);
    log_meta_encode(&s->meta, &plain);
    object_header_encode(h, &head);
    tide_status st = tide_buf_check(&plain, "the description of a log object", err);
    if (st == TIDE_OK)
        st = tide_buf_check(&head, "the header of a log object", err);
    if (st != TIDE_OK)
        return st;
    if (!tide_buf_reserve(&head, frame_bound(plain.len)))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    struct frame_info info = {.kind = FRAME_META};
    size_t total = 0;
    st = frame_seal_bytes(s->coder, &s->seal, &info, plain.data, plain.len, head.data + head.len, &total, err);
    if (st != TIDE_OK)
        return st;
    head.len += total;
    out->start = room - head.len;
    memcpy(out->buf.data + out->start, head.data, head.len);
    return TIDE_OK;
}

static tide_status seal_all(struct sealing *s, const struct object_header *h, const void *content,
                            const struct tide_block_ref *refs, size_t n_refs, struct log_sealed *out,
                            struct tide_err *err)
{
    const struct log_info *i = &s->meta.info;
    size_t events = i->events_json == NULL ? 0 : strlen(i->events_json);
    size_t frames = (size_t)(i->bytes / LOG_FRAME_PLAIN) + 1 + n_refs / (LOG_FRAME_PLAIN / REF_LARGEST - 1) + 1;
    size_t room =
        h->size + frame_bound(META_FIXED + (size_t)LOG_EXTENTS_MAX * 36 + REPO_NAME_MAX + events + 4 * frames);
    s->meta.stored = calloc(frames, sizeof(*s->meta.stored));
    s->out = &out->buf;
    out->buf.max = LOG_STORED_MAX;
    if (s->meta.stored == NULL || !tide_buf_reserve(&out->buf, room))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log object");
    out->buf.len = room;
    tide_status st = seal_content(s, content, n_refs > 0, err);
    if (st == TIDE_OK)
        st = seal_refs(s, refs, n_refs, err);
    return st == TIDE_OK ? seal_head(s, h, room, out, err) : st;
}

tide_status log_object_seal(struct repo *r, const struct object_header *h, const char *instance,
                            const struct log_info *info, const void *content, const struct tide_block_ref *refs,
                            size_t n_refs, struct log_sealed *out, struct tide_err *err)
{
    size_t events = info->events_json == NULL ? 0 : strlen(info->events_json);
    if (n_refs > LOG_REFS_MAX || events > LOG_EVENTS_MAX)
        return tide_fail(err, TIDE_INVALID, "a log object cannot hold %zu block references and %zu bytes of events",
                         n_refs, events);
    struct sealing s = {.meta = {.info = *info, .n_refs = n_refs}};
    (void)snprintf(s.meta.instance, sizeof(s.meta.instance), "%s", instance);
    tide_status st = object_header_seal(r, h, &s.seal, err);
    if (st == TIDE_OK)
        st = repo_coder_take(r, &s.coder, err);
    if (st == TIDE_OK)
        st = seal_all(&s, h, content, refs, n_refs, out, err);
    repo_coder_give(r, s.coder);
    frame_seal_clear(&s.seal);
    free(s.meta.stored); /* the events are the caller's */
    return st;
}

/* The name is taken.  By the same content: done.  By another: two histories claim one place. */
static tide_status compare_existing(struct repo *r, const char *key, const struct log_info *mine,
                                    struct tide_err *err)
{
    TIDE_AUTO(log_info_clear) struct log_info there = {0};
    tide_status s = log_object_info(r, key, &there, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "comparing with what is stored already");
    if (there.bytes == mine->bytes && memcmp(there.digest, mine->digest, sizeof(mine->digest)) == 0) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    (void)tide_fail(err, TIDE_CORRUPT, "\"%s\" is stored already, with other content", key);
    return tide_hint(err, TIDE_CORRUPT,
                     "Two servers claim this range of log. Nothing was overwritten, and nothing was confirmed.");
}

tide_status log_object_put(struct repo *r, const char *instance, const struct log_info *info, const void *content,
                           const struct tide_block_ref *refs, size_t n_refs, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    uint8_t ext[LOG_EXT_SIZE];
    struct object_header h;
    struct log_info own = *info; /* borrows events_json */
    TIDE_AUTO(log_sealed_clear) struct log_sealed sealed = {0};
    tide_status s = repo_check_writable(r, err);
    if (s == TIDE_OK)
        s = log_name_key(instance, &info->name, key, err);
    if (s == TIDE_OK)
        s = log_info_check(info, TIDE_INVALID, err);
    if (s != TIDE_OK)
        return s;
    log_ext_encode(&info->name, ext);
    s = crypto_sha256(content, (size_t)info->bytes, own.digest, err);
    if (s == TIDE_OK)
        s = object_header_new(r, OBJECT_LOG, ext, sizeof(ext), &h, err);
    if (s == TIDE_OK)
        s = log_object_seal(r, &h, instance, &own, content, refs, n_refs, &sealed, err);
    if (s == TIDE_OK)
        s = store_put(repo_store(r), key, sealed.buf.data + sealed.start, sealed.buf.len - sealed.start, err);
    if (s == TIDE_EXISTS)
        return compare_existing(r, key, &own, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "storing \"%s\"", key);
}
