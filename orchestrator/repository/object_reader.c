#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/object_internal.h"
#include "orchestrator/repository/repo_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* An index of some thousand frames comes with the trailer, in one request. */
#define TAIL_SIZE ((size_t)64 << 10)

struct object_reader {
    struct repo *repo;
    struct object_header header;
    struct frame_seal seal;
    _Atomic uint64_t size;
    char key[REPO_KEY_MAX];
};

static void reader_closep(struct object_reader **o)
{
    object_reader_close(*o);
}

tide_status object_reader_open(struct repo *r, const char *key, enum object_type type, struct object_reader **out,
                               struct tide_err *err)
{
    TIDE_AUTO(reader_closep) struct object_reader *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an object");
    o->repo = r;
    if (snprintf(o->key, sizeof(o->key), "%s", key) >= (int)sizeof(o->key))
        return tide_fail(err, TIDE_INVALID, "the key \"%s\" is too long", key);
    uint8_t stored[OBJECT_HEADER_MAX];
    size_t got = 0;
    tide_status s = store_get(repo_store(r), key, 0, stored, sizeof(stored), &got, err);
    if (s == TIDE_OK)
        s = object_header_decode(stored, got, &o->header, err);
    if (s == TIDE_OK)
        s = object_check_type(&o->header, type, err);
    if (s == TIDE_OK)
        s = object_header_seal(r, &o->header, &o->seal, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "opening \"%s\"", key);
    *out = TIDE_TAKE(o);
    return TIDE_OK;
}

void object_reader_close(struct object_reader *o)
{
    if (o == NULL)
        return;
    frame_seal_clear(&o->seal);
    free(o);
}

const struct object_header *object_reader_header(const struct object_reader *o)
{
    return &o->header;
}

const struct frame_seal *object_reader_seal(const struct object_reader *o)
{
    return &o->seal;
}

const char *object_reader_key(const struct object_reader *o)
{
    return o->key;
}

uint64_t object_reader_size(const struct object_reader *o)
{
    return atomic_load(&((struct object_reader *)(uintptr_t)o)->size);
}

static tide_status read_frame(struct object_reader *o, struct frame_coder *coder, const struct frame_ref *ref,
                              struct tide_buf *out, struct frame_info *info, struct tide_err *err)
{
    if (ref->stored < FRAME_HEADER_SIZE || ref->stored > FRAME_HEADER_SIZE + FRAME_MAX_PLAIN)
        return tide_fail(err, TIDE_CORRUPT, "frame %u is said to take %u bytes", ref->number, ref->stored);
    uint8_t *stored = frame_coder_buffer(coder, ref->stored);
    if (stored == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a frame");
    size_t got = 0;
    tide_status s = store_get(repo_store(o->repo), o->key, ref->offset, stored, ref->stored, &got, err);
    if (s != TIDE_OK)
        return s;
    if (got != ref->stored)
        return tide_fail(err, TIDE_CORRUPT, "frame %u is cut: the object ends before it does", ref->number);
    return object_open_frame(coder, &o->seal, stored, got, ref->number, out, info, err);
}

tide_status object_reader_frame(struct object_reader *o, struct frame_coder *coder, const struct frame_ref *ref,
                                struct tide_buf *out, struct frame_info *info, struct tide_err *err)
{
    struct frame_info own;
    tide_status s = read_frame(o, coder, ref, out, info != NULL ? info : &own, err);
    return s == TIDE_OK ? s : tide_wrap(err, s, "reading \"%s\"", o->key);
}

/* The trailer is believed only as far as the index frame, which is proved, confirms it. */
static tide_status read_trailer(struct object_reader *o, struct tide_buf *tail, struct frame_ref *index,
                                uint64_t *size, struct tide_err *err)
{
    size_t got = 0;
    if (!tide_buf_reserve(tail, TAIL_SIZE))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an index");
    tide_status s = store_get_tail(repo_store(o->repo), o->key, tail->data, TAIL_SIZE, &got, size, err);
    if (s != TIDE_OK)
        return s;
    tail->len = got;
    const uint8_t *t = got >= OBJECT_TRAILER_SIZE ? tail->data + got - OBJECT_TRAILER_SIZE : NULL;
    if (t == NULL || memcmp(t + 16, OBJECT_TRAILER_MAGIC, 8) != 0)
        return tide_fail(err, TIDE_CORRUPT, "the object does not end with a trailer");
    uint32_t frames = tide_get_be32(t + 12);
    *index = (struct frame_ref){.number = frames - 1, .stored = tide_get_be32(t + 8), .offset = tide_get_be64(t)};
    if (frames == 0 || frames > OBJECT_FRAMES_MAX + 1 || index->stored < FRAME_HEADER_SIZE || index->offset > *size ||
        *size - index->offset != (uint64_t)index->stored + OBJECT_TRAILER_SIZE)
        return tide_fail(err, TIDE_CORRUPT, "the object's trailer contradicts its size");
    return TIDE_OK;
}

static tide_status read_index(struct object_reader *o, struct frame_coder *coder, struct tide_buf *plain,
                              uint64_t *size, struct frame_ref *index, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf tail = TIDE_BUF_INIT(TAIL_SIZE);
    tide_status s = read_trailer(o, &tail, index, size, err);
    if (s != TIDE_OK)
        return s;
    struct frame_info info;
    size_t behind = (size_t)index->stored + OBJECT_TRAILER_SIZE;
    if (behind <= tail.len)
        s = object_open_frame(coder, &o->seal, tail.data + tail.len - behind, index->stored, index->number, plain,
                              &info, err);
    else
        s = read_frame(o, coder, index, plain, &info, err);
    if (s != TIDE_OK)
        return s;
    if (info.kind != FRAME_INDEX || info.flags != FRAME_LAST ||
        plain->len != (size_t)index->number * OBJECT_ENTRY_SIZE)
        return tide_fail(err, TIDE_CORRUPT, "the object's index does not fit its trailer");
    return TIDE_OK;
}

/* Frames must follow each other from the header to the index, without a hole. */
static tide_status take_entries(const struct tide_buf *plain, uint32_t header_size, const struct frame_ref *index,
                                struct frame_ref *refs, struct tide_err *err)
{
    uint64_t at = header_size;
    for (uint32_t i = 0; i < index->number; i++) {
        const uint8_t *e = plain->data + (size_t)i * OBJECT_ENTRY_SIZE;
        refs[i] = (struct frame_ref){.number = i, .offset = tide_get_be64(e), .stored = tide_get_be32(e + 8)};
        if (refs[i].offset != at || refs[i].stored < FRAME_HEADER_SIZE || e[17] != 0 || e[18] != 0 || e[19] != 0)
            return tide_fail(err, TIDE_CORRUPT, "the object's index has a hole at frame %u", i);
        at += refs[i].stored;
    }
    if (at != index->offset)
        return tide_fail(err, TIDE_CORRUPT, "the object's index does not reach to its end");
    return TIDE_OK;
}

tide_status object_reader_index(struct object_reader *o, struct frame_coder *coder, struct frame_ref **refs,
                                size_t *n, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    struct frame_ref index;
    uint64_t size = 0;
    tide_status s = read_index(o, coder, &plain, &size, &index, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading the index of \"%s\"", o->key);
    TIDE_AUTO(tide_freep) struct frame_ref *list = calloc((size_t)index.number + 1, sizeof(*list));
    if (list == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for an index");
    s = take_entries(&plain, o->header.size, &index, list, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "reading the index of \"%s\"", o->key);
    atomic_store(&o->size, size);
    *refs = TIDE_TAKE(list);
    *n = index.number;
    return TIDE_OK;
}
