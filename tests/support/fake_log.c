#include "tests/support/fake_log.h"

#include "orchestrator/base/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The log as the server writes it, and its branches. */

struct fake_timeline *fake_timeline_of(struct fake_server *s, uint64_t number)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->branches[i].number == number)
            return &s->branches[i];
    return NULL;
}

static struct fake_timeline *current(struct fake_server *s)
{
    return &s->branches[s->n - 1];
}

uint64_t fake_normalise(uint64_t lo)
{
    return lo % FAKE_PAGE == FAKE_PAGE_HEADER ? lo - FAKE_PAGE_HEADER : lo;
}

uint32_t fake_checksum(const uint8_t *record, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        if (i < 4 || i >= 8)
            h = (h ^ record[i]) * 16777619u;
    return h;
}

struct fake_server *fake_server_new(uint64_t identifier)
{
    struct fake_server *s = calloc(1, sizeof *s);

    tide_assert(s != NULL);
    (void)pthread_mutex_init(&s->lock, NULL);
    (void)pthread_cond_init(&s->changed, NULL);
    s->identifier = identifier;
    s->n = 1;
    s->branches[0] = (struct fake_timeline){.number = 1, .end = FAKE_BASE};
    s->oldest = (struct tide_pos){0, FAKE_BASE};
    return s;
}

void fake_server_free(struct fake_server *s)
{
    if (s == NULL)
        return;
    for (size_t i = 0; i < s->n; i++)
        free(s->branches[i].data);
    free(s->commits);
    (void)pthread_cond_destroy(&s->changed);
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static void put(struct fake_timeline *t, const void *data, size_t len)
{
    if (t->len + len > t->cap) {
        while (t->cap < t->len + len)
            t->cap = t->cap == 0 ? 65536 : t->cap * 2;
        t->data = realloc(t->data, t->cap);
        tide_assert(t->data != NULL);
    }
    if (data == NULL)
        memset(t->data + t->len, 0, len);
    else
        memcpy(t->data + t->len, data, len);
    t->len += len;
}

static void page_header(struct fake_timeline *t, uint32_t left)
{
    uint8_t h[FAKE_PAGE_HEADER] = {0};

    tide_put_be16(h, FAKE_MAGIC);
    tide_put_be32(h + 4, left);
    put(t, h, sizeof h);
}

/* Writes across pages; returns the start of the record. */
static uint64_t write_record(struct fake_timeline *t, const uint8_t *record, size_t len)
{
    uint64_t start = 0;

    for (size_t done = 0; done < len;) {
        size_t in_page = t->len % FAKE_PAGE;
        if (in_page == 0) {
            page_header(t, (uint32_t)(done == 0 ? 0 : len - done));
            in_page = FAKE_PAGE_HEADER;
        }
        if (done == 0)
            start = FAKE_BASE + t->len;
        size_t n = FAKE_PAGE - in_page;
        if (n > len - done)
            n = len - done;
        put(t, record + done, n);
        done += n;
    }
    return start;
}

static void note_commit(struct fake_server *s, struct tide_pos start, struct tide_pos end, int64_t time_us)
{
    if (s->n_commits == s->commits_cap) {
        s->commits_cap = s->commits_cap == 0 ? 256 : s->commits_cap * 2;
        s->commits = realloc(s->commits, s->commits_cap * sizeof *s->commits);
        tide_assert(s->commits != NULL);
    }
    s->commits[s->n_commits++] =
        (struct fake_commit_record){.start = start, .end = end, .time_us = time_us, .branch = current(s)->number};
}

struct tide_pos fake_append(struct fake_server *s, unsigned kind, int64_t time_us, const void *text, size_t len,
                            unsigned n_refs, uint32_t first_ref)
{
    size_t size = (FAKE_RECORD + 4 * n_refs + len + 3) / 4 * 4;
    uint8_t *r = calloc(1, size);

    tide_assert(r != NULL);
    tide_put_be32(r, (uint32_t)size);
    tide_put_be64(r + 8, (uint64_t)time_us);
    r[16] = (uint8_t)kind;
    r[17] = (uint8_t)n_refs;
    tide_put_be16(r + 18, (uint16_t)(len % 65536));
    for (unsigned i = 0; i < n_refs; i++)
        tide_put_be32(r + FAKE_RECORD + 4 * i, first_ref + i);
    if (text != NULL)
        memcpy(r + FAKE_RECORD + 4 * n_refs, text, len);
    (void)pthread_mutex_lock(&s->lock);
    struct fake_timeline *t = current(s);
    if (text == NULL)
        for (size_t i = 0; i < len; i++)
            r[FAKE_RECORD + 4 * n_refs + i] = (uint8_t)((t->len + i) * 31 + t->number + t->clone);
    tide_put_be32(r + 4, fake_checksum(r, size));
    struct tide_pos start = {0, write_record(t, r, size)};
    if (kind == FAKE_SWITCH && t->len % FAKE_SEGMENT != 0)
        put(t, NULL, FAKE_SEGMENT - t->len % FAKE_SEGMENT);
    t->end = FAKE_BASE + t->len;
    struct tide_pos end = {0, t->end};
    if (kind == TIDE_EVENT_COMMIT)
        note_commit(s, start, end, time_us);
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    free(r);
    return end;
}

struct tide_pos fake_commit(struct fake_server *s, int64_t time_us, size_t payload)
{
    return fake_append(s, TIDE_EVENT_COMMIT, time_us, NULL, payload, 0, 0);
}

struct tide_pos fake_end(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    struct tide_pos end = {0, current(s)->end};
    (void)pthread_mutex_unlock(&s->lock);
    return end;
}

uint64_t fake_promote(struct fake_server *s, struct tide_pos fork)
{
    (void)pthread_mutex_lock(&s->lock);
    struct fake_timeline *old = current(s), *t = &s->branches[s->n];
    tide_assert(s->n < FAKE_BRANCHES && fork.lo >= FAKE_BASE && fork.lo <= old->end);
    *t = (struct fake_timeline){.number = old->number + 1, .parent = old->number, .fork = fork, .clone = old->clone};
    put(t, old->data, (size_t)(fork.lo - FAKE_BASE));
    t->end = fork.lo;
    s->n++;
    s->kicks++;
    uint64_t number = t->number;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    return number;
}

void fake_diverge(struct fake_server *s, struct tide_pos from)
{
    (void)pthread_mutex_lock(&s->lock);
    struct fake_timeline *t = current(s);
    tide_assert(from.lo >= FAKE_BASE && from.lo <= t->end);
    t->len = (size_t)(from.lo - FAKE_BASE);
    t->end = from.lo;
    t->clone++;
    s->kicks++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

void fake_read(struct fake_server *s, uint64_t branch, struct tide_pos from, struct tide_pos to, uint8_t *out)
{
    (void)pthread_mutex_lock(&s->lock);
    struct fake_timeline *t = fake_timeline_of(s, branch);
    tide_assert(t != NULL && from.lo >= FAKE_BASE && to.lo <= FAKE_BASE + t->len && from.lo <= to.lo);
    memcpy(out, t->data + (from.lo - FAKE_BASE), (size_t)(to.lo - from.lo));
    (void)pthread_mutex_unlock(&s->lock);
}

const struct fake_commit_record *fake_commits(struct fake_server *s, size_t *n)
{
    *n = s->n_commits;
    return s->commits;
}

void fake_segment_name(uint64_t branch, struct tide_pos pos, char out[32])
{
    (void)snprintf(out, 32, "%08" PRIx64 "-%016" PRIx64, branch, pos.lo / FAKE_SEGMENT);
}

void fake_write_segment(struct fake_server *s, uint64_t branch, struct tide_pos pos, const char *path)
{
    uint8_t data[FAKE_SEGMENT] = {0};
    uint64_t start = pos.lo / FAKE_SEGMENT * FAKE_SEGMENT;

    (void)pthread_mutex_lock(&s->lock);
    struct fake_timeline *t = fake_timeline_of(s, branch);
    tide_assert(t != NULL && start >= FAKE_BASE);
    size_t at = (size_t)(start - FAKE_BASE);
    if (at < t->len)
        memcpy(data, t->data + at, t->len - at < FAKE_SEGMENT ? t->len - at : FAKE_SEGMENT);
    (void)pthread_mutex_unlock(&s->lock);
    FILE *f = fopen(path, "wb");
    tide_assert(f != NULL && fwrite(data, 1, sizeof data, f) == sizeof data && fclose(f) == 0);
}

/* ---- evidence */

char *fake_evidence(struct fake_server *s, uint64_t branch)
{
    char history[1024] = "", *text = NULL;
    uint64_t chain[FAKE_BRANCHES];
    size_t n = 0, at = 0;

    (void)pthread_mutex_lock(&s->lock);
    for (struct fake_timeline *t = fake_timeline_of(s, branch); t != NULL && t->parent != 0;
         t = fake_timeline_of(s, t->parent))
        chain[n++] = t->number;
    while (n-- > 0) {
        const struct fake_timeline *t = fake_timeline_of(s, chain[n]);
        at += (size_t)snprintf(history + at, sizeof history - at, "%s%" PRIu64 ":%" PRIu64, at == 0 ? "" : ",",
                               t->parent, t->fork.lo);
    }
    if (asprintf(&text, "system=%" PRIu64 "\nbranch=%" PRIu64 "\nhistory=%s\n", s->identifier, branch, history) < 0)
        text = NULL;
    (void)pthread_mutex_unlock(&s->lock);
    tide_assert(text != NULL);
    return text;
}

bool fake_evidence_parse(const char *text, struct fake_evidence_text *out)
{
    int used = 0;

    *out = (struct fake_evidence_text){0};
    if (sscanf(text, "system=%" SCNu64 "\nbranch=%" SCNu64 "\nhistory=%n", &out->system, &out->branch, &used) != 2 ||
        used == 0)
        return false;
    for (const char *p = text + used; out->n < FAKE_BRANCHES;) {
        int step = 0;
        if (sscanf(p, "%" SCNu64 ":%" SCNu64 "%n", &out->history[out->n].branch, &out->history[out->n].fork, &step) !=
            2)
            break;
        out->n++;
        p += step;
        if (*p == ',')
            p++;
    }
    return true;
}

static bool same_history(const struct fake_evidence_text *a, const struct fake_evidence_text *b, size_t n)
{
    if (a->n < n || b->n < n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (a->history[i].branch != b->history[i].branch || a->history[i].fork != b->history[i].fork)
            return false;
    return true;
}

static bool descends(const struct fake_evidence_text *young, const struct fake_evidence_text *old, uint64_t *fork)
{
    for (size_t i = 0; i < young->n; i++)
        if (young->history[i].branch == old->branch) {
            *fork = young->history[i].fork;
            return old->n == i && same_history(young, old, i);
        }
    return false;
}

int fake_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end,
                const char *current_text, struct tide_log_kinship *out, struct tide_err *err)
{
    struct fake_evidence_text a, b;
    uint64_t fork = 0;

    (void)stored_end;
    if (!fake_evidence_parse(stored, &a) || !fake_evidence_parse(current_text, &b))
        return fake_fail(host, err, TIDE_CORRUPT, "evidence makes no sense");
    out->fork = (struct tide_pos){0};
    if (a.system != b.system)
        out->relation = TIDE_LOG_FOREIGN;
    else if (a.branch == b.branch)
        out->relation = a.n == b.n && same_history(&a, &b, a.n) ? TIDE_LOG_SAME : TIDE_LOG_FOREIGN;
    else if (descends(&b, &a, &fork))
        out->relation = TIDE_LOG_CHILD;
    else
        out->relation = descends(&a, &b, &fork) ? TIDE_LOG_ANCESTOR : TIDE_LOG_FOREIGN;
    if (out->relation == TIDE_LOG_CHILD)
        out->fork = (struct tide_pos){0, fork};
    return TIDE_OK;
}
