#include "tests/support/trees.h"

#include "orchestrator/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static void must(bool fine, const char *what)
{
    if (fine)
        return;
    perror(what);
    abort();
}

uint64_t trees_next(struct trees_random *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

uint64_t trees_below(struct trees_random *r, uint64_t n)
{
    return trees_next(r) % n;
}

void trees_fill(struct trees_random *r, void *data, size_t len, bool noise)
{
    uint8_t *p = data;
    for (size_t i = 0; i < len; i += 8) {
        uint64_t v = trees_next(r);
        if (!noise)
            v = i % 64 < 16 ? v & UINT64_C(0xffff00ff) : UINT64_C(0x4142434445464748);
        memcpy(p + i, &v, len - i < 8 ? len - i : 8);
    }
}

static void path_of(char *out, const char *dir, const char *name)
{
    must(snprintf(out, TIDE_PATH_MAX, "%s/%s", dir, name) < TIDE_PATH_MAX, name);
}

void trees_write(const char *dir, const char *name, uint64_t offset, const void *data, size_t len)
{
    char path[TIDE_PATH_MAX];
    struct tide_err err = TIDE_ERR_INIT;
    path_of(path, dir, name);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    must(fd >= 0, path);
    must(tide_pwrite_all(fd, data, len, offset, path, &err) == TIDE_OK, path);
    must(close(fd) == 0, path);
}

void trees_file(const char *dir, const char *name, uint64_t size, bool holes, struct trees_random *r)
{
    char path[TIDE_PATH_MAX];
    uint8_t *block = malloc(TREE_BLOCK);
    must(block != NULL, name);
    path_of(path, dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && ftruncate(fd, (off_t)size) == 0, path);
    bool noise = trees_below(r, 4) == 0;
    for (uint64_t at = 0; at < size; at += TREE_BLOCK) {
        size_t len = size - at < TREE_BLOCK ? (size_t)(size - at) : TREE_BLOCK;
        if (holes && trees_below(r, 3) == 0)
            continue;
        trees_fill(r, block, len, noise);
        must(pwrite(fd, block, len, (off_t)at) == (ssize_t)len, path);
    }
    must(close(fd) == 0, path);
    free(block);
}

void trees_make(const char *dir, unsigned n, uint64_t seed)
{
    static const uint64_t sizes[] = {0,       1,   8192,    131071,      131072,       131073,   262144,
                                     MIB - 1, MIB, MIB + 1, 3 * MIB + 5, 64 * MIB - 1, 64 * MIB, 64 * MIB + 1};
    struct trees_random r = {.state = seed};
    char name[64], path[TIDE_PATH_MAX];
    must(mkdir(dir, 0700) == 0 || errno == EEXIST, dir);
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(name, sizeof name, "d%u", i);
        path_of(path, dir, name);
        must(mkdir(path, i % 2 == 0 ? 0700 : 0755) == 0, path);
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t size = i < sizeof sizes / sizeof sizes[0] ? sizes[i] : trees_below(&r, 40000);
        (void)snprintf(name, sizeof name, "d%u/f%05u", (unsigned)trees_below(&r, 4), i);
        trees_file(dir, name, size, size > TREE_BLOCK && trees_below(&r, 2) == 0, &r);
    }
    path_of(path, dir, "link");
    must(symlink("d0/f00001", path) == 0, path);
    path_of(path, dir, "empty");
    must(mkdir(path, 0750) == 0, path);
}

void trees_add_large(const char *dir, uint64_t seed)
{
    static const uint64_t sizes[] = {64 * MIB - 1, 64 * MIB, 64 * MIB + 1};
    struct trees_random r = {.state = seed};
    char name[64];
    for (unsigned i = 0; i < 3; i++) {
        (void)snprintf(name, sizeof name, "large%u", i);
        trees_file(dir, name, sizes[i], i == 1, &r);
    }
}

/* ------------------------------------------------------------------ backing up */

static tide_status hand_over(struct tree_writer *w, const char *dir, const char *prefix, uint32_t flags,
                             struct tide_err *err);

static tide_status hand_over_one(struct tree_writer *w, const char *dir, const char *name, uint32_t flags,
                                 struct tide_err *err)
{
    char path[TIDE_PATH_MAX], link[TIDE_PATH_MAX] = "";
    struct stat st;
    path_of(path, dir, name);
    must(lstat(path, &st) == 0, path);
    struct tide_file f = {.struct_size = sizeof f,
                          .mode = st.st_mode & 07777,
                          .name = name,
                          .owner = "postgres",
                          .group = "postgres",
                          .mtime_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000};
    if (S_ISDIR(st.st_mode)) {
        f.kind = TIDE_FILE_DIRECTORY;
    } else if (S_ISLNK(st.st_mode)) {
        f.kind = TIDE_FILE_SYMLINK;
        must(readlink(path, link, sizeof link - 1) > 0, path);
        f.link = link;
    } else {
        f.kind = TIDE_FILE_REGULAR;
        f.flags = flags;
        f.source = path;
        f.size = (uint64_t)st.st_size;
    }
    tide_status s = tree_writer_file(w, &f, err);
    return s == TIDE_OK && f.kind == TIDE_FILE_DIRECTORY ? hand_over(w, dir, name, flags, err) : s;
}

static tide_status hand_over(struct tree_writer *w, const char *dir, const char *prefix, uint32_t flags,
                             struct tide_err *err)
{
    char path[TIDE_PATH_MAX], name[TIDE_PATH_MAX];
    path_of(path, dir, prefix);
    DIR *d = opendir(path);
    must(d != NULL, path);
    tide_status s = TIDE_OK;
    for (struct dirent *e = readdir(d); s == TIDE_OK && e != NULL; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        must(snprintf(name, sizeof name, "%s%s%s", prefix, *prefix == '\0' ? "" : "/", e->d_name) < TIDE_PATH_MAX,
             path);
        s = hand_over_one(w, dir, name, flags, err);
    }
    (void)closedir(d);
    return s;
}

tide_status trees_hand_over(struct tree_writer *w, const char *dir, uint32_t flags, struct tide_err *err)
{
    return hand_over(w, dir, "", flags, err);
}

tide_status trees_run(const struct trees_backup *b, struct backup *out, struct tide_err *err)
{
    struct backup new = {.started_us = tide_now_us(), .lineage = 1, .stop = {.hi = 0, .lo = 1}};
    struct intent intent = {.started_us = new.started_us};
    struct tree_writer *w = NULL;
    tide_status s = TIDE_OK;
    if (b->id != NULL)
        (void)snprintf(new.id, sizeof new.id, "%s", b->id);
    else
        s = backup_new_id(new.started_us, new.id, err);
    (void)snprintf(new.method, sizeof new.method, "files");
    if (b->parent != NULL)
        (void)snprintf(new.parent, sizeof new.parent, "%s", b->parent->id);
    (void)snprintf(intent.id, sizeof intent.id, "%s", new.id);
    (void)snprintf(intent.parent, sizeof intent.parent, "%s", new.parent);
    if (s == TIDE_OK && b->id == NULL)
        s = intent_put(b->repo, b->instance, &intent, err);
    const struct tree_writer_options o = {.repo = b->repo,
                                          .instance = b->instance,
                                          .id = new.id,
                                          .parent = b->parent,
                                          .jobs = b->jobs == 0 ? 2 : b->jobs,
                                          .inspect = b->inspect};
    if (s == TIDE_OK)
        s = tree_writer_new(&o, &w, err);
    if (s == TIDE_OK)
        s = trees_hand_over(w, b->dir, b->flags, err);
    if (s == TIDE_OK)
        s = tree_writer_finish(w, &new, err);
    tree_writer_free(w);
    new.finished_us = tide_now_us();
    new.metadata = strdup("{}");
    if (s == TIDE_OK && !b->no_commit)
        s = backup_commit(b->repo, b->instance, &new, err);
    if (s == TIDE_OK)
        *out = new;
    else
        backup_clear(&new);
    return s;
}

tide_status trees_extract(struct repo *r, const char *instance, const struct backup *b, const char *into, bool resume,
                          struct tide_err *err)
{
    struct tree_reader *t = NULL;
    const struct tree_extract_options o = {.root = into, .resume = resume, .direct = true, .uid = -1, .gid = -1};
    tide_status s = tree_reader_open(r, instance, b, 2, &t, err);
    if (s == TIDE_OK)
        s = tree_extract(t, &o, err);
    tree_reader_close(t);
    return s;
}

/* ------------------------------------------------------------------ comparing */

static unsigned differ(const char *a, const char *why)
{
    (void)fprintf(stderr, "%s: %s\n", a, why);
    return 1;
}

static unsigned content_differs(const char *a, const char *b)
{
    uint8_t *x = malloc(MIB), *y = malloc(MIB);
    int p = open(a, O_RDONLY), q = open(b, O_RDONLY);
    must(x != NULL && y != NULL && p >= 0 && q >= 0, a);
    unsigned found = 0;
    for (uint64_t at = 0;; at += MIB) {
        size_t n = 0, m = 0;
        must(tide_pread_upto(p, x, MIB, at, &n, a, NULL) == TIDE_OK, a);
        must(tide_pread_upto(q, y, MIB, at, &m, b, NULL) == TIDE_OK, b);
        if (n != m || memcmp(x, y, n) != 0)
            found = differ(a, "content differs");
        if (n < MIB || found != 0)
            break;
    }
    free(x);
    free(y);
    (void)close(p);
    (void)close(q);
    return found;
}

static unsigned entry_differs(const char *a, const char *b)
{
    struct stat x, y;
    char p[TIDE_PATH_MAX] = "", q[TIDE_PATH_MAX] = "";
    must(lstat(a, &x) == 0, a);
    if (lstat(b, &y) != 0)
        return differ(a, "is missing");
    if (x.st_mode != y.st_mode)
        return differ(a, "mode differs");
    if (S_ISLNK(x.st_mode)) {
        must(readlink(a, p, sizeof p - 1) > 0 && readlink(b, q, sizeof q - 1) > 0, a);
        return strcmp(p, q) == 0 ? 0 : differ(a, "link differs");
    }
    if (S_ISDIR(x.st_mode))
        return trees_differences(a, b);
    if (x.st_size != y.st_size)
        return differ(a, "size differs");
    if (x.st_mtim.tv_sec != y.st_mtim.tv_sec)
        return differ(a, "time differs");
    return content_differs(a, b);
}

static unsigned count_entries(const char *dir)
{
    unsigned n = 0;
    DIR *d = opendir(dir);
    must(d != NULL, dir);
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n;
}

unsigned trees_differences(const char *a, const char *b)
{
    unsigned found = count_entries(a) == count_entries(b) ? 0 : differ(a, "number of entries differs");
    DIR *d = opendir(a);
    must(d != NULL, a);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        char x[TIDE_PATH_MAX], y[TIDE_PATH_MAX];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        path_of(x, a, e->d_name);
        path_of(y, b, e->d_name);
        found += entry_differs(x, y);
    }
    (void)closedir(d);
    return found;
}
