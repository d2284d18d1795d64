#include "orchestrator/repository/pack.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/secret.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NOTES_VERSION   1u
#define NOTES_HEAD      12u
#define NOTES_FULL      (2u << 20)
#define PACK_FRAMES_MAX 32768u
#define PACK_LARGEST    (64u << 20)

/* A pack between its last frame and its durability. */
struct closing {
    pthread_t thread;
    bool started;
    struct object_writer *object;
    struct pack_counters *counters;
    tide_status status;
    struct tide_err err;
};

struct pack_writer {
    struct repo *repo;
    char instance[REPO_NAME_MAX + 1], backup[BACKUP_ID_MAX];
    uint32_t hash_epoch;
    struct pack_counters *counters;
    /* Two, in turn: the pack that is being closed still uses the one it began with. */
    struct frame_coder *coders[2];
    unsigned turn;
    struct object_writer *object;
    uint8_t id[OBJECT_ID_SIZE];
    bool hold;
    struct tide_buf notes;
    uint32_t groups;
    size_t group_at; /* where the last group's count stands; 0: none */
    char group_name[4096];
    uint32_t group_leaf;
    struct closing closing;
};

void pack_key(const char *instance, const uint8_t id[OBJECT_ID_SIZE], char key[REPO_KEY_MAX])
{
    char hex[PACK_ID_HEX];
    tide_hex(id, OBJECT_ID_SIZE, hex);
    (void)snprintf(key, REPO_KEY_MAX, "instances/%s/packs/%s", instance, hex);
}

bool pack_key_parse(const char *key, uint8_t id[OBJECT_ID_SIZE])
{
    const char *slash = strrchr(key, '/');
    return slash != NULL && strlen(slash + 1) == PACK_ID_HEX - 1 && tide_unhex(slash + 1, id, OBJECT_ID_SIZE);
}

tide_status pack_writer_new(const struct pack_writer_options *o, struct pack_writer **out, struct tide_err *err)
{
    struct pack_writer *p = calloc(1, sizeof *p);
    if (p == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a pack");
    p->repo = o->repo;
    p->hash_epoch = o->hash_epoch;
    p->counters = o->counters;
    p->notes.max = NOTES_FULL * 2;
    (void)snprintf(p->instance, sizeof p->instance, "%s", o->instance);
    (void)snprintf(p->backup, sizeof p->backup, "%s", o->backup);
    for (unsigned i = 0; i < 2; i++) {
        tide_status s = frame_coder_new(repo_codec(o->repo), repo_level(o->repo), &p->coders[i], err);
        if (s != TIDE_OK) {
            pack_writer_free(p);
            return s;
        }
    }
    *out = p;
    return TIDE_OK;
}

static void closing_join(struct closing *c)
{
    if (c->started)
        (void)pthread_join(c->thread, NULL);
    c->started = false;
}

void pack_writer_free(struct pack_writer *p)
{
    if (p == NULL)
        return;
    closing_join(&p->closing);
    if (p->object != NULL)
        object_writer_abort(p->object);
    for (unsigned i = 0; i < 2; i++)
        frame_coder_free(p->coders[i]);
    tide_buf_clear(&p->notes);
    free(p);
}

uint64_t pack_writer_open_size(const struct pack_writer *p)
{
    return p->object == NULL ? 0 : object_writer_size(p->object);
}

static tide_status open_pack(struct pack_writer *p, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    tide_status s = tide_random(p->id, sizeof p->id, err);
    if (s != TIDE_OK)
        return s;
    pack_key(p->instance, p->id, key);
    p->hold = false;
    p->groups = 0;
    p->group_at = 0;
    tide_buf_reset(&p->notes);
    p->turn ^= 1u;
    const struct object_small o = {.key = key, .type = OBJECT_PACK, .ext = p->backup, .ext_len = strlen(p->backup)};
    return object_writer_begin(p->repo, &o, p->id, p->coders[p->turn], &p->object, err);
}

/* ------------------------------------------------------------------ closing */

static tide_status close_object(struct closing *c, struct tide_err *err)
{
    uint64_t size = 0;
    tide_status s = object_writer_commit(TIDE_TAKE(c->object), &size, err);
    if (s == TIDE_OK && c->counters != NULL) {
        atomic_fetch_add(&c->counters->packs, 1);
        atomic_fetch_add(&c->counters->bytes, size);
    }
    return s;
}

static void *closing_main(void *arg)
{
    struct closing *c = arg;
    c->status = close_object(c, &c->err);
    return NULL;
}

tide_status pack_writer_wait(struct pack_writer *p, struct tide_err *err)
{
    struct closing *c = &p->closing;
    closing_join(c);
    if (c->status != TIDE_OK && err != NULL)
        *err = c->err;
    return c->status;
}

static tide_status append_notes(struct pack_writer *p, struct tide_err *err)
{
    struct frame_ref ref;
    if (p->groups == 0)
        return TIDE_OK;
    tide_status s = tide_buf_check(&p->notes, "the notes of a pack", err);
    if (s != TIDE_OK)
        return s;
    tide_put_be32(p->notes.data + 8, p->groups);
    return object_writer_frame(p->object, FRAME_META, p->notes.data, p->notes.len, &ref, err);
}

tide_status pack_writer_flush(struct pack_writer *p, struct tide_err *err)
{
    if (p->object == NULL)
        return TIDE_OK;
    tide_status s = append_notes(p, err);
    if (s != TIDE_OK)
        return s;
    s = pack_writer_wait(p, err);
    if (s != TIDE_OK)
        return s;
    TIDE_FAILPOINT("pack-before-commit", err);
    /* Committing waits for the disk or the network; the thread that compresses has better things to do. */
    p->closing = (struct closing){.object = TIDE_TAKE(p->object), .counters = p->counters};
    p->closing.started = pthread_create(&p->closing.thread, NULL, closing_main, &p->closing) == 0;
    if (p->closing.started)
        return TIDE_OK;
    p->closing.status = close_object(&p->closing, &p->closing.err);
    return pack_writer_wait(p, err);
}

static bool pack_is_full(const struct pack_writer *p)
{
    return !p->hold && (object_writer_size(p->object) >= PACK_FULL || p->notes.len >= NOTES_FULL ||
                        object_writer_frames(p->object) >= PACK_FRAMES_MAX);
}

tide_status pack_writer_append(struct pack_writer *p, enum frame_kind kind, const void *plain, size_t len,
                               const uint8_t hash[FRAME_HASH_SIZE], struct pack_ref *ref, struct tide_err *err)
{
    tide_status s = p->object != NULL && pack_is_full(p) ? pack_writer_flush(p, err) : TIDE_OK;
    if (s == TIDE_OK && p->object == NULL)
        s = open_pack(p, err);
    if (s != TIDE_OK)
        return s;
    memcpy(ref->pack, p->id, sizeof ref->pack);
    memcpy(ref->hash, hash, sizeof ref->hash);
    return object_writer_frame(p->object, kind, plain, len, &ref->frame, err);
}

tide_status pack_writer_hold(struct pack_writer *p, uint64_t need, uint8_t id[OBJECT_ID_SIZE], struct tide_err *err)
{
    tide_status s = TIDE_OK;
    if (p->object != NULL && object_writer_size(p->object) + need > PACK_LARGEST)
        s = pack_writer_flush(p, err);
    if (s == TIDE_OK && p->object == NULL)
        s = open_pack(p, err);
    if (s != TIDE_OK)
        return s;
    p->hold = true;
    memcpy(id, p->id, OBJECT_ID_SIZE);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ notes */

static void begin_group(struct pack_writer *p, const char *name, uint32_t leaf)
{
    size_t len = strlen(name);
    if (p->notes.len == 0) {
        tide_buf_u8(&p->notes, NOTES_VERSION);
        tide_buf_u8(&p->notes, 0);
        tide_buf_be16(&p->notes, 0);
        tide_buf_be32(&p->notes, p->hash_epoch);
        tide_buf_be32(&p->notes, 0);
    }
    tide_buf_be16(&p->notes, (uint16_t)len);
    tide_buf_append(&p->notes, name, len);
    tide_buf_be32(&p->notes, leaf);
    p->group_at = p->notes.len;
    tide_buf_be16(&p->notes, 0);
    p->groups++;
    p->group_leaf = leaf;
    (void)snprintf(p->group_name, sizeof p->group_name, "%s", name);
}

void pack_writer_note(struct pack_writer *p, const char *name, uint32_t leaf, uint32_t block,
                      const struct pack_ref *ref)
{
    if (p->group_at == 0 || leaf != p->group_leaf || strcmp(name, p->group_name) != 0)
        begin_group(p, name, leaf);
    tide_buf_be16(&p->notes, (uint16_t)block);
    tide_buf_be32(&p->notes, ref->frame.number);
    tide_buf_be32(&p->notes, ref->frame.stored);
    tide_buf_be64(&p->notes, ref->frame.offset);
    tide_buf_append(&p->notes, ref->hash, sizeof ref->hash);
    if (!p->notes.failed)
        tide_put_be16(p->notes.data + p->group_at, (uint16_t)(tide_get_be16(p->notes.data + p->group_at) + 1));
}

void pack_writer_note_leaf(struct pack_writer *p, const char *name, uint32_t leaf, const struct pack_ref *ref)
{
    if (p->group_at != 0 && leaf == p->group_leaf && strcmp(name, p->group_name) == 0 && !p->notes.failed) {
        p->notes.len = p->group_at + 2;
        tide_put_be16(p->notes.data + p->group_at, 0);
    }
    pack_writer_note(p, name, leaf, PACK_NOTE_LEAF, ref);
}

tide_status pack_notes_begin(const void *data, size_t len, uint32_t *hash_epoch, struct tide_cursor *c,
                             struct tide_err *err)
{
    *c = tide_cursor_of(data, len);
    uint8_t version = tide_read_u8(c);
    bool reserved = tide_read_u8(c) != 0;
    reserved |= tide_read_be16(c) != 0;
    *hash_epoch = tide_read_be32(c);
    (void)tide_read_be32(c);
    if (!c->bad && version != NOTES_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "the notes of a pack have version %u", version);
    if (c->bad || reserved)
        return tide_fail(err, TIDE_CORRUPT, "the notes of a pack have no valid head");
    return TIDE_OK;
}

tide_status pack_notes_next(struct tide_cursor *c, struct pack_note *note, struct tide_err *err)
{
    if (c->left == 0)
        return TIDE_NOT_FOUND;
    size_t len = tide_read_be16(c);
    const uint8_t *name = tide_read_bytes(c, len);
    note->leaf = tide_read_be32(c);
    note->n = tide_read_be16(c);
    note->blocks = tide_read_bytes(c, (size_t)note->n * PACK_NOTE_SIZE);
    if (c->bad || len == 0 || len >= sizeof note->name)
        return tide_fail(err, TIDE_CORRUPT, "the notes of a pack are not valid");
    memcpy(note->name, name, len);
    note->name[len] = '\0';
    return TIDE_OK;
}

uint32_t pack_note_block(const struct pack_note *note, uint32_t i, struct pack_ref *ref)
{
    const uint8_t *p = note->blocks + (size_t)i * PACK_NOTE_SIZE;
    ref->frame.number = tide_get_be32(p + 2);
    ref->frame.stored = tide_get_be32(p + 6);
    ref->frame.offset = tide_get_be64(p + 10);
    memcpy(ref->hash, p + 18, sizeof ref->hash);
    return tide_get_be16(p);
}
