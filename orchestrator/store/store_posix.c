#include "orchestrator/store/store_driver.h"

/*
 * A directory as an object store.
 *
 * An object is written to ROOT/.tmp, fsynced, and given its name by one rename that refuses to replace; then the
 * folder is fsynced, and on the way there every folder that this process has not yet seen on disk.  Nothing is
 * kept open between two calls, so that the file system can be unmounted; each call opens the root anew and
 * proves that it is the directory that was opened first.
 */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/store/store_posix_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TMP_NAME 64
/* Hand what was written to the disk while more comes in: the fsync at the end then has little left to wait for. */
#define WRITE_BEHIND (8u << 20)

struct posix_writer {
    struct posix_store *store;
    int fd;
    char tmp[TMP_NAME]; /* ".tmp/..." */
    uint64_t written, handed;
    char key[STORE_KEY_MAX + 1];
};

/* ------------------------------------------------------------------ writing */

static void writer_drop(struct posix_writer *w)
{
    if (w->fd >= 0) {
        int root = -1;
        if (posix_root(w->store, &root, NULL) == TIDE_OK) {
            (void)unlinkat(root, w->tmp, 0);
            (void)close(root);
        }
        (void)close(w->fd);
    }
    free(w);
}

static void writer_dropp(struct posix_writer **w)
{
    if (*w != NULL)
        writer_drop(*w);
}

static tide_status open_tmp(struct posix_store *s, int root_fd, char name[TMP_NAME], int *fd, struct tide_err *err)
{
    uint64_t random;
    tide_status st = tide_random(&random, sizeof random, err);
    if (st != TIDE_OK)
        return st;
    (void)snprintf(name, TMP_NAME, POSIX_TMP "/%ld-%016llx", (long)getpid(), (unsigned long long)random);
    int new_fd = openat(root_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (new_fd < 0 && errno == ENOENT) {
        st = posix_make_folder(s, root_fd, POSIX_TMP, err);
        if (st != TIDE_OK)
            return st;
        new_fd = openat(root_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    }
    if (new_fd < 0)
        return posix_fail(err, errno, "could not make a file in \"%s/%s\"", s->root, POSIX_TMP);
    *fd = new_fd;
    return TIDE_OK;
}

static tide_status posix_put_begin(void *self, const char *key, void **writer, struct tide_err *err)
{
    struct posix_store *s = self;
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root_for_writing(s, &root, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(writer_dropp) struct posix_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory writing \"%s\"", key);
    w->store = s;
    w->fd = -1;
    memcpy(w->key, key, strlen(key) + 1);
    st = open_tmp(s, root, w->tmp, &w->fd, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "writing \"%s\"", key);
    if (s->chown && fchown(w->fd, s->uid, s->gid) != 0)
        return posix_fail(err, errno, "could not give \"%s\" to the repository's owner", key);
    if (fchmod(w->fd, s->file_mode) != 0)
        return posix_fail(err, errno, "could not set the mode of \"%s\"", key);
    *writer = TIDE_TAKE(w);
    return TIDE_OK;
}

static tide_status posix_write(void *writer, const void *data, size_t len, struct tide_err *err)
{
    struct posix_writer *w = writer;
    const uint8_t *p = data;
    while (len > 0) {
        ssize_t n = write(w->fd, p, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return posix_fail(err, errno, "could not write \"%s\"", w->key);
        p += n;
        len -= (size_t)n;
        w->written += (uint64_t)n;
    }
    if (w->written - w->handed >= WRITE_BEHIND) {
        (void)sync_file_range(w->fd, (off_t)w->handed, (off_t)(w->written - w->handed), SYNC_FILE_RANGE_WRITE);
        w->handed = w->written;
    }
    return TIDE_OK;
}

/*
 * Give the temporary file its name, or fail with the errno EEXIST.  A link that was made although the answer says
 * otherwise (a request repeated on the way to a file server) shows in the link count.
 */
static int name_it(const struct posix_writer *w, int root_fd)
{
    if (renameat2(root_fd, w->tmp, root_fd, w->key, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS && errno != ENOTSUP)
        return errno;
    struct stat sb;
    int e = linkat(root_fd, w->tmp, root_fd, w->key, 0) == 0 ? 0 : errno;
    if (e == EEXIST && fstat(w->fd, &sb) == 0 && sb.st_nlink > 1)
        e = 0;
    if (e == 0)
        (void)unlinkat(root_fd, w->tmp, 0);
    return e;
}

static tide_status publish(struct posix_writer *w, int root_fd, struct tide_err *err)
{
    int e = ENOENT;
    for (int attempt = 0; e == ENOENT && attempt < 2; attempt++) {
        if (attempt > 0)
            posix_forget_folders(w->store); /* somebody removed a folder that we knew */
        tide_status st = posix_make_folders(w->store, root_fd, w->key, err);
        if (st != TIDE_OK)
            return st;
        e = name_it(w, root_fd);
    }
    if (e != 0 && e != EEXIST)
        return posix_fail(err, e, "could not store \"%s\"", w->key);

    /* Also when it was there already: the caller may find it equal to its own and take it for stored, and who wrote
     * it may have died before this. */
    char folder[STORE_KEY_MAX + 1];
    const char *slash = strrchr(w->key, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - w->key);
    memcpy(folder, w->key, len);
    folder[len] = '\0';
    tide_status st = posix_sync_folder(root_fd, folder, err);
    if (st != TIDE_OK)
        return st;
    return e == 0 ? TIDE_OK : tide_fail(err, TIDE_EXISTS, "\"%s\" exists already", w->key);
}

static tide_status posix_commit(void *writer, struct tide_err *err)
{
    TIDE_AUTO(writer_dropp) struct posix_writer *w = writer;
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root_for_writing(w->store, &root, err);
    if (st != TIDE_OK)
        return st;
    if (posix_fsync(w->fd) != 0)
        return posix_fail(err, errno, "could not fsync \"%s\"", w->key);
    st = publish(w, root, err);
    if (st != TIDE_OK)
        return st;
    (void)close(w->fd); /* fsynced; and the temporary name is gone */
    w->fd = -1;
    return TIDE_OK;
}

static void posix_abort(void *writer)
{
    writer_drop(writer);
}

static tide_status posix_put(void *self, const char *key, const void *data, size_t len, struct tide_err *err)
{
    void *w = NULL;
    tide_status st = posix_put_begin(self, key, &w, err);
    if (st != TIDE_OK)
        return st;
    st = posix_write(w, data, len, err);
    if (st != TIDE_OK) {
        posix_abort(w);
        return st;
    }
    return posix_commit(w, err);
}

/* ------------------------------------------------------------------ reading */

static tide_status absent(struct tide_err *err, const char *key)
{
    return tide_fail(err, TIDE_NOT_FOUND, "there is no object \"%s\"", key);
}

static tide_status posix_get(void *self, const char *key, uint64_t offset, void *data, size_t len, size_t *got,
                             struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root(self, &root, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(tide_closep) int fd = openat(root, key, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return absent(err, key);
    if (fd < 0)
        return posix_fail(err, errno, "could not open \"%s\"", key);
    if (offset > INT64_MAX - len)
        return tide_fail(err, TIDE_INVALID, "an offset in \"%s\" is out of range", key);
    size_t done = 0;
    while (done < len) {
        ssize_t n = pread(fd, (uint8_t *)data + done, len - done, (off_t)(offset + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EISDIR)
            return absent(err, key);
        if (n < 0)
            return posix_fail(err, errno, "could not read \"%s\"", key);
        if (n == 0)
            break;
        done += (size_t)n;
    }
    *got = done;
    return TIDE_OK;
}

static tide_status posix_head(void *self, const char *key, uint64_t *size, int64_t *mtime_us, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root(self, &root, err);
    if (st != TIDE_OK)
        return st;
    struct stat sb;
    if (fstatat(root, key, &sb, 0) != 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return absent(err, key);
        return posix_fail(err, errno, "could not examine \"%s\"", key);
    }
    if (!S_ISREG(sb.st_mode))
        return absent(err, key);
    *size = (uint64_t)sb.st_size;
    *mtime_us = (int64_t)sb.st_mtim.tv_sec * TIDE_SECOND_US + sb.st_mtim.tv_nsec / 1000;
    return TIDE_OK;
}

static tide_status posix_list(void *self, const char *prefix, const char *after, uint64_t limit, bool folder,
                              store_list_fn *fn, void *ctx, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root(self, &root, err);
    if (st != TIDE_OK)
        return st;
    return posix_list_root(root, prefix, after, limit, folder, fn, ctx, err);
}

/* Not fsynced: an object that comes back after a power cut is deleted again. */
static tide_status posix_remove(void *self, const char *key, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root_for_writing(self, &root, err);
    if (st != TIDE_OK)
        return st;
    if (unlinkat(root, key, 0) != 0 && errno != ENOENT && errno != ENOTDIR && errno != EISDIR)
        return posix_fail(err, errno, "could not delete \"%s\"", key);
    return TIDE_OK;
}

/* The clock that stamps objects, which is the file server's where there is one; ours when we may not write. */
static tide_status posix_now(void *self, int64_t *now_us, struct tide_err *err)
{
    struct posix_store *s = self;
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root(s, &root, err);
    if (st != TIDE_OK)
        return st;
    *now_us = tide_now_us();
    TIDE_AUTO(tide_closep) int writable = -1;
    if (posix_root_for_writing(s, &writable, NULL) != TIDE_OK)
        return TIDE_OK;
    char tmp[TMP_NAME];
    TIDE_AUTO(tide_closep) int fd = -1;
    struct stat sb;
    if (open_tmp(s, writable, tmp, &fd, NULL) != TIDE_OK)
        return TIDE_OK;
    if (fstat(fd, &sb) == 0)
        *now_us = (int64_t)sb.st_mtim.tv_sec * TIDE_SECOND_US + sb.st_mtim.tv_nsec / 1000;
    (void)unlinkat(writable, tmp, 0);
    return TIDE_OK;
}

const struct store_driver store_posix_driver = {
    .scheme = "file",
    .open = posix_open,
    .close = posix_close,
    .put = posix_put,
    .put_begin = posix_put_begin,
    .write = posix_write,
    .commit = posix_commit,
    .abort = posix_abort,
    .get = posix_get,
    .head = posix_head,
    .list = posix_list,
    .remove = posix_remove,
    .now = posix_now,
};
