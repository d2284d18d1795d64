#include "orchestrator/base/thread.h"
#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct tide_cancel {
    atomic_bool set;
    int fd; /* never read, so once written it stays readable */
};

tide_status tide_cancel_new(struct tide_cancel **out, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) struct tide_cancel *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a cancellation");
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fd < 0)
        return tide_fail_errno(err, errno, "could not make an event descriptor");
    atomic_init(&c->set, false);
    *out = TIDE_TAKE(c);
    return TIDE_OK;
}

void tide_cancel_free(struct tide_cancel *c)
{
    if (c == NULL)
        return;
    (void)close(c->fd);
    free(c);
}

void tide_cancel_set(struct tide_cancel *c)
{
    if (c == NULL)
        return;
    int saved = errno;
    /* The flag first: who wakes up by the descriptor must find it set. */
    if (!atomic_exchange(&c->set, true)) {
        uint64_t one = 1;
        ssize_t ignored = write(c->fd, &one, sizeof(one));
        (void)ignored;
    }
    errno = saved;
}

bool tide_cancel_is_set(const struct tide_cancel *c)
{
    return c != NULL && atomic_load(&c->set);
}

int tide_cancel_fd(const struct tide_cancel *c)
{
    return c == NULL ? -1 : c->fd;
}
