#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tide_freep(void *pp)
{
    /* Through memcpy: pp points to a pointer of some other type than void *. */
    void *p;
    memcpy(&p, pp, sizeof(p));
    free(p);
}

void tide_closep(int *fd)
{
    /* Runs while an error return may still be looking at errno. */
    int saved = errno;
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
    errno = saved;
}

int tide_take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
