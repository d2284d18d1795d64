#include "tests/conformance/conformance.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/clock.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CAPTURE_MAX  (8u << 20)
#define CANCEL_AFTER (TIDE_SECOND_US / 2)
#define CANCEL_LIMIT (5 * TIDE_SECOND_US)

/* --------------------------------------------------------------- scanning */

/* A running sum of what a scanner told: the same log must give the same sum however it is cut.  Block references may
 * come in batches of any size, and so are only counted. */
struct heard {
    uint64_t sum, events, blocks;
    struct tide_pos last_start;
    bool backwards;
};

static int take_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct heard *h = ctx;

    (void)err;
    h->events++;
    h->backwards |= tide_pos_cmp(e->start, h->last_start) < 0 || tide_pos_cmp(e->end, e->start) < 0;
    h->last_start = e->start;
    uint64_t parts[] = {e->kind, e->start.lo, e->end.lo, (uint64_t)e->time_us, e->number, e->text_len};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        h->sum = (h->sum ^ parts[i]) * UINT64_C(1099511628211);
    return TIDE_OK;
}

static int take_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    struct heard *h = ctx;

    (void)refs;
    (void)err;
    h->blocks += n;
    return TIDE_OK;
}

struct captured {
    struct tide_buf bytes;
    struct tide_pos from, to;
    bool hole; /* pieces did not follow each other */
    size_t limit;
    struct fake_host *host;
    unsigned idles;
    char evidence[65536];
};

/* Feeds the capture in pieces of `piece` bytes (0: of varying sizes). */
static int scan_capture(const struct subject *s, const struct captured *c, size_t piece, struct heard *heard,
                        struct tide_log_mark *mark, struct tide_err *err)
{
    const struct tide_log_scan_params params = {
        .struct_size = sizeof params, .evidence = c->evidence, .start = c->from};
    const struct tide_log_scan_sink sink = {
        .struct_size = sizeof sink, .ctx = heard, .event = take_event, .blocks = take_blocks};
    void *scan = NULL;
    unsigned random = 1;

    *heard = (struct heard){0};
    int status = s->plugin->log_scan_open(&c->host->table, &params, &scan, err);
    for (size_t at = 0; status == TIDE_OK && at < c->bytes.len;) {
        random = random * 1103515245u + 12345u;
        size_t len = piece != 0 ? piece : 1 + random % 9973;
        if (len > c->bytes.len - at)
            len = c->bytes.len - at;
        *mark = (struct tide_log_mark){.struct_size = sizeof *mark};
        status = s->plugin->log_scan_feed(scan, c->bytes.data + at, len, &sink, mark, err);
        at += len;
    }
    if (scan != NULL)
        s->plugin->log_scan_close(scan);
    return status;
}

void check_scan_garbage(const struct subject *s)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct captured c = {.bytes = TIDE_BUF_INIT(1u << 20), .from = {.lo = 16u << 20}};
    struct fake_host h;
    struct heard heard;
    struct tide_log_mark mark = {0};

    if (s->plugin->log_scan_open == NULL) {
        tap_skip("no log", "a scanner is fed garbage");
        return;
    }
    s->plugin->log_scan_close(NULL);
    tap_check(true, "log_scan_close(NULL) does nothing");
    if (!fake_host_init(&h, s->settings))
        return;
    c.host = &h;
    for (uint32_t i = 0; i < 100000; i++)
        tide_buf_be32(&c.bytes, i * 2654435761u);
    int status = scan_capture(s, &c, 0, &heard, &mark, &err);
    tap_check(status != TIDE_OK && err.msg[0] != '\0', "a scanner that is fed garbage says so");
    tap_check(heard.events == 0, "it makes no events of it");
    tap_check(tide_pos_cmp(mark.whole_end, c.from) <= 0, "it takes none of it for whole");
    tide_buf_clear(&c.bytes);
    fake_host_clear(&h);
}

/* ----------------------------------------------------------------- server */

struct found {
    unsigned n;
    bool bad;
};

static void take_finding(void *ctx, const struct tide_finding *f)
{
    struct found *found = ctx;

    found->n++;
    if (f->struct_size < sizeof *f || f->severity > 2 || f->code == NULL || strchr(f->code, '.') == NULL ||
        f->message == NULL || f->message[0] == '\0' || strchr(f->message, '\n') != NULL) {
        tap_diag("finding \"%s\": \"%s\"", f->code == NULL ? "" : f->code, f->message == NULL ? "" : f->message);
        found->bad = true;
    }
}

static void check_check(const struct subject *s, void *inst)
{
    struct found found = {0};
    struct tide_findings sink = {.struct_size = sizeof sink, .ctx = &found, .add = take_finding};
    const struct tide_setup_params setup = {.struct_size = sizeof setup};
    struct tide_err err = TIDE_ERR_INIT;

    if (s->plugin->setup != NULL) {
        bool twice = s->plugin->setup(inst, &setup, &sink, &err) == TIDE_OK &&
                     s->plugin->setup(inst, &setup, &sink, &err) == TIDE_OK;
        if (!tap_check(twice, "setup works, and works again"))
            tap_diag("%s", err.msg);
    }
    if (!tap_check(s->plugin->check(inst, &sink, &err) == TIDE_OK, "check looks at everything"))
        tap_diag("%s", err.msg);
    tap_check(found.n > 0 && !found.bad, "each of %u findings has a severity, a dotted code and one line of text",
              found.n);
}

static void check_clock(const struct subject *s, void *inst)
{
    struct tide_clock a = {.struct_size = sizeof a}, b = {.struct_size = sizeof b};
    struct tide_err err = TIDE_ERR_INIT;

    if (s->plugin->clock == NULL)
        return;
    bool read = s->plugin->clock(inst, &a, &err) == TIDE_OK && s->plugin->clock(inst, &b, &err) == TIDE_OK;
    if (!tap_check(read, "the server tells its clock"))
        tap_diag("%s", err.msg);
    tap_check(b.clock_us >= a.clock_us && tide_pos_cmp(b.end, a.end) >= 0, "neither clock nor end of log runs back");
    tap_check(a.standby != 0 || !tide_pos_is_none(a.end), "a primary's end of log is a position");
}

static void check_identity(const struct subject *s, void *inst, struct fake_host *h)
{
    struct tide_log_identity id = {.struct_size = sizeof id};
    struct tide_log_kinship kin = {.struct_size = sizeof kin};
    struct tide_err err = TIDE_ERR_INIT;

    if (s->plugin->log_identify == NULL)
        return;
    if (!tap_check(s->plugin->log_identify(inst, &id, &err) == TIDE_OK, "the log is identified"))
        tap_diag("%s", err.msg);
    if (!tap_check(id.evidence != NULL && strchr(id.evidence, '=') != NULL, "its evidence is key=value lines"))
        return;
    char *evidence = strdup(id.evidence);
    struct tide_pos current = id.current;
    tap_check(tide_pos_cmp(id.stream_from, id.current) <= 0, "shipping starts at or before the end of the log");
    int status = s->plugin->log_relate(&h->table, evidence, current, evidence, &kin, &err);
    tap_check(status == TIDE_OK && kin.relation == TIDE_LOG_SAME, "a log is the same as itself");
    kin = (struct tide_log_kinship){.struct_size = sizeof kin};
    status = s->plugin->log_relate(&h->table, "nonsense=1\n", current, evidence, &kin, &err);
    tap_check(status != TIDE_OK || kin.relation == TIDE_LOG_FOREIGN, "a log with other evidence is foreign");
    free(evidence);
}

void check_server(const struct subject *s)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fake_host h;
    void *inst = NULL;

    if (!s->has_server) {
        tap_skip("no options were given", "check, clock and identity");
        return;
    }
    if (!fake_host_init(&h, s->settings))
        return;
    if (tap_check(s->plugin->open(&h.table, &inst, &err) == TIDE_OK, "the server's handle opens")) {
        check_check(s, inst);
        check_clock(s, inst);
        check_identity(s, inst, &h);
    }
    s->plugin->close(inst);
    tap_check(!h.bad_error && !h.bad_progress, "errors and progress are well-formed");
    fake_host_clear(&h);
}

/* ----------------------------------------------------------------- stream */

static int take_bytes(void *ctx, struct tide_pos start, struct tide_pos end, const void *data, size_t len,
                      struct tide_err *err)
{
    struct captured *c = ctx;

    (void)err;
    if (c->bytes.len == 0)
        c->from = start;
    else if (tide_pos_cmp(start, c->to) != 0)
        c->hole = true;
    if (tide_pos_cmp(end, start) <= 0 || (end.hi == start.hi && end.lo - start.lo < len))
        c->hole = true;
    c->to = end;
    if (c->bytes.len + len > c->limit)
        len = c->limit - c->bytes.len;
    tide_buf_append(&c->bytes, data, len);
    if (c->bytes.len >= c->limit)
        tide_cancel_set(c->host->cancel);
    return TIDE_OK;
}

static struct tide_pos none_durable(void *ctx)
{
    (void)ctx;
    return (struct tide_pos){0};
}

static int take_idle(void *ctx, struct tide_err *err)
{
    struct captured *c = ctx;

    (void)err;
    c->idles++;
    return TIDE_OK;
}

/* Streams from `from` until c->limit bytes came or the cancellation that is under way. */
static int stream(const struct subject *s, struct captured *c, struct tide_pos from, uint64_t branch,
                  struct tide_log_stream_end *end, struct tide_err *err)
{
    int wake[2];
    void *inst = NULL;

    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0)
        return TIDE_IO;
    const struct tide_log_sink sink = {.struct_size = sizeof sink,
                                       .wake_fd = wake[0],
                                       .ctx = c,
                                       .bytes = take_bytes,
                                       .durable = none_durable,
                                       .idle = take_idle};
    const struct tide_log_stream_params params = {
        .struct_size = sizeof params, .evidence = c->evidence, .from = from, .branch = branch};
    *end = (struct tide_log_stream_end){.struct_size = sizeof *end};
    int status = s->plugin->open(&c->host->table, &inst, err);
    if (status == TIDE_OK)
        status = s->plugin->log_stream(inst, &params, &sink, end, err);
    s->plugin->close(inst);
    (void)close(wake[0]);
    (void)close(wake[1]);
    return status;
}

static bool was_cancelled(int status, const struct tide_log_stream_end *end)
{
    return status == TIDE_CANCELLED || (status == TIDE_OK && end->reason == TIDE_STREAM_CANCELLED);
}

/* Everything from where shipping would start, until the server has nothing more: cancelled while it waits. */
static bool capture_all(const struct subject *s, struct captured *c, struct tide_log_identity *id)
{
    struct tide_log_stream_end end;
    struct tide_err err = TIDE_ERR_INIT;
    void *inst = NULL;

    if (s->plugin->open(&c->host->table, &inst, &err) != TIDE_OK ||
        s->plugin->log_identify(inst, id, &err) != TIDE_OK)
        return false;
    (void)snprintf(c->evidence, sizeof c->evidence, "%s", id->evidence);
    s->plugin->close(inst);

    struct later *later = later_cancel(c->host, CANCEL_AFTER);
    int64_t begun = tide_monotonic_us();
    int status = stream(s, c, id->stream_from, id->branch, &end, &err);
    int64_t took = tide_monotonic_us() - begun;
    later_join(later);
    if (!tap_check(was_cancelled(status, &end), "a stream is ended by cancellation"))
        tap_diag("status %d, reason %u: %s", status, end.reason, err.msg);
    tap_check(took < CANCEL_AFTER + CANCEL_LIMIT, "it ends soon, also while it waits for the server");
    tap_check(!c->hole, "its pieces follow each other");
    return tap_check(c->bytes.len > 0, "log comes");
}

/* The log from the middle on is byte for byte what it was the first time. */
static void check_resume(const struct subject *s, const struct captured *first, uint64_t branch)
{
    struct captured again = {.bytes = TIDE_BUF_INIT(CAPTURE_MAX)};
    struct tide_log_stream_end end;
    struct tide_err err = TIDE_ERR_INIT;
    struct fake_host h;
    size_t middle = first->bytes.len / 2;

    if (!fake_host_init(&h, s->settings))
        return;
    again.host = &h;
    again.limit = first->bytes.len - middle;
    (void)snprintf(again.evidence, sizeof again.evidence, "%s", first->evidence);
    struct later *later = later_cancel(&h, 10 * TIDE_SECOND_US);
    struct tide_pos from = {.hi = first->from.hi, .lo = first->from.lo + middle};
    int status = stream(s, &again, from, branch, &end, &err);
    tide_cancel_set(h.cancel);
    bool same = was_cancelled(status, &end) && tide_pos_cmp(again.from, from) == 0 &&
                again.bytes.len == first->bytes.len - middle &&
                memcmp(again.bytes.data, first->bytes.data + middle, again.bytes.len) == 0;
    if (!tap_check(same, "streaming from the middle gives the same bytes"))
        tap_diag("status %d: %s; %zu of %zu bytes", status, err.msg, again.bytes.len, first->bytes.len - middle);
    later_join(later);
    tide_buf_clear(&again.bytes);
    fake_host_clear(&h);
}

static void check_scan(const struct subject *s, const struct captured *c)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct heard whole, bits;
    struct tide_log_mark mark = {0}, bits_mark = {0};

    int status = scan_capture(s, c, c->bytes.len, &whole, &mark, &err);
    if (!tap_check(status == TIDE_OK, "what was streamed can be scanned"))
        tap_diag("%s", err.msg);
    tap_check(!whole.backwards, "events come in order");
    tap_check(tide_pos_cmp(mark.whole_end, c->to) <= 0 && tide_pos_cmp(mark.last_start, mark.whole_end) <= 0,
              "nothing is whole that was not fed");
    status = scan_capture(s, c, 0, &bits, &bits_mark, &err);
    tap_check(status == TIDE_OK && bits.sum == whole.sum && bits.events == whole.events &&
                  tide_pos_cmp(bits_mark.whole_end, mark.whole_end) == 0,
              "%llu events are the same however the log is cut", (unsigned long long)whole.events);
}

void check_stream(const struct subject *s)
{
    struct captured c = {.bytes = TIDE_BUF_INIT(CAPTURE_MAX), .limit = CAPTURE_MAX};
    struct tide_log_identity id = {.struct_size = sizeof id};
    struct fake_host h;

    if (!s->has_server || (s->plugin->caps & TIDE_CAP_LOG_STREAM) == 0) {
        tap_skip(s->has_server ? "no such capability" : "no options were given", "streaming the log");
        return;
    }
    if (!fake_host_init(&h, s->settings))
        return;
    c.host = &h;
    if (capture_all(s, &c, &id)) {
        check_resume(s, &c, id.branch);
        check_scan(s, &c);
    }
    tide_buf_clear(&c.bytes);
    fake_host_clear(&h);
}
