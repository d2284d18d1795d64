#include "orchestrator/repository/repo.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/pipe/crypto.h"
#include "orchestrator/repository/repo_internal.h"

#include <stdlib.h>
#include <string.h>

static void repo_closep(struct repo **r)
{
    repo_close(*r);
}

static void store_closep(struct tide_store **s)
{
    if (*s != NULL)
        store_close(*s);
}

static bool has_key(const struct repo_options *o)
{
    return o->key != NULL && o->key->len > 0;
}

tide_status repo_new(const struct repo_options *o, struct tide_store *store, const struct repo_descriptor *d,
                     struct repo **out, struct tide_err *err)
{
    struct repo *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        store_close(store);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a repository");
    }
    int rc = pthread_mutex_init(&r->lock, NULL);
    if (rc != 0) {
        store_close(store);
        free(r);
        return tide_fail_errno(err, rc, "could not make a mutex");
    }
    r->store = store;
    r->descriptor = *d;
    tide_hex(d->id, sizeof(d->id), r->id_hex);
    r->read_only = (d->read_only & ~REPO_KNOWN_READ_ONLY) != 0;
    r->codec = o->codec;
    r->level = o->level;
    r->cancel = o->cancel;
    *out = r;
    return TIDE_OK;
}

void repo_close(struct repo *r)
{
    if (r == NULL)
        return;
    for (size_t i = 0; i < r->n_coders; i++)
        frame_coder_free(r->coders[i]);
    key_ring_clear(&r->ring);
    (void)pthread_mutex_destroy(&r->lock);
    store_close(r->store);
    free(r);
}

/* ---- opening */

static tide_status load_keys(struct repo *r, const struct repo_options *o, struct tide_err *err)
{
    if (!r->descriptor.encrypted) {
        if (!has_key(o))
            return TIDE_OK;
        (void)tide_fail(err, TIDE_REFUSED, "a key is configured, but the repository says that it is not encrypted");
        return tide_hint(err, TIDE_REFUSED,
                         "Either this is not your repository, or it was made without a key: then leave out "
                         "encryption_key_file.");
    }
    if (!has_key(o)) {
        (void)tide_fail(err, TIDE_DENIED, "the repository is encrypted and no key was given");
        return tide_hint(err, TIDE_DENIED, "Set encryption_key_file in the [repository] section.");
    }
    tide_status s = keys_load(r->store, r->descriptor.id, o->key, &r->ring, err);
    if (s != TIDE_OK)
        return s;
    if (r->ring.newest == 0) {
        (void)tide_fail(err, TIDE_DENIED, "the repository is encrypted and has no key slot");
        return tide_hint(err, TIDE_DENIED,
                         "If its making was interrupted, run \"tidemark init\" again; else bring back what lay below "
                         "\"keys/\".");
    }
    return TIDE_OK;
}

static tide_status missing_descriptor(const struct repo_options *o, tide_status s, struct tide_err *err)
{
    if (s != TIDE_NOT_FOUND)
        return s;
    (void)tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is not a repository: there is no \"%s\"", o->url, REPO_DESCRIPTOR);
    return tide_hint(err, TIDE_NOT_FOUND,
                     "Is its directory mounted? Nothing was written. \"tidemark init\" makes a new repository.");
}

tide_status repo_open(const struct repo_options *o, struct repo **out, struct tide_err *err)
{
    TIDE_AUTO(store_closep) struct tide_store *store = NULL;
    tide_status s = store_open(&(struct store_options){.url = o->url, .cancel = o->cancel}, &store, err);
    if (s != TIDE_OK)
        return missing_descriptor(o, s, err);
    struct repo_descriptor d;
    s = repo_descriptor_read(store, &d, err);
    if (s != TIDE_OK)
        return missing_descriptor(o, s, err);

    TIDE_AUTO(repo_closep) struct repo *r = NULL;
    s = repo_new(o, TIDE_TAKE(store), &d, &r, err);
    if (s == TIDE_OK)
        s = load_keys(r, o, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "opening the repository \"%s\"", o->url);
    *out = TIDE_TAKE(r);
    return TIDE_OK;
}

/* ---- making */

static tide_status seen_other(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    bool *found = ctx;
    if (strcmp(e->key, REPO_DESCRIPTOR) == 0)
        return TIDE_OK;
    *found = true;
    return TIDE_EXISTS;
}

/* Whether anything but the descriptor lies there. */
static tide_status holds_objects(struct tide_store *store, bool *found, struct tide_err *err)
{
    *found = false;
    tide_status s = store_list(store, "", NULL, 2, seen_other, found, err);
    return *found ? TIDE_OK : s;
}

static tide_status make_descriptor(struct tide_store *store, const struct repo_options *o, bool *created,
                                   struct tide_err *err)
{
    bool found;
    tide_status s = holds_objects(store, &found, err);
    if (s != TIDE_OK)
        return s;
    if (found) {
        (void)tide_fail(err, TIDE_REFUSED, "\"%s\" is not empty and holds no \"%s\"", o->url, REPO_DESCRIPTOR);
        return tide_hint(err, TIDE_REFUSED,
                         "Choose an empty place. If this was a repository, its descriptor is lost: bring it back.");
    }
    struct repo_descriptor d = {.encrypted = has_key(o)};
    s = tide_random(d.id, sizeof(d.id), err);
    if (s == TIDE_OK)
        s = repo_descriptor_write(store, &d, err);
    if (s == TIDE_EXISTS)
        return TIDE_OK; /* somebody else was faster: theirs is opened */
    *created = s == TIDE_OK;
    return s;
}

/*
 * The descriptor comes first and the key second, so a cut between the two leaves an encrypted repository without a
 * key. As long as nothing else lies there, nothing can have been sealed, and the key is made now.
 */
static tide_status complete_keys(struct tide_store *store, const struct repo_options *o, bool *created,
                                 struct tide_err *err)
{
    struct repo_descriptor d;
    tide_status s = repo_descriptor_read(store, &d, err);
    if (s != TIDE_OK || !d.encrypted || !has_key(o))
        return s; /* a mismatch is for repo_open to explain */
    bool found;
    s = holds_objects(store, &found, err);
    if (s != TIDE_OK || found)
        return s;
    TIDE_FAILPOINT("init-before-key", err);
    s = keys_make_epoch(store, d.id, 1, o->key, err);
    *created = *created || s == TIDE_OK;
    return s == TIDE_EXISTS ? TIDE_OK : s;
}

tide_status repo_init(const struct repo_options *o, bool *created, struct repo **out, struct tide_err *err)
{
    *created = false;
    if (has_key(o) && o->key->len < KEYS_SECRET_MIN) {
        (void)tide_fail(err, TIDE_INVALID, "a key of %zu bytes is too short", o->key->len);
        return tide_hint(err, TIDE_INVALID, "Make one with: head -c 32 /dev/urandom > KEYFILE");
    }
    TIDE_AUTO(store_closep) struct tide_store *store = NULL;
    tide_status s =
        store_open(&(struct store_options){.url = o->url, .cancel = o->cancel, .create = true}, &store, err);
    if (s != TIDE_OK)
        return s;
    uint64_t size;
    int64_t mtime_us;
    s = store_head(store, REPO_DESCRIPTOR, &size, &mtime_us, err);
    if (s == TIDE_NOT_FOUND)
        s = make_descriptor(store, o, created, err);
    if (s == TIDE_OK)
        s = complete_keys(store, o, created, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "making the repository \"%s\"", o->url);
    return repo_open(o, out, err);
}

/* ---- what others ask */

struct tide_store *repo_store(const struct repo *r)
{
    return r->store;
}

const char *repo_id(const struct repo *r)
{
    return r->id_hex;
}

bool repo_is_encrypted(const struct repo *r)
{
    return r->descriptor.encrypted;
}

bool repo_is_read_only(const struct repo *r)
{
    return r->read_only;
}

struct tide_cancel *repo_cancel(const struct repo *r)
{
    return r->cancel;
}

enum frame_codec repo_codec(const struct repo *r)
{
    return r->codec;
}

int repo_level(const struct repo *r)
{
    return r->level;
}

uint32_t repo_epoch(const struct repo *r)
{
    return r->descriptor.encrypted ? r->ring.newest : 0;
}

tide_status repo_epoch_key(const struct repo *r, uint32_t epoch, uint8_t out[32], struct tide_err *err)
{
    return key_ring_get(&r->ring, epoch, out, err);
}

tide_status repo_hash_seed(const struct repo *r, uint32_t epoch, uint64_t *seed, struct tide_err *err)
{
    static const char info[] = "tidemark hash seed";
    const uint8_t *id = r->descriptor.id;
    uint8_t key[KEYS_EPOCH_SIZE] = {0}, out[8];
    size_t len = KEYS_ID_SIZE;
    tide_status s = TIDE_OK;
    if (r->descriptor.encrypted) {
        s = repo_epoch_key(r, epoch, key, err);
        len = sizeof(key);
    } else {
        memcpy(key, id, KEYS_ID_SIZE);
    }
    if (s == TIDE_OK)
        s = crypto_hkdf(CRYPTO_BYTES(key, len), CRYPTO_BYTES(id, KEYS_ID_SIZE), CRYPTO_BYTES(info, sizeof(info) - 1),
                        out, sizeof(out), err);
    tide_wipe(key, sizeof(key));
    if (s != TIDE_OK)
        return s;
    *seed = tide_get_be64(out);
    return TIDE_OK;
}

tide_status repo_check_writable(const struct repo *r, struct tide_err *err)
{
    if (!r->read_only)
        return TIDE_OK;
    (void)tide_fail(err, TIDE_REFUSED, "the repository uses features that this version may only read");
    return tide_hint(err, TIDE_REFUSED, "Use a newer version of tidemark.");
}

/* ---- coders kept between calls */

tide_status repo_coder_take(struct repo *r, struct frame_coder **out, struct tide_err *err)
{
    struct frame_coder *c = NULL;
    (void)pthread_mutex_lock(&r->lock);
    if (r->n_coders > 0)
        c = r->coders[--r->n_coders];
    (void)pthread_mutex_unlock(&r->lock);
    if (c == NULL)
        return frame_coder_new(r->codec, r->level, out, err);
    *out = c;
    return TIDE_OK;
}

void repo_coder_give(struct repo *r, struct frame_coder *coder)
{
    if (coder == NULL)
        return;
    (void)pthread_mutex_lock(&r->lock);
    if (r->n_coders < REPO_CODERS) {
        r->coders[r->n_coders++] = coder;
        coder = NULL;
    }
    (void)pthread_mutex_unlock(&r->lock);
    frame_coder_free(coder);
}
