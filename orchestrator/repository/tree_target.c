#include "orchestrator/repository/tree_target.h"
#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTOR 4096u /* what O_DIRECT asks for, at most, on the file systems we know */

static tide_status make_folder(const char *path, struct tide_err *err)
{
    char folder[TIDE_PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return TIDE_OK;
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
    return tide_mkdirs(folder, 0700, err);
}

/* What is there and cannot be kept goes: never written through a link to somewhere else. */
static int open_new(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST && unlink(path) == 0)
        fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd;
}

static int open_existing(const char *path)
{
    struct stat st;
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == EACCES && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && chmod(path, 0600) == 0)
        fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC); /* it was finished, and is read-only */
    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1)
        return -1;
    return tide_take_fd(&fd);
}

static tide_status open_target(struct target *t, bool resume, struct tide_err *err)
{
    t->fd = resume ? open_existing(t->path) : -1;
    t->existing = t->fd >= 0;
    if (t->fd < 0)
        t->fd = open_new(t->path);
    if (t->fd < 0 && errno == ENOENT) {
        tide_status s = make_folder(t->path, err);
        if (s != TIDE_OK)
            return s;
        t->fd = open_new(t->path);
    }
    if (t->fd < 0)
        return tide_fail_errno(err, errno, "could not create \"%s\"", t->path);
    if (ftruncate(t->fd, (off_t)t->size) != 0)
        return tide_fail_errno(err, errno, "could not set the size of \"%s\"", t->path);
    return TIDE_OK;
}

tide_status target_open(const char *path, const struct tree_item *item, const struct target_options *o,
                        struct target **out, struct tide_err *err)
{
    struct target *t = calloc(1, sizeof *t);
    if (t == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", path);
    *t = (struct target){.size = item->size,
                         .mode = item->mode,
                         .mtime_us = item->mtime_us,
                         .uid = o->uid,
                         .gid = o->gid,
                         .fd = -1,
                         .direct_fd = -1};
    atomic_init(&t->users, 1);
    atomic_init(&t->left, item->n_leaves);
    t->path = strdup(path);
    tide_status s =
        t->path != NULL ? open_target(t, o->resume, err) : tide_fail(err, TIDE_NO_MEMORY, "out of memory for a file");
    if (s != TIDE_OK) {
        target_release(t);
        return s;
    }
    if (o->direct && item->layout == TREE_LEAVES)
        t->direct_fd = open(path, O_WRONLY | O_DIRECT | O_NOFOLLOW | O_CLOEXEC);
    *out = t;
    return TIDE_OK;
}

void target_release(struct target *t)
{
    if (t == NULL || atomic_fetch_sub(&t->users, 1) > 1)
        return;
    tide_closep(&t->fd);
    tide_closep(&t->direct_fd);
    free(t->path);
    free(t);
}

tide_status target_reserve(struct target *t, uint64_t offset, uint64_t len, struct tide_err *err)
{
    /* Not posix_fallocate: where the file system cannot, that writes zeros. */
    if (fallocate(t->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len) == 0 || (errno != ENOSPC && errno != EDQUOT))
        return TIDE_OK;
    return tide_fail_errno(err, errno, "could not reserve %llu bytes for \"%s\"", (unsigned long long)len, t->path);
}

tide_status target_write(struct target *t, const uint8_t *data, size_t len, uint64_t offset, struct tide_err *err)
{
    size_t aligned = t->direct_fd < 0 ? 0 : len / SECTOR * SECTOR, done = 0;
    while (done < aligned) {
        ssize_t n = pwrite(t->direct_fd, data + done, aligned - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EINVAL) /* opened, but not for this alignment */
            break;
        if (n < 0)
            return tide_fail_errno(err, errno, "could not write \"%s\"", t->path);
        done += (size_t)n;
        if ((size_t)n % SECTOR != 0)
            break;
    }
    if (done == len)
        return TIDE_OK;
    tide_status s = tide_pwrite_all(t->fd, data + done, len - done, offset + done, t->path, err);
    /* Let the disk begin at once: what is dirty at the end is waited for. */
    if (s == TIDE_OK && len - done >= TREE_BLOCK)
        (void)sync_file_range(t->fd, (off_t)offset, (off_t)len, SYNC_FILE_RANGE_WRITE);
    return s;
}

tide_status target_read(struct target *t, uint8_t *data, size_t len, uint64_t offset, size_t *got,
                        struct tide_err *err)
{
    return tide_pread_upto(t->fd, data, len, offset, got, t->path, err);
}

static struct timespec time_of(int64_t us)
{
    struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    if (ts.tv_nsec < 0) {
        ts.tv_nsec += 1000000000;
        ts.tv_sec--;
    }
    return ts;
}

static bool has_owner(long uid, long gid)
{
    return uid >= 0 || gid >= 0;
}

tide_status target_finish(struct target *t, struct tide_err *err)
{
    if (has_owner(t->uid, t->gid) && fchown(t->fd, (uid_t)t->uid, (gid_t)t->gid) != 0)
        return tide_fail_errno(err, errno, "could not set the owner of \"%s\"", t->path);
    if (fchmod(t->fd, t->mode & 07777) != 0)
        return tide_fail_errno(err, errno, "could not set the mode of \"%s\"", t->path);
    if (t->mtime_us != TIDE_TIME_NONE) {
        const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, time_of(t->mtime_us)};
        if (futimens(t->fd, times) != 0)
            return tide_fail_errno(err, errno, "could not set the time of \"%s\"", t->path);
    }
    return TIDE_OK;
}

tide_status target_set_attributes(const char *path, const struct tree_item *item, const struct target_options *o,
                                  struct tide_err *err)
{
    if (has_owner(o->uid, o->gid) && lchown(path, (uid_t)o->uid, (gid_t)o->gid) != 0)
        return tide_fail_errno(err, errno, "could not set the owner of \"%s\"", path);
    if (item->kind != TIDE_FILE_SYMLINK && chmod(path, item->mode & 07777) != 0)
        return tide_fail_errno(err, errno, "could not set the mode of \"%s\"", path);
    return TIDE_OK;
}

tide_status target_symlink(const char *path, const struct tree_item *item, const struct target_options *o,
                           struct tide_err *err)
{
    char now[TREE_NAME_MAX];
    tide_status s = make_folder(path, err);
    if (s != TIDE_OK)
        return s;
    ssize_t len = readlink(path, now, sizeof now);
    if (len < 0 || (size_t)len != strlen(item->link) || memcmp(now, item->link, (size_t)len) != 0) {
        if (unlink(path) != 0 && errno != ENOENT)
            return tide_fail_errno(err, errno, "could not replace \"%s\"", path);
        if (symlink(item->link, path) != 0)
            return tide_fail_errno(err, errno, "could not create \"%s\"", path);
    }
    return target_set_attributes(path, item, o, err);
}
