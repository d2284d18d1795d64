#include "orchestrator/pipe/frame_cipher.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#define NONCE_SIZE 12u
/* A restoring thread moves between the packs of a few backups; a writer has one object or two. */
#define CACHED_KEYS 8u

struct cached_key {
    EVP_CIPHER_CTX *ctx; /* NULL: unused */
    uint8_t key[FRAME_KEY_SIZE];
    bool encrypts;
    uint64_t used;
};

struct frame_cipher {
    EVP_CIPHER *gcm;
    EVP_MD *sha256;
    EVP_MD_CTX *md;
    uint64_t clock;
    struct cached_key keys[CACHED_KEYS];
};

static void free_cipherp(struct frame_cipher **c)
{
    frame_cipher_free(*c);
}

tide_status frame_cipher_new(struct frame_cipher **out, struct tide_err *err)
{
    TIDE_AUTO(free_cipherp) struct frame_cipher *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a cipher");
    c->gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    c->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    c->md = EVP_MD_CTX_new();
    if (c->gcm == NULL || c->sha256 == NULL || c->md == NULL)
        return tide_fail(err, TIDE_UNSUPPORTED, "the cryptographic library lacks AES-256-GCM or SHA-256");
    *out = TIDE_TAKE(c);
    return TIDE_OK;
}

void frame_cipher_free(struct frame_cipher *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < CACHED_KEYS; i++) {
        EVP_CIPHER_CTX_free(c->keys[i].ctx);
        tide_wipe(c->keys[i].key, sizeof(c->keys[i].key));
    }
    EVP_MD_CTX_free(c->md);
    EVP_MD_free(c->sha256);
    EVP_CIPHER_free(c->gcm);
    free(c);
}

/* The context that has this key set: a kept one, else the longest unused. */
static tide_status context_of(struct frame_cipher *c, const uint8_t key[FRAME_KEY_SIZE], bool encrypts,
                              EVP_CIPHER_CTX **out, struct tide_err *err)
{
    struct cached_key *oldest = &c->keys[0];
    c->clock++;
    for (size_t i = 0; i < CACHED_KEYS; i++) {
        struct cached_key *k = &c->keys[i];
        if (k->ctx != NULL && k->encrypts == encrypts && CRYPTO_memcmp(k->key, key, FRAME_KEY_SIZE) == 0) {
            k->used = c->clock;
            *out = k->ctx;
            return TIDE_OK;
        }
        if (k->used < oldest->used)
            oldest = k;
    }

    EVP_CIPHER_CTX_free(oldest->ctx);
    memset(oldest, 0, sizeof(*oldest));
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (ctx == NULL || EVP_CipherInit_ex2(ctx, c->gcm, key, NULL, encrypts ? 1 : 0, NULL) != 1) {
        EVP_CIPHER_CTX_free(ctx);
        return tide_fail(err, TIDE_NO_MEMORY, "could not set a key");
    }
    oldest->ctx = ctx;
    oldest->encrypts = encrypts;
    oldest->used = c->clock;
    memcpy(oldest->key, key, FRAME_KEY_SIZE);
    *out = ctx;
    return TIDE_OK;
}

/* The nonce is the frame's number, which stands in the covered bytes; the key is the object's own. */
static bool begin(EVP_CIPHER_CTX *ctx, const struct frame_seal *s, const uint8_t covered[FRAME_COVERED])
{
    uint8_t nonce[NONCE_SIZE] = {0};
    memcpy(nonce + 8, covered + 12, 4);
    int n = 0;
    return EVP_CipherInit_ex2(ctx, NULL, NULL, nonce, -1, NULL) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, s->header_digest, (int)sizeof(s->header_digest)) == 1 &&
           EVP_CipherUpdate(ctx, NULL, &n, covered, (int)FRAME_COVERED) == 1;
}

tide_status frame_cipher_seal(struct frame_cipher *c, const struct frame_seal *s,
                              const uint8_t covered[FRAME_COVERED], const void *in, size_t len, void *out,
                              uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err)
{
    EVP_CIPHER_CTX *ctx = NULL;
    tide_status st = context_of(c, s->key, true, &ctx, err);
    if (st != TIDE_OK)
        return st;
    int n = 0;
    if (!begin(ctx, s, covered) || (len > 0 && EVP_CipherUpdate(ctx, out, &n, in, (int)len) != 1) ||
        EVP_CipherFinal_ex(ctx, (uint8_t *)out + len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)FRAME_TAG_SIZE, tag) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not encrypt a frame");
    return TIDE_OK;
}

tide_status frame_cipher_open(struct frame_cipher *c, const struct frame_seal *s,
                              const uint8_t covered[FRAME_COVERED], const void *in, size_t len, void *out,
                              const uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err)
{
    EVP_CIPHER_CTX *ctx = NULL;
    tide_status st = context_of(c, s->key, false, &ctx, err);
    if (st != TIDE_OK)
        return st;
    uint8_t expected[FRAME_TAG_SIZE]; /* the control takes no const */
    memcpy(expected, tag, sizeof(expected));
    int n = 0;
    if (!begin(ctx, s, covered) || (len > 0 && EVP_CipherUpdate(ctx, out, &n, in, (int)len) != 1) ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)FRAME_TAG_SIZE, expected) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not decrypt a frame");
    if (EVP_CipherFinal_ex(ctx, (uint8_t *)out + len, &n) != 1) {
        memset(out, 0, len);
        return tide_fail(err, TIDE_CORRUPT, "a frame's authentication tag does not fit");
    }
    return TIDE_OK;
}

tide_status frame_cipher_digest(struct frame_cipher *c, const struct frame_seal *s,
                                const uint8_t covered[FRAME_COVERED], const void *payload, size_t len,
                                uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    if (EVP_DigestInit_ex2(c->md, c->sha256, NULL) != 1 ||
        EVP_DigestUpdate(c->md, s->header_digest, sizeof(s->header_digest)) != 1 ||
        EVP_DigestUpdate(c->md, covered, FRAME_COVERED) != 1 || EVP_DigestUpdate(c->md, payload, len) != 1 ||
        EVP_DigestFinal_ex(c->md, digest, NULL) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not compute a SHA-256 digest");
    memcpy(tag, digest, FRAME_TAG_SIZE);
    return TIDE_OK;
}
