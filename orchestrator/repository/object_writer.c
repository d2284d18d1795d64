#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/object_internal.h"
#include "orchestrator/repository/repo_internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert(OBJECT_FRAMES_MAX * (size_t)OBJECT_ENTRY_SIZE <= FRAME_MAX_PLAIN, "the index is one frame");

struct object_writer {
    struct store_writer *out;
    struct frame_coder *coder; /* borrowed */
    struct frame_seal seal;
    struct tide_buf index;
    uint64_t size;
    uint32_t frames;
    bool broken; /* a frame failed: what is written ends in the middle of something */
    char key[REPO_KEY_MAX];
};

static void writer_free(struct object_writer *w)
{
    if (w == NULL)
        return;
    store_writer_abort(w->out);
    frame_seal_clear(&w->seal);
    tide_buf_clear(&w->index);
    free(w);
}

static void writer_freep(struct object_writer **w)
{
    writer_free(*w);
}

void object_writer_abort(struct object_writer *w)
{
    writer_free(w);
}

static tide_status write_bytes(struct object_writer *w, const void *data, size_t len, struct tide_err *err)
{
    tide_status s = store_writer_write(w->out, data, len, err);
    if (s == TIDE_OK)
        w->size += len;
    return s;
}

tide_status object_writer_begin_header(struct repo *r, const char *key, const struct object_header *h,
                                       struct frame_coder *coder, struct object_writer **out, struct tide_err *err)
{
    tide_status s = repo_check_writable(r, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(writer_freep) struct object_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an object");
    w->coder = coder;
    w->index = (struct tide_buf)TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    if (snprintf(w->key, sizeof(w->key), "%s", key) >= (int)sizeof(w->key))
        return tide_fail(err, TIDE_INVALID, "the key \"%s\" is too long", key);

    TIDE_AUTO(tide_buf_clear) struct tide_buf header = TIDE_BUF_INIT(OBJECT_HEADER_MAX);
    object_header_encode(h, &header);
    s = tide_buf_check(&header, "an object's header", err);
    if (s == TIDE_OK)
        s = object_header_seal(r, h, &w->seal, err);
    if (s == TIDE_OK)
        s = store_put_begin(repo_store(r), key, &w->out, err);
    if (s == TIDE_OK)
        s = write_bytes(w, header.data, header.len, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "beginning \"%s\"", key);
    *out = TIDE_TAKE(w);
    return TIDE_OK;
}

tide_status object_writer_begin(struct repo *r, const struct object_small *o, const uint8_t id[OBJECT_ID_SIZE],
                                struct frame_coder *coder, struct object_writer **out, struct tide_err *err)
{
    struct object_header h;
    tide_status s = object_header_new(r, o->type, o->ext, o->ext_len, &h, err);
    if (s != TIDE_OK)
        return s;
    if (id != NULL)
        memcpy(h.id, id, sizeof(h.id));
    return object_writer_begin_header(r, o->key, &h, coder, out, err);
}

static tide_status put_frame(struct object_writer *w, enum frame_kind kind, uint8_t flags, const void *plain,
                             size_t len, struct frame_ref *ref, struct tide_err *err)
{
    uint8_t *stored = frame_coder_buffer(w->coder, frame_bound(len));
    if (stored == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a frame");
    struct frame_info info = {.number = w->frames, .kind = (uint8_t)kind, .flags = flags};
    struct frame_ref at = {.number = w->frames, .offset = w->size};
    size_t total = 0;
    tide_status s = frame_seal_bytes(w->coder, &w->seal, &info, plain, len, stored, &total, err);
    if (s == TIDE_OK)
        s = write_bytes(w, stored, total, err);
    if (s != TIDE_OK)
        return s;
    at.stored = (uint32_t)total;
    w->frames++;

    tide_buf_be64(&w->index, at.offset);
    tide_buf_be32(&w->index, at.stored);
    tide_buf_be32(&w->index, (uint32_t)len);
    tide_buf_u8(&w->index, (uint8_t)kind);
    tide_buf_append(&w->index, "\0\0\0", 3);
    *ref = at;
    return TIDE_OK;
}

tide_status object_writer_frame(struct object_writer *w, enum frame_kind kind, const void *plain, size_t len,
                                struct frame_ref *ref, struct tide_err *err)
{
    struct frame_ref own;
    if (w->broken)
        return tide_fail(err, TIDE_IO, "an earlier frame of \"%s\" failed", w->key);
    if (w->frames >= OBJECT_FRAMES_MAX)
        return tide_fail(err, TIDE_INVALID, "\"%s\" has %u frames, which is the most", w->key, w->frames);
    tide_status s = put_frame(w, kind, 0, plain, len, ref != NULL ? ref : &own, err);
    if (s == TIDE_OK)
        return s;
    w->broken = true;
    return tide_wrap(err, s, "writing \"%s\"", w->key);
}

uint64_t object_writer_size(const struct object_writer *w)
{
    return w->size;
}

uint32_t object_writer_frames(const struct object_writer *w)
{
    return w->frames;
}

static tide_status finish(struct object_writer *w, struct tide_err *err)
{
    if (w->broken)
        return tide_fail(err, TIDE_IO, "an earlier frame failed");
    tide_status s = tide_buf_check(&w->index, "an object's index", err);
    if (s != TIDE_OK)
        return s;
    /* Taken out, since writing the index frame adds an entry for itself, which nobody reads. */
    TIDE_AUTO(tide_buf_clear) struct tide_buf index = TIDE_TAKE(w->index);
    w->index = (struct tide_buf)TIDE_BUF_INIT(OBJECT_ENTRY_SIZE);
    struct frame_ref ref;
    s = put_frame(w, FRAME_INDEX, FRAME_LAST, index.data, index.len, &ref, err);
    if (s != TIDE_OK)
        return s;

    uint8_t trailer[OBJECT_TRAILER_SIZE];
    tide_put_be64(trailer, ref.offset);
    tide_put_be32(trailer + 8, ref.stored);
    tide_put_be32(trailer + 12, w->frames);
    memcpy(trailer + 16, OBJECT_TRAILER_MAGIC, 8);
    s = write_bytes(w, trailer, sizeof(trailer), err);
    if (s != TIDE_OK)
        return s;
    struct store_writer *out = TIDE_TAKE(w->out);
    return store_writer_commit(out, err);
}

tide_status object_writer_commit(struct object_writer *w, uint64_t *size, struct tide_err *err)
{
    TIDE_AUTO(writer_freep) struct object_writer *own = w;
    tide_status s = finish(own, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "finishing \"%s\"", own->key);
    if (size != NULL)
        *size = own->size;
    return TIDE_OK;
}
