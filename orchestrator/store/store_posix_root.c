#include "orchestrator/store/store_posix_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DESCRIPTOR   "tidemark.json" /* what makes a directory a repository */
#define TMP_STALE_US (24 * 3600 * TIDE_SECOND_US)

tide_status posix_fail(struct tide_err *err, int errnum, const char *fmt, ...)
{
    char text[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    tide_status s = tide_fail_errno(err, errnum, "%s", text);
    switch (errnum) {
    case ESTALE:
    case ENODEV:
    case ENXIO:
    case ENOTCONN:
    case ESHUTDOWN:
    case ETIMEDOUT:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case EROFS: /* what a kernel makes of a file system after an error */
        s = TIDE_UNAVAILABLE;
        if (err != NULL)
            err->status = s;
        break;
    }
    return s;
}

/* ---------------------------------------------------------------- the root */

/* Remember the descriptor's bytes: they tell a repository that was mounted again from a foreign directory. */
static tide_status read_descriptor(int root_fd, struct tide_buf *out, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = openat(root_fd, DESCRIPTOR, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return posix_fail(err, errno, "could not open \"%s\"", DESCRIPTOR);
    if (!tide_buf_reserve(out, POSIX_DESCRIPTOR_MAX))
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory reading \"%s\"", DESCRIPTOR);
    size_t got = 0;
    tide_status s = tide_read_upto(fd, out->data, POSIX_DESCRIPTOR_MAX, &got, DESCRIPTOR, err);
    if (s == TIDE_OK)
        out->len = got;
    return s;
}

static tide_status not_the_same(struct posix_store *s, struct tide_err *err)
{
    tide_status st = tide_fail(err, TIDE_UNAVAILABLE,
                               "repository directory \"%s\" is not the one that was opened (unmounted?)", s->root);
    return tide_hint(err, st, "Mount it again; nothing was written to what is there now.");
}

static tide_status prove_root(struct posix_store *s, int fd, struct tide_err *err)
{
    struct stat sb;
    if (fstat(fd, &sb) != 0)
        return posix_fail(err, errno, "could not examine repository directory \"%s\"", s->root);
    bool same = sb.st_dev == s->dev && sb.st_ino == s->ino;
    if (same && s->descriptor.len > 0)
        return TIDE_OK;
    TIDE_AUTO(tide_buf_clear) struct tide_buf now = TIDE_BUF_INIT(POSIX_DESCRIPTOR_MAX);
    tide_status st = read_descriptor(fd, &now, NULL);
    if (same) {
        /* Not a repository yet, or not one at all; writing decides. */
        if (st == TIDE_OK && now.len > 0)
            s->descriptor = TIDE_TAKE(now);
        return TIDE_OK;
    }
    if (st != TIDE_OK || s->descriptor.len == 0 || now.len != s->descriptor.len ||
        memcmp(now.data, s->descriptor.data, now.len) != 0)
        return not_the_same(s, err);
    /* The same repository, mounted again: some file systems have another device number then. */
    s->dev = sb.st_dev;
    s->ino = sb.st_ino;
    memset(s->known, 0, sizeof s->known);
    return TIDE_OK;
}

tide_status posix_root(struct posix_store *s, int *fd, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = open(s->root, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root < 0 && (errno == ENOENT || errno == ENOTDIR)) {
        tide_status st = tide_fail(err, TIDE_UNAVAILABLE, "repository directory \"%s\" is not there", s->root);
        return tide_hint(err, st, "Is it mounted?");
    }
    if (root < 0)
        return posix_fail(err, errno, "could not open repository directory \"%s\"", s->root);
    pthread_mutex_lock(&s->lock);
    tide_status st = prove_root(s, root, err);
    pthread_mutex_unlock(&s->lock);
    if (st != TIDE_OK)
        return st;
    *fd = tide_take_fd(&root);
    return TIDE_OK;
}

tide_status posix_root_for_writing(struct posix_store *s, int *fd, struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int root = -1;
    tide_status st = posix_root(s, &root, err);
    if (st != TIDE_OK)
        return st;
    pthread_mutex_lock(&s->lock);
    bool is_repository = s->descriptor.len > 0;
    pthread_mutex_unlock(&s->lock);
    if (!is_repository && !s->create) {
        st = tide_fail(err, TIDE_UNAVAILABLE, "\"%s\" holds no repository (there is no \"%s\"); nothing was written",
                       s->root, DESCRIPTOR);
        return tide_hint(err, st, "Is it mounted? A new repository is made by tidemark init.");
    }
    *fd = tide_take_fd(&root);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ folders */

static uint64_t hash_name(const char *name, size_t len)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)name[i]) * UINT64_C(0x100000001b3);
    return h | 1; /* 0 is "empty slot" */
}

static bool folder_is_known(struct posix_store *s, const char *name, size_t len)
{
    uint64_t h = hash_name(name, len);
    pthread_mutex_lock(&s->lock);
    bool known = s->known[h % POSIX_KNOWN_FOLDERS] == h;
    pthread_mutex_unlock(&s->lock);
    return known;
}

static void folder_set_known(struct posix_store *s, const char *name, size_t len)
{
    uint64_t h = hash_name(name, len);
    pthread_mutex_lock(&s->lock);
    s->known[h % POSIX_KNOWN_FOLDERS] = h;
    pthread_mutex_unlock(&s->lock);
}

void posix_forget_folders(struct posix_store *s)
{
    pthread_mutex_lock(&s->lock);
    memset(s->known, 0, sizeof s->known);
    pthread_mutex_unlock(&s->lock);
}

int posix_fsync(int fd)
{
    int rc;
    do
        rc = fsync(fd);
    while (rc != 0 && errno == EINTR);
    return rc;
}

tide_status posix_sync_folder(int root_fd, const char *folder, struct tide_err *err)
{
    TIDE_AUTO(tide_closep)
    int fd = openat(root_fd, *folder == '\0' ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return posix_fail(err, errno, "could not open folder \"%s\"", folder);
    /* EINVAL: a file system that has no such thing to offer. */
    if (posix_fsync(fd) != 0 && errno != EINVAL)
        return posix_fail(err, errno, "could not fsync folder \"%s\"", folder);
    return TIDE_OK;
}

tide_status posix_make_folder(struct posix_store *s, int root_fd, const char *folder, struct tide_err *err)
{
    if (mkdirat(root_fd, folder, 0700) != 0) {
        if (errno == EEXIST)
            return TIDE_OK;
        return posix_fail(err, errno, "could not make folder \"%s\"", folder);
    }
    if (s->chown && fchownat(root_fd, folder, s->uid, s->gid, AT_SYMLINK_NOFOLLOW) != 0)
        return posix_fail(err, errno, "could not give folder \"%s\" to the repository's owner", folder);
    if (fchmodat(root_fd, folder, s->folder_mode, 0) != 0)
        return posix_fail(err, errno, "could not set the mode of folder \"%s\"", folder);
    return TIDE_OK;
}

tide_status posix_make_folders(struct posix_store *s, int root_fd, const char *key, struct tide_err *err)
{
    const char *last = strrchr(key, '/');
    if (last == NULL || folder_is_known(s, key, (size_t)(last - key)))
        return TIDE_OK;
    char path[STORE_KEY_MAX + 1], parent[STORE_KEY_MAX + 1] = "";
    for (const char *p = strchr(key, '/'); p != NULL; p = strchr(p + 1, '/')) {
        size_t len = (size_t)(p - key);
        memcpy(path, key, len);
        path[len] = '\0';
        if (!folder_is_known(s, path, len)) {
            tide_status st = posix_make_folder(s, root_fd, path, err);
            if (st == TIDE_OK)
                st = posix_sync_folder(root_fd, parent, err);
            if (st != TIDE_OK)
                return st;
            folder_set_known(s, path, len);
        }
        memcpy(parent, path, len + 1);
    }
    return TIDE_OK;
}

/* ------------------------------------------------------------------ opening */

/* What writers that were killed have left behind.  Best effort. */
static void remove_stale(int root_fd, int64_t now_us)
{
    int fd = openat(root_fd, POSIX_TMP, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        tide_closep(&fd);
        return;
    }
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        struct stat sb;
        if (e->d_name[0] != '.' && fstatat(dirfd(dir), e->d_name, &sb, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(sb.st_mode) && (int64_t)sb.st_mtim.tv_sec * TIDE_SECOND_US < now_us - TMP_STALE_US)
            (void)unlinkat(dirfd(dir), e->d_name, 0);
    }
    (void)closedir(dir);
}

static tide_status parse_url(const char *url, char path[TIDE_PATH_MAX], struct tide_err *err)
{
    static const char scheme[] = "file://";
    const char *p = url + sizeof scheme - 1;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0 || *p != '/') {
        tide_status st = tide_fail(err, TIDE_INVALID, "\"%s\" is no url of a directory", url);
        return tide_hint(err, st, "Three slashes and the absolute path: file:///srv/backups.");
    }
    if (strpbrk(p, "?#") != NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\": a ? or # in the path is written %%3F or %%23", url);
    tide_status st = store_url_decode(p, strlen(p), path, TIDE_PATH_MAX, err);
    if (st != TIDE_OK)
        return st;
    for (size_t len = strlen(path); len > 1 && path[len - 1] == '/'; len--)
        path[len - 1] = '\0';
    return TIDE_OK;
}

void posix_close(void *self)
{
    struct posix_store *s = self;
    if (s == NULL)
        return;
    pthread_mutex_destroy(&s->lock);
    tide_buf_clear(&s->descriptor);
    free(s->root);
    free(s);
}

static void posix_closep(struct posix_store **s)
{
    posix_close(*s);
}

static tide_status learn_root(struct posix_store *s, struct tide_err *err)
{
    struct stat sb;
    if (s->create) {
        tide_status st = tide_mkdirs(s->root, 0700, err);
        if (st != TIDE_OK)
            return st;
    }
    if (stat(s->root, &sb) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        tide_status st = tide_fail(err, TIDE_UNAVAILABLE, "repository directory \"%s\" is not there", s->root);
        return tide_hint(err, st, "Is it mounted? A new repository is made by tidemark init.");
    }
    if (stat(s->root, &sb) != 0)
        return posix_fail(err, errno, "could not examine repository directory \"%s\"", s->root);
    if (!S_ISDIR(sb.st_mode))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is not a directory", s->root);
    s->dev = sb.st_dev;
    s->ino = sb.st_ino;
    /* Objects are as open to a group as the directory is, and never to everybody. */
    s->folder_mode = (sb.st_mode & 02770) | 0700;
    s->file_mode = (sb.st_mode & 0660) | 0600;
    s->uid = sb.st_uid;
    s->gid = sb.st_gid;
    s->chown = geteuid() == 0 && (sb.st_uid != 0 || sb.st_gid != 0);
    return TIDE_OK;
}

tide_status posix_open(const struct store_options *o, void **self, uint32_t *features, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    tide_status st = parse_url(o->url, path, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(posix_closep) struct posix_store *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory opening \"%s\"", path);
    (void)pthread_mutex_init(&s->lock, NULL);
    s->descriptor.max = POSIX_DESCRIPTOR_MAX;
    s->create = o->create;
    s->root = strdup(path);
    if (s->root == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory opening \"%s\"", path);
    st = learn_root(s, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(tide_closep) int root = -1;
    st = posix_root(s, &root, err);
    if (st != TIDE_OK)
        return st;
    if (s->descriptor.len > 0)
        remove_stale(root, tide_now_us());
    *features = STORE_FEATURE_CONDITIONAL_CREATE | STORE_FEATURE_DURABLE;
    *self = TIDE_TAKE(s);
    return TIDE_OK;
}
