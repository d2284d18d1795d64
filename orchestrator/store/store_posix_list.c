#include "orchestrator/store/store_posix_internal.h"

/*
 * Listing in the byte order of whole keys.  A folder sorts as its name with the slash behind it, which is how the
 * keys in it begin; so a walk over sorted folders gives sorted keys ("a-b" before "a/x" before "ab").  A folder is
 * read BATCH names at a time, the smallest first, so
 * that memory is bounded however many objects lie in one.
 */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH_MIN 64u
#define BATCH_MAX 8192u
#define DEPTH_MAX 32u

struct walk {
    const char *after;
    uint64_t limit, given;
    size_t batch;
    bool folder_only;
    store_list_fn *fn;
    void *ctx;
    struct tide_err *err;
    char key[STORE_KEY_MAX + 2]; /* prefix of where we are, then the name */
};

struct names {
    char **name; /* folders end in '/' */
    size_t n, cap;
};

static void names_clear(struct names *v)
{
    for (size_t i = 0; i < v->n; i++)
        free(v->name[i]);
    free(v->name);
    *v = (struct names){0};
}

static int compare_names(const void *a, const void *b)
{
    const char *const *x = a, *const *y = b;
    return strcmp(*x, *y);
}

static void names_keep_smallest(struct names *v, size_t keep)
{
    if (v->n > 1)
        qsort(v->name, v->n, sizeof *v->name, compare_names);
    while (v->n > keep)
        free(v->name[--v->n]);
}

static void closedirp(DIR **dir)
{
    if (*dir != NULL)
        (void)closedir(*dir);
}

/* *kind: '/' folder, 'o' object, 0 neither, or gone meanwhile. */
static tide_status kind_of(int dir_fd, const struct dirent *e, char *kind, struct tide_err *err)
{
    *kind = 0;
    if (e->d_type == DT_DIR || e->d_type == DT_REG) {
        *kind = e->d_type == DT_DIR ? '/' : 'o';
        return TIDE_OK;
    }
    if (e->d_type != DT_UNKNOWN && e->d_type != DT_LNK)
        return TIDE_OK;
    struct stat sb;
    if (fstatat(dir_fd, e->d_name, &sb, 0) != 0)
        return errno == ENOENT ? TIDE_OK : posix_fail(err, errno, "could not examine \"%s\"", e->d_name);
    if (S_ISDIR(sb.st_mode))
        *kind = '/';
    else if (S_ISREG(sb.st_mode))
        *kind = 'o';
    return TIDE_OK;
}

/* Names with a dot in front are the driver's own, or a file server's; lost+found is the file system's. */
static bool is_ours(const char *name, bool at_root)
{
    return name[0] != '.' && !(at_root && strcmp(name, "lost+found") == 0);
}

static tide_status names_add(struct names *v, const char *name, bool folder, struct tide_err *err)
{
    if (v->n == v->cap) {
        size_t cap = v->cap == 0 ? 64 : v->cap * 2;
        char **bigger = reallocarray(v->name, cap, sizeof *bigger);
        if (bigger == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing objects");
        v->name = bigger;
        v->cap = cap;
    }
    size_t len = strlen(name);
    char *copy = malloc(len + 2);
    if (copy == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory listing objects");
    memcpy(copy, name, len + 1);
    if (folder)
        memcpy(copy + len, "/", 2);
    v->name[v->n++] = copy;
    return TIDE_OK;
}

/* name against floor, as if a folder's name had its slash. */
static bool is_past(const char *name, bool folder, const char *floor)
{
    size_t len = strlen(name);
    int c = strncmp(name, floor, len);
    if (c != 0)
        return c > 0;
    return folder && floor[len] < '/'; /* floor is name, and goes on or not */
}

/*
 * The smallest names of the folder that are greater than floor (NULL: from the start), sorted; *more when there are
 * others behind them.  A folder that vanished is empty.
 */
static tide_status read_names(int dir_fd, const char *floor, size_t batch, bool at_root, struct names *v, bool *more,
                              struct tide_err *err)
{
    *more = false;
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TIDE_AUTO(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int e = errno;
        tide_closep(&fd);
        return e == ENOENT ? TIDE_OK : posix_fail(err, e, "could not list a folder");
    }
    const char *ceiling = NULL; /* greatest name of a full batch */
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL && errno != 0)
            return posix_fail(err, errno, "could not list a folder");
        if (e == NULL)
            break;
        char kind;
        if (!is_ours(e->d_name, at_root))
            continue;
        tide_status st = kind_of(dirfd(dir), e, &kind, err);
        if (st != TIDE_OK)
            return st;
        if (kind == 0 || (floor != NULL && !is_past(e->d_name, kind == '/', floor)))
            continue;
        if (ceiling != NULL && is_past(e->d_name, kind == '/', ceiling)) {
            *more = true;
            continue;
        }
        st = names_add(v, e->d_name, kind == '/', err);
        if (st != TIDE_OK)
            return st;
        if (v->n == 2 * batch) {
            names_keep_smallest(v, batch);
            ceiling = v->name[v->n - 1];
            *more = true;
        }
    }
    if (v->n > batch)
        *more = true;
    names_keep_smallest(v, batch);
    return TIDE_OK;
}

static tide_status emit(struct walk *w, int dir_fd, const char *name, bool *full)
{
    struct store_entry e = {.key = w->key};
    size_t len = strlen(name);
    if (name[len - 1] != '/') {
        struct stat sb;
        if (fstatat(dir_fd, name, &sb, 0) != 0) {
            if (errno == ENOENT)
                return TIDE_OK; /* deleted meanwhile */
            return posix_fail(w->err, errno, "could not examine \"%s\"", w->key);
        }
        e.size = (uint64_t)sb.st_size;
        e.mtime_us = (int64_t)sb.st_mtim.tv_sec * TIDE_SECOND_US + sb.st_mtim.tv_nsec / 1000;
    }
    tide_status st = w->fn(w->ctx, &e, w->err);
    w->given++;
    *full = w->limit > 0 && w->given >= w->limit;
    return st;
}

/* An object store has no empty folders: one is there when an object is below it. */
static tide_status has_object(int dir_fd, const char *name, unsigned depth, bool *found, struct tide_err *err)
{
    *found = false;
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    TIDE_AUTO(closedirp) DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int e = errno;
        tide_closep(&fd);
        return e == ENOENT ? TIDE_OK : posix_fail(err, e, "could not list folder \"%s\"", name);
    }
    while (!*found && depth < DEPTH_MAX) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL && errno != 0)
            return posix_fail(err, errno, "could not list folder \"%s\"", name);
        if (e == NULL)
            break;
        char kind;
        if (!is_ours(e->d_name, false))
            continue;
        tide_status st = kind_of(dirfd(dir), e, &kind, err);
        if (st == TIDE_OK && kind == '/')
            st = has_object(dirfd(dir), e->d_name, depth + 1, found, err);
        if (st != TIDE_OK)
            return st;
        if (kind == 'o')
            *found = true;
    }
    return TIDE_OK;
}

static tide_status walk_folder(struct walk *w, int dir_fd, size_t prefix_len, unsigned depth, bool *full);

/* A name of the folder: its key is in w->key. */
static tide_status visit(struct walk *w, int dir_fd, const char *name, size_t key_len, unsigned depth, bool *full)
{
    bool folder = name[strlen(name) - 1] == '/';
    if (folder && w->folder_only) {
        bool found;
        tide_status st = has_object(dir_fd, name, depth, &found, w->err);
        return st != TIDE_OK || !found ? st : emit(w, dir_fd, name, full);
    }
    if (!folder)
        return w->after != NULL && strcmp(w->key, w->after) <= 0 ? TIDE_OK : emit(w, dir_fd, name, full);
    if (w->after != NULL && strncmp(w->key, w->after, key_len) < 0)
        return TIDE_OK; /* all of it lies before `after` */
    TIDE_AUTO(tide_closep) int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? TIDE_OK : posix_fail(w->err, errno, "could not list \"%s\"", w->key);
    return walk_folder(w, fd, key_len, depth + 1, full);
}

static tide_status walk_folder(struct walk *w, int dir_fd, size_t prefix_len, unsigned depth, bool *full)
{
    if (depth > DEPTH_MAX)
        return tide_fail(w->err, TIDE_INVALID, "\"%.*s\" has too many folders in each other", (int)prefix_len,
                         w->key);
    char floor[STORE_KEY_MAX + 2] = "";
    if (w->after != NULL && strncmp(w->key, w->after, prefix_len) == 0) {
        /* Begin at the name through which `after` leads; its folder sorts behind the bare name. */
        const char *rest = w->after + prefix_len;
        (void)snprintf(floor, sizeof floor, "%.*s", (int)strcspn(rest, "/"), rest);
    }
    for (bool more = true; more && !*full;) {
        TIDE_AUTO(names_clear) struct names v = {0};
        tide_status st =
            read_names(dir_fd, *floor == '\0' ? NULL : floor, w->batch, prefix_len == 0, &v, &more, w->err);
        for (size_t i = 0; st == TIDE_OK && i < v.n && !*full; i++) {
            size_t len = strlen(v.name[i]);
            bool twice = i > 0 && strcmp(v.name[i], v.name[i - 1]) == 0; /* renamed while we read */
            if (twice || prefix_len + len > STORE_KEY_MAX + 1)
                continue;
            memcpy(w->key + prefix_len, v.name[i], len + 1);
            st = visit(w, dir_fd, v.name[i], prefix_len + len, depth, full);
        }
        if (st != TIDE_OK)
            return st;
        if (more)
            (void)snprintf(floor, sizeof floor, "%s", v.name[v.n - 1]);
    }
    return TIDE_OK;
}

tide_status posix_list_root(int root_fd, const char *prefix, const char *after, uint64_t limit, bool folder,
                            store_list_fn *fn, void *ctx, struct tide_err *err)
{
    TIDE_AUTO(tide_closep)
    int fd = openat(root_fd, *prefix == '\0' ? "." : prefix, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
        return TIDE_OK;
    if (fd < 0)
        return posix_fail(err, errno, "could not list \"%s\"", prefix);
    struct walk w = {.after = after, .limit = limit, .folder_only = folder, .fn = fn, .ctx = ctx, .err = err};
    size_t len = strlen(prefix);
    memcpy(w.key, prefix, len + 1);
    w.batch = limit == 0 || limit > BATCH_MAX ? BATCH_MAX : limit < BATCH_MIN ? BATCH_MIN : (size_t)limit;
    bool full = false;
    return walk_folder(&w, fd, len, 0, &full);
}
