#include "orchestrator/base/file.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* One transfer never asks for more: some kernels cut at 2 GiB, and a signal is noticed in between. */
#define TRANSFER_MAX ((size_t)64 << 20)

tide_status tide_path_join(char out[TIDE_PATH_MAX], const char *a, const char *b, struct tide_err *err)
{
    size_t len = strlen(a);
    const char *slash = len > 0 && a[len - 1] == '/' ? "" : "/";
    int n = snprintf(out, TIDE_PATH_MAX, "%s%s%s", a, slash, b);
    if (n < 0 || n >= TIDE_PATH_MAX)
        return tide_fail(err, TIDE_INVALID, "path is too long: \"%.200s...\"", a);
    return TIDE_OK;
}

static size_t transfer_size(size_t len)
{
    return len < TRANSFER_MAX ? len : TRANSFER_MAX;
}

tide_status tide_write_all(int fd, const void *data, size_t len, const char *name, struct tide_err *err)
{
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(fd, p, transfer_size(len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return tide_fail_errno(err, n < 0 ? errno : EIO, "could not write \"%s\"", name);
        p += n;
        len -= (size_t)n;
    }
    return TIDE_OK;
}

/* off_t is signed: an offset from damaged metadata must not become negative. */
static tide_status check_offset(uint64_t offset, size_t len, const char *name, struct tide_err *err)
{
    if (offset > INT64_MAX || len > INT64_MAX - offset)
        return tide_fail(err, TIDE_INVALID, "offset %llu in \"%s\" is out of range", (unsigned long long)offset,
                         name);
    return TIDE_OK;
}

tide_status tide_pwrite_all(int fd, const void *data, size_t len, uint64_t offset, const char *name,
                            struct tide_err *err)
{
    tide_status s = check_offset(offset, len, name, err);
    if (s != TIDE_OK)
        return s;
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = pwrite(fd, p, transfer_size(len), (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return tide_fail_errno(err, n < 0 ? errno : EIO, "could not write \"%s\"", name);
        p += n;
        len -= (size_t)n;
        offset += (uint64_t)n;
    }
    return TIDE_OK;
}

tide_status tide_read_upto(int fd, void *data, size_t len, size_t *got, const char *name, struct tide_err *err)
{
    uint8_t *p = data;
    size_t done = 0;
    *got = 0;
    while (done < len) {
        ssize_t n = read(fd, p + done, transfer_size(len - done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_fail_errno(err, errno, "could not read \"%s\"", name);
        if (n == 0)
            break;
        done += (size_t)n;
        *got = done;
    }
    return TIDE_OK;
}

tide_status tide_pread_upto(int fd, void *data, size_t len, uint64_t offset, size_t *got, const char *name,
                            struct tide_err *err)
{
    uint8_t *p = data;
    size_t done = 0;
    *got = 0;
    tide_status s = check_offset(offset, len, name, err);
    if (s != TIDE_OK)
        return s;
    while (done < len) {
        ssize_t n = pread(fd, p + done, transfer_size(len - done), (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_fail_errno(err, errno, "could not read \"%s\"", name);
        if (n == 0)
            break;
        done += (size_t)n;
        *got = done;
    }
    return TIDE_OK;
}

tide_status tide_file_read(const char *path, struct tide_buf *out, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", path);

    /* Until a read gives nothing, not by st_size: /proc and pipes say 0, and a file may be growing. */
    for (;;) {
        uint8_t chunk[16384];
        size_t got = 0;
        tide_status s = tide_read_upto(fd, chunk, sizeof(chunk), &got, path, err);
        if (s != TIDE_OK)
            return s;
        tide_buf_append(out, chunk, got);
        s = tide_buf_check(out, path, err);
        if (s != TIDE_OK)
            return s;
        if (got < sizeof(chunk))
            return TIDE_OK;
    }
}

static tide_status write_temporary(int fd, const char *tmp, const void *data, size_t len, mode_t mode,
                                   struct tide_err *err)
{
    /* Before the first byte, and past the umask: the caller's mode is meant. */
    if (fchmod(fd, mode) != 0)
        return tide_fail_errno(err, errno, "could not set the mode of \"%s\"", tmp);
    tide_status s = tide_write_all(fd, data, len, tmp, err);
    if (s != TIDE_OK)
        return s;
    if (fsync(fd) != 0)
        return tide_fail_errno(err, errno, "could not fsync \"%s\"", tmp);
    return TIDE_OK;
}

tide_status tide_file_replace(const char *path, const void *data, size_t len, mode_t mode, struct tide_err *err)
{
    uint32_t nonce = 0;
    tide_status s = tide_random(&nonce, sizeof(nonce), err);
    if (s != TIDE_OK)
        return s;
    char tmp[TIDE_PATH_MAX];
    int n = snprintf(tmp, sizeof(tmp), "%s.tmp-%08x", path, nonce);
    if (n < 0 || (size_t)n >= sizeof(tmp))
        return tide_fail(err, TIDE_INVALID, "path is too long: \"%.200s...\"", path);

    TIDE_AUTO(tide_closep) int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not create \"%s\"", tmp);
    s = write_temporary(fd, tmp, data, len, mode, err);
    /* Over NFS a failed write may show only here. */
    if (close(tide_take_fd(&fd)) != 0 && s == TIDE_OK)
        s = tide_fail_errno(err, errno, "could not close \"%s\"", tmp);
    if (s == TIDE_OK && rename(tmp, path) != 0)
        s = tide_fail_errno(err, errno, "could not rename \"%s\" to \"%s\"", tmp, path);
    if (s != TIDE_OK) {
        (void)unlink(tmp);
        return s;
    }
    return tide_fsync_parent(path, err);
}
