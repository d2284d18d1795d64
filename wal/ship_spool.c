#include "wal/ship_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "wal/backoff.h"
#include "wal/pos.h"
#include <string.h>

/*
 * confirm = spool.  A piece is first stored in a directory on this host, under the same key and sealed with the same
 * keys; then it is confirmed to the server.  The drainer copies objects in key order, which within a lineage is log
 * order, and deletes each from the spool when the repository has it.
 */

static void spool_prefix(const struct ship *s, char out[REPO_KEY_MAX])
{
    (void)snprintf(out, REPO_KEY_MAX, "instances/%s/log/", s->o->instance);
}

static tide_status add_size(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct ship *s = ctx;
    struct log_name n;

    (void)err;
    if (log_name_parse(e->key, &n))
        s->state.spooled_bytes += pos_distance(n.start, n.end);
    return TIDE_OK;
}

tide_status ship_spool_open(struct ship *s, struct tide_err *err)
{
    char prefix[REPO_KEY_MAX];
    tide_status st = repo_open_spool(s->o->repo, s->o->spool_directory, &s->spool, err);

    if (st != TIDE_OK)
        return tide_wrap(err, st, "opening the spool of \"%s\"", s->o->instance);
    spool_prefix(s, prefix);
    st = store_list(repo_store(s->spool), prefix, NULL, 0, add_size, s, err);
    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    return st;
}

static uint64_t spool_size(const struct log_name *n)
{
    return pos_distance(n->start, n->end);
}

tide_status ship_spool_store(struct ship *s, struct log_piece *p, struct tide_err *err)
{
    uint64_t size = spool_size(&p->info.name);

    ship_lock(s);
    bool full = s->state.spooled_bytes > 0 && s->state.spooled_bytes + size > s->o->spool_limit;
    ship_unlock(s);
    if (full)
        return tide_fail(err, TIDE_FULL, "the spool has reached its limit; log waits on the server");
    tide_status st = log_piece_put(s->spool, s->o->instance, p, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "spooling");
    ship_lock(s);
    s->state.spooled_bytes += size;
    s->spool_puts++;
    ship_changed(s);
    ship_unlock(s);
    return TIDE_OK;
}

bool ship_spool_wait_empty(struct ship *s)
{
    ship_lock(s);
    while (s->state.spooled_bytes > 0 && !ship_stopping(s))
        ship_wait(s, TIDE_SECOND_US);
    bool empty = s->state.spooled_bytes == 0;
    ship_unlock(s);
    return empty;
}

/* ---- the drainer */

struct oldest {
    char key[REPO_KEY_MAX];
    struct log_name name;
    bool found;
};

static tide_status take_oldest(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct oldest *o = ctx;

    if (!log_name_parse(e->key, &o->name))
        return TIDE_OK;
    (void)snprintf(o->key, sizeof o->key, "%s", e->key);
    o->found = true;
    return tide_fail(err, TIDE_EXISTS, "seen enough");
}

static tide_status find_oldest(struct ship *s, struct oldest *o, struct tide_err *err)
{
    char prefix[REPO_KEY_MAX];

    o->found = false;
    spool_prefix(s, prefix);
    tide_status st = store_list(repo_store(s->spool), prefix, NULL, 0, take_oldest, o, err);
    if (st == TIDE_EXISTS || st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    return st;
}

static tide_status copy(struct ship *s, const char *key, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf content = TIDE_BUF_INIT(LOG_OBJECT_MAX_BYTES);
    TIDE_AUTO(log_info_clear) struct log_info info = {0};
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = NULL;
    size_t n_refs = 0;
    tide_status st = log_object_read(s->spool, key, &info, &content, err);

    if (st == TIDE_OK)
        st = log_object_refs(s->spool, key, &refs, &n_refs, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "reading the spool");
    st = log_object_put(s->o->repo, s->o->instance, &info, content.data, refs, n_refs, err);
    if (st != TIDE_OK)
        return st;
    TIDE_FAILPOINT("spool-before-drain-delete", err);
    return store_delete(repo_store(s->spool), key, err);
}

static void drained(struct ship *s, const struct log_name *n)
{
    uint64_t size = spool_size(n);

    ship_lock(s);
    s->state.spooled_bytes -= size < s->state.spooled_bytes ? size : s->state.spooled_bytes;
    /* Only the live lineage's end says something about now. */
    if (n->lineage == s->state.lineage && pos_before(s->state.durable, n->end))
        ship_stored(s, n->end, n->max_us);
    ship_problem(s, s->drain_problem, "wal.ship.drained", NULL);
    ship_changed(s);
    ship_unlock(s);
}

/* Nothing was found: whatever the sizes said, unless something came meanwhile.  False when nothing will come. */
static bool drain_idle(struct ship *s, uint64_t puts)
{
    ship_lock(s);
    if (!s->storing && s->spool_puts == puts)
        s->state.spooled_bytes = 0;
    ship_changed(s);
    bool over = s->drain_ending && s->spool_puts == puts;
    if (!over && s->spool_puts == puts)
        ship_wait(s, TIDE_SECOND_US / 5);
    ship_unlock(s);
    return !over;
}

void *ship_drain_main(void *arg)
{
    struct ship *s = arg;
    struct backoff b = {.seed = (uint64_t)tide_now_us() ^ 0xd12a};

    for (;;) {
        struct tide_err err = TIDE_ERR_INIT;
        struct oldest o;
        bool last_try = ship_stopping(s);
        ship_lock(s);
        uint64_t puts = s->spool_puts;
        ship_unlock(s);
        tide_status st = find_oldest(s, &o, &err);
        if (st == TIDE_OK && !o.found) {
            if (!drain_idle(s, puts))
                return NULL;
            continue;
        }
        if (st == TIDE_OK)
            st = copy(s, o.key, &err);
        if (st == TIDE_OK) {
            drained(s, &o.name);
            backoff_reset(&b);
            continue;
        }
        if (st == TIDE_CORRUPT)
            ship_fatal(s, st, &err);
        /* What cannot be copied now waits in the spool for the next shipper. */
        if (st == TIDE_CORRUPT || last_try)
            return NULL;
        ship_lock(s);
        ship_problem(s, s->drain_problem, "wal.ship.not_drained", err.msg);
        ship_unlock(s);
        (void)ship_pause(s, backoff_next(&b));
    }
}
