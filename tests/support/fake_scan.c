#include "tests/support/fake_log.h"

#include "orchestrator/base/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Reads the log as it passes, in pieces of any size. */

enum mode { FIND, SKIP, RECORDS, ENDED, BROKEN };

struct scan {
    const struct tide_host *host;
    uint64_t pos, skip_to;
    enum mode mode;
    bool padding;
    uint8_t header[FAKE_PAGE_HEADER];
    size_t header_have;
    uint8_t *record;
    size_t have, cap, total; /* total 0: the length is not known yet */
    uint64_t start;
    struct tide_log_mark mark;
};

static struct tide_pos at(uint64_t lo)
{
    return (struct tide_pos){0, lo};
}

int fake_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **out,
                   struct tide_err *err)
{
    struct fake_evidence_text e;

    if (!fake_evidence_parse(params->evidence, &e))
        return fake_fail(host, err, TIDE_INVALID, "evidence makes no sense");
    struct scan *s = calloc(1, sizeof *s);
    tide_assert(s != NULL);
    s->host = host;
    s->pos = params->start.lo;
    s->mark.struct_size = sizeof s->mark;
    s->mode = FIND;
    if (!tide_pos_is_none(params->first_record)) {
        uint64_t first = fake_normalise(params->first_record.lo);
        s->skip_to = first < s->pos ? s->pos : first;
        s->mode = s->skip_to == s->pos ? RECORDS : SKIP;
        if (s->mode == RECORDS)
            s->mark.whole_end = at(s->pos);
    }
    *out = s;
    return TIDE_OK;
}

void fake_scan_close(void *p)
{
    struct scan *s = p;

    if (s == NULL)
        return;
    free(s->record);
    free(s);
}

static int damaged(struct scan *s, struct tide_err *err, const char *why)
{
    s->mode = BROKEN;
    return fake_fail(s->host, err, TIDE_CORRUPT, why);
}

static int take_page(struct scan *s, struct tide_err *err)
{
    uint16_t magic = tide_get_be16(s->header);
    uint32_t left = tide_get_be32(s->header + 4);

    if (s->mode == ENDED)
        return magic == 0 ? TIDE_OK : damaged(s, err, "log behind its end");
    if (magic == 0) {
        s->have = s->total = 0;
        s->mode = ENDED;
        return TIDE_OK;
    }
    if (magic != FAKE_MAGIC)
        return damaged(s, err, "not a page");
    if (s->mode == FIND) {
        if (left == 0) {
            s->mode = RECORDS;
            s->mark.whole_end = at(s->pos - FAKE_PAGE_HEADER);
        } else if (left <= FAKE_PAGE - FAKE_PAGE_HEADER) {
            s->skip_to = s->pos + left;
            s->mode = SKIP;
        }
        return TIDE_OK;
    }
    if (left != (s->have == 0 ? 0 : s->total - s->have))
        return damaged(s, err, "a page continues another record");
    return TIDE_OK;
}

static int tell_event(struct scan *s, const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    const uint8_t *r = s->record;
    unsigned n_refs = r[17];
    int status = TIDE_OK;

    for (unsigned i = 0; status == TIDE_OK && sink->blocks != NULL && i < n_refs; i++) {
        struct tide_block_ref ref = {.space = 1, .relation = 7, .block = tide_get_be32(r + FAKE_RECORD + 4 * i)};
        status = sink->blocks(sink->ctx, &ref, 1, err);
    }
    if (status != TIDE_OK || r[16] >= FAKE_DATA)
        return status;
    struct tide_log_event e = {.struct_size = sizeof e,
                               .kind = r[16],
                               .start = at(s->start),
                               .end = at(s->pos),
                               .time_us = (int64_t)tide_get_be64(r + 8),
                               .number = s->start,
                               .text = (const char *)r + FAKE_RECORD + 4 * n_refs,
                               .text_len = tide_get_be16(r + 18)};
    return sink->event(sink->ctx, &e, err);
}

static int finish(struct scan *s, const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    if (fake_checksum(s->record, s->total) != tide_get_be32(s->record + 4))
        return damaged(s, err, "a record's checksum is wrong");
    int status = tell_event(s, sink, err);
    if (status != TIDE_OK)
        return status;
    if (tide_pos_is_none(s->mark.first_start))
        s->mark.first_start = at(s->start);
    s->mark.last_start = at(s->start);
    s->mark.whole_end = at(s->pos);
    if (s->record[16] == FAKE_SWITCH && s->pos % FAKE_SEGMENT != 0) {
        s->skip_to = (s->pos / FAKE_SEGMENT + 1) * FAKE_SEGMENT;
        s->padding = true;
        s->mode = SKIP;
        s->mark.next_start = at(s->skip_to);
    }
    s->have = s->total = 0;
    return TIDE_OK;
}

static int take_record(struct scan *s, const uint8_t *p, size_t n, size_t *used,
                       const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    size_t want = s->total == 0 ? 4 - s->have : s->total - s->have;

    if (s->have == 0)
        s->start = s->pos;
    if (n > want)
        n = want;
    while (s->have + n > s->cap) {
        s->cap = s->cap == 0 ? 1024 : s->cap * 2;
        s->record = realloc(s->record, s->cap);
        tide_assert(s->record != NULL);
    }
    memcpy(s->record + s->have, p, n);
    s->have += n;
    s->pos += n;
    *used = n;
    if (s->total == 0 && s->have == 4) {
        s->total = tide_get_be32(s->record);
        if (s->total == 0) {
            s->have = 0;
            s->mode = ENDED;
            return TIDE_OK;
        }
        if (s->total < FAKE_RECORD || s->total > (64u << 20))
            return damaged(s, err, "a record's length makes no sense");
        if (tide_pos_is_none(s->mark.first_start))
            s->mark.first_start = at(s->start);
    }
    return s->total > 0 && s->have == s->total ? finish(s, sink, err) : TIDE_OK;
}

static int feed_some(struct scan *s, const uint8_t *p, size_t n, size_t *used, const struct tide_log_scan_sink *sink,
                     struct tide_err *err)
{
    size_t in_page = (size_t)(s->pos % FAKE_PAGE);

    if (s->mode == SKIP) {
        uint64_t left = s->skip_to - s->pos;
        *used = left < n ? (size_t)left : n;
        s->pos += *used;
        if (s->padding || s->pos == s->skip_to)
            s->mark.whole_end = at(s->pos);
        if (s->pos == s->skip_to) {
            s->mode = RECORDS;
            s->padding = false;
            s->mark.next_start = at(0);
        }
        return TIDE_OK;
    }
    if (s->mode == ENDED && s->pos % FAKE_SEGMENT == 0)
        return damaged(s, err, "log ends within a segment, yet another follows");
    if (in_page == 0 || s->header_have > 0) {
        size_t take = FAKE_PAGE_HEADER - s->header_have;
        if (take > n)
            take = n;
        memcpy(s->header + s->header_have, p, take);
        s->header_have += take;
        s->pos += take;
        *used = take;
        if (s->header_have < FAKE_PAGE_HEADER)
            return TIDE_OK;
        s->header_have = 0;
        return take_page(s, err);
    }
    if (n > FAKE_PAGE - in_page)
        n = FAKE_PAGE - in_page;
    if (s->mode == RECORDS)
        return take_record(s, p, n, used, sink, err);
    s->pos += n;
    *used = n;
    return TIDE_OK;
}

int fake_scan_feed(void *p, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                   struct tide_log_mark *mark, struct tide_err *err)
{
    struct scan *s = p;
    const uint8_t *bytes = data;
    int status = s->mode == BROKEN ? fake_fail(s->host, err, TIDE_CORRUPT, "damaged before") : TIDE_OK;

    for (size_t used = 0; status == TIDE_OK && len > 0; bytes += used, len -= used) {
        used = 0;
        status = feed_some(s, bytes, len, &used, sink, err);
    }
    *mark = s->mark;
    mark->ended = s->mode == ENDED;
    return status;
}
