#include "orchestrator/pipe/frame.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/pipe/codec.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/pipe/frame_cipher.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define TAG_AT FRAME_COVERED

static_assert(FRAME_COVERED + FRAME_TAG_SIZE == FRAME_HEADER_SIZE, "frame header");
static_assert(sizeof(XXH128_canonical_t) == FRAME_HASH_SIZE, "frame hash");

struct growing {
    uint8_t *data;
    size_t size;
};

struct frame_coder {
    struct codec *codec;
    struct frame_cipher *cipher;
    struct growing opened; /* decrypted, still compressed */
    struct growing stored; /* lent by frame_coder_buffer */
};

void frame_seal_clear(struct frame_seal *s)
{
    tide_wipe(s, sizeof(*s));
}

tide_status frame_derive_key(const uint8_t epoch_key[32], const uint8_t salt[32], uint8_t type, uint16_t version,
                             uint8_t out[FRAME_KEY_SIZE], struct tide_err *err)
{
    uint8_t info[] = {"tidemark object\0\0\0"};
    size_t at = strlen("tidemark object");
    info[at] = type;
    tide_put_be16(info + at + 1, version);
    return crypto_hkdf(CRYPTO_BYTES(epoch_key, 32), CRYPTO_BYTES(salt, 32), CRYPTO_BYTES(info, at + 3), out,
                       FRAME_KEY_SIZE, err);
}

static void coder_freep(struct frame_coder **c)
{
    frame_coder_free(*c);
}

tide_status frame_coder_new(enum frame_codec codec, int level, struct frame_coder **out, struct tide_err *err)
{
    TIDE_AUTO(coder_freep) struct frame_coder *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a frame coder");
    tide_status s = codec_new(codec, level, &c->codec, err);
    if (s == TIDE_OK)
        s = frame_cipher_new(&c->cipher, err);
    if (s != TIDE_OK)
        return s;
    *out = TIDE_TAKE(c);
    return TIDE_OK;
}

void frame_coder_free(struct frame_coder *c)
{
    if (c == NULL)
        return;
    codec_free(c->codec);
    frame_cipher_free(c->cipher);
    free(c->opened.data);
    free(c->stored.data);
    free(c);
}

static uint8_t *grow(struct growing *g, size_t size)
{
    if (g->size < size) {
        uint8_t *p = malloc(size);
        if (p == NULL)
            return NULL;
        free(g->data);
        g->data = p;
        g->size = size;
    }
    return g->data;
}

void *frame_coder_buffer(struct frame_coder *c, size_t size)
{
    return grow(&c->stored, size > 0 ? size : 1);
}

size_t frame_bound(size_t len)
{
    return FRAME_HEADER_SIZE + len; /* what does not shrink is stored as it is */
}

static void put_header(uint8_t *h, const struct frame_info *info)
{
    tide_put_be32(h, info->stored_len);
    tide_put_be32(h + 4, info->plain_len);
    h[8] = info->codec;
    h[9] = info->flags;
    h[10] = info->kind;
    h[11] = 0;
    tide_put_be32(h + 12, info->number);
}

tide_status frame_seal_bytes(struct frame_coder *c, const struct frame_seal *s, struct frame_info *info,
                             const void *plain, size_t len, void *out, size_t *total, struct tide_err *err)
{
    if (len > FRAME_MAX_PLAIN)
        return tide_fail(err, TIDE_INVALID, "a frame of %zu bytes is too large", len);
    tide_assert(info->kind != 0 && (info->flags & ~FRAME_LAST) == 0);

    uint8_t *header = out, *payload = header + FRAME_HEADER_SIZE;
    size_t packed = 0;
    tide_status st = codec_compress(c->codec, plain, len, payload, &packed, err);
    if (st != TIDE_OK)
        return st;
    info->codec = FRAME_STORED;
    info->plain_len = (uint32_t)len;
    info->stored_len = (uint32_t)(packed > 0 ? packed : len);
    if (packed > 0)
        info->codec = (uint8_t)codec_kind(c->codec);
    put_header(header, info);

    const void *body = packed > 0 ? payload : plain;
    if (s->encrypted) {
        st = frame_cipher_seal(c->cipher, s, header, body, info->stored_len, payload, header + TAG_AT, err);
    } else {
        if (packed == 0 && len > 0)
            memcpy(payload, plain, len);
        st = frame_cipher_digest(c->cipher, s, header, payload, info->stored_len, header + TAG_AT, err);
    }
    if (st != TIDE_OK)
        return st;
    *total = FRAME_HEADER_SIZE + info->stored_len;
    return TIDE_OK;
}

tide_status frame_parse_header(const uint8_t *header, struct frame_info *info, struct tide_err *err)
{
    info->stored_len = tide_get_be32(header);
    info->plain_len = tide_get_be32(header + 4);
    info->codec = header[8];
    info->flags = header[9];
    info->kind = header[10];
    info->number = tide_get_be32(header + 12);

    if (info->plain_len > FRAME_MAX_PLAIN)
        return tide_fail(err, TIDE_CORRUPT, "a frame says that it holds %u bytes", info->plain_len);
    bool fits = info->codec == FRAME_STORED ? info->stored_len == info->plain_len
                                            : info->stored_len > 0 && info->stored_len < info->plain_len;
    if (!fits)
        return tide_fail(err, TIDE_CORRUPT, "a frame says that %u bytes are stored in %u", info->plain_len,
                         info->stored_len);
    if (info->codec > FRAME_LZ4 || (info->flags & ~FRAME_LAST) != 0 || info->kind == 0 || header[11] != 0)
        return tide_fail(err, TIDE_CORRUPT, "a frame has codec %u, flags %u, kind %u, reserved %u", info->codec,
                         info->flags, info->kind, header[11]);
    return TIDE_OK;
}

/* The payload, proved and decrypted, goes to out. */
static tide_status prove_to(struct frame_coder *c, const struct frame_seal *s, const uint8_t *header, size_t len,
                            void *out, struct tide_err *err)
{
    return frame_cipher_open(c->cipher, s, header, header + FRAME_HEADER_SIZE, len, out, header + TAG_AT, err);
}

static tide_status prove_plain(struct frame_coder *c, const struct frame_seal *s, const uint8_t *header, size_t len,
                               struct tide_err *err)
{
    uint8_t tag[FRAME_TAG_SIZE];
    tide_status st = frame_cipher_digest(c->cipher, s, header, header + FRAME_HEADER_SIZE, len, tag, err);
    if (st != TIDE_OK)
        return st;
    if (CRYPTO_memcmp(tag, header + TAG_AT, sizeof(tag)) != 0)
        return tide_fail(err, TIDE_CORRUPT, "a frame's digest does not fit");
    return TIDE_OK;
}

tide_status frame_open_bytes(struct frame_coder *c, const struct frame_seal *s, const void *stored, size_t total,
                             uint32_t number, void *plain, size_t size, struct frame_info *info, struct tide_err *err)
{
    const uint8_t *header = stored;
    if (total < FRAME_HEADER_SIZE)
        return tide_fail(err, TIDE_CORRUPT, "%zu bytes are less than a frame's header", total);
    tide_status st = frame_parse_header(header, info, err);
    if (st != TIDE_OK)
        return st;
    if (total != FRAME_HEADER_SIZE + (size_t)info->stored_len)
        return tide_fail(err, TIDE_CORRUPT, "a frame of %u bytes lies in %zu", info->stored_len, total);
    if (info->number != number)
        return tide_fail(err, TIDE_CORRUPT, "a frame says that it is number %u, not %u", info->number, number);
    if (info->plain_len > size)
        return tide_fail(err, TIDE_CORRUPT, "a frame holds %u bytes where at most %zu belong", info->plain_len, size);

    const uint8_t *body = header + FRAME_HEADER_SIZE;
    uint8_t nothing;
    if (size == 0)
        plain = &nothing;
    if (info->codec == FRAME_STORED) {
        if (s->encrypted)
            return prove_to(c, s, header, info->stored_len, plain, err);
        st = prove_plain(c, s, header, info->stored_len, err);
        if (st == TIDE_OK && info->stored_len > 0)
            memcpy(plain, body, info->stored_len);
        return st;
    }

    if (s->encrypted) {
        uint8_t *opened = grow(&c->opened, info->stored_len);
        if (opened == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory opening a frame");
        st = prove_to(c, s, header, info->stored_len, opened, err);
        body = opened;
    } else {
        st = prove_plain(c, s, header, info->stored_len, err);
    }
    if (st != TIDE_OK)
        return st;
    return codec_expand(c->codec, (enum frame_codec)info->codec, body, info->stored_len, plain, info->plain_len, err);
}

void frame_hash(uint64_t seed, const void *data, size_t len, uint8_t out[FRAME_HASH_SIZE])
{
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(data, len, seed));
    memcpy(out, canonical.digest, FRAME_HASH_SIZE);
}
