#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/object_internal.h"
#include "orchestrator/repository/repo_internal.h"

tide_status object_open_frame(struct frame_coder *coder, const struct frame_seal *seal, const void *stored,
                              size_t total, uint32_t number, struct tide_buf *out, struct frame_info *info,
                              struct tide_err *err)
{
    if (total < FRAME_HEADER_SIZE)
        return tide_fail(err, TIDE_CORRUPT, "%zu bytes are less than a frame's header", total);
    tide_status s = frame_parse_header(stored, info, err);
    if (s != TIDE_OK)
        return s;
    if (out->len > out->max || info->plain_len > out->max - out->len)
        return tide_fail(err, TIDE_CORRUPT, "a frame of %u bytes is more than belongs here", info->plain_len);
    if (!tide_buf_reserve(out, info->plain_len))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a frame");
    s = frame_open_bytes(coder, seal, stored, total, number, out->data + out->len, info->plain_len, info, err);
    if (s != TIDE_OK)
        return s;
    out->len += info->plain_len;
    out->data[out->len] = 0;
    return TIDE_OK;
}

tide_status object_small_seal(struct repo *r, const struct object_header *h, const void *plain, size_t len,
                              struct tide_buf *out, struct tide_err *err)
{
    TIDE_AUTO(object_seal_clear) struct frame_seal seal = {0};
    struct frame_coder *coder = NULL;
    tide_status s = object_header_seal(r, h, &seal, err);
    if (s != TIDE_OK)
        return s;
    object_header_encode(h, out);
    if (!tide_buf_reserve(out, frame_bound(len)))
        return tide_fail(err, TIDE_INVALID, "%zu bytes are too many for a small object", len);
    s = repo_coder_take(r, &coder, err);
    if (s != TIDE_OK)
        return s;
    struct frame_info info = {.kind = FRAME_DATA, .flags = FRAME_LAST};
    size_t total = 0;
    s = frame_seal_bytes(coder, &seal, &info, plain, len, out->data + out->len, &total, err);
    repo_coder_give(r, coder);
    if (s == TIDE_OK)
        out->len += total;
    return s;
}

tide_status object_small_open(struct repo *r, const void *stored, size_t stored_len, enum object_type type,
                              struct tide_buf *out, struct object_header *h, struct tide_err *err)
{
    tide_status s = object_header_decode(stored, stored_len, h, err);
    if (s == TIDE_OK)
        s = object_check_type(h, type, err);
    if (s != TIDE_OK)
        return s;

    TIDE_AUTO(object_seal_clear) struct frame_seal seal = {0};
    struct frame_coder *coder = NULL;
    struct frame_info info;
    size_t before = out->len;
    s = object_header_seal(r, h, &seal, err);
    if (s == TIDE_OK)
        s = repo_coder_take(r, &coder, err);
    if (s != TIDE_OK)
        return s;
    s = object_open_frame(coder, &seal, (const uint8_t *)stored + h->size, stored_len - h->size, 0, out, &info, err);
    repo_coder_give(r, coder);
    if (s == TIDE_OK && (info.kind != FRAME_DATA || info.flags != FRAME_LAST)) {
        out->len = before;
        return tide_fail(err, TIDE_CORRUPT, "the object is not a small one");
    }
    return s;
}

tide_status object_put(struct repo *r, const struct object_small *o, const void *plain, size_t len,
                       struct tide_err *err)
{
    struct object_header h;
    TIDE_AUTO(tide_buf_clear) struct tide_buf stored = TIDE_BUF_INIT(OBJECT_SMALL_MAX);
    tide_status s = repo_check_writable(r, err);
    if (s == TIDE_OK)
        s = object_header_new(r, o->type, o->ext, o->ext_len, &h, err);
    if (s == TIDE_OK)
        s = object_small_seal(r, &h, plain, len, &stored, err);
    if (s == TIDE_OK)
        s = store_put(repo_store(r), o->key, stored.data, stored.len, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "storing \"%s\"", o->key);
}

tide_status object_get(struct repo *r, const char *key, enum object_type type, struct tide_buf *out,
                       struct object_header *header, struct tide_err *err)
{
    struct object_header own;
    TIDE_AUTO(tide_buf_clear) struct tide_buf stored = TIDE_BUF_INIT(OBJECT_SMALL_MAX);
    tide_status s = store_get_all(repo_store(r), key, &stored, err);
    if (s == TIDE_OK)
        s = object_small_open(r, stored.data, stored.len, type, out, header != NULL ? header : &own, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "reading \"%s\"", key);
}
