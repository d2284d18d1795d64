#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/object_internal.h"
#include "orchestrator/repository/repo_internal.h"

#include <string.h>

#define CIPHER_NONE 0u
#define CIPHER_GCM  1u

static const uint8_t magic[8] = {'T', 'I', 'D', 'E', 'M', 'A', 'R', 'K'};

void object_seal_clear(struct frame_seal *seal)
{
    frame_seal_clear(seal);
}

void object_header_encode(const struct object_header *h, struct tide_buf *out)
{
    tide_buf_append(out, magic, sizeof(magic));
    tide_buf_be16(out, h->version);
    tide_buf_u8(out, h->type);
    tide_buf_u8(out, h->epoch != 0 ? CIPHER_GCM : CIPHER_NONE);
    tide_buf_be32(out, h->epoch);
    tide_buf_be64(out, h->incompatible);
    tide_buf_be64(out, h->read_only);
    tide_buf_be64(out, h->compatible);
    tide_buf_append(out, h->id, sizeof(h->id));
    tide_buf_append(out, h->salt, sizeof(h->salt));
    tide_buf_be16(out, h->ext_len);
    tide_buf_be16(out, 0);
    tide_buf_be32(out, 0);
    tide_buf_append(out, h->ext, h->ext_len);
}

tide_status object_header_decode(const void *data, size_t len, struct object_header *h, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(data, len);
    *h = (struct object_header){0};
    const uint8_t *found = tide_read_bytes(&c, sizeof(magic));
    if (len < OBJECT_HEADER_SIZE || found == NULL || memcmp(found, magic, sizeof(magic)) != 0)
        return tide_fail(err, TIDE_CORRUPT, "there is no object header");
    h->version = tide_read_be16(&c);
    if (h->version != OBJECT_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "the object has version %u, and this program knows version %u",
                         h->version, OBJECT_VERSION);
    h->type = tide_read_u8(&c);
    uint8_t cipher = tide_read_u8(&c);
    h->epoch = tide_read_be32(&c);
    h->incompatible = tide_read_be64(&c);
    h->read_only = tide_read_be64(&c);
    h->compatible = tide_read_be64(&c);
    if ((h->incompatible & ~REPO_KNOWN_INCOMPATIBLE) != 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "the object uses features that this version does not know (%016llx)",
                         (unsigned long long)h->incompatible);
    memcpy(h->id, tide_read_bytes(&c, sizeof(h->id)), sizeof(h->id));
    memcpy(h->salt, tide_read_bytes(&c, sizeof(h->salt)), sizeof(h->salt));
    h->ext_len = tide_read_be16(&c);
    bool reserved = tide_read_be16(&c) != 0 || tide_read_be32(&c) != 0;
    if (reserved || cipher > CIPHER_GCM || (cipher == CIPHER_GCM) != (h->epoch != 0))
        return tide_fail(err, TIDE_CORRUPT, "the object's header contradicts itself");
    const uint8_t *ext = h->ext_len <= OBJECT_EXT_MAX ? tide_read_bytes(&c, h->ext_len) : NULL;
    if (ext == NULL && h->ext_len > 0)
        return tide_fail(err, TIDE_CORRUPT, "the object's header is cut");
    if (h->ext_len > 0)
        memcpy(h->ext, ext, h->ext_len);
    h->size = OBJECT_HEADER_SIZE + h->ext_len;
    return TIDE_OK;
}

tide_status object_check_type(const struct object_header *h, enum object_type type, struct tide_err *err)
{
    if (h->type != type)
        return tide_fail(err, TIDE_CORRUPT, "the object has type %u where type %u belongs", h->type, type);
    return TIDE_OK;
}

tide_status object_header_new(struct repo *r, enum object_type type, const void *ext, size_t ext_len,
                              struct object_header *h, struct tide_err *err)
{
    tide_assert(ext_len <= OBJECT_EXT_MAX);
    *h = (struct object_header){.type = (uint8_t)type,
                                .version = OBJECT_VERSION,
                                .epoch = repo_epoch(r),
                                .ext_len = (uint16_t)ext_len,
                                .size = OBJECT_HEADER_SIZE + (uint32_t)ext_len};
    if (ext_len > 0)
        memcpy(h->ext, ext, ext_len);
    tide_status s = tide_random(h->id, sizeof(h->id), err);
    return s == TIDE_OK ? tide_random(h->salt, sizeof(h->salt), err) : s;
}

tide_status object_header_seal(struct repo *r, const struct object_header *h, struct frame_seal *seal,
                               struct tide_err *err)
{
    *seal = (struct frame_seal){.encrypted = h->epoch != 0};
    /* Without this, whoever can write to the store could pass off objects of his own as ours. */
    if (seal->encrypted != repo_is_encrypted(r))
        return tide_fail(err, TIDE_CORRUPT,
                         seal->encrypted ? "the object is encrypted and the repository is not"
                                         : "the object is not encrypted and the repository is");

    TIDE_AUTO(tide_buf_clear) struct tide_buf stored = TIDE_BUF_INIT(OBJECT_HEADER_MAX);
    object_header_encode(h, &stored);
    tide_status s = tide_buf_check(&stored, "an object's header", err);
    if (s == TIDE_OK)
        s = crypto_sha256(stored.data, stored.len, seal->header_digest, err);
    if (s != TIDE_OK || !seal->encrypted)
        return s;

    uint8_t epoch_key[KEYS_EPOCH_SIZE];
    s = repo_epoch_key(r, h->epoch, epoch_key, err);
    if (s == TIDE_OK)
        s = frame_derive_key(epoch_key, h->salt, h->type, h->version, seal->key, err);
    tide_wipe(epoch_key, sizeof(epoch_key));
    return s;
}
