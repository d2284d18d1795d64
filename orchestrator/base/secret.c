#include "orchestrator/base/secret.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#define SECRET_MAX ((size_t)16 << 20)

/*
 * Pages of its own for each secret: mlock and MADV_DONTDUMP work on pages, and
 * a page shared with the heap would be unlocked by whoever frees first.
 */
static size_t mapped_size(size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    return (len + 1 + page - 1) / page * page;
}

tide_status tide_secret_set(struct tide_secret *s, const void *data, size_t len, struct tide_err *err)
{
    if (len > SECRET_MAX)
        return tide_fail(err, TIDE_INVALID, "a secret of %zu bytes is too long", len);
    size_t size = mapped_size(len);
    uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a secret");

    /* Best effort: RLIMIT_MEMLOCK may be small, and a secret in swap is better than no backup. */
    (void)mlock(p, size);
    (void)madvise(p, size, MADV_DONTDUMP);
    if (len > 0)
        memcpy(p, data, len);
    p[len] = 0;

    tide_secret_clear(s); /* only now: data may point into it */
    s->data = p;
    s->len = len;
    return TIDE_OK;
}

void tide_secret_clear(struct tide_secret *s)
{
    if (s == NULL || s->data == NULL)
        return;
    size_t size = mapped_size(s->len);
    explicit_bzero(s->data, size);
    (void)munlock(s->data, size);
    (void)munmap(s->data, size);
    s->data = NULL;
    s->len = 0;
}

void tide_wipe(void *data, size_t len)
{
    if (data != NULL && len > 0)
        explicit_bzero(data, len);
}

tide_status tide_random(void *data, size_t len, struct tide_err *err)
{
    uint8_t *p = data;
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return tide_fail_errno(err, n < 0 ? errno : EIO, "could not get random bytes");
        p += n;
        len -= (size_t)n;
    }
    return TIDE_OK;
}
