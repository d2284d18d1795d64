#include "examples/template_plugin/toy.h"

#include <stdlib.h>
#include <string.h>

/*
 * Reads the log as it passes.  Bytes come in pieces of any size, so a record
 * that is not complete yet is kept until the rest of it arrives.
 */

struct scan {
    const struct tide_host *host;
    struct tide_pos at; /* of pending[0]: where the next record begins */
    size_t n_pending;
    struct tide_log_mark mark;
    uint8_t pending[TOY_RECORD_MAX];
};

static uint32_t checksum(const uint8_t *data, size_t len)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < len; i++)
        h = (h ^ data[i]) * 16777619u;
    return h;
}

static uint64_t number(const uint8_t *p, size_t bytes)
{
    uint64_t v = 0;

    for (size_t i = bytes; i > 0; i--)
        v = v << 8 | p[i - 1];
    return v;
}

int toy_log_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **out,
                      struct tide_err *err)
{
    struct scan *scan = calloc(1, sizeof *scan);

    if (scan == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    /* The toy's log is always fed from a record's start on; an engine whose pieces may begin in the middle of a
     * record looks for the first one here. */
    scan->host = host;
    scan->at = tide_pos_is_none(params->first_record) ? params->start : params->first_record;
    scan->mark.struct_size = sizeof scan->mark;
    scan->mark.whole_end = scan->at;
    *out = scan;
    return TIDE_OK;
}

void toy_log_scan_close(void *scan)
{
    free(scan);
}

static int emit(const struct scan *scan, size_t len, const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    static const uint32_t kinds[] = {[TOY_COMMIT] = TIDE_EVENT_COMMIT,
                                     [TOY_ABORT] = TIDE_EVENT_ABORT,
                                     [TOY_RESTORE_POINT] = TIDE_EVENT_RESTORE_POINT};
    const uint8_t *record = scan->pending;
    struct tide_log_event event = {
        .struct_size = sizeof event,
        .start = scan->at,
        .end = {.lo = scan->at.lo + len},
        .time_us = (int64_t)number(record + 8, 8),
        .number = number(record + 4, 4),
        .text = (const char *)record + TOY_RECORD_HEAD,
        .text_len = (size_t)number(record + 2, 2),
    };

    if (record[1] >= sizeof kinds / sizeof kinds[0] || kinds[record[1]] == 0)
        return TIDE_OK; /* nothing that anybody has to know */
    event.kind = kinds[record[1]];
    return sink->event == NULL ? TIDE_OK : sink->event(sink->ctx, &event, err);
}

/* The record at pending is complete: proves it and moves on. */
static int take_record(struct scan *scan, size_t len, const struct tide_log_scan_sink *sink, struct tide_err *err)
{
    if (number(scan->pending + len - TOY_RECORD_TAIL, TOY_RECORD_TAIL) !=
        checksum(scan->pending, len - TOY_RECORD_TAIL))
        return tide_plugin_fail(scan->host, err, TIDE_CORRUPT, 0, "the record at %llu has a wrong checksum",
                                (unsigned long long)scan->at.lo);
    int s = emit(scan, len, sink, err);
    if (s != TIDE_OK)
        return s;
    if (tide_pos_is_none(scan->mark.first_start))
        scan->mark.first_start = scan->at;
    scan->mark.last_start = scan->at;
    scan->at.lo += len;
    scan->mark.whole_end = scan->at;
    scan->n_pending = 0;
    return TIDE_OK;
}

int toy_log_scan_feed(void *opaque, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                      struct tide_log_mark *mark, struct tide_err *err)
{
    struct scan *scan = opaque;
    const uint8_t *bytes = data;
    int s = TIDE_OK;

    while (len > 0 && s == TIDE_OK) {
        size_t want = TOY_RECORD_HEAD;
        if (scan->n_pending >= TOY_RECORD_HEAD)
            want += (size_t)number(scan->pending + 2, 2) + TOY_RECORD_TAIL;
        size_t take = want - scan->n_pending < len ? want - scan->n_pending : len;
        memcpy(scan->pending + scan->n_pending, bytes, take);
        scan->n_pending += take;
        bytes += take;
        len -= take;
        if (scan->pending[0] != 'R')
            s = tide_plugin_fail(scan->host, err, TIDE_CORRUPT, 0, "there is no record at %llu",
                                 (unsigned long long)scan->at.lo);
        else if (scan->n_pending > TOY_RECORD_HEAD && scan->n_pending == want)
            s = take_record(scan, want, sink, err);
    }
    *mark = scan->mark; /* also after a failure: what was whole before it */
    return s;
}
