#include "wal/ship_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/log.h"
#include "wal/control_path.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/*
 * The desk: one thread that passes outer cancellation on, reports once a second, and answers the control socket,
 * one client after the other.  "flush" and "state", each a line; the answer is a line of JSON.
 */

#define REPORT_US      TIDE_SECOND_US
#define LINE_MAX_BYTES 64u
#define CLIENT_MS      2000
#define FLUSH_US       (30 * TIDE_SECOND_US)

static bool somebody_listens(const struct control_path *p)
{
    TIDE_AUTO(tide_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    return fd >= 0 && connect(fd, (const struct sockaddr *)&p->address, sizeof p->address) == 0;
}

static tide_status listen_at(const char *path, int *out, struct tide_err *err)
{
    TIDE_AUTO(control_path_clear) struct control_path p = {.directory_fd = -1};
    TIDE_AUTO(tide_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    tide_status s = control_path_make(path, &p, err);

    if (s != TIDE_OK)
        return s;
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not make a control socket");
    if (somebody_listens(&p))
        return tide_fail(err, TIDE_BUSY, "another shipper listens at \"%s\"", path);
    /* What is left of a killed one answers nobody. */
    if (unlink(path) != 0 && errno != ENOENT)
        return tide_fail_errno(err, errno, "could not remove \"%s\"", path);
    if (bind(fd, (const struct sockaddr *)&p.address, sizeof p.address) != 0)
        return tide_fail_errno(err, errno, "could not make the control socket \"%s\"", path);
    /* Nobody can connect before listen(). */
    if (chmod(path, 0600) != 0 || listen(fd, 8) != 0)
        return tide_fail_errno(err, errno, "could not listen at \"%s\"", path);
    *out = tide_take_fd(&fd);
    return TIDE_OK;
}

/* ---- one client */

static bool read_line(int fd, char line[LINE_MAX_BYTES])
{
    int64_t deadline = tide_monotonic_us() + CLIENT_MS * 1000;

    for (size_t len = 0; len + 1 < LINE_MAX_BYTES;) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = (deadline - tide_monotonic_us()) / 1000;
        if (left <= 0 || poll(&p, 1, (int)left) <= 0)
            return false;
        ssize_t n = recv(fd, line + len, LINE_MAX_BYTES - 1 - len, 0);
        if (n <= 0)
            return false;
        len += (size_t)n;
        line[len] = '\0';
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
            return true;
        }
    }
    return false;
}

static bool wait_for_flush(struct ship *s)
{
    int64_t deadline = tide_monotonic_us() + FLUSH_US;

    ship_lock(s);
    uint64_t wanted = ++s->flush_wanted;
    ship_changed(s);
    while (s->flush_done < wanted && !ship_stopping(s) && tide_monotonic_us() < deadline)
        ship_wait(s, deadline - tide_monotonic_us());
    bool done = s->flush_done >= wanted;
    ship_unlock(s);
    return done;
}

static void answer(struct ship *s, int fd, bool flushed)
{
    struct wal_ship_state st;

    ship_snapshot(s, &st);
    json_t *doc = ship_state_json(&st);
    if (doc == NULL || json_object_set_new(doc, "flushed", json_boolean(flushed)) != 0) {
        json_decref(doc);
        return;
    }
    char *text = json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(doc);
    if (text == NULL)
        return;
    /* A client that has gone away misses its answer; nothing else. */
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0)
        (void)send(fd, "\n", 1, MSG_NOSIGNAL);
    free(text);
}

static void serve(struct ship *s, int listen_fd)
{
    TIDE_AUTO(tide_closep) int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
    struct timeval patience = {.tv_sec = CLIENT_MS / 1000};
    char line[LINE_MAX_BYTES] = "";

    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (!read_line(fd, line))
        return;
    if (strcmp(line, "flush") == 0)
        answer(s, fd, wait_for_flush(s));
    else if (strcmp(line, "state") == 0)
        answer(s, fd, false);
}

/* ---- the thread */

static void report(struct ship *s)
{
    struct wal_ship_state st;

    if (s->o->report == NULL)
        return;
    ship_snapshot(s, &st);
    s->o->report(s->o->report_ctx, &st);
}

static bool outer_cancelled(const struct ship *s)
{
    const struct tide_host *h = s->o->host;

    return tide_cancel_is_set(s->o->cancel) || (h->cancelled != NULL && h->cancelled(h->ctx));
}

static void *desk_main(void *arg)
{
    struct ship_desk *d = arg;
    struct ship *s = d->ship;
    const struct tide_host *h = s->o->host;
    int64_t next = tide_monotonic_us();

    while (!ship_stopping(s)) {
        struct pollfd p[4] = {
            {.fd = tide_cancel_fd(s->stop), .events = POLLIN},
            {.fd = tide_cancel_fd(s->o->cancel), .events = POLLIN},
            {.fd = h->cancel_fd == NULL ? -1 : h->cancel_fd(h->ctx), .events = POLLIN},
            {.fd = d->listen_fd, .events = POLLIN},
        };
        int64_t now = tide_monotonic_us();
        if (now >= next) {
            report(s);
            next = now + REPORT_US;
        }
        int n = poll(p, 4, (int)((next - now) / 1000) + 1);
        if (outer_cancelled(s))
            tide_cancel_set(s->stop);
        else if (n > 0 && p[3].revents != 0)
            serve(s, d->listen_fd);
    }
    ship_lock(s);
    ship_changed(s);
    ship_unlock(s);
    return NULL;
}

tide_status ship_desk_open(struct ship_desk *d, struct ship *s, struct tide_err *err)
{
    *d = (struct ship_desk){.ship = s, .listen_fd = -1};
    if (s->o->control_path != NULL) {
        tide_status st = listen_at(s->o->control_path, &d->listen_fd, err);
        if (st != TIDE_OK)
            return st;
    }
    int n = pthread_create(&d->thread, NULL, desk_main, d);
    if (n != 0) {
        ship_desk_close(d);
        return tide_fail_errno(err, n, "could not start a thread");
    }
    d->running = true;
    return TIDE_OK;
}

void ship_desk_close(struct ship_desk *d)
{
    if (d->running)
        (void)pthread_join(d->thread, NULL);
    if (d->running)
        report(d->ship);
    if (d->listen_fd >= 0) {
        (void)unlink(d->ship->o->control_path);
        (void)close(d->listen_fd);
    }
    *d = (struct ship_desk){.listen_fd = -1};
}
