#include "orchestrator/store/store_driver.h"

/*
 * Another store, made to fail: faulty+URL?fault=RULES, and more rules in the environment variable TIDE_FAULTY.
 *
 *   faulty+file:///tmp/repo?fault=put@3=unavailable;get~/packs/=corrupt
 *
 * RULES are joined by ';':
 *
 *   OP[@N[+]][~TEXT]=ACTION   OP: put get list head delete any.  @N: only the N-th such call of this store, @N+: and
 * all behind it.  ~TEXT: only keys with that in them (N counts those). down=FILE                 everything fails
 * while FILE exists; the first word in it (unavailable, full, io, denied) says how, unavailable when there is none
 *
 * ACTION:
 *   unavailable full io denied missing     the call does nothing and fails so (missing: NOT_FOUND)
 *   lost                                   put: stored, and yet "unavailable" is returned
 *   corrupt[:OFFSET]                       get: the byte at OFFSET of the object, or the middle of what is read,
 * differs short                                  get: only half of what was asked for slow:DURATION it takes so much
 * longer; cancellation is seen
 *
 * A large put counts, and fails, at its commit; `down` is looked at with every piece.
 */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/store/store_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#define SCHEME "faulty+"
#define QUERY  "?fault="

struct faulty {
    struct tide_store *inner;
    struct tide_cancel *cancel;
    struct fault_plan *plan;
};

struct faulty_writer {
    struct faulty *store;
    struct store_writer *inner;
    char key[STORE_KEY_MAX + 1];
};

static tide_status wait_for(struct faulty *s, int64_t delay_us, struct tide_err *err)
{
    int64_t end = tide_monotonic_us() + delay_us;
    struct pollfd fd = {.fd = tide_cancel_fd(s->cancel), .events = POLLIN};
    for (int64_t left = delay_us; left > 0; left = end - tide_monotonic_us()) {
        if (tide_cancel_is_set(s->cancel))
            return tide_fail(err, TIDE_CANCELLED, "cancelled while waiting for the store");
        if (poll(&fd, 1, (int)(left / 1000 + 1)) < 0 && errno != EINTR)
            return tide_fail_errno(err, errno, "could not wait");
    }
    return TIDE_OK;
}

static tide_status told_to_fail(tide_status s, const char *key, struct tide_err *err)
{
    return tide_fail(err, s, "\"%s\": the store was told to fail: %s", key, tide_status_name(s));
}

/* What happens to this call; fails when the fault says that nothing is to be done. */
static tide_status strike(struct faulty *s, enum fault_op op, const char *key, struct fault *f, struct tide_err *err)
{
    *f = fault_plan_next(s->plan, op, key);
    tide_status st = wait_for(s, f->delay_us, err);
    return st != TIDE_OK || f->action != FAULT_STATUS ? st : told_to_fail(f->status, key, err);
}

static tide_status lost(const char *key, struct tide_err *err)
{
    return tide_fail(err, TIDE_UNAVAILABLE, "\"%s\": the store was told to lose its answer", key);
}

static tide_status faulty_put(void *self, const char *key, const void *data, size_t len, struct tide_err *err)
{
    struct faulty *s = self;
    struct fault f;
    tide_status st = strike(s, FAULT_PUT, key, &f, err);
    if (st == TIDE_OK)
        st = store_put(s->inner, key, data, len, err);
    return st == TIDE_OK && f.action == FAULT_LOST ? lost(key, err) : st;
}

/* The rules for puts wait for the commit. */
static tide_status strike_piece(struct faulty *s, const char *key, struct tide_err *err)
{
    struct fault f;
    return fault_plan_is_down(s->plan, &f) ? told_to_fail(f.status, key, err) : TIDE_OK;
}

static tide_status faulty_put_begin(void *self, const char *key, void **writer, struct tide_err *err)
{
    struct faulty *s = self;
    tide_status st = strike_piece(s, key, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(tide_freep) struct faulty_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory writing \"%s\"", key);
    w->store = s;
    memcpy(w->key, key, strlen(key) + 1);
    st = store_put_begin(s->inner, key, &w->inner, err);
    if (st != TIDE_OK)
        return st;
    *writer = TIDE_TAKE(w);
    return TIDE_OK;
}

static tide_status faulty_write(void *writer, const void *data, size_t len, struct tide_err *err)
{
    struct faulty_writer *w = writer;
    tide_status st = strike_piece(w->store, w->key, err);
    return st != TIDE_OK ? st : store_writer_write(w->inner, data, len, err);
}

static tide_status faulty_commit(void *writer, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct faulty_writer *w = writer;
    struct fault f;
    tide_status st = strike(w->store, FAULT_PUT, w->key, &f, err);
    if (st != TIDE_OK) {
        store_writer_abort(w->inner);
        return st;
    }
    st = store_writer_commit(w->inner, err);
    return st == TIDE_OK && f.action == FAULT_LOST ? lost(w->key, err) : st;
}

static void faulty_abort(void *writer)
{
    struct faulty_writer *w = writer;
    store_writer_abort(w->inner);
    free(w);
}

static tide_status faulty_get(void *self, const char *key, uint64_t offset, void *data, size_t len, size_t *got,
                              struct tide_err *err)
{
    struct faulty *s = self;
    struct fault f;
    tide_status st = strike(s, FAULT_GET, key, &f, err);
    if (st != TIDE_OK)
        return st;
    if (f.action == FAULT_SHORT)
        len /= 2;
    st = store_get(s->inner, key, offset, data, len, got, err);
    if (st == TIDE_OK && f.action == FAULT_CORRUPT) {
        uint64_t at = f.offset == UINT64_MAX ? offset + *got / 2 : f.offset;
        if (at >= offset && at - offset < *got)
            ((uint8_t *)data)[at - offset] ^= 0x20;
    }
    return st;
}

static tide_status faulty_head(void *self, const char *key, uint64_t *size, int64_t *mtime_us, struct tide_err *err)
{
    struct faulty *s = self;
    struct fault f;
    tide_status st = strike(s, FAULT_HEAD, key, &f, err);
    return st != TIDE_OK ? st : store_head(s->inner, key, size, mtime_us, err);
}

static tide_status faulty_list(void *self, const char *prefix, const char *after, uint64_t limit, bool folder,
                               store_list_fn *fn, void *ctx, struct tide_err *err)
{
    struct faulty *s = self;
    struct fault f;
    tide_status st = strike(s, FAULT_LIST, prefix, &f, err);
    if (st != TIDE_OK)
        return st;
    return folder ? store_list_folder(s->inner, prefix, fn, ctx, err)
                  : store_list(s->inner, prefix, after, limit, fn, ctx, err);
}

static tide_status faulty_remove(void *self, const char *key, struct tide_err *err)
{
    struct faulty *s = self;
    struct fault f;
    tide_status st = strike(s, FAULT_DELETE, key, &f, err);
    return st != TIDE_OK ? st : store_delete(s->inner, key, err);
}

static tide_status faulty_now(void *self, int64_t *now_us, struct tide_err *err)
{
    struct faulty *s = self;
    tide_status st = strike_piece(s, "", err);
    return st != TIDE_OK ? st : store_now(s->inner, now_us, err);
}

static void faulty_close(void *self)
{
    struct faulty *s = self;
    if (s == NULL)
        return;
    store_close(s->inner);
    fault_plan_free(s->plan);
    free(s);
}

static void faulty_closep(struct faulty **s)
{
    faulty_close(*s);
}

static tide_status read_rules(struct faulty *s, const char *query, struct tide_err *err)
{
    char rules[TIDE_PATH_MAX] = "";
    if (query != NULL) {
        const char *text = query + sizeof QUERY - 1;
        tide_status st = store_url_decode(text, strlen(text), rules, sizeof rules, err);
        if (st != TIDE_OK)
            return st;
    }
    return fault_plan_new((const char *const[]){rules, getenv("TIDE_FAULTY")}, 2, &s->plan, err);
}

static tide_status faulty_open(const struct store_options *o, void **self, uint32_t *features, struct tide_err *err)
{
    TIDE_AUTO(faulty_closep) struct faulty *s = calloc(1, sizeof *s);
    const char *query = strstr(o->url, QUERY), *url = o->url + sizeof SCHEME - 1;
    TIDE_AUTO(tide_freep) char *inner_url = query == NULL ? strdup(url) : strndup(url, (size_t)(query - url));
    if (s == NULL || inner_url == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory opening \"%s\"", o->url);
    s->cancel = o->cancel;
    tide_status st = read_rules(s, query, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "opening \"%s\"", o->url);
    st = store_open(&(struct store_options){.url = inner_url, .cancel = o->cancel, .create = o->create}, &s->inner,
                    err);
    if (st != TIDE_OK)
        return st;
    *features = store_features(s->inner);
    *self = TIDE_TAKE(s);
    return TIDE_OK;
}

const struct store_driver store_faulty_driver = {
    .scheme = SCHEME,
    .open = faulty_open,
    .close = faulty_close,
    .put = faulty_put,
    .put_begin = faulty_put_begin,
    .write = faulty_write,
    .commit = faulty_commit,
    .abort = faulty_abort,
    .get = faulty_get,
    .head = faulty_head,
    .list = faulty_list,
    .remove = faulty_remove,
    .now = faulty_now,
};
