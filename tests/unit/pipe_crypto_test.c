/* crypto.c against published vectors. */

#include "orchestrator/pipe/crypto.h"

#include "orchestrator/base/bytes.h"

#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

static void assert_hex(const void *data, size_t len, const char *hex)
{
    char text[257];
    tide_hex(data, len, text);
    assert_string_equal(text, hex);
}

static void sha256_is_that_of_fips_180(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t d[32];
    assert_int_equal(crypto_sha256("abc", 3, d, &err), TIDE_OK);
    assert_hex(d, 32, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_int_equal(crypto_sha256(NULL, 0, d, &err), TIDE_OK);
    assert_hex(d, 32, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void hkdf_is_that_of_rfc_5869(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t ikm[22], salt[13], info[10], okm[42];
    memset(ikm, 0x0b, sizeof(ikm));
    assert_true(tide_unhex("000102030405060708090a0b0c", salt, sizeof(salt)));
    assert_true(tide_unhex("f0f1f2f3f4f5f6f7f8f9", info, sizeof(info)));
    assert_int_equal(
        crypto_hkdf(CRYPTO_BYTES(ikm, 22), CRYPTO_BYTES(salt, 13), CRYPTO_BYTES(info, 10), okm, 42, &err), TIDE_OK);
    assert_hex(okm, 42, "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865");
}

static void aead_is_that_of_the_gcm_specification(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t key[32], nonce[12], aad[20], plain[60], out[60], tag[16], back[60];
    assert_true(tide_unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key, 32));
    assert_true(tide_unhex("cafebabefacedbaddecaf888", nonce, 12));
    assert_true(tide_unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad, 20));
    assert_true(tide_unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
                           "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
                           plain, 60));
    assert_int_equal(crypto_aead_seal(key, nonce, CRYPTO_BYTES(aad, 20), CRYPTO_BYTES(plain, 60), out, tag, &err),
                     TIDE_OK);
    assert_hex(out, 60,
               "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
               "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662");
    assert_hex(tag, 16, "76fc6ece0f4e1768cddf8853bb2d551b");
    assert_int_equal(crypto_aead_open(key, nonce, CRYPTO_BYTES(aad, 20), CRYPTO_BYTES(out, 60), tag, back, &err),
                     TIDE_OK);
    assert_memory_equal(plain, back, 60);
}

static void wrong_tag_is_corrupt_and_leaves_nothing(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t key[32] = {1}, nonce[12] = {0}, out[5], tag[16], back[5];
    assert_int_equal(crypto_aead_seal(key, nonce, CRYPTO_BYTES("aad", 3), CRYPTO_BYTES("plain", 5), out, tag, &err),
                     TIDE_OK);
    tag[15] ^= 1;
    memset(back, 1, 5);
    assert_int_equal(crypto_aead_open(key, nonce, CRYPTO_BYTES("aad", 3), CRYPTO_BYTES(out, 5), tag, back, &err),
                     TIDE_CORRUPT);
    assert_memory_equal(back, "\0\0\0\0\0", 5);
    tag[15] ^= 1;
    assert_int_equal(crypto_aead_open(key, nonce, CRYPTO_BYTES("aax", 3), CRYPTO_BYTES(out, 5), tag, back, &err),
                     TIDE_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sha256_is_that_of_fips_180),
        cmocka_unit_test(hkdf_is_that_of_rfc_5869),
        cmocka_unit_test(aead_is_that_of_the_gcm_specification),
        cmocka_unit_test(wrong_tag_is_corrupt_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
