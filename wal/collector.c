#include "wal/collector.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "wal/piece.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

/* The scanner is asked after so many bytes where it stands: how exactly a piece meets its size. */
#define SLICE (128u << 10)
/* Where a record larger than a piece is cut: at round positions, so that every page header is met whole. */
#define CUT_ALIGN   (64u << 10)
#define CONTENT_MIN (64u << 10)

struct collector {
    struct collector_options o;
    char *evidence; /* owned copy */
    void *scan;
    struct tide_log_mark mark;
    struct tide_pos fed;         /* behind the last byte */
    struct tide_pos at;          /* where the open piece begins */
    struct tide_pos next_record; /* where the open piece's first record begins; none: not known yet */
    bool cut_in_record;          /* it begins inside of one: its first record is looked for when it is closed */
    uint8_t *content;
    size_t len, cap;
    int64_t open_since;
    struct piece_tally tally;
    struct log_piece *head, **tail;
    uint64_t closed_bytes;
};

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct collector *c = ctx;

    /* A record that ends before what is to be stored was stored, and counted, before. */
    if (!pos_before(c->o.start, e->end))
        return TIDE_OK;
    return piece_tally_event(&c->tally, e, err);
}

static int on_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    struct collector *c = ctx;

    return piece_tally_blocks(&c->tally, refs, n, err);
}

static tide_status open_scan(struct collector *c, struct tide_pos start, struct tide_pos first_record,
                             struct tide_err *err)
{
    struct tide_log_scan_params params = {
        .struct_size = sizeof params, .evidence = c->evidence, .start = start, .first_record = first_record};

    c->o.plugin->log_scan_close(c->scan);
    c->scan = NULL;
    c->mark = (struct tide_log_mark){.struct_size = sizeof c->mark};
    return (tide_status)c->o.plugin->log_scan_open(c->o.host, &params, &c->scan, err);
}

tide_status collector_new(const struct collector_options *o, struct collector **out, struct tide_err *err)
{
    struct collector *c = calloc(1, sizeof *c);

    if (c == NULL || (c->evidence = strdup(o->evidence)) == NULL) {
        free(c);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a log collector");
    }
    c->o = *o;
    c->o.evidence = c->evidence;
    if (c->o.object_bytes > LOG_OBJECT_MAX_BYTES / 2)
        c->o.object_bytes = LOG_OBJECT_MAX_BYTES / 2;
    if (tide_pos_is_none(c->o.scan_from))
        c->o.scan_from = o->start;
    c->fed = c->o.scan_from;
    c->at = o->start;
    if (!pos_before(o->first_record, o->start))
        c->next_record = o->first_record;
    c->cut_in_record = pos_before(c->o.scan_from, o->start);
    c->tail = &c->head;
    piece_tally_init(&c->tally);
    tide_status s = open_scan(c, c->o.scan_from, o->first_record, err);
    if (s != TIDE_OK) {
        collector_free(c);
        return s;
    }
    *out = c;
    return TIDE_OK;
}

void collector_free(struct collector *c)
{
    if (c == NULL)
        return;
    c->o.plugin->log_scan_close(c->scan);
    while (c->head != NULL)
        log_piece_free(collector_take(c));
    piece_tally_clear(&c->tally);
    free(c->content);
    free(c->evidence);
    free(c);
}

struct log_piece *collector_take(struct collector *c)
{
    struct log_piece *p = c->head;

    if (p == NULL)
        return NULL;
    c->head = p->next;
    if (c->head == NULL)
        c->tail = &c->head;
    p->next = NULL;
    c->closed_bytes -= p->info.bytes;
    return p;
}

struct tide_pos collector_end(const struct collector *c)
{
    return c->fed;
}

struct tide_pos collector_whole_end(const struct collector *c)
{
    return pos_max(c->at, pos_min(c->mark.whole_end, c->fed));
}

bool collector_ended(const struct collector *c)
{
    return c->mark.ended != 0;
}

bool collector_has_whole(const struct collector *c)
{
    return c->len > 0 && pos_before(c->at, collector_whole_end(c));
}

bool collector_has_closed(const struct collector *c)
{
    return c->head != NULL;
}

uint64_t collector_bytes(const struct collector *c)
{
    return c->closed_bytes + c->len;
}

int64_t collector_open_since(const struct collector *c)
{
    return c->len == 0 ? 0 : c->open_since;
}

static tide_status append(struct collector *c, const uint8_t *data, size_t len, struct tide_err *err)
{
    if (c->len + len > c->cap) {
        size_t cap = c->cap == 0 ? CONTENT_MIN : c->cap;
        while (cap < c->len + len)
            cap *= 2;
        uint8_t *content = realloc(c->content, cap);
        if (content == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log");
        c->content = content;
        c->cap = cap;
    }
    if (c->len == 0)
        c->open_since = tide_monotonic_us();
    memcpy(c->content + c->len, data, len);
    c->len += len;
    return TIDE_OK;
}

static int ignore_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    (void)ctx;
    (void)e;
    (void)err;
    return TIDE_OK;
}

/* A piece that begins inside of a record: only a scanner that starts there can say where the next one begins. */
static struct tide_pos find_first_record(const struct collector *c, size_t len)
{
    struct tide_log_scan_params params = {.struct_size = sizeof params, .evidence = c->evidence, .start = c->at};
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .event = ignore_event};
    struct tide_log_mark mark = {.struct_size = sizeof mark};
    struct tide_err err = TIDE_ERR_INIT;
    void *scan = NULL;

    /* Not knowing it costs the reader one object more; so no failure counts. */
    if (c->o.plugin->log_scan_open(c->o.host, &params, &scan, &err) != TIDE_OK)
        return TIDE_POS_NONE;
    (void)c->o.plugin->log_scan_feed(scan, c->content, len, &sink, &mark, &err);
    c->o.plugin->log_scan_close(scan);
    return mark.first_start;
}

static struct tide_pos first_record_of(const struct collector *c, struct tide_pos end, size_t len)
{
    struct tide_pos first = c->next_record;

    if (tide_pos_is_none(first))
        first = c->cut_in_record ? find_first_record(c, len) : c->mark.first_start;
    return pos_in(first, c->at, end) ? first : TIDE_POS_NONE;
}

/* What is known of the piece that begins at `at`, when the scanner stands there or inside of a record. */
static void begin_piece(struct collector *c, struct tide_pos at)
{
    bool whole = pos_equal(c->mark.whole_end, at);
    bool padding = !tide_pos_is_none(c->mark.next_start);

    c->at = at;
    c->next_record = !whole ? TIDE_POS_NONE : padding ? c->mark.next_start : at;
    c->cut_in_record = !whole;
}

/* The bytes behind the cut become the beginning of the next piece. */
static tide_status carry_over(struct collector *c, size_t len, uint8_t **content, struct tide_err *err)
{
    size_t rest = c->len - len;
    uint8_t *next = NULL;

    if (rest > 0) {
        next = malloc(rest > CONTENT_MIN ? rest : CONTENT_MIN);
        if (next == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log");
        memcpy(next, c->content + len, rest);
    }
    *content = c->content;
    c->content = next;
    c->len = rest;
    c->cap = rest == 0 ? 0 : rest > CONTENT_MIN ? rest : CONTENT_MIN;
    return TIDE_OK;
}

static void piece_freep(struct log_piece **p)
{
    log_piece_free(*p);
}

/* Closes the first len bytes; end is where they end, by the engine's counting. */
static tide_status close_piece(struct collector *c, size_t len, struct tide_pos end, struct tide_err *err)
{
    TIDE_AUTO(piece_freep) struct log_piece *p = calloc(1, sizeof *p);

    if (p == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for log");
    p->info.name = (struct log_name){.lineage = c->o.lineage, .start = c->at, .end = end};
    p->info.bytes = len;
    p->info.first_record = first_record_of(c, end, len);
    if (pos_before(c->at, c->mark.whole_end))
        p->info.last_record_start = c->mark.last_start;
    p->info.received_us = tide_now_us();
    p->info.extents[0] = (struct log_extent){.start = c->at, .end = end, .len = (uint32_t)len};
    p->info.n_extents = 1;
    tide_status s = piece_tally_close(&c->tally, p, err);
    if (s == TIDE_OK)
        s = carry_over(c, len, &p->content, err);
    if (s != TIDE_OK)
        return s;
    begin_piece(c, end);
    c->open_since = tide_monotonic_us();
    c->closed_bytes += len;
    *c->tail = TIDE_TAKE(p);
    c->tail = &(*c->tail)->next;
    return TIDE_OK;
}

tide_status collector_cut(struct collector *c, enum collector_cut how, struct tide_err *err)
{
    bool all = how == COLLECTOR_ALL && !collector_ended(c);
    struct tide_pos end = all ? c->fed : collector_whole_end(c);

    if (c->len == 0 || !pos_before(c->at, end))
        return TIDE_OK;
    return close_piece(c, all ? c->len : (size_t)pos_distance(c->at, end), end, err);
}

/* A piece has reached its size. */
static tide_status cut_large(struct collector *c, struct tide_err *err)
{
    if (collector_has_whole(c))
        return collector_cut(c, COLLECTOR_WHOLE, err);
    struct tide_pos end = c->fed;
    end.lo -= end.lo % CUT_ALIGN;
    if (!pos_before(c->at, end))
        end = c->fed;
    return close_piece(c, (size_t)pos_distance(c->at, end), end, err);
}

static tide_status scan(struct collector *c, const uint8_t *data, size_t len, struct tide_err *err)
{
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = c, .event = on_event, .blocks = on_blocks};

    return (tide_status)c->o.plugin->log_scan_feed(c->scan, data, len, &sink, &c->mark, err);
}

/* Bytes that are stored already: the scanner needs them, to know the record that they end with. */
static tide_status feed_known(struct collector *c, const uint8_t *data, size_t len, struct tide_err *err)
{
    tide_status s = scan(c, data, len, err);

    if (s != TIDE_OK)
        return s;
    c->fed = pos_add(c->fed, len);
    if (!pos_equal(c->fed, c->o.start))
        return TIDE_OK;
    begin_piece(c, c->fed);
    /* References of a record that goes on are kept: some scanners tell them before its end. */
    if (!c->cut_in_record)
        piece_tally_clear(&c->tally);
    return TIDE_OK;
}

static tide_status feed_slice(struct collector *c, const uint8_t *data, size_t len, struct tide_err *err)
{
    tide_status s = append(c, data, len, err);

    if (s != TIDE_OK)
        return s;
    s = scan(c, data, len, err);
    c->fed = pos_add(c->fed, len);
    if (collector_ended(c))
        c->len = (size_t)pos_distance(c->at, collector_whole_end(c));
    if (s == TIDE_OK && (c->len >= c->o.object_bytes || (c->tally.full && collector_has_whole(c))))
        s = cut_large(c, err);
    return s;
}

tide_status collector_feed(struct collector *c, struct tide_pos start, struct tide_pos end, const void *data,
                           size_t len, struct tide_err *err)
{
    const uint8_t *bytes = data;

    if (!pos_equal(start, c->fed))
        return tide_fail(err, TIDE_CORRUPT, "the log jumped: %llx/%llx instead of %llx/%llx",
                         (unsigned long long)start.hi, (unsigned long long)start.lo, (unsigned long long)c->fed.hi,
                         (unsigned long long)c->fed.lo);
    while (len > 0) {
        bool known = pos_before(c->fed, c->o.start);
        size_t n = len > SLICE ? SLICE : len;
        if (known && pos_distance(c->fed, c->o.start) < n)
            n = (size_t)pos_distance(c->fed, c->o.start);
        tide_status s = known ? feed_known(c, bytes, n, err) : feed_slice(c, bytes, n, err);
        if (s != TIDE_OK)
            return s;
        bytes += n;
        len -= n;
    }
    if (pos_equal(end, c->fed))
        return TIDE_OK;
    /* The engine skips to its next file: what was open ends here, and nothing goes on across. */
    c->fed = end;
    tide_status s = collector_cut(c, COLLECTOR_ALL, err);
    if (s != TIDE_OK)
        return s;
    c->at = end;
    c->next_record = TIDE_POS_NONE;
    c->cut_in_record = false;
    return open_scan(c, end, TIDE_POS_NONE, err);
}
