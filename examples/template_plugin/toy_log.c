#include "examples/template_plugin/toy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define IDLE_MS 100

static int64_t now_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* The promise: everything acknowledged before clock_us lies below end.  So the clock is read first. */
int toy_clock(void *inst, struct tide_clock *out, struct tide_err *err)
{
    struct toy *toy = inst;
    int64_t clock = now_us();
    char id[17];

    int s = toy_log_end(toy, &out->end.lo, id, err);
    if (s != TIDE_OK)
        return s;
    out->end.hi = 0;
    out->clock_us = clock;
    out->standby = 0;
    out->held_back_bytes = 0;
    return TIDE_OK;
}

int toy_log_identify(void *inst, struct tide_log_identity *out, struct tide_err *err)
{
    struct toy *toy = inst;
    uint64_t end;
    char id[17];

    int s = toy_log_end(toy, &end, id, err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(toy->evidence, sizeof toy->evidence, "toy=%s\n", id);
    *out = (struct tide_log_identity){
        .struct_size = sizeof *out,
        .evidence = toy->evidence,
        .server_version = "toy 1.0",
        .branch = 1,
        .current = {.lo = end},
        .oldest = {.lo = TOY_LOG_HEADER},
        .stream_from = {.lo = TOY_LOG_HEADER},
        .clock_us = now_us(),
    };
    return TIDE_OK;
}

/* A toy's log never forks: it is the same one, or it has nothing to do with ours. */
int toy_log_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end, const char *current,
                   struct tide_log_kinship *out, struct tide_err *err)
{
    (void)host;
    (void)stored_end;
    (void)err;
    out->relation = strcmp(stored, current) == 0 ? TIDE_LOG_SAME : TIDE_LOG_FOREIGN;
    out->fork = (struct tide_pos){0};
    return TIDE_OK;
}

/* Waits for more log, for a confirmation that moved, or for cancellation. */
static void wait_for_more(const struct tide_host *host, const struct tide_log_sink *sink)
{
    struct pollfd fds[] = {{.fd = host->cancel_fd(host->ctx), .events = POLLIN},
                           {.fd = sink->wake_fd, .events = POLLIN}};
    char byte[64];

    if (poll(fds, 2, IDLE_MS) > 0 && (fds[1].revents & POLLIN) != 0)
        while (read(sink->wake_fd, byte, sizeof byte) == (ssize_t)sizeof byte)
            continue;
    (void)sink->durable(sink->ctx); /* here a real engine tells its server how far it may forget */
}

static int stream_file(struct toy *toy, int fd, struct tide_pos from, const struct tide_log_sink *sink,
                       struct tide_log_stream_end *end, struct tide_err *err)
{
    char buf[65536];

    for (;;) {
        if (toy->host->cancelled(toy->host->ctx)) {
            end->reason = TIDE_STREAM_CANCELLED;
            end->end = from;
            return TIDE_OK;
        }
        ssize_t n = pread(fd, buf, sizeof buf, (off_t)from.lo);
        if (n < 0 && errno != EINTR)
            return tide_plugin_fail(toy->host, err, TIDE_AGAIN, errno, "could not read the toy's log");
        if (n <= 0) {
            int s = sink->idle(sink->ctx, err);
            if (s != TIDE_OK)
                return s; /* what a sink says is passed on untouched */
            wait_for_more(toy->host, sink);
            continue;
        }
        struct tide_pos to = {.lo = from.lo + (uint64_t)n};
        int s = sink->bytes(sink->ctx, from, to, buf, (size_t)n, err);
        if (s != TIDE_OK)
            return s;
        from = to;
    }
}

int toy_log_stream(void *inst, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                   struct tide_log_stream_end *end, struct tide_err *err)
{
    struct toy *toy = inst;
    char path[4096], id[17], evidence[64];
    uint64_t log_end;

    int s = toy_log_end(toy, &log_end, id, err);
    if (s != TIDE_OK)
        return s;
    *end = (struct tide_log_stream_end){.struct_size = sizeof *end, .end = params->from};
    (void)snprintf(evidence, sizeof evidence, "toy=%s\n", id);
    if (params->evidence == NULL || strcmp(params->evidence, evidence) != 0)
        end->reason = TIDE_STREAM_FOREIGN;
    else if (params->from.lo > log_end)
        end->reason = TIDE_STREAM_AHEAD;
    if (end->reason != TIDE_STREAM_CANCELLED)
        return TIDE_OK;
    s = toy_path(toy->host, toy->directory, TOY_LOG_FILE, path, sizeof path, err);
    if (s != TIDE_OK)
        return s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tide_plugin_fail(toy->host, err, TIDE_AGAIN, errno, "could not open \"%s\"", path);
    s = stream_file(toy, fd, params->from, sink, end, err);
    (void)close(fd);
    return s;
}

void toy_pos_format(struct tide_pos pos, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%" PRIu64, pos.lo);
}

int toy_pos_parse(const char *text, struct tide_pos *pos)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
        return TIDE_INVALID;
    *pos = (struct tide_pos){.lo = v};
    return TIDE_OK;
}
