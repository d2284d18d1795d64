#ifndef TIDE_PIPE_CRYPTO_H
#define TIDE_PIPE_CRYPTO_H

/* The few primitives that the format stands on, over OpenSSL.  No state, no I/O; thread-safe. */

#include "orchestrator/base/err.h"

#define CRYPTO_SHA256_SIZE 32u
#define CRYPTO_KEY_SIZE    32u
#define CRYPTO_NONCE_SIZE  12u
#define CRYPTO_TAG_SIZE    16u

struct crypto_bytes {
    const void *data;
    size_t len;
};

#define CRYPTO_BYTES(data_, len_) ((struct crypto_bytes){.data = (data_), .len = (len_)})

tide_status crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_SIZE],
                          struct tide_err *err) TIDE_MUST_CHECK;

/* HKDF-SHA256 (RFC 5869), extract and expand. */
tide_status crypto_hkdf(struct crypto_bytes ikm, struct crypto_bytes salt, struct crypto_bytes info, uint8_t *out,
                        size_t out_len, struct tide_err *err) TIDE_MUST_CHECK;

/* AES-256-GCM in one piece; out has the plain text's length, the tag stands beside it. */
tide_status crypto_aead_seal(const uint8_t key[CRYPTO_KEY_SIZE], const uint8_t nonce[CRYPTO_NONCE_SIZE],
                             struct crypto_bytes aad, struct crypto_bytes plain, uint8_t *out,
                             uint8_t tag[CRYPTO_TAG_SIZE], struct tide_err *err) TIDE_MUST_CHECK;
/* CORRUPT when the tag does not fit; out is then wiped. */
tide_status crypto_aead_open(const uint8_t key[CRYPTO_KEY_SIZE], const uint8_t nonce[CRYPTO_NONCE_SIZE],
                             struct crypto_bytes aad, struct crypto_bytes sealed, const uint8_t tag[CRYPTO_TAG_SIZE],
                             uint8_t *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
