#include "tests/support/fake_log.h"

#include "orchestrator/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_US 5000

struct instance {
    const struct tide_host *host;
    struct fake_server *server;
    char *evidence, *next;
    unsigned seed;
};

int fake_fail(const struct tide_host *host, struct tide_err *err, int status, const char *text)
{
    return host->set_error(host->ctx, err, status, 0, text, NULL);
}

/* ---- switches */

#define SETTER(name, type, field)                                                                                    \
    void name(struct fake_server *s, type v)                                                                         \
    {                                                                                                                \
        (void)pthread_mutex_lock(&s->lock);                                                                          \
        s->field = v;                                                                                                \
        (void)pthread_cond_broadcast(&s->changed);                                                                   \
        (void)pthread_mutex_unlock(&s->lock);                                                                        \
    }

SETTER(fake_set_clock, int64_t, clock_us)
SETTER(fake_set_synchronous, bool, synchronous)
SETTER(fake_set_standby, bool, standby)
SETTER(fake_set_down, bool, down)
SETTER(fake_set_busy, bool, busy)
SETTER(fake_set_paused, bool, paused)

void fake_kick(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    s->kicks++;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

void fake_remove_before(struct fake_server *s, struct tide_pos pos)
{
    (void)pthread_mutex_lock(&s->lock);
    s->oldest.lo = pos.lo / FAKE_SEGMENT * FAKE_SEGMENT;
    (void)pthread_mutex_unlock(&s->lock);
}

struct tide_pos fake_confirmed(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    struct tide_pos p = s->confirmed;
    (void)pthread_mutex_unlock(&s->lock);
    return p;
}

unsigned fake_streams(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    unsigned n = s->streams;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

uint64_t fake_branch(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    uint64_t n = s->branches[s->n - 1].number;
    (void)pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- the plugin's conversation */

static int fake_open(const struct tide_host *host, void **out, struct tide_err *err)
{
    const char *text = host->option(host->ctx, "server");
    void *server = NULL;

    if (text == NULL || sscanf(text, "%p", &server) != 1)
        return fake_fail(host, err, TIDE_INVALID, "no server");
    struct instance *i = calloc(1, sizeof *i);
    tide_assert(i != NULL);
    i->host = host;
    i->server = server;
    i->seed = 7;
    *out = i;
    return TIDE_OK;
}

static void fake_close(void *p)
{
    struct instance *i = p;

    if (i == NULL)
        return;
    free(i->evidence);
    free(i->next);
    free(i);
}

static bool is_down(struct fake_server *s)
{
    (void)pthread_mutex_lock(&s->lock);
    bool down = s->down;
    (void)pthread_mutex_unlock(&s->lock);
    return down;
}

static int fake_clock(void *p, struct tide_clock *out, struct tide_err *err)
{
    struct instance *i = p;
    struct fake_server *s = i->server;

    if (is_down(s))
        return fake_fail(i->host, err, TIDE_AGAIN, "the server is down");
    (void)pthread_mutex_lock(&s->lock);
    out->clock_us = s->clock_us != 0 ? s->clock_us : tide_now_us();
    out->standby = s->standby;
    out->end = s->standby ? (struct tide_pos){0} : (struct tide_pos){0, s->branches[s->n - 1].end};
    out->held_back_bytes = 0;
    out->branch = s->branches[s->n - 1].number;
    (void)pthread_mutex_unlock(&s->lock);
    return TIDE_OK;
}

static int fake_identify(void *p, struct tide_log_identity *out, struct tide_err *err)
{
    struct instance *i = p;
    struct fake_server *s = i->server;
    uint64_t branch = fake_branch(s);

    if (is_down(s))
        return fake_fail(i->host, err, TIDE_AGAIN, "the server is down");
    free(i->evidence);
    i->evidence = fake_evidence(s, branch);
    (void)pthread_mutex_lock(&s->lock);
    uint64_t end = s->branches[s->n - 1].end;
    *out = (struct tide_log_identity){.struct_size = out->struct_size,
                                      .standby = s->standby,
                                      .evidence = i->evidence,
                                      .server_version = "1",
                                      .branch = branch,
                                      .current = {0, end},
                                      .oldest = s->oldest,
                                      .stream_from = {0, end / FAKE_SEGMENT * FAKE_SEGMENT},
                                      .clock_us = s->clock_us != 0 ? s->clock_us : tide_now_us(),
                                      .synchronous = s->synchronous};
    (void)pthread_mutex_unlock(&s->lock);
    return TIDE_OK;
}

struct streaming {
    struct instance *i;
    const struct tide_log_sink *sink;
    struct tide_log_stream_end *end;
    struct tide_err *err;
    uint64_t branch, pos;
    unsigned kicks;
};

static void end_with(struct streaming *st, enum tide_log_stream_reason reason, uint64_t pos)
{
    st->end->reason = reason;
    st->end->end = (struct tide_pos){0, pos};
}

/* The branch that follows ours on the way to the current one, or NULL when ours is the current one.  Under lock. */
static const struct fake_timeline *next_branch(struct fake_server *s, uint64_t branch)
{
    const struct fake_timeline *t = &s->branches[s->n - 1];

    if (t->number == branch)
        return NULL;
    while (t != NULL && t->parent != branch)
        t = fake_timeline_of(s, t->parent);
    return t;
}

static int branch_end(struct streaming *st, uint64_t next, uint64_t fork)
{
    end_with(st, TIDE_STREAM_BRANCH_END, fork);
    free(st->i->next);
    st->i->next = fake_evidence(st->i->server, next);
    st->end->next_evidence = st->i->next;
    st->end->next_branch = next;
    return TIDE_OK;
}

static void tell_durable(struct streaming *st)
{
    struct fake_server *s = st->i->server;
    struct tide_pos p = st->sink->durable(st->sink->ctx);
    uint64_t n;

    while (read(st->sink->wake_fd, &n, sizeof n) > 0)
        continue;
    (void)pthread_mutex_lock(&s->lock);
    tide_assert(p.lo <= st->pos || p.lo == 0);
    if (tide_pos_cmp(s->confirmed, p) < 0)
        s->confirmed = p;
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
}

static int send_some(struct streaming *st, const uint8_t *data, size_t len)
{
    struct tide_pos from = {0, st->pos}, to = {0, st->pos + len};

    st->pos += len;
    return st->sink->bytes(st->sink->ctx, from, to, data, len, st->err);
}

/* One round: *over when the stream has ended. */
static int stream_round(struct streaming *st, uint8_t *buf, size_t size, bool *over)
{
    struct fake_server *s = st->i->server;
    size_t n = 0;

    (void)pthread_mutex_lock(&s->lock);
    const struct fake_timeline *t = fake_timeline_of(s, st->branch), *next = next_branch(s, st->branch);
    uint64_t limit = next != NULL ? next->fork.lo : FAKE_BASE + t->len;
    bool gone = s->down || s->kicks != st->kicks;
    uint64_t next_number = next != NULL ? next->number : 0;
    if (st->pos < limit && !s->paused) {
        n = limit - st->pos < size ? (size_t)(limit - st->pos) : size;
        n = (size_t)rand_r(&st->i->seed) % n + 1;
        memcpy(buf, t->data + (st->pos - FAKE_BASE), n);
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (gone)
        return fake_fail(st->i->host, st->err, TIDE_AGAIN, "connection to the server was lost");
    if (n > 0)
        return send_some(st, buf, n);
    *over = next_number != 0 && st->pos == limit;
    if (*over)
        return branch_end(st, next_number, limit);
    struct pollfd p[2] = {{.fd = st->sink->wake_fd, .events = POLLIN},
                          {.fd = st->i->host->cancel_fd(st->i->host->ctx), .events = POLLIN}};
    (void)poll(p, 2, TICK_US / 1000);
    return st->sink->idle(st->sink->ctx, st->err);
}

static int judge_start(struct streaming *st, const struct tide_log_stream_params *params, bool *go)
{
    struct fake_server *s = st->i->server;
    int status = TIDE_OK;
    uint64_t next_number = 0, fork = 0;

    *go = false;
    (void)pthread_mutex_lock(&s->lock);
    const struct fake_timeline *t = fake_timeline_of(s, params->branch), *next = next_branch(s, params->branch);
    uint64_t limit = t == NULL ? 0 : next != NULL ? next->fork.lo : t->end;
    st->kicks = s->kicks;
    s->streams++;
    if (s->down)
        status = fake_fail(st->i->host, st->err, TIDE_AGAIN, "the server is down");
    else if (s->busy)
        status = fake_fail(st->i->host, st->err, TIDE_BUSY, "the slot is active");
    else if (t == NULL)
        end_with(st, TIDE_STREAM_FOREIGN, st->pos);
    else if (st->pos > limit)
        end_with(st, TIDE_STREAM_AHEAD, limit);
    else if (next != NULL && st->pos == limit) {
        next_number = next->number;
        fork = limit;
    } else if (st->pos < s->oldest.lo) {
        end_with(st, TIDE_STREAM_REMOVED, st->pos);
        st->end->oldest = s->oldest;
    } else {
        *go = true;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return next_number != 0 ? branch_end(st, next_number, fork) : status;
}

static int fake_stream(void *p, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                       struct tide_log_stream_end *end, struct tide_err *err)
{
    struct streaming st = {
        .i = p, .sink = sink, .end = end, .err = err, .branch = params->branch, .pos = params->from.lo};
    uint8_t buf[3000];
    bool go, over = false;
    int status = judge_start(&st, params, &go);

    while (status == TIDE_OK && go && !over) {
        if (st.i->host->cancelled(st.i->host->ctx)) {
            end_with(&st, TIDE_STREAM_CANCELLED, st.pos);
            break;
        }
        status = stream_round(&st, buf, sizeof buf, &over);
        if (status == TIDE_OK && !over)
            tell_durable(&st);
    }
    return status;
}

/* ---- files */

static int fake_locate(const struct tide_host *host, const char *evidence, const char *name,
                       struct tide_log_file *out, struct tide_err *err)
{
    uint64_t branch, segment;
    int used = 0;

    (void)evidence;
    *out = (struct tide_log_file){.struct_size = out->struct_size};
    if (strstr(name, ".history") != NULL || strstr(name, ".backup") != NULL) {
        out->kind = strstr(name, ".history") != NULL ? TIDE_LOG_FILE_HISTORY : TIDE_LOG_FILE_OTHER;
        return TIDE_OK;
    }
    if (sscanf(name, "%8" SCNx64 "-%16" SCNx64 "%n", &branch, &segment, &used) != 2 || used != 25)
        return fake_fail(host, err, TIDE_INVALID, "no name of a log file");
    out->kind = TIDE_LOG_FILE_SEGMENT;
    out->branch = branch;
    out->partial = strcmp(name + used, ".partial") == 0;
    out->start.lo = segment * FAKE_SEGMENT;
    out->end.lo = (segment + 1) * FAKE_SEGMENT;
    return TIDE_OK;
}

/* A file says nothing about its server here; the test's option "server" does. */
static int fake_file_identify(const struct tide_host *host, const char *path, const char *name, char *buf,
                              size_t buf_size, struct tide_log_identity *out, struct tide_err *err)
{
    struct tide_log_file f = {.struct_size = sizeof f};
    void *server = NULL;
    int status = fake_locate(host, "", name, &f, err);
    uint8_t magic[2] = {0};

    if (status != TIDE_OK || f.kind != TIDE_LOG_FILE_SEGMENT)
        return fake_fail(host, err, TIDE_INVALID, "no name of a segment");
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        return fake_fail(host, err, TIDE_NOT_FOUND, "no such file");
    size_t n = fread(magic, 1, sizeof magic, file);
    (void)fclose(file);
    if (n < sizeof magic || magic[0] == 0)
        return fake_fail(host, err, TIDE_NOT_FOUND, "no log in it");
    tide_assert(sscanf(host->option(host->ctx, "server"), "%p", &server) == 1);
    char *evidence = fake_evidence(server, f.branch);
    (void)snprintf(buf, buf_size, "%s", evidence);
    free(evidence);
    *out = (struct tide_log_identity){.struct_size = out->struct_size,
                                      .evidence = buf,
                                      .server_version = "1",
                                      .branch = f.branch,
                                      .current = f.end,
                                      .oldest = f.start,
                                      .stream_from = f.start};
    return TIDE_OK;
}

static void fake_pos_format(struct tide_pos pos, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%" PRIx64, pos.lo);
}

const struct tide_plugin fake_plugin = {
    .struct_size = sizeof(struct tide_plugin),
    .abi = TIDE_PLUGIN_ABI,
    .name = "fake",
    .version = "1",
    .caps = TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES | TIDE_CAP_SYNCHRONOUS,
    .open = fake_open,
    .close = fake_close,
    .clock = fake_clock,
    .log_identify = fake_identify,
    .log_relate = fake_relate,
    .log_stream = fake_stream,
    .log_scan_open = fake_scan_open,
    .log_scan_feed = fake_scan_feed,
    .log_scan_close = fake_scan_close,
    .log_file_locate = fake_locate,
    .log_file_identify = fake_file_identify,
    .pos_format = fake_pos_format,
};

/* ---- a host */

static void host_log(void *ctx, int level, const char *event, const char *message)
{
    (void)ctx;
    (void)level;
    (void)event;
    (void)message;
}

static int host_set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                          const char *hint)
{
    (void)ctx;
    (void)hint;
    (void)os_errno;
    return (int)tide_fail(err, (tide_status)status, "%s", message);
}

static bool host_cancelled(void *ctx)
{
    (void)ctx;
    return false;
}

static int host_cancel_fd(void *ctx)
{
    (void)ctx;
    return -1;
}

static const char *host_option(void *ctx, const char *key)
{
    struct fake_host *h = ctx;
    return strcmp(key, "server") == 0 ? h->option : NULL;
}

static const char *host_instance(void *ctx)
{
    (void)ctx;
    return "shop";
}

static void host_progress(void *ctx, const struct tide_progress *p)
{
    (void)ctx;
    (void)p;
}

void fake_host_init(struct fake_host *h, struct fake_server *s)
{
    *h = (struct fake_host){.server = s};
    (void)snprintf(h->option, sizeof h->option, "%p", (void *)s);
    h->host = (struct tide_host){.struct_size = sizeof h->host,
                                 .abi = TIDE_PLUGIN_ABI,
                                 .ctx = h,
                                 .log = host_log,
                                 .set_error = host_set_error,
                                 .progress = host_progress,
                                 .cancelled = host_cancelled,
                                 .cancel_fd = host_cancel_fd,
                                 .option = host_option,
                                 .instance = host_instance};
}
