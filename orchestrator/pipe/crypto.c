#include "orchestrator/pipe/crypto.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"

#include <limits.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

static void free_kdf(EVP_KDF **k)
{
    EVP_KDF_free(*k);
}

static void free_kdf_ctx(EVP_KDF_CTX **c)
{
    EVP_KDF_CTX_free(*c);
}

static void free_cipher_ctx(EVP_CIPHER_CTX **c)
{
    EVP_CIPHER_CTX_free(*c);
}

tide_status crypto_sha256(const void *data, size_t len, uint8_t out[CRYPTO_SHA256_SIZE], struct tide_err *err)
{
    if (EVP_Digest(len > 0 ? data : "", len, out, NULL, EVP_sha256(), NULL) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not compute a SHA-256 digest");
    return TIDE_OK;
}

tide_status crypto_hkdf(struct crypto_bytes ikm, struct crypto_bytes salt, struct crypto_bytes info, uint8_t *out,
                        size_t out_len, struct tide_err *err)
{
    TIDE_AUTO(free_kdf) EVP_KDF *kdf = EVP_KDF_fetch(NULL, OSSL_KDF_NAME_HKDF, NULL);
    TIDE_AUTO(free_kdf_ctx) EVP_KDF_CTX *ctx = kdf == NULL ? NULL : EVP_KDF_CTX_new(kdf);
    if (ctx == NULL)
        return tide_fail(err, TIDE_UNSUPPORTED, "the cryptographic library has no HKDF");

    /* OSSL_PARAM is shared between getting and setting, so it takes no const; nothing writes through these. */
    static char digest[] = "SHA256";
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)(uintptr_t)ikm.data, ikm.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)(uintptr_t)salt.data, salt.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)(uintptr_t)info.data, info.len),
        OSSL_PARAM_construct_end(),
    };
    if (EVP_KDF_derive(ctx, out, out_len, params) != 1) {
        tide_wipe(out, out_len);
        return tide_fail(err, TIDE_INVALID, "could not derive a key");
    }
    return TIDE_OK;
}

tide_status crypto_aead_seal(const uint8_t key[CRYPTO_KEY_SIZE], const uint8_t nonce[CRYPTO_NONCE_SIZE],
                             struct crypto_bytes aad, struct crypto_bytes plain, uint8_t *out,
                             uint8_t tag[CRYPTO_TAG_SIZE], struct tide_err *err)
{
    tide_assert(plain.len <= INT_MAX && aad.len <= INT_MAX);
    TIDE_AUTO(free_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n = 0;
    if (ctx == NULL || EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) != 1 ||
        EVP_EncryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_EncryptUpdate(ctx, out, &n, plain.data, (int)plain.len) != 1 ||
        EVP_EncryptFinal_ex(ctx, out + plain.len, &n) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)CRYPTO_TAG_SIZE, tag) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not encrypt");
    return TIDE_OK;
}

tide_status crypto_aead_open(const uint8_t key[CRYPTO_KEY_SIZE], const uint8_t nonce[CRYPTO_NONCE_SIZE],
                             struct crypto_bytes aad, struct crypto_bytes sealed, const uint8_t tag[CRYPTO_TAG_SIZE],
                             uint8_t *out, struct tide_err *err)
{
    tide_assert(sealed.len <= INT_MAX && aad.len <= INT_MAX);
    TIDE_AUTO(free_cipher_ctx) EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    uint8_t expected[CRYPTO_TAG_SIZE]; /* the control takes no const */
    memcpy(expected, tag, sizeof(expected));
    int n = 0;
    if (ctx == NULL || EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce) != 1 ||
        EVP_DecryptUpdate(ctx, NULL, &n, aad.data, (int)aad.len) != 1 ||
        EVP_DecryptUpdate(ctx, out, &n, sealed.data, (int)sealed.len) != 1 ||
        EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)CRYPTO_TAG_SIZE, expected) != 1)
        return tide_fail(err, TIDE_NO_MEMORY, "could not decrypt");
    if (EVP_DecryptFinal_ex(ctx, out + sealed.len, &n) != 1) {
        tide_wipe(out, sealed.len);
        return tide_fail(err, TIDE_CORRUPT, "the authentication tag does not fit");
    }
    return TIDE_OK;
}
