#include "orchestrator/base/file.h"
#include "orchestrator/base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* Deeper trees than this are nobody's; each level holds a descriptor open. */
#define DEPTH_MAX 200

tide_status tide_fsync_dir(const char *path, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not open directory \"%s\"", path);
    if (fsync(fd) != 0)
        return tide_fail_errno(err, errno, "could not fsync directory \"%s\"", path);
    return TIDE_OK;
}

static tide_status copy_path(char out[TIDE_PATH_MAX], const char *path, struct tide_err *err)
{
    size_t len = strlen(path);
    if (len == 0 || len >= TIDE_PATH_MAX)
        return tide_fail(err, TIDE_INVALID, "path is %s", len == 0 ? "empty" : "too long");
    memcpy(out, path, len + 1);
    while (len > 1 && out[len - 1] == '/')
        out[--len] = '\0';
    return TIDE_OK;
}

tide_status tide_fsync_parent(const char *path, struct tide_err *err)
{
    char parent[TIDE_PATH_MAX];
    tide_status s = copy_path(parent, path, err);
    if (s != TIDE_OK)
        return s;
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return tide_fsync_dir(".", err);
    slash[slash == parent ? 1 : 0] = '\0';
    return tide_fsync_dir(parent, err);
}

/* The length of the longest prefix of path that is there; 0 when even the first name is missing. */
static size_t existing_prefix(const char *path)
{
    char prefix[TIDE_PATH_MAX];
    size_t len = strlen(path);
    memcpy(prefix, path, len + 1);
    struct stat st;
    while (len > 0 && stat(prefix, &st) != 0) {
        while (len > 0 && prefix[len - 1] != '/')
            len--;
        while (len > 0 && prefix[len - 1] == '/')
            len--;
        prefix[len] = '\0';
    }
    return len;
}

static tide_status make_one(const char *path, mode_t mode, struct tide_err *err)
{
    if (mkdir(path, mode) != 0) {
        int why = errno;
        struct stat st;
        if (why != EEXIST || stat(path, &st) != 0 || !S_ISDIR(st.st_mode))
            return tide_fail_errno(err, why, "could not create directory \"%s\"", path);
        /* Somebody was faster, and may not have come to the fsync yet: do it as well. */
    }
    return tide_fsync_parent(path, err);
}

tide_status tide_mkdirs(const char *path, mode_t mode, struct tide_err *err)
{
    char name[TIDE_PATH_MAX];
    tide_status s = copy_path(name, path, err);
    if (s != TIDE_OK)
        return s;
    size_t end = existing_prefix(name), len = strlen(name);
    if (end == len) {
        struct stat st;
        if (stat(name, &st) != 0)
            return tide_fail_errno(err, errno, "could not look at \"%s\"", name);
        return S_ISDIR(st.st_mode) ? TIDE_OK
                                   : tide_fail_errno(err, ENOTDIR, "could not create directory \"%s\"", name);
    }
    while (end < len) {
        while (name[end] == '/')
            end++;
        while (name[end] != '\0' && name[end] != '/')
            end++;
        char kept = name[end];
        name[end] = '\0';
        s = make_one(name, mode, err);
        if (s != TIDE_OK)
            return s;
        name[end] = kept;
    }
    return TIDE_OK;
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

/* The next name that is neither . nor ..; NULL at the end or, with errno set, on an error. */
static const char *next_name(DIR *d)
{
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            return NULL;
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            return e->d_name;
    }
}

static tide_status remove_at(int parent, const char *name, const char *top, int depth, struct tide_err *err);

static tide_status remove_content(int parent, const char *name, const char *top, int depth, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? TIDE_OK : tide_fail_errno(err, errno, "could not open \"%s\" in \"%s\"", name, top);
    TIDE_AUTO(closedirp) DIR *d = fdopendir(fd);
    if (d == NULL)
        return tide_fail_errno(err, errno, "could not read directory \"%s\" in \"%s\"", name, top);
    int at = tide_take_fd(&fd); /* d's now */
    for (const char *entry = next_name(d); entry != NULL; entry = next_name(d)) {
        tide_status s = remove_at(at, entry, top, depth + 1, err);
        if (s != TIDE_OK)
            return s;
    }
    if (errno != 0)
        return tide_fail_errno(err, errno, "could not read directory \"%s\" in \"%s\"", name, top);
    return TIDE_OK;
}

static tide_status remove_at(int parent, const char *name, const char *top, int depth, struct tide_err *err)
{
    if (depth > DEPTH_MAX)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is nested too deep", top);
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
        return TIDE_OK;
    /* Linux says EISDIR for a directory; POSIX allows EPERM, which is also what an immutable file gives. */
    if (errno != EISDIR && errno != EPERM)
        return tide_fail_errno(err, errno, "could not remove \"%s\" in \"%s\"", name, top);
    struct stat st;
    int why = errno;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
        return tide_fail_errno(err, why, "could not remove \"%s\" in \"%s\"", name, top);

    tide_status s = remove_content(parent, name, top, depth, err);
    if (s != TIDE_OK)
        return s;
    if (unlinkat(parent, name, AT_REMOVEDIR) != 0 && errno != ENOENT)
        return tide_fail_errno(err, errno, "could not remove directory \"%s\" in \"%s\"", name, top);
    return TIDE_OK;
}

tide_status tide_remove_tree(const char *path, struct tide_err *err)
{
    char name[TIDE_PATH_MAX];
    /* Without the trailing slash, which would make a link be followed. */
    tide_status s = copy_path(name, path, err);
    if (s != TIDE_OK)
        return s;
    return remove_at(AT_FDCWD, name, path, 0, err);
}

tide_status tide_dir_is_empty(const char *path, bool *empty, struct tide_err *err)
{
    TIDE_AUTO(closedirp) DIR *d = opendir(path);
    if (d == NULL && errno == ENOENT) {
        *empty = true;
        return TIDE_OK;
    }
    if (d == NULL)
        return tide_fail_errno(err, errno, "could not open directory \"%s\"", path);
    *empty = next_name(d) == NULL;
    if (*empty && errno != 0)
        return tide_fail_errno(err, errno, "could not read directory \"%s\"", path);
    return TIDE_OK;
}

tide_status tide_disk_free(const char *path, uint64_t *free_bytes, struct tide_err *err)
{
    struct statvfs v;
    int rc;
    do {
        rc = statvfs(path, &v);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0)
        return tide_fail_errno(err, errno, "could not ask for the free space of \"%s\"", path);
    *free_bytes = (uint64_t)v.f_bavail * (uint64_t)v.f_frsize;
    return TIDE_OK;
}
