#include "tests/support/format_vectors.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/logobject_internal.h"
#include "orchestrator/repository/repo_document.h"
#include "orchestrator/repository/repo_internal.h"
#include "tests/support/repository.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CREATED   "2026-11-22T10:15:30.000000Z"
#define BYTES_MAX 65536

static void must(tide_status s, const struct tide_err *err)
{
    if (s == TIDE_OK)
        return;
    (void)fprintf(stderr, "making vectors: %s\n", err->msg);
    abort();
}

/* n bytes that count up from `first`. */
static void count_up(uint8_t *p, size_t n, uint8_t first)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(first + i);
}

static struct tide_buf *add(struct vectors *v, const char *name, const char *about)
{
    tide_assert(v->n < VECTORS_MAX);
    struct vector *item = &v->items[v->n++];
    *item = (struct vector){.name = name, .about = about, .bytes = TIDE_BUF_INIT(BYTES_MAX)};
    return &item->bytes;
}

static struct tide_buf *add_text(struct vectors *v, const char *name, const char *about)
{
    struct tide_buf *b = add(v, name, about);
    v->items[v->n - 1].text = true;
    return b;
}

const struct vector *vectors_find(const struct vectors *v, const char *name)
{
    for (size_t i = 0; i < v->n; i++)
        if (strcmp(v->items[i].name, name) == 0)
            return &v->items[i];
    return NULL;
}

void vectors_free(struct vectors *v)
{
    for (size_t i = 0; v != NULL && i < v->n; i++)
        tide_buf_clear(&v->items[i].bytes);
    free(v);
}

/* ---- documents and keys */

static void descriptor(struct tide_buf *out, const char *cipher)
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:s, s:i, s:s, s:s, s:s, s:{s:s, s:s, s:s}}", "format", "tidemark repository",
                            "version", 1, "id", "000102030405060708090a0b0c0d0e0f", "created", CREATED, "cipher",
                            cipher, "features", "incompatible", "0000000000000000", "read_only_compatible",
                            "0000000000000000", "compatible", "0000000000000000");
    must(document_write(doc, out, &err), &err);
}

static void slot(struct vectors *v, struct tide_buf *out)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t salt[32], kek[32], epoch_key[32], aad[24], nonce[12] = {0}, wrapped[48];
    char salt_hex[65], wrapped_hex[97];
    count_up(salt, 32, 0x60);
    count_up(epoch_key, 32, 0x20);
    count_up(aad, 16, 0);
    tide_put_be32(aad + 16, 1);
    tide_put_be32(aad + 20, 1);
    must(crypto_hkdf(CRYPTO_BYTES(VECTOR_KEY_FILE, 32), CRYPTO_BYTES(salt, 32),
                     CRYPTO_BYTES("tidemark slot keyfile", 21), kek, 32, &err),
         &err);
    must(
        crypto_aead_seal(kek, nonce, CRYPTO_BYTES(aad, 24), CRYPTO_BYTES(epoch_key, 32), wrapped, wrapped + 32, &err),
        &err);
    tide_hex(salt, 32, salt_hex);
    tide_hex(wrapped, 48, wrapped_hex);
    TIDE_AUTO(document_decref)
    json_t *doc =
        json_pack("{s:s, s:i, s:s, s:i, s:i, s:i, s:s, s:s, s:s, s:s}", "format", "tidemark key slot", "version", 1,
                  "repository", "000102030405060708090a0b0c0d0e0f", "epoch", 1, "slot", 1, "generation", 1, "kind",
                  "keyfile", "created", CREATED, "salt", salt_hex, "wrapped", wrapped_hex);
    must(document_write(doc, out, &err), &err);
    tide_buf_append(add(v, "wrapping-key", "from the key file and the slot's salt"), kek, 32);
    tide_buf_append(add(v, "epoch-key", "what the slot wraps"), epoch_key, 32);
}

/* A repository in a directory, made of the documents. */
static struct test_repo *open_vectors(const struct vectors *v, const char *descriptor_name, bool sealed)
{
    struct test_repo *t = test_repo_new(sealed);
    repo_close(TIDE_TAKE(t->repo));
    const struct vector *d = vectors_find(v, descriptor_name), *s = vectors_find(v, "key-slot");
    test_raw_write(t, REPO_DESCRIPTOR, d->bytes.data, d->bytes.len);
    if (sealed)
        test_raw_write(t, VECTOR_SLOT, s->bytes.data, s->bytes.len);
    t->options.codec = FRAME_STORED;
    test_repo_reopen(t);
    return t;
}

/* ---- objects */

static struct object_header header(struct repo *r, enum object_type type, uint8_t id, uint8_t salt)
{
    struct object_header h = {
        .type = (uint8_t)type, .version = 1, .epoch = repo_epoch(r), .size = OBJECT_HEADER_SIZE};
    count_up(h.id, sizeof(h.id), id);
    count_up(h.salt, sizeof(h.salt), salt);
    return h;
}

static void derivations(struct vectors *v, struct test_repo *t)
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(object_seal_clear) struct frame_seal seal = {0};
    uint64_t seed = 0;
    must(repo_hash_seed(t->repo, 1, &seed, &err), &err);
    struct tide_buf *b = add(v, "hash-seed", "of epoch 1, as u64");
    tide_buf_be64(b, seed);
    uint8_t hash[FRAME_HASH_SIZE];
    frame_hash(seed, VECTOR_TEXT, strlen(VECTOR_TEXT), hash);
    tide_buf_append(add(v, "hash", "XXH3-128 of the frames' text below, with this seed"), hash, sizeof(hash));

    struct object_header h = header(t->repo, OBJECT_PACK, 0xa0, 0x40);
    object_header_encode(&h, add(v, "header", "a pack's: id a0 a1 ..., salt 40 41 ..."));
    must(object_header_seal(t->repo, &h, &seal, &err), &err);
    tide_buf_append(add(v, "header-digest", "its SHA-256"), seal.header_digest, 32);
    tide_buf_append(add(v, "object-key", "the key of the object with this header"), seal.key, 32);
}

static void frame(struct vectors *v, struct test_repo *t, enum frame_codec codec, const char *name, const char *about)
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(object_seal_clear) struct frame_seal seal = {0};
    struct object_header h = header(t->repo, OBJECT_PACK, 0xa0, 0x40);
    struct frame_info info = {.number = 5, .kind = FRAME_DATA};
    struct frame_coder *c = NULL;
    size_t total = 0;
    char text[] = VECTOR_TEXT VECTOR_TEXT;
    struct tide_buf *b = add(v, name, about);
    v->items[v->n - 1].loose = codec != FRAME_STORED;
    must(object_header_seal(t->repo, &h, &seal, &err), &err);
    must(frame_coder_new(codec, 1, &c, &err), &err);
    tide_assert(tide_buf_reserve(b, frame_bound(strlen(text))));
    must(frame_seal_bytes(c, &seal, &info, text, strlen(text), b->data, &total, &err), &err);
    b->len = total;
    frame_coder_free(c);
}

static void small_object(struct vectors *v, struct test_repo *t, const char *name)
{
    struct tide_err err = TIDE_ERR_INIT;
    static const char record[] =
        "{\"lineage\":2,\"from\":\"00000000000000000000000001000000\",\"to\":\"00000000000000000000000002000000\","
        "\"noticed_us\":1795342530000000,\"reason\":\"removed by the server\",\"key\":\"" VECTOR_GAP "\"}";
    struct object_header h = header(t->repo, OBJECT_GAP, 0xb0, 0x80);
    must(object_small_seal(t->repo, &h, record, strlen(record), add(v, name, "a gap: " VECTOR_GAP), &err), &err);
}

static void large_object(struct vectors *v, struct test_repo *t, const char *name)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct object_header h = header(t->repo, OBJECT_PACK, 0xa0, 0x40);
    struct object_writer *w = NULL;
    struct frame_coder *c = NULL;
    must(frame_coder_new(FRAME_STORED, 0, &c, &err), &err);
    must(object_writer_begin_header(t->repo, VECTOR_LARGE, &h, c, &w, &err), &err);
    must(object_writer_frame(w, FRAME_DATA, "first", 5, NULL, &err), &err);
    must(object_writer_frame(w, FRAME_TABLE, "second", 6, NULL, &err), &err);
    must(object_writer_commit(w, NULL, &err), &err);
    frame_coder_free(c);
    test_raw_read(t, VECTOR_LARGE, add(v, name, "frame 0 \"first\" (kind 1), frame 1 \"second\" (kind 4)"));
}

static void log_object(struct vectors *v, struct test_repo *t, const char *name)
{
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = strlen(VECTOR_LOG);
    static char events[] = "[{\"kind\":\"restore_point\",\"name\":\"before\"}]";
    struct log_info i = {
        .name = {.lineage = 2,
                 .start = {7, 0x1000},
                 .end = {8, 4},
                 .min_us = 1795342529000000,
                 .max_us = 1795342530000000,
                 .back_ms = 12,
                 .marks = LOG_MARK_RESTORE_POINT},
        .bytes = len,
        .n_commits = 1,
        .last_commit_start = {7, 0x100a},
        .last_commit_end = {7, 0x101b},
        .first_record = {7, 0x1000},
        .last_record_start = {7, 0x101f},
        .received_us = 1795342531000000,
        .extents = {{{7, 0x1000}, {8, 0}, (uint32_t)len - 4}, {{8, 0}, {8, 4}, 4}},
        .n_extents = 2,
        .n_events = 1,
        .events_json = events,
    };
    static const struct tide_block_ref refs[] = {
        {1663, 5, 16384, 0, 0}, {1663, 5, 16384, 0, 1}, {1663, 5, 16384, 2, 300}, {1664, 0, 1262, 0, 70000}};
    uint8_t ext[LOG_EXT_SIZE];
    char key[REPO_KEY_MAX];
    struct object_header h = header(t->repo, OBJECT_LOG, 0xc0, 0xd0);
    log_ext_encode(&i.name, ext);
    memcpy(h.ext, ext, sizeof(ext));
    h.ext_len = LOG_EXT_SIZE;
    h.size += LOG_EXT_SIZE;
    must(crypto_sha256(VECTOR_LOG, len, i.digest, &err), &err);
    must(log_name_key(VECTOR_INSTANCE, &i.name, key, &err), &err);
    TIDE_AUTO(log_sealed_clear) struct log_sealed sealed = {0};
    must(log_object_seal(t->repo, &h, VECTOR_INSTANCE, &i, VECTOR_LOG, refs, 4, &sealed, &err), &err);
    tide_buf_append(add(v, name, "46 bytes of log in two files, four block references, one event"),
                    sealed.buf.data + sealed.start, sealed.buf.len - sealed.start);
    if (vectors_find(v, "log-key") != NULL)
        return;
    tide_buf_printf(add_text(v, "log-key", "the key of these log objects"), "%s\n", key);
    size_t at = 0;
    log_refs_encode(refs, 4, &at, add(v, "block-references", "the plain bytes of their last frame"));
}

struct vectors *vectors_make(void)
{
    struct vectors *v = calloc(1, sizeof(*v));
    tide_assert(v != NULL);
    descriptor(add_text(v, "descriptor", "tidemark.json of an encrypted repository"), "aes-256-gcm");
    descriptor(add_text(v, "descriptor-plain", "tidemark.json of a repository without encryption"), "none");
    slot(v, add_text(v, "key-slot", VECTOR_SLOT ". The key file is the 32 bytes " VECTOR_KEY_FILE));

    struct test_repo *sealed = open_vectors(v, "descriptor", true),
                     *plain = open_vectors(v, "descriptor-plain", false);
    derivations(v, sealed);
    frame(v, sealed, FRAME_STORED, "frame-stored", "frame 5, kind 1, under that header");
    frame(v, sealed, FRAME_ZSTD, "frame-zstd", "the same text by zstd");
    frame(v, sealed, FRAME_LZ4, "frame-lz4", "the same text by lz4");
    frame(v, plain, FRAME_STORED, "frame-stored-plain", "without encryption: the header has cipher 0 and epoch 0");
    frame(v, plain, FRAME_ZSTD, "frame-zstd-plain", "the same text by zstd");
    frame(v, plain, FRAME_LZ4, "frame-lz4-plain", "the same text by lz4");
    small_object(v, sealed, "small-object");
    small_object(v, plain, "small-object-plain");
    large_object(v, sealed, "large-object");
    large_object(v, plain, "large-object-plain");
    log_object(v, sealed, "log-object");
    log_object(v, plain, "log-object-plain");
    vectors_add_backup(v);
    test_repo_free(sealed);
    test_repo_free(plain);
    return v;
}
