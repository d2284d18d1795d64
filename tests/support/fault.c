#include "tests/support/fault.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_uint armed_at, calls;
static atomic_int armed_errno;
static atomic_bool armed_for_good, fired;
static atomic_size_t short_max;

void fault_arm(unsigned n, int errnum, bool for_good)
{
    atomic_store(&armed_at, 0);
    atomic_store(&calls, 0);
    atomic_store(&fired, false);
    atomic_store(&armed_errno, errnum);
    atomic_store(&armed_for_good, for_good);
    atomic_store(&armed_at, n);
}

bool fault_disarm(void)
{
    atomic_store(&armed_at, 0);
    return atomic_load(&fired);
}

void fault_short(size_t max)
{
    atomic_store(&short_max, max);
}

static bool fails(void)
{
    unsigned at = atomic_load(&armed_at);
    if (at == 0)
        return false;
    unsigned call = atomic_fetch_add(&calls, 1) + 1;
    if (call != at && !(atomic_load(&armed_for_good) && call > at))
        return false;
    atomic_store(&fired, true);
    errno = atomic_load(&armed_errno);
    return true;
}

static size_t shortened(size_t len)
{
    size_t max = atomic_load(&short_max);
    return max != 0 && len > max ? max : len;
}

/*
 * The linker turns write() into __wrap_write() and __real_write() into write() for the calls a test names.  The
 * others' __real_ stay undefined, hence weak: their wrappers are never called.
 */
#define WRAP(type, name, failure, params, args)                                                                      \
    extern type __real_##name params __attribute__((weak));                                                          \
    type __wrap_##name params;                                                                                       \
    type __wrap_##name params                                                                                        \
    {                                                                                                                \
        return fails() ? (failure) : __real_##name args;                                                             \
    }

WRAP(ssize_t, read, -1, (int fd, void *p, size_t n), (fd, p, shortened(n)))
WRAP(ssize_t, pread, -1, (int fd, void *p, size_t n, off_t at), (fd, p, shortened(n), at))
WRAP(ssize_t, write, -1, (int fd, const void *p, size_t n), (fd, p, shortened(n)))
WRAP(ssize_t, pwrite, -1, (int fd, const void *p, size_t n, off_t at), (fd, p, shortened(n), at))
WRAP(int, fsync, -1, (int fd), (fd))
WRAP(int, fdatasync, -1, (int fd), (fd))
WRAP(int, fchmod, -1, (int fd, mode_t mode), (fd, mode))
WRAP(int, rename, -1, (const char *from, const char *to), (from, to))
WRAP(int, link, -1, (const char *from, const char *to), (from, to))
WRAP(int, unlink, -1, (const char *path), (path))
WRAP(int, mkdir, -1, (const char *path, mode_t mode), (path, mode))
WRAP(int, pipe2, -1, (int fds[2], int flags), (fds, flags))
WRAP(int, eventfd, -1, (unsigned count, int flags), (count, flags))
WRAP(pid_t, fork, -1, (void), ())
WRAP(void *, malloc, NULL, (size_t size), (size))
WRAP(void *, calloc, NULL, (size_t n, size_t size), (n, size))
WRAP(void *, realloc, NULL, (void *p, size_t size), (p, size))
WRAP(DIR *, opendir, NULL, (const char *path), (path))

extern int __real_close(int fd) __attribute__((weak));
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    /* A close that reports an error has closed all the same. */
    bool bad = fails();
    int why = errno, rc = __real_close(fd);
    if (!bad)
        return rc;
    errno = why;
    return -1;
}

extern int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
    __attribute__((weak));
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
    return fails() ? errno : __real_pthread_create(t, a, run, arg);
}

/* The mode only goes with flags that create. */
#define MODE_OF(flags, last)                                                                                         \
    mode_t mode = 0;                                                                                                 \
    if (((flags) & (O_CREAT | __O_TMPFILE)) != 0) {                                                                  \
        va_list ap;                                                                                                  \
        va_start(ap, last);                                                                                          \
        mode = va_arg(ap, mode_t);                                                                                   \
        va_end(ap);                                                                                                  \
    }

extern int __real_open(const char *path, int flags, ...) __attribute__((weak));
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return fails() ? -1 : __real_open(path, flags, mode);
}

extern int __real_openat(int at, const char *path, int flags, ...) __attribute__((weak));
int __wrap_openat(int at, const char *path, int flags, ...);
int __wrap_openat(int at, const char *path, int flags, ...)
{
    MODE_OF(flags, flags)
    return fails() ? -1 : __real_openat(at, path, flags, mode);
}
