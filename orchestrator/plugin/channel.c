#include "orchestrator/plugin/worker.h"

#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REQUEST_MAX          (4u << 20)
#define PROGRESS_INTERVAL_US (TIDE_SECOND_US / 5)

struct worker_channel {
    int fd;
    pthread_mutex_t lock; /* one line at a time */
    json_t *request;
    int64_t progress_at_us;
    char progress_phase[64];
};

/* MSG_NOSIGNAL: a parent that is gone must not kill us with SIGPIPE in the middle of leaving hot-backup mode. */
static void send_line(struct worker_channel *c, json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    if (text == NULL)
        return;
    size_t len = strlen(text);
    text[len] = '\n'; /* in place of the NUL */

    pthread_mutex_lock(&c->lock);
    for (size_t done = 0; done < len + 1;) {
        ssize_t n = send(c->fd, text + done, len + 1 - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    pthread_mutex_unlock(&c->lock);
    free(text);
}

static tide_status read_request(struct worker_channel *c, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf line = TIDE_BUF_INIT(REQUEST_MAX);

    for (;;) {
        char piece[4096];
        ssize_t n = recv(c->fd, piece, sizeof piece, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_fail_errno(err, errno, "could not read the job's request");
        if (n == 0)
            return tide_fail(err, TIDE_INVALID, "the job's request ended early");
        tide_buf_append(&line, piece, (size_t)n);
        tide_status s = tide_buf_check(&line, "the job's request", err);
        if (s != TIDE_OK)
            return s;
        if (line.data[line.len - 1] == '\n')
            break;
    }
    json_error_t why;
    c->request = json_loadb((const char *)line.data, line.len, 0, &why);
    if (!json_is_object(c->request))
        return tide_fail(err, TIDE_INVALID, "the job's request is not one: %s", why.text);
    return TIDE_OK;
}

tide_status worker_channel_open(struct worker_channel **out, struct tide_err *err)
{
    int type;
    socklen_t len = sizeof type;

    if (getsockopt(WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &len) != 0 || type != SOCK_STREAM)
        return tide_fail(err, TIDE_INVALID, "a worker is started by tidemark itself, not by hand");
    struct worker_channel *c = calloc(1, sizeof *c);
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory starting a worker");
    c->fd = WORKER_FD;
    pthread_mutex_init(&c->lock, NULL);
    (void)fcntl(c->fd, F_SETFD, FD_CLOEXEC);
    tide_status s = read_request(c, err);
    if (s != TIDE_OK) {
        worker_channel_close(c);
        return s;
    }
    *out = c;
    return TIDE_OK;
}

void worker_channel_close(struct worker_channel *c)
{
    if (c == NULL)
        return;
    json_decref(c->request);
    (void)close(c->fd);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

const json_t *worker_channel_request(const struct worker_channel *c)
{
    return c->request;
}

void worker_send_progress(struct worker_channel *c, const struct worker_progress *p)
{
    int64_t now = tide_monotonic_us();

    pthread_mutex_lock(&c->lock);
    bool due = c->progress_at_us == 0 || now - c->progress_at_us >= PROGRESS_INTERVAL_US ||
               strcmp(c->progress_phase, p->phase) != 0;
    if (due) {
        c->progress_at_us = now;
        (void)snprintf(c->progress_phase, sizeof c->progress_phase, "%s", p->phase);
    }
    pthread_mutex_unlock(&c->lock);
    if (!due)
        return;

    json_t *line = json_pack("{s:s, s:s, s:I, s:I}", "type", "progress", "phase", p->phase, "bytes_done",
                             (json_int_t)p->bytes_done, "bytes_total", (json_int_t)p->bytes_total);
    if (line == NULL)
        return;
    if (p->time_us != TIDE_TIME_NONE)
        (void)json_object_set_new(line, "time_us", json_integer(p->time_us));
    if (p->until_us != TIDE_TIME_NONE)
        (void)json_object_set_new(line, "until_us", json_integer(p->until_us));
    send_line(c, line);
    json_decref(line);
}

void worker_send_alive(struct worker_channel *c)
{
    json_t *line = json_pack("{s:s}", "type", "alive");
    if (line == NULL)
        return;
    send_line(c, line);
    json_decref(line);
}

void worker_send_event(struct worker_channel *c, const json_t *event)
{
    json_t *line = json_pack("{s:s, s:O}", "type", "event", "event", event);
    if (line == NULL)
        return;
    send_line(c, line);
    json_decref(line);
}

void worker_send_result(struct worker_channel *c, tide_status s, const struct tide_err *err, bool degraded,
                        const json_t *data)
{
    json_t *line = json_pack("{s:s, s:i, s:b}", "type", "result", "status", (int)s, "degraded", (int)degraded);
    if (line == NULL)
        return;
    if (s != TIDE_OK && err != NULL) {
        (void)json_object_set_new(line, "errno", json_integer(err->os_errno));
        /* Texts may carry bytes that are no UTF-8: file names.  jansson refuses those, so mend them. */
        json_t *message = json_string(err->msg);
        (void)json_object_set_new(line, "message", message != NULL ? message : json_string_nocheck("(not UTF-8)"));
        (void)json_object_set_new(line, "hint", json_string(err->hint));
        (void)json_object_set_new(line, "before", json_string(err->before));
        (void)json_object_set_new(line, "after", json_string(err->after));
    }
    if (data != NULL)
        (void)json_object_set(line, "data", (json_t *)(uintptr_t)data);
    send_line(c, line);
    json_decref(line);
}
