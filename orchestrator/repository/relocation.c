#include "orchestrator/repository/relocation.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/pack.h"
#include "orchestrator/repository/record.h"

#include <stdlib.h>
#include <string.h>

#define RELOCATION_VERSION 1u
#define ENTRY_SIZE         16u

void relocation_free(struct relocation *r)
{
    if (r == NULL)
        return;
    frame_seal_clear(&r->seal);
    free(r->frames);
    free(r);
}

static void relocation_freep(struct relocation **r)
{
    relocation_free(*r);
}

static void relocation_folder(const char *instance, const uint8_t pack[OBJECT_ID_SIZE], char out[REPO_KEY_MAX])
{
    char hex[PACK_ID_HEX];
    tide_hex(pack, OBJECT_ID_SIZE, hex);
    (void)snprintf(out, REPO_KEY_MAX, "instances/%s/relocations/%s/", instance, hex);
}

static tide_status frames_decode(struct tide_cursor *c, struct relocation *m, struct tide_err *err)
{
    uint32_t n = tide_read_be32(c);
    if (c->bad || n > RELOCATION_FRAMES_MAX || c->left != (size_t)n * ENTRY_SIZE)
        return tide_fail(err, TIDE_CORRUPT, "a relocation has a wrong number of frames");
    m->frames = malloc((n == 0 ? 1 : n) * sizeof *m->frames);
    if (m->frames == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a relocation");
    for (m->n = 0; m->n < n; m->n++) {
        struct frame_ref *f = &m->frames[m->n];
        f->number = tide_read_be32(c);
        f->stored = tide_read_be32(c);
        f->offset = tide_read_be64(c);
        if (m->n > 0 && f->number <= f[-1].number)
            return tide_fail(err, TIDE_CORRUPT, "the frames of a relocation are not in order");
    }
    return TIDE_OK;
}

static tide_status relocation_decode(struct repo *r, const struct tide_buf *plain, const uint8_t *old_pack,
                                     struct relocation *m, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(plain->data, plain->len);
    uint8_t version = tide_read_u8(&c);
    uint8_t reserved = tide_read_u8(&c);
    uint16_t header_len = tide_read_be16(&c);
    const uint8_t *pack = tide_read_bytes(&c, OBJECT_ID_SIZE);
    const uint8_t *header = tide_read_bytes(&c, header_len);
    if (!c.bad && version != RELOCATION_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "a relocation has version %u", version);
    if (c.bad || reserved != 0)
        return tide_fail(err, TIDE_CORRUPT, "a relocation's head is not valid");
    memcpy(m->pack, pack, OBJECT_ID_SIZE);
    tide_status s = object_header_decode(header, header_len, &m->header, err);
    if (s != TIDE_OK)
        return s;
    if (m->header.type != OBJECT_PACK || memcmp(m->header.id, old_pack, OBJECT_ID_SIZE) != 0)
        return tide_fail(err, TIDE_CORRUPT, "a relocation holds the header of another object");
    s = object_header_seal(r, &m->header, &m->seal, err);
    return s != TIDE_OK ? s : frames_decode(&c, m, err);
}

tide_status relocation_load(struct repo *r, const char *instance, const uint8_t old_pack[OBJECT_ID_SIZE],
                            struct relocation **out, struct tide_err *err)
{
    char folder[REPO_KEY_MAX], key[REPO_KEY_MAX];
    uint32_t generation = 0;
    relocation_folder(instance, old_pack, folder);
    tide_status s = record_highest(r, folder, &generation, err);
    if (s != TIDE_OK)
        return s;
    if (generation == 0)
        return tide_fail(err, TIDE_NOT_FOUND, "there is no relocation \"%s\"", folder);

    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(OBJECT_SMALL_MAX);
    s = record_key(folder, generation, key, err);
    if (s == TIDE_OK)
        s = object_get(r, key, OBJECT_RELOCATION, &plain, NULL, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(relocation_freep) struct relocation *m = calloc(1, sizeof *m);
    if (m == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a relocation");
    s = relocation_decode(r, &plain, old_pack, m, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "object \"%s\"", key);
    *out = TIDE_TAKE(m);
    return TIDE_OK;
}

tide_status relocation_put(struct repo *r, const char *instance, const struct relocation *m, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf header = TIDE_BUF_INIT(OBJECT_SMALL_MAX);
    TIDE_AUTO(tide_buf_clear) struct tide_buf plain = TIDE_BUF_INIT(OBJECT_SMALL_MAX);
    char folder[REPO_KEY_MAX], key[REPO_KEY_MAX];
    uint32_t generation = 0;

    object_header_encode(&m->header, &header);
    tide_buf_u8(&plain, RELOCATION_VERSION);
    tide_buf_u8(&plain, 0);
    tide_buf_be16(&plain, (uint16_t)header.len);
    tide_buf_append(&plain, m->pack, OBJECT_ID_SIZE);
    tide_buf_append(&plain, header.data, header.len);
    tide_buf_be32(&plain, (uint32_t)m->n);
    for (size_t i = 0; i < m->n; i++) {
        tide_buf_be32(&plain, m->frames[i].number);
        tide_buf_be32(&plain, m->frames[i].stored);
        tide_buf_be64(&plain, m->frames[i].offset);
    }
    tide_status s = tide_buf_check(&plain, "a relocation", err);
    if (s != TIDE_OK)
        return s;
    relocation_folder(instance, m->header.id, folder);
    s = record_highest(r, folder, &generation, err);
    if (s == TIDE_OK)
        s = record_key(folder, generation + 1, key, err);
    if (s != TIDE_OK)
        return s;
    return object_put(r, &(struct object_small){.key = key, .type = OBJECT_RELOCATION}, plain.data, plain.len, err);
}

const struct frame_ref *relocation_find(const struct relocation *m, uint32_t number)
{
    size_t low = 0, high = m->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (m->frames[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->n && m->frames[low].number == number ? &m->frames[low] : NULL;
}
