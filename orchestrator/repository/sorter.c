#include "orchestrator/repository/sorter.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNS_MAX    32u /* runs that are merged at once; more are merged into one first */
#define RUN_BUFFER  (128u << 10)
#define MEMORY_MIN  (256u << 10)
#define RECORD_HEAD 6u /* be16 key length, be32 value length */

/* A sorted run in a file, and the window of it that is in memory. */
struct run {
    int fd;
    uint64_t size, at; /* at: file offset behind the window */
    uint8_t *window;
    size_t start, len, capacity;
    struct sorter_record now;
    bool ended;
};

struct sorter {
    pthread_mutex_t lock;
    char directory[TIDE_PATH_MAX];
    /* records before they are spilled: bytes, and where each begins */
    uint8_t *arena;
    size_t arena_size, arena_len;
    uint32_t *index;
    size_t n, index_size;
    struct run runs[RUNS_MAX];
    unsigned n_runs, spills;
    bool reading;
    size_t next;       /* reading: position in index */
    struct run *taken; /* the run whose record was given out last */
};

int sorter_compare(const void *a, size_t a_len, const void *b, size_t b_len)
{
    size_t len = a_len < b_len ? a_len : b_len;
    int c = len == 0 ? 0 : memcmp(a, b, len);
    if (c != 0)
        return c;
    return a_len < b_len ? -1 : a_len > b_len;
}

tide_status sorter_temporary(const char *directory, int *fd, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    const char *dir = directory != NULL && *directory != '\0' ? directory : getenv("TMPDIR");
    if (dir == NULL || *dir == '\0')
        dir = access("/var/tmp", W_OK) == 0 ? "/var/tmp" : "/tmp";
    tide_status s = tide_path_join(path, dir, "tidemark-sort-XXXXXX", err);
    if (s != TIDE_OK)
        return s;
    *fd = mkostemp(path, O_CLOEXEC);
    if (*fd < 0)
        return tide_fail_errno(err, errno, "could not make a temporary file in \"%s\"", dir);
    (void)unlink(path);
    return TIDE_OK;
}

tide_status sorter_new(size_t memory, const char *directory, struct sorter **out, struct tide_err *err)
{
    struct sorter *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a sorter");
    (void)pthread_mutex_init(&s->lock, NULL);
    if (directory != NULL)
        (void)snprintf(s->directory, sizeof s->directory, "%s", directory);
    s->arena_size = memory < MEMORY_MIN ? MEMORY_MIN : memory;
    s->index_size = s->arena_size / 32;
    s->arena = malloc(s->arena_size);
    s->index = malloc(s->index_size * sizeof *s->index);
    if (s->arena == NULL || s->index == NULL || s->arena_size > UINT32_MAX) {
        sorter_free(s);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a sorter of %zu bytes", memory);
    }
    *out = s;
    return TIDE_OK;
}

static void run_clear(struct run *r)
{
    tide_closep(&r->fd);
    free(r->window);
    *r = (struct run){.fd = -1};
}

void sorter_free(struct sorter *s)
{
    if (s == NULL)
        return;
    for (unsigned i = 0; i < s->n_runs; i++)
        run_clear(&s->runs[i]);
    free(s->arena);
    free(s->index);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

unsigned sorter_spills(const struct sorter *s)
{
    return s->spills;
}

static struct sorter_record record_at(const uint8_t *p)
{
    struct sorter_record r = {.key_len = tide_get_be16(p), .value_len = tide_get_be32(p + 2)};
    r.key = p + RECORD_HEAD;
    r.value = r.key + r.key_len;
    return r;
}

static size_t record_size(const struct sorter_record *r)
{
    return RECORD_HEAD + r->key_len + r->value_len;
}

static int compare_index(const void *a, const void *b, void *arena)
{
    uint32_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    struct sorter_record p = record_at((const uint8_t *)arena + x), q = record_at((const uint8_t *)arena + y);
    return sorter_compare(p.key, p.key_len, q.key, q.key_len);
}

/* ------------------------------------------------------------------ writing runs */

struct run_out {
    int fd;
    uint64_t size;
    size_t len;
    uint8_t buffer[RUN_BUFFER];
};

static tide_status run_out_flush(struct run_out *o, struct tide_err *err)
{
    tide_status s = tide_write_all(o->fd, o->buffer, o->len, "temporary file", err);
    o->size += o->len;
    o->len = 0;
    return s;
}

/* The record's head, key and value lie together. */
static tide_status run_out_record(struct run_out *o, const struct sorter_record *r, struct tide_err *err)
{
    size_t size = record_size(r);
    if (o->len + size > sizeof o->buffer) {
        tide_status s = run_out_flush(o, err);
        if (s != TIDE_OK)
            return s;
    }
    memcpy(o->buffer + o->len, r->key - RECORD_HEAD, size);
    o->len += size;
    return TIDE_OK;
}

static_assert(RUN_BUFFER >= RECORD_HEAD + SORTER_KEY_MAX + SORTER_VALUE_MAX,
              "a record fits into the buffer of a run");

static tide_status run_out_open(struct sorter *s, struct run_out **out, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct run_out *o = malloc(sizeof *o);
    if (o == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for sorting");
    o->size = o->len = 0;
    tide_status st = sorter_temporary(s->directory, &o->fd, err);
    if (st != TIDE_OK)
        return st;
    *out = TIDE_TAKE(o);
    return TIDE_OK;
}

/* Hands the finished file to a free place among the runs. */
static void run_out_close(struct sorter *s, struct run_out *o)
{
    s->runs[s->n_runs++] = (struct run){.fd = o->fd, .size = o->size};
    free(o);
}

static void run_out_drop(struct run_out *o)
{
    tide_closep(&o->fd);
    free(o);
}

/* ------------------------------------------------------------------ reading runs */

/* Moves the window so that `need` bytes are in it; false: the run ends before. */
static tide_status run_fill(struct run *r, size_t need, bool *enough, struct tide_err *err)
{
    if (r->len < need) {
        memmove(r->window, r->window + r->start, r->len);
        r->start = 0;
        size_t got = 0;
        tide_status s =
            tide_pread_upto(r->fd, r->window + r->len, r->capacity - r->len, r->at, &got, "temporary file", err);
        if (s != TIDE_OK)
            return s;
        r->at += got;
        r->len += got;
    }
    *enough = r->len >= need;
    return TIDE_OK;
}

static tide_status run_next(struct run *r, struct tide_err *err)
{
    bool enough = false;
    tide_status s = run_fill(r, RECORD_HEAD, &enough, err);
    if (s != TIDE_OK)
        return s;
    if (!enough && r->len == 0) {
        r->ended = true;
        return TIDE_OK;
    }
    if (enough) {
        r->now = record_at(r->window + r->start);
        s = run_fill(r, record_size(&r->now), &enough, err);
        if (s != TIDE_OK)
            return s;
        r->now = record_at(r->window + r->start);
    }
    if (!enough)
        return tide_fail(err, TIDE_IO, "a temporary file for sorting ends early");
    r->start += record_size(&r->now);
    r->len -= record_size(&r->now);
    return TIDE_OK;
}

static tide_status run_begin(struct run *r, struct tide_err *err)
{
    r->capacity = RUN_BUFFER;
    if (r->window == NULL)
        r->window = malloc(r->capacity);
    if (r->window == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for sorting");
    return run_next(r, err);
}

/* At most 32 runs: looking at each costs less than the compare function of a heap would save. */
static struct run *smallest_run(struct sorter *s)
{
    struct run *best = NULL;
    for (unsigned i = 0; i < s->n_runs; i++) {
        struct run *r = &s->runs[i];
        if (!r->ended &&
            (best == NULL || sorter_compare(r->now.key, r->now.key_len, best->now.key, best->now.key_len) < 0))
            best = r;
    }
    return best;
}

static tide_status merge_into(struct sorter *s, struct run_out *o, struct tide_err *err)
{
    for (unsigned i = 0; i < s->n_runs; i++) {
        tide_status st = run_begin(&s->runs[i], err);
        if (st != TIDE_OK)
            return st;
    }
    for (struct run *r = smallest_run(s); r != NULL; r = smallest_run(s)) {
        tide_status st = run_out_record(o, &r->now, err);
        if (st == TIDE_OK)
            st = run_next(r, err);
        if (st != TIDE_OK)
            return st;
    }
    return run_out_flush(o, err);
}

/* All runs become one: there is no place for another. */
static tide_status merge_runs(struct sorter *s, struct tide_err *err)
{
    struct run_out *o = NULL;
    tide_status st = run_out_open(s, &o, err);
    if (st != TIDE_OK)
        return st;
    st = merge_into(s, o, err);
    if (st != TIDE_OK) {
        run_out_drop(o);
        return st;
    }
    for (unsigned i = 0; i < s->n_runs; i++)
        run_clear(&s->runs[i]);
    s->n_runs = 0;
    run_out_close(s, o);
    return TIDE_OK;
}

static tide_status write_sorted(struct sorter *s, struct run_out *o, struct tide_err *err)
{
    for (size_t i = 0; i < s->n; i++) {
        struct sorter_record r = record_at(s->arena + s->index[i]);
        tide_status st = run_out_record(o, &r, err);
        if (st != TIDE_OK)
            return st;
    }
    return run_out_flush(o, err);
}

static tide_status spill(struct sorter *s, struct tide_err *err)
{
    tide_status st = s->n_runs == RUNS_MAX ? merge_runs(s, err) : TIDE_OK;
    if (st != TIDE_OK)
        return st;
    struct run_out *o = NULL;
    st = run_out_open(s, &o, err);
    if (st != TIDE_OK)
        return st;
    qsort_r(s->index, s->n, sizeof *s->index, compare_index, s->arena);
    st = write_sorted(s, o, err);
    if (st != TIDE_OK) {
        run_out_drop(o);
        return st;
    }
    run_out_close(s, o);
    s->spills++;
    s->n = 0;
    s->arena_len = 0;
    return TIDE_OK;
}

static tide_status add_locked(struct sorter *s, const void *key, size_t key_len, const void *value, size_t value_len,
                              struct tide_err *err)
{
    size_t size = RECORD_HEAD + key_len + value_len;
    if (s->arena_len + size > s->arena_size || s->n == s->index_size) {
        tide_status st = spill(s, err);
        if (st != TIDE_OK)
            return st;
    }
    uint8_t *p = s->arena + s->arena_len;
    tide_put_be16(p, (uint16_t)key_len);
    tide_put_be32(p + 2, (uint32_t)value_len);
    memcpy(p + RECORD_HEAD, key, key_len);
    if (value_len > 0)
        memcpy(p + RECORD_HEAD + key_len, value, value_len);
    s->index[s->n++] = (uint32_t)s->arena_len;
    s->arena_len += size;
    return TIDE_OK;
}

tide_status sorter_add(struct sorter *s, const void *key, size_t key_len, const void *value, size_t value_len,
                       struct tide_err *err)
{
    if (key_len > SORTER_KEY_MAX || value_len > SORTER_VALUE_MAX)
        return tide_fail(err, TIDE_INVALID, "a record of %zu + %zu bytes is too large to sort", key_len, value_len);
    (void)pthread_mutex_lock(&s->lock);
    tide_assert(!s->reading);
    tide_status st = add_locked(s, key, key_len, value, value_len, err);
    (void)pthread_mutex_unlock(&s->lock);
    return st;
}

tide_status sorter_rewind(struct sorter *s, struct tide_err *err)
{
    if (!s->reading)
        qsort_r(s->index, s->n, sizeof *s->index, compare_index, s->arena);
    s->reading = true;
    s->next = 0;
    s->taken = NULL;
    for (unsigned i = 0; i < s->n_runs; i++) {
        struct run *r = &s->runs[i];
        r->at = r->start = r->len = 0;
        r->ended = false;
        tide_status st = run_begin(r, err);
        if (st != TIDE_OK)
            return st;
    }
    return TIDE_OK;
}

tide_status sorter_next(struct sorter *s, struct sorter_record *out, struct tide_err *err)
{
    tide_assert(s->reading);
    if (s->taken != NULL) {
        struct run *r = TIDE_TAKE(s->taken);
        tide_status st = run_next(r, err);
        if (st != TIDE_OK)
            return st;
    }
    struct run *best = smallest_run(s);
    if (s->next < s->n) {
        struct sorter_record m = record_at(s->arena + s->index[s->next]);
        if (best == NULL || sorter_compare(m.key, m.key_len, best->now.key, best->now.key_len) <= 0) {
            s->next++;
            *out = m;
            return TIDE_OK;
        }
    }
    if (best == NULL)
        return TIDE_NOT_FOUND;
    s->taken = best;
    *out = best->now;
    return TIDE_OK;
}
