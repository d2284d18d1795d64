#include "orchestrator/repository/pack_source.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Open packs are small (a header and a key); their relocations are not, but those are rare. */
#define HANDLES 128u

struct pack_source {
    struct repo *repo;
    char instance[REPO_NAME_MAX + 1];
    uint64_t seed;
    pthread_mutex_t lock;
    uint64_t clock;
    struct pack_handle *handles[HANDLES];
};

tide_status pack_source_new(struct repo *r, const char *instance, uint32_t hash_epoch, struct pack_source **out,
                            struct tide_err *err)
{
    uint64_t seed = 0;
    tide_status st = repo_hash_seed(r, hash_epoch, &seed, err);
    if (st != TIDE_OK)
        return st;
    struct pack_source *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading packs");
    s->repo = r;
    s->seed = seed;
    (void)snprintf(s->instance, sizeof s->instance, "%s", instance);
    (void)pthread_mutex_init(&s->lock, NULL);
    *out = s;
    return TIDE_OK;
}

bool pack_is_damage(tide_status s, const struct tide_err *why)
{
    return s == TIDE_CORRUPT || s == TIDE_NOT_FOUND || s == TIDE_UNSUPPORTED ||
           (s == TIDE_DENIED && why->os_errno == 0);
}

static void handle_free(struct pack_handle *h)
{
    if (h == NULL)
        return;
    object_reader_close(h->object);
    relocation_free(h->moved);
    free(h);
}

void pack_source_free(struct pack_source *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < HANDLES; i++)
        handle_free(s->handles[i]);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

uint64_t pack_source_seed(const struct pack_source *s)
{
    return s->seed;
}

struct repo *pack_source_repo(const struct pack_source *s)
{
    return s->repo;
}

const char *pack_source_instance(const struct pack_source *s)
{
    return s->instance;
}

static tide_status open_moved(struct pack_source *s, struct pack_handle *h, struct tide_err *err)
{
    struct tide_err moved = TIDE_ERR_INIT;
    tide_status st = relocation_load(s->repo, s->instance, h->id, &h->moved, &moved);
    /* When there is no relocation either, the text that names the pack is the better one. */
    if (st == TIDE_NOT_FOUND)
        return st;
    if (st != TIDE_OK) {
        if (err != NULL)
            *err = moved;
        return st;
    }
    pack_key(s->instance, h->moved->pack, h->key);
    h->seal = &h->moved->seal;
    return TIDE_OK;
}

static tide_status handle_open(struct pack_source *s, const uint8_t *id, struct pack_handle **out,
                               struct tide_err *err)
{
    struct pack_handle *h = calloc(1, sizeof *h);
    if (h == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a pack");
    memcpy(h->id, id, sizeof h->id);
    pack_key(s->instance, id, h->key);
    tide_status st = object_reader_open(s->repo, h->key, OBJECT_PACK, &h->object, err);
    if (st == TIDE_OK)
        h->seal = object_reader_seal(h->object);
    else if (st == TIDE_NOT_FOUND)
        st = open_moved(s, h, err);
    /* The key says which pack; the header must agree. */
    if (st == TIDE_OK && h->object != NULL && memcmp(object_reader_header(h->object)->id, id, OBJECT_ID_SIZE) != 0)
        st = tide_fail(err, TIDE_CORRUPT, "object \"%s\" has the header of another pack", h->key);
    if (st != TIDE_OK) {
        handle_free(h);
        return st;
    }
    *out = h;
    return TIDE_OK;
}

/* All below: with the lock held. */

static struct pack_handle *find_handle(struct pack_source *s, const uint8_t *id)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        if (s->handles[i] != NULL && memcmp(s->handles[i]->id, id, OBJECT_ID_SIZE) == 0)
            return s->handles[i];
    }
    return NULL;
}

/* Keeps h for later in a free place, or in that of the one not used for longest; false when all are in use. */
static bool keep_handle(struct pack_source *s, struct pack_handle *h)
{
    unsigned place = HANDLES;
    for (unsigned i = 0; i < HANDLES; i++) {
        struct pack_handle *old = s->handles[i];
        if (old == NULL) {
            s->handles[i] = h;
            return true;
        }
        if (old->users == 0 && (place == HANDLES || old->used < s->handles[place]->used))
            place = i;
    }
    if (place == HANDLES)
        return false;
    handle_free(s->handles[place]);
    s->handles[place] = h;
    return true;
}

static bool is_kept(const struct pack_source *s, const struct pack_handle *h)
{
    for (unsigned i = 0; i < HANDLES; i++) {
        if (s->handles[i] == h)
            return true;
    }
    return false;
}

static struct pack_handle *use_handle(struct pack_source *s, struct pack_handle *h)
{
    h->users++;
    h->used = ++s->clock;
    return h;
}

tide_status pack_source_acquire(struct pack_source *s, const uint8_t id[OBJECT_ID_SIZE], struct pack_handle **out,
                                struct tide_err *err)
{
    (void)pthread_mutex_lock(&s->lock);
    struct pack_handle *h = find_handle(s, id);
    if (h != NULL)
        *out = use_handle(s, h);
    (void)pthread_mutex_unlock(&s->lock);
    if (h != NULL)
        return TIDE_OK;

    tide_status st = handle_open(s, id, &h, err);
    if (st != TIDE_OK)
        return st;
    (void)pthread_mutex_lock(&s->lock);
    struct pack_handle *other = find_handle(s, id); /* another thread was faster */
    if (other != NULL) {
        handle_free(h);
        h = other;
    } else {
        (void)keep_handle(s, h);
    }
    *out = use_handle(s, h);
    (void)pthread_mutex_unlock(&s->lock);
    return TIDE_OK;
}

void pack_source_release(struct pack_source *s, struct pack_handle *h)
{
    if (h == NULL)
        return;
    (void)pthread_mutex_lock(&s->lock);
    bool last = --h->users == 0 && !is_kept(s, h);
    (void)pthread_mutex_unlock(&s->lock);
    if (last)
        handle_free(h);
}

void pack_source_forget(struct pack_source *s, const struct pack_handle *h)
{
    (void)pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < HANDLES; i++) {
        if (s->handles[i] == h)
            s->handles[i] = NULL; /* whoever releases it last frees it */
    }
    (void)pthread_mutex_unlock(&s->lock);
}
