#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/store/store_internal.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* One page of an S3 listing: the unit in which listings are counted with every driver. */
#define LIST_PAGE     1000u
#define GET_ALL_FIRST 65536u

static const struct store_driver *const drivers[] = {&store_posix_driver, &store_faulty_driver};

struct tide_store {
    const struct store_driver *driver;
    void *self;
    uint32_t features;
    char *url;
    _Atomic uint64_t puts, gets, lists, heads, deletes, bytes_out, bytes_in;
};

struct store_writer {
    struct tide_store *store;
    void *self;
};

static void store_freep(struct tide_store **s)
{
    if (*s != NULL)
        free((*s)->url);
    free(*s);
}

static const struct store_driver *driver_for(const char *url)
{
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++) {
        size_t len = strlen(drivers[i]->scheme);
        /* "faulty+" is a prefix of another scheme, the others end at the colon. */
        if (strncmp(url, drivers[i]->scheme, len) == 0 && (drivers[i]->scheme[len - 1] == '+' || url[len] == ':'))
            return drivers[i];
    }
    return NULL;
}

tide_status store_open(const struct store_options *o, struct tide_store **out, struct tide_err *err)
{
    const struct store_driver *driver = driver_for(o->url);
    if (driver == NULL) {
        tide_status s =
            tide_fail(err, TIDE_INVALID, "the repository's url \"%s\" has no scheme that is known", o->url);
        return tide_hint(err, s, "A directory is written file:///srv/backups.");
    }
    TIDE_AUTO(store_freep) struct tide_store *store = calloc(1, sizeof *store);
    if (store == NULL || (store->url = strdup(o->url)) == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory opening \"%s\"", o->url);
    store->driver = driver;
    tide_status s = driver->open(o, &store->self, &store->features, err);
    if (s != TIDE_OK)
        return s;
    *out = TIDE_TAKE(store);
    return TIDE_OK;
}

void store_close(struct tide_store *s)
{
    if (s == NULL)
        return;
    s->driver->close(s->self);
    store_freep(&s);
}

uint32_t store_features(const struct tide_store *s)
{
    return s->features;
}

const char *store_url(const struct tide_store *s)
{
    return s->url;
}

struct store_counters store_counters(const struct tide_store *s)
{
    return (struct store_counters){.puts = s->puts,
                                   .gets = s->gets,
                                   .lists = s->lists,
                                   .heads = s->heads,
                                   .deletes = s->deletes,
                                   .bytes_out = s->bytes_out,
                                   .bytes_in = s->bytes_in};
}

tide_status store_put(struct tide_store *s, const char *key, const void *data, size_t len, struct tide_err *err)
{
    tide_status st = store_key_check(key, err);
    if (st != TIDE_OK)
        return st;
    s->puts++;
    st = s->driver->put(s->self, key, data, len, err);
    if (st == TIDE_OK)
        s->bytes_out += len;
    return st;
}

tide_status store_put_begin(struct tide_store *s, const char *key, struct store_writer **out, struct tide_err *err)
{
    tide_status st = store_key_check(key, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(tide_freep) struct store_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory writing \"%s\"", key);
    w->store = s;
    s->puts++;
    st = s->driver->put_begin(s->self, key, &w->self, err);
    if (st != TIDE_OK)
        return st;
    *out = TIDE_TAKE(w);
    return TIDE_OK;
}

tide_status store_writer_write(struct store_writer *w, const void *data, size_t len, struct tide_err *err)
{
    tide_status st = w->store->driver->write(w->self, data, len, err);
    if (st == TIDE_OK)
        w->store->bytes_out += len;
    return st;
}

tide_status store_writer_commit(struct store_writer *w, struct tide_err *err)
{
    tide_status st = w->store->driver->commit(w->self, err);
    free(w);
    return st;
}

void store_writer_abort(struct store_writer *w)
{
    if (w == NULL)
        return;
    w->store->driver->abort(w->self);
    free(w);
}

tide_status store_get(struct tide_store *s, const char *key, uint64_t offset, void *data, size_t len, size_t *got,
                      struct tide_err *err)
{
    tide_status st = store_key_check(key, err);
    if (st != TIDE_OK)
        return st;
    s->gets++;
    st = s->driver->get(s->self, key, offset, data, len, got, err);
    if (st == TIDE_OK)
        s->bytes_in += *got;
    return st;
}

/* Reads until a request comes back short; small objects, the usual ones, cost one request. */
static tide_status get_growing(struct tide_store *s, const char *key, struct tide_buf *out, struct tide_err *err)
{
    uint64_t offset = 0;
    for (size_t want = GET_ALL_FIRST;; want = want < SIZE_MAX / 4 ? want * 4 : want) {
        size_t room = out->max - out->len, got = 0;
        uint8_t probe;
        bool full = room == 0;
        size_t ask = full ? 1 : want < room ? want : room;
        if (!full && !tide_buf_reserve(out, ask))
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory reading \"%s\"", key);
        tide_status st = store_get(s, key, offset, full ? &probe : out->data + out->len, ask, &got, err);
        if (st != TIDE_OK)
            return st;
        if (full && got > 0)
            return tide_fail(err, TIDE_CORRUPT, "\"%s\" is larger than the %zu bytes it may have", key, out->max);
        if (full)
            return TIDE_OK;
        out->len += got;
        out->data[out->len] = 0;
        offset += got;
        if (got < ask)
            return TIDE_OK;
    }
}

tide_status store_get_all(struct tide_store *s, const char *key, struct tide_buf *out, struct tide_err *err)
{
    size_t before = out->len;
    tide_status st = get_growing(s, key, out, err);
    if (st != TIDE_OK && out->data != NULL) {
        out->len = before;
        out->data[before] = 0;
    }
    return st;
}

tide_status store_get_tail(struct tide_store *s, const char *key, void *data, size_t len, size_t *got, uint64_t *size,
                           struct tide_err *err)
{
    uint64_t all = 0;
    tide_status st = store_head(s, key, &all, NULL, err);
    if (st != TIDE_OK)
        return st;
    size_t want = all < len ? (size_t)all : len;
    st = store_get(s, key, all - want, data, want, got, err);
    if (st != TIDE_OK)
        return st;
    if (*got != want)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" ends early: %zu of its last %zu bytes", key, *got, want);
    *size = all;
    return TIDE_OK;
}

tide_status store_head(struct tide_store *s, const char *key, uint64_t *size, int64_t *mtime_us, struct tide_err *err)
{
    tide_status st = store_key_check(key, err);
    if (st != TIDE_OK)
        return st;
    s->heads++;
    uint64_t size_ = 0;
    int64_t mtime = 0;
    st = s->driver->head(s->self, key, &size_, &mtime, err);
    if (st != TIDE_OK)
        return st;
    if (size != NULL)
        *size = size_;
    if (mtime_us != NULL)
        *mtime_us = mtime;
    return TIDE_OK;
}

struct counting {
    struct tide_store *store;
    store_list_fn *fn;
    void *ctx;
    uint64_t seen;
};

static tide_status count_entry(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct counting *c = ctx;
    if (c->seen++ % LIST_PAGE == 0 && c->seen > 1)
        c->store->lists++;
    return c->fn(c->ctx, e, err);
}

static tide_status list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, bool folder,
                        store_list_fn *fn, void *ctx, struct tide_err *err)
{
    tide_status st = store_prefix_check(prefix, err);
    if (st != TIDE_OK)
        return st;
    struct counting c = {.store = s, .fn = fn, .ctx = ctx};
    s->lists++;
    return s->driver->list(s->self, prefix, after, limit, folder, count_entry, &c, err);
}

tide_status store_list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, store_list_fn *fn,
                       void *ctx, struct tide_err *err)
{
    return list(s, prefix, after, limit, false, fn, ctx, err);
}

tide_status store_list_folder(struct tide_store *s, const char *prefix, store_list_fn *fn, void *ctx,
                              struct tide_err *err)
{
    return list(s, prefix, NULL, 0, true, fn, ctx, err);
}

tide_status store_delete(struct tide_store *s, const char *key, struct tide_err *err)
{
    tide_status st = store_key_check(key, err);
    if (st != TIDE_OK)
        return st;
    s->deletes++;
    return s->driver->remove(s->self, key, err);
}

tide_status store_now(struct tide_store *s, int64_t *now_us, struct tide_err *err)
{
    return s->driver->now(s->self, now_us, err);
}
