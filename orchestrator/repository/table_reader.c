#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/blockmap.h"
#include "orchestrator/repository/sorter.h"
#include "orchestrator/repository/table_node.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_MAX 512u

struct table {
    struct pack_source *source;
    struct pack_ref root;
    enum table_type type;
    size_t cache;
    pthread_mutex_t lock;
    /* under lock */
    struct table_node *kept[KEPT_MAX];
    unsigned n_kept;
    size_t kept_bytes;
    uint64_t clock;
};

struct table_cursor {
    struct table *table;
    struct pack_reader *reader;
    struct table_node *path[NODE_LEVELS]; /* root first */
    uint32_t at[NODE_LEVELS];             /* the record to be visited next */
    unsigned depth;
    table_bad_fn *bad;
    void *bad_ctx;
};

tide_status table_open(struct pack_source *source, const struct pack_ref *root, enum table_type type, size_t cache,
                       struct table **out, struct tide_err *err)
{
    struct table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a table");
    t->source = source;
    t->root = *root;
    t->type = type;
    t->cache = cache;
    (void)pthread_mutex_init(&t->lock, NULL);
    *out = t;
    return TIDE_OK;
}

static void node_free(struct table_node *n)
{
    if (n == NULL)
        return;
    tide_buf_clear(&n->plain);
    free(n->offsets);
    free(n);
}

void table_close(struct table *t)
{
    if (t == NULL)
        return;
    for (unsigned i = 0; i < t->n_kept; i++)
        node_free(t->kept[i]);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}

/* ------------------------------------------------------------------ nodes */

static size_t node_bytes(const struct table_node *n)
{
    return n->plain.cap + n->n * sizeof *n->offsets + sizeof *n;
}

static bool same_frame(const struct pack_ref *a, const struct pack_ref *b)
{
    return a->frame.number == b->frame.number && memcmp(a->pack, b->pack, OBJECT_ID_SIZE) == 0 &&
           memcmp(a->hash, b->hash, FRAME_HASH_SIZE) == 0;
}

/* With the lock held. */
static struct table_node *find_kept(struct table *t, const struct pack_ref *ref)
{
    for (unsigned i = 0; i < t->n_kept; i++) {
        struct table_node *n = t->kept[i];
        if (same_frame(&n->ref, ref)) {
            n->users++;
            n->used = ++t->clock;
            return n;
        }
    }
    return NULL;
}

static void drop_kept(struct table *t, unsigned i)
{
    struct table_node *n = t->kept[i];
    t->kept_bytes -= node_bytes(n);
    t->kept[i] = t->kept[--t->n_kept];
    n->kept = false;
    if (n->users == 0)
        node_free(n);
}

/* With the lock held: makes room by dropping what was not used for longest. */
static void keep(struct table *t, struct table_node *n)
{
    while (t->n_kept > 0 && (t->n_kept == KEPT_MAX || t->kept_bytes + node_bytes(n) > t->cache)) {
        unsigned oldest = 0;
        for (unsigned i = 1; i < t->n_kept; i++) {
            if (t->kept[i]->used < t->kept[oldest]->used)
                oldest = i;
        }
        drop_kept(t, oldest);
    }
    n->kept = true;
    t->kept[t->n_kept++] = n;
    t->kept_bytes += node_bytes(n);
}

static void node_release(struct table *t, struct table_node *n)
{
    if (n == NULL)
        return;
    (void)pthread_mutex_lock(&t->lock);
    bool last = --n->users == 0 && !n->kept;
    (void)pthread_mutex_unlock(&t->lock);
    if (last)
        node_free(n);
}

static tide_status node_load(struct table *t, struct pack_reader *r, const struct pack_ref *ref, bool root,
                             struct table_node **out, struct tide_err *err)
{
    struct table_node *n = calloc(1, sizeof *n);
    if (n == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a table's node");
    n->ref = *ref;
    n->plain.max = FRAME_MAX_PLAIN;
    /* The kind follows from the level, which the node itself tells; only its parent knows which it must be. */
    tide_status s = pack_reader_frame(r, ref, root ? FRAME_ROOT : FRAME_TABLE, ref->hash, &n->plain, err);
    if (s == TIDE_OK) {
        s = table_node_parse(n, t->type, err);
        if (s == TIDE_OK && (n->level > 0) != root)
            s = tide_fail(err, TIDE_CORRUPT, "a table's node has level %u", n->level);
        if (s != TIDE_OK) {
            char key[REPO_KEY_MAX];
            pack_key(pack_source_instance(t->source), ref->pack, key);
            s = tide_wrap(err, s, "object \"%s\": frame %u", key, ref->frame.number);
        }
    }
    if (s != TIDE_OK) {
        node_free(n);
        return s;
    }
    *out = n;
    return TIDE_OK;
}

static tide_status node_acquire(struct table *t, struct pack_reader *r, const struct pack_ref *ref, bool root,
                                struct table_node **out, struct tide_err *err)
{
    (void)pthread_mutex_lock(&t->lock);
    struct table_node *n = find_kept(t, ref);
    (void)pthread_mutex_unlock(&t->lock);
    if (n == NULL) {
        tide_status s = node_load(t, r, ref, root, &n, err);
        if (s != TIDE_OK)
            return s;
        (void)pthread_mutex_lock(&t->lock);
        struct table_node *other = find_kept(t, ref);
        if (other != NULL) {
            node_free(n);
            n = other;
        } else {
            n->users = 1;
            n->used = ++t->clock;
            keep(t, n);
        }
        (void)pthread_mutex_unlock(&t->lock);
    }
    *out = n;
    return TIDE_OK;
}

/* The node at position i below n. */
static tide_status child_acquire(struct table *t, struct pack_reader *r, const struct table_node *n, uint32_t i,
                                 struct table_node **out, struct tide_err *err)
{
    struct pack_ref ref;
    if (!table_node_child_ref(n, i, &ref))
        return tide_fail(err, TIDE_CORRUPT, "a table's node has no valid reference");
    tide_status s = node_acquire(t, r, &ref, n->level > 1, out, err);
    if (s == TIDE_OK && (*out)->level + 1 != n->level) {
        node_release(t, *out);
        return tide_fail(err, TIDE_CORRUPT, "a table's node has level %u below level %u", (*out)->level, n->level);
    }
    return s;
}

/* ------------------------------------------------------------------ by key */

/* Not the record is missing, but a pack that the table needs. */
static tide_status missing_is_corrupt(tide_status s, struct tide_err *err)
{
    if (s != TIDE_NOT_FOUND)
        return s;
    if (err != NULL)
        err->status = TIDE_CORRUPT;
    return TIDE_CORRUPT;
}

/* Down to the node of `level` that covers key. */
static tide_status descend(struct table *t, struct pack_reader *r, const void *key, size_t key_len, unsigned level,
                           struct table_node **out, struct tide_err *err)
{
    struct table_node *n = NULL;
    tide_status s = node_acquire(t, r, &t->root, true, &n, err);
    while (s == TIDE_OK && n->level > level && n->n > 0) {
        struct table_node *child = NULL;
        s = child_acquire(t, r, n, table_node_child(n, key, key_len), &child, err);
        node_release(t, n);
        n = child;
    }
    if (s == TIDE_OK)
        *out = n;
    return s;
}

tide_status table_get(struct table *t, struct pack_reader *r, const void *key, size_t key_len, struct tide_buf *value,
                      struct tide_err *err)
{
    struct table_node *n = NULL;
    tide_status s = descend(t, r, key, key_len, 0, &n, err);
    if (s != TIDE_OK)
        return missing_is_corrupt(s, err);
    uint32_t i = n->level == 0 ? table_node_lower(n, key, key_len) : n->n;
    s = TIDE_NOT_FOUND;
    if (i < n->n) {
        struct table_record rec = table_node_record(n, i);
        if (sorter_compare(rec.key, rec.key_len, key, key_len) == 0) {
            tide_buf_append(value, rec.value, rec.value_len);
            s = tide_buf_check(value, "a table's value", err);
        }
    }
    node_release(t, n);
    return s;
}

tide_status table_node_at(struct table *t, struct pack_reader *r, const void *key, size_t key_len,
                          struct pack_ref *ref, struct tide_err *err)
{
    struct table_node *n = NULL;
    tide_status s = descend(t, r, key, key_len, 1, &n, err);
    if (s != TIDE_OK)
        return missing_is_corrupt(s, err);
    uint32_t i = table_node_lower(n, key, key_len);
    s = TIDE_NOT_FOUND;
    if (i < n->n) {
        struct table_record rec = table_node_record(n, i);
        if (sorter_compare(rec.key, rec.key_len, key, key_len) == 0 && table_node_child_ref(n, i, ref))
            s = TIDE_OK;
    }
    node_release(t, n);
    return s;
}

/* ------------------------------------------------------------------ in order */

tide_status table_cursor_new(struct table *t, struct pack_reader *r, const void *key, size_t key_len,
                             struct table_cursor **out, struct tide_err *err)
{
    struct table_cursor *c = calloc(1, sizeof *c);
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading a table");
    c->table = t;
    c->reader = r;
    tide_status s = node_acquire(t, r, &t->root, true, &c->path[0], err);
    if (s == TIDE_OK) {
        c->depth = 1;
        c->at[0] = key == NULL ? 0 : table_node_child(c->path[0], key, key_len);
    }
    while (s == TIDE_OK && key != NULL && c->path[c->depth - 1]->level > 0 && c->path[c->depth - 1]->n > 0) {
        unsigned d = c->depth;
        s = child_acquire(t, r, c->path[d - 1], c->at[d - 1], &c->path[d], err);
        if (s != TIDE_OK)
            break;
        c->at[d - 1]++;
        c->depth++;
        c->at[d] = c->path[d]->level > 0 ? table_node_child(c->path[d], key, key_len)
                                         : table_node_lower(c->path[d], key, key_len);
    }
    if (s != TIDE_OK) {
        table_cursor_free(c);
        return missing_is_corrupt(s, err);
    }
    *out = c;
    return TIDE_OK;
}

void table_cursor_free(struct table_cursor *c)
{
    if (c == NULL)
        return;
    while (c->depth > 0)
        node_release(c->table, c->path[--c->depth]);
    free(c);
}

void table_cursor_skip_bad(struct table_cursor *c, table_bad_fn *bad, void *ctx)
{
    c->bad = bad;
    c->bad_ctx = ctx;
}

/* One level down, to the child that is next in the deepest node. */
static tide_status step_down(struct table_cursor *c, struct tide_err *err)
{
    unsigned d = c->depth;
    struct tide_err why = TIDE_ERR_INIT;
    uint32_t i = c->at[d - 1]++;
    tide_status s = child_acquire(c->table, c->reader, c->path[d - 1], i, &c->path[d], &why);
    if (s == TIDE_OK) {
        c->at[d] = 0;
        c->depth++;
        return TIDE_OK;
    }
    if (c->bad != NULL && pack_is_damage(s, &why)) {
        struct pack_ref ref = {.frame.number = 0};
        (void)table_node_child_ref(c->path[d - 1], i, &ref);
        c->bad(c->bad_ctx, &ref, &why);
        return TIDE_OK;
    }
    if (err != NULL)
        *err = why;
    return missing_is_corrupt(s, err);
}

tide_status table_cursor_next(struct table_cursor *c, struct table_record *out, struct tide_err *err)
{
    for (;;) {
        struct table_node *n = c->path[c->depth - 1];
        if (c->at[c->depth - 1] < n->n && n->level == 0) {
            *out = table_node_record(n, c->at[c->depth - 1]++);
            return TIDE_OK;
        }
        if (c->at[c->depth - 1] < n->n) {
            tide_status s = step_down(c, err);
            if (s != TIDE_OK)
                return s;
            continue;
        }
        if (c->depth == 1)
            return TIDE_NOT_FOUND;
        node_release(c->table, c->path[--c->depth]);
    }
}
