#include "orchestrator/repository/keys.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/repo_document.h"

#include <stdlib.h>
#include <string.h>

#define SLOT_FORMAT  "tidemark key slot"
#define SALT_SIZE    32u
#define WRAPPED_SIZE (KEYS_EPOCH_SIZE + CRYPTO_TAG_SIZE)
#define SLOTS_MAX    4096u /* names looked at; more than any life of keys makes */

static const uint8_t zero_nonce[CRYPTO_NONCE_SIZE];

/* A key that is wiped when its scope ends. */
struct short_key {
    uint8_t bytes[KEYS_EPOCH_SIZE];
};

static void short_key_clear(struct short_key *k)
{
    tide_wipe(k, sizeof(*k));
}

/* ---- ring */

void key_ring_clear(struct key_ring *ring)
{
    free(ring->epochs);
    tide_secret_clear(&ring->keys);
    *ring = (struct key_ring){0};
}

tide_status key_ring_copy(const struct key_ring *from, struct key_ring *to, struct tide_err *err)
{
    *to = (struct key_ring){.n = from->n, .newest = from->newest};
    if (from->n == 0)
        return TIDE_OK;
    to->epochs = calloc(from->n, sizeof(*to->epochs));
    if (to->epochs == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for keys");
    memcpy(to->epochs, from->epochs, from->n * sizeof(*to->epochs));
    return tide_secret_set(&to->keys, from->keys.data, from->keys.len, err);
}

static const uint8_t *ring_find(const struct key_ring *ring, uint32_t epoch)
{
    for (size_t i = 0; i < ring->n; i++)
        if (ring->epochs[i] == epoch)
            return ring->keys.data + i * KEYS_EPOCH_SIZE;
    return NULL;
}

tide_status key_ring_get(const struct key_ring *ring, uint32_t epoch, uint8_t out[KEYS_EPOCH_SIZE],
                         struct tide_err *err)
{
    const uint8_t *key = ring_find(ring, epoch);
    if (key == NULL)
        return tide_fail(err, TIDE_DENIED, "the key given does not open epoch %u", epoch);
    memcpy(out, key, KEYS_EPOCH_SIZE);
    return TIDE_OK;
}

static tide_status ring_add(struct key_ring *ring, uint32_t epoch, const struct short_key *key, struct tide_err *err)
{
    uint32_t *epochs = realloc(ring->epochs, (ring->n + 1) * sizeof(*epochs));
    if (epochs == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for keys");
    ring->epochs = epochs;
    struct tide_secret grown = TIDE_SECRET_INIT;
    size_t old = ring->n * KEYS_EPOCH_SIZE;
    uint8_t *all = malloc(old + KEYS_EPOCH_SIZE);
    if (all == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for keys");
    if (old > 0)
        memcpy(all, ring->keys.data, old);
    memcpy(all + old, key->bytes, KEYS_EPOCH_SIZE);
    tide_status s = tide_secret_set(&grown, all, old + KEYS_EPOCH_SIZE, err);
    tide_wipe(all, old + KEYS_EPOCH_SIZE);
    free(all);
    if (s != TIDE_OK)
        return s;
    tide_secret_clear(&ring->keys);
    ring->keys = grown;
    ring->epochs[ring->n++] = epoch;
    return TIDE_OK;
}

/* ---- one slot */

void keys_slot_name(const struct key_slot_name *name, char out[KEYS_NAME_MAX])
{
    (void)snprintf(out, KEYS_NAME_MAX, "keys/%08x/%08x/%08x", name->epoch, name->slot, name->generation);
}

static bool parse_slot_name(const char *key, struct key_slot_name *name)
{
    uint64_t e, s, g;
    if (strlen(key) != strlen("keys/") + 3 * 8 + 2 || strncmp(key, "keys/", 5) != 0 ||
        !tide_parse_hex64(key + 5, 8, &e) || key[13] != '/' || !tide_parse_hex64(key + 14, 8, &s) || key[22] != '/' ||
        !tide_parse_hex64(key + 23, 8, &g))
        return false;
    *name = (struct key_slot_name){(uint32_t)e, (uint32_t)s, (uint32_t)g};
    return e != 0 && s != 0 && g != 0;
}

/* The key that wraps: from the key file's bytes and the slot's salt. */
static tide_status wrapping_key(const struct tide_secret *secret, const uint8_t salt[SALT_SIZE],
                                struct short_key *kek, struct tide_err *err)
{
    static const char info[] = "tidemark slot keyfile";
    return crypto_hkdf(CRYPTO_BYTES(secret->data, secret->len), CRYPTO_BYTES(salt, SALT_SIZE),
                       CRYPTO_BYTES(info, sizeof(info) - 1), kek->bytes, sizeof(kek->bytes), err);
}

static void slot_aad(const uint8_t id[KEYS_ID_SIZE], const struct key_slot_name *name, uint8_t aad[24])
{
    memcpy(aad, id, KEYS_ID_SIZE);
    tide_put_be32(aad + 16, name->epoch);
    tide_put_be32(aad + 20, name->slot);
}

static tide_status slot_document(const uint8_t id[KEYS_ID_SIZE], const struct key_slot_name *name,
                                 const uint8_t salt[SALT_SIZE], const uint8_t wrapped[WRAPPED_SIZE],
                                 struct tide_buf *out, struct tide_err *err)
{
    char id_hex[2 * KEYS_ID_SIZE + 1], salt_hex[2 * SALT_SIZE + 1], wrapped_hex[2 * WRAPPED_SIZE + 1];
    char now[TIDE_TIME_TEXT];
    tide_hex(id, KEYS_ID_SIZE, id_hex);
    tide_hex(salt, SALT_SIZE, salt_hex);
    tide_hex(wrapped, WRAPPED_SIZE, wrapped_hex);
    tide_time_format(tide_now_us(), now);
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:s, s:i, s:s, s:I, s:I, s:I, s:s, s:s, s:s, s:s}", "format", SLOT_FORMAT, "version", 1,
                            "repository", id_hex, "epoch", (json_int_t)name->epoch, "slot", (json_int_t)name->slot,
                            "generation", (json_int_t)name->generation, "kind", "keyfile", "created", now, "salt",
                            salt_hex, "wrapped", wrapped_hex);
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a key slot");
    return document_write(doc, out, err);
}

tide_status keys_put_slot(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], const struct key_slot_name *name,
                          const uint8_t key[KEYS_EPOCH_SIZE], const struct tide_secret *secret, struct tide_err *err)
{
    if (secret->len < KEYS_SECRET_MIN) {
        (void)tide_fail(err, TIDE_INVALID, "a key of %zu bytes is too short", secret->len);
        return tide_hint(err, TIDE_INVALID, "Make one with: head -c 32 /dev/urandom > KEYFILE");
    }
    uint8_t salt[SALT_SIZE], aad[24], wrapped[WRAPPED_SIZE];
    TIDE_AUTO(short_key_clear) struct short_key kek = {{0}};
    tide_status s = tide_random(salt, sizeof(salt), err);
    if (s == TIDE_OK)
        s = wrapping_key(secret, salt, &kek, err);
    if (s != TIDE_OK)
        return s;
    slot_aad(id, name, aad);
    /* A wrapping key is used once: its salt is new.  So the nonce may be zero. */
    s = crypto_aead_seal(kek.bytes, zero_nonce, CRYPTO_BYTES(aad, sizeof(aad)), CRYPTO_BYTES(key, KEYS_EPOCH_SIZE),
                         wrapped, wrapped + KEYS_EPOCH_SIZE, err);
    if (s != TIDE_OK)
        return s;

    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    s = slot_document(id, name, salt, wrapped, &text, err);
    if (s != TIDE_OK)
        return s;
    char object[KEYS_NAME_MAX];
    keys_slot_name(name, object);
    return store_put(store, object, text.data, text.len, err);
}

tide_status keys_make_epoch(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], uint32_t epoch,
                            const struct tide_secret *secret, struct tide_err *err)
{
    TIDE_AUTO(short_key_clear) struct short_key key = {{0}};
    tide_status s = tide_random(key.bytes, sizeof(key.bytes), err);
    if (s != TIDE_OK)
        return s;
    struct key_slot_name name = {.epoch = epoch, .slot = 1, .generation = 1};
    return keys_put_slot(store, id, &name, key.bytes, secret, err);
}

/* NOT_FOUND: of a kind that a key file does not open.  DENIED: another key file's.  CORRUPT: damaged. */
static tide_status open_slot(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE],
                             const struct key_slot_name *name, const struct tide_secret *secret,
                             struct short_key *key, struct tide_err *err)
{
    char object[KEYS_NAME_MAX];
    keys_slot_name(name, object);
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = store_get_all(store, object, &text, err);
    if (s == TIDE_OK)
        s = document_read(object, SLOT_FORMAT, text.data, text.len, &doc, err);
    if (s == TIDE_UNSUPPORTED)
        return TIDE_NOT_FOUND;
    if (s != TIDE_OK)
        return s;

    uint8_t owner[KEYS_ID_SIZE], salt[SALT_SIZE], wrapped[WRAPPED_SIZE], aad[24];
    struct key_slot_name found = {0};
    if (!document_hex(doc, "repository", owner, sizeof(owner)) || memcmp(owner, id, sizeof(owner)) != 0 ||
        !document_u32(doc, "epoch", &found.epoch) || !document_u32(doc, "slot", &found.slot) ||
        !document_u32(doc, "generation", &found.generation) || found.epoch != name->epoch ||
        found.slot != name->slot || found.generation != name->generation)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" is a key slot of another place", object);
    const char *kind = json_string_value(json_object_get(doc, "kind"));
    if (kind == NULL || strcmp(kind, "keyfile") != 0)
        return TIDE_NOT_FOUND;
    if (!document_hex(doc, "salt", salt, sizeof(salt)) || !document_hex(doc, "wrapped", wrapped, sizeof(wrapped)))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" has no salt or no wrapped key", object);

    TIDE_AUTO(short_key_clear) struct short_key kek = {{0}};
    s = wrapping_key(secret, salt, &kek, err);
    if (s != TIDE_OK)
        return s;
    slot_aad(id, name, aad);
    s = crypto_aead_open(kek.bytes, zero_nonce, CRYPTO_BYTES(aad, sizeof(aad)),
                         CRYPTO_BYTES(wrapped, KEYS_EPOCH_SIZE), wrapped + KEYS_EPOCH_SIZE, key->bytes, err);
    return s == TIDE_CORRUPT ? TIDE_DENIED : s;
}

/* ---- all slots */

struct slot_list {
    struct key_slot_name *items;
    size_t n;
};

static void slot_list_clear(struct slot_list *l)
{
    free(l->items);
}

/* Names come in order, so the highest generation of a slot is the last of its names. */
static tide_status note_slot(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct slot_list *l = ctx;
    struct key_slot_name name;
    if (!parse_slot_name(e->key, &name))
        return TIDE_OK;
    if (l->n > 0 && l->items[l->n - 1].epoch == name.epoch && l->items[l->n - 1].slot == name.slot) {
        l->items[l->n - 1] = name;
        return TIDE_OK;
    }
    if (l->n == SLOTS_MAX)
        return tide_fail(err, TIDE_UNSUPPORTED, "the repository has more than %u key slots", SLOTS_MAX);
    l->items[l->n++] = name;
    return TIDE_OK;
}

static tide_status open_all(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE],
                            const struct tide_secret *secret, const struct slot_list *slots, struct key_ring *ring,
                            struct tide_err *err)
{
    struct tide_err damage = TIDE_ERR_INIT;
    for (size_t i = 0; i < slots->n; i++) {
        const struct key_slot_name *name = &slots->items[i];
        ring->newest = name->epoch;
        if (ring_find(ring, name->epoch) != NULL)
            continue;
        TIDE_AUTO(short_key_clear) struct short_key key = {{0}};
        struct tide_err why = TIDE_ERR_INIT;
        tide_status s = open_slot(store, id, name, secret, &key, &why);
        if (s == TIDE_OK)
            s = ring_add(ring, name->epoch, &key, &why);
        if (s == TIDE_CORRUPT) {
            TIDE_LOG(TIDE_LOG_WARN, "repository.key_slot.damaged", TIDE_STR("reason", why.msg));
            damage = why;
        } else if (s != TIDE_OK && s != TIDE_DENIED && s != TIDE_NOT_FOUND) {
            if (err != NULL)
                *err = why;
            return s;
        }
    }
    if (ring->newest == 0 || ring_find(ring, ring->newest) != NULL)
        return TIDE_OK;
    if (damage.status != TIDE_OK) {
        if (err != NULL)
            *err = damage;
        return damage.status;
    }
    (void)tide_fail(err, TIDE_DENIED, "the key given opens no slot of epoch %u", ring->newest);
    return tide_hint(err, TIDE_DENIED,
                     "Check encryption_key_file: it must hold exactly the bytes that the repository "
                     "was made with.");
}

tide_status keys_load(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], const struct tide_secret *secret,
                      struct key_ring *ring, struct tide_err *err)
{
    *ring = (struct key_ring){0};
    TIDE_AUTO(slot_list_clear) struct slot_list slots = {.items = calloc(SLOTS_MAX, sizeof(struct key_slot_name))};
    if (slots.items == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for key slots");
    tide_status s = store_list(store, "keys/", NULL, 0, note_slot, &slots, err);
    if (s == TIDE_OK)
        s = open_all(store, id, secret, &slots, ring, err);
    if (s != TIDE_OK)
        key_ring_clear(ring);
    return s;
}
