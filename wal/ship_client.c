#include "wal/ship_internal.h"

#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "wal/control_path.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define ANSWER_MAX (64u << 10)

static tide_status connect_to(const char *path, int *out, struct tide_err *err)
{
    TIDE_AUTO(control_path_clear) struct control_path p = {.directory_fd = -1};
    TIDE_AUTO(tide_closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    tide_status s = control_path_make(path, &p, err);

    if (s != TIDE_OK)
        return s;
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not make a socket");
    if (connect(fd, (const struct sockaddr *)&p.address, sizeof p.address) != 0) {
        if (errno == ENOENT || errno == ECONNREFUSED)
            return tide_fail(err, TIDE_NOT_FOUND, "no shipper listens at \"%s\"", path);
        return tide_fail_errno(err, errno, "could not reach the shipper at \"%s\"", path);
    }
    *out = tide_take_fd(&fd);
    return TIDE_OK;
}

static tide_status read_answer(int fd, int64_t deadline_us, struct tide_buf *out, struct tide_err *err)
{
    for (;;) {
        char piece[4096];
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int64_t left = (deadline_us - tide_monotonic_us()) / 1000;
        int ready = left <= 0 ? 0 : poll(&p, 1, (int)left);
        if (ready == 0)
            return tide_fail(err, TIDE_AGAIN, "the shipper did not answer in time");
        if (ready < 0 && errno == EINTR)
            continue;
        ssize_t n = ready < 0 ? -1 : recv(fd, piece, sizeof piece, 0);
        if (n < 0)
            return tide_fail_errno(err, errno, "could not read the shipper's answer");
        if (n == 0)
            return tide_fail(err, TIDE_AGAIN, "the shipper went away");
        tide_buf_append(out, piece, (size_t)n);
        if (out->failed)
            return tide_buf_check(out, "the shipper's answer", err);
        if (out->data[out->len - 1] == '\n')
            return TIDE_OK;
    }
}

tide_status wal_ship_flush(const char *control_path, int64_t timeout_us, struct wal_ship_state *state,
                           struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(ANSWER_MAX);
    TIDE_AUTO(tide_closep) int fd = -1;
    struct wal_ship_state ignored;
    tide_status s = connect_to(control_path, &fd, err);

    if (s != TIDE_OK)
        return s;
    if (send(fd, "flush\n", 6, MSG_NOSIGNAL) != 6)
        return tide_fail_errno(err, errno, "could not ask the shipper");
    s = read_answer(fd, tide_monotonic_us() + timeout_us, &text, err);
    if (s != TIDE_OK)
        return s;
    json_t *doc = json_loadb((const char *)text.data, text.len, 0, NULL);
    bool fine = doc != NULL && ship_state_parse(doc, state == NULL ? &ignored : state);
    json_decref(doc);
    return fine ? TIDE_OK : tide_fail(err, TIDE_IO, "the shipper's answer makes no sense");
}
