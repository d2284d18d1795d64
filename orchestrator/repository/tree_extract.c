#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/tree_extract.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DEVICES_MAX 256u

struct device {
    dev_t dev;
    int fd; /* opened before anything was written there: syncfs reports what failed since */
};

struct extract_disk {
    struct device items[DEVICES_MAX];
    unsigned n;
    char folder[TIDE_PATH_MAX]; /* seen last */
};

/* ------------------------------------------------------------------ where entries go */

static bool is_held(const struct tree_extract_options *o, const char *name)
{
    for (const char *const *h = o->hold; h != NULL && *h != NULL; h++) {
        if (strcmp(*h, name) == 0)
            return true;
    }
    return false;
}

static tide_status place_item(const struct extract *x, const struct tree_item *item, uint64_t cookie,
                              char path[TIDE_PATH_MAX], struct tide_err *err)
{
    struct tree_entry e;
    if (x->o.place == NULL)
        return tide_path_join(path, x->o.root, item->name, err);
    tree_entry_of(item, cookie, &e);
    return x->o.place(x->o.place_ctx, &e, path, err);
}

/* Remembers the file system of a path, to be synced at the end. */
static tide_status see_device(struct extract *x, const char *path, struct tide_err *err)
{
    struct stat st;
    struct extract_disk *d = x->disk;
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", path);
    for (unsigned i = 0; i < d->n; i++) {
        if (d->items[i].dev == st.st_dev)
            return TIDE_OK;
    }
    if (d->n == DEVICES_MAX)
        return tide_fail(err, TIDE_UNSUPPORTED, "a restore onto more than %u file systems", DEVICES_MAX);
    d->items[d->n++] = (struct device){.dev = st.st_dev, .fd = tide_take_fd(&fd)};
    return TIDE_OK;
}

/* place() may send a single file to a file system of its own. */
static tide_status see_folder_of(struct extract *x, const char *path, struct tide_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    char *seen = x->disk->folder;
    if (len == 0 || (strlen(seen) == len && memcmp(seen, path, len) == 0))
        return TIDE_OK;
    memcpy(seen, path, len);
    seen[len] = '\0';
    tide_status s = tide_mkdirs(seen, 0700, err);
    return s != TIDE_OK ? s : see_device(x, seen, err);
}

static tide_status sync_devices(const struct extract *x, struct tide_err *err)
{
    for (unsigned i = 0; i < x->disk->n; i++) {
        if (syncfs(x->disk->items[i].fd) != 0)
            return tide_fail_errno(err, errno, "could not write the restored files to disk");
    }
    return TIDE_OK;
}

/* ------------------------------------------------------------------ first pass: content */

static tide_status submit(struct extract *x, struct extract_task *t, struct tide_err *err)
{
    return tide_pool_submit(x->pool, t, err);
}

static tide_status flush_batch(struct extract *x, struct tide_err *err)
{
    return x->batch == NULL ? TIDE_OK : submit(x, TIDE_TAKE(x->batch), err);
}

/* Files of one block are read and written many at a time. */
static tide_status add_small(struct extract *x, const char *path, const struct tree_item *item, struct tide_err *err)
{
    if (x->batch != NULL && x->batch->n == EXTRACT_BATCH) {
        tide_status s = flush_batch(x, err);
        if (s != TIDE_OK)
            return s;
    }
    if (x->batch == NULL)
        x->batch = extract_task_new(x);
    if (x->batch == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", path);
    struct small_file *f = &x->batch->small[x->batch->n];
    *f = (struct small_file){.path = strdup(path),
                             .size = item->size,
                             .mode = item->mode,
                             .mtime_us = item->mtime_us,
                             .block = item->block};
    if (f->path == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", path);
    x->batch->n++;
    return TIDE_OK;
}

static tide_status add_large(struct extract *x, struct tree_scan *scan, const char *path,
                             const struct tree_item *item, struct tide_err *err)
{
    struct target *target = NULL;
    tide_status s = target_open(path, item, &x->target, &target, err);
    for (uint32_t i = 0; s == TIDE_OK && i < item->n_leaves; i++) {
        struct leaf_ref ref;
        s = tree_scan_leaf(scan, &ref, err);
        if (s == TIDE_NOT_FOUND)
            s = tide_fail(err, TIDE_CORRUPT, "\"%s\" has fewer leaves than it says", item->name);
        if (s != TIDE_OK)
            break;
        struct extract_task *t = extract_task_new(x);
        if (t == NULL) {
            s = tide_fail(err, TIDE_NO_MEMORY, "out of memory for \"%s\"", path);
            break;
        }
        atomic_fetch_add(&target->users, 1);
        t->target = target;
        t->ref = ref;
        t->leaf = i;
        s = submit(x, t, err);
    }
    target_release(target);
    return s;
}

static tide_status add_item(struct extract *x, struct tree_scan *scan, const char *path, const struct tree_item *item,
                            struct tide_err *err)
{
    if (item->kind == TIDE_FILE_DIRECTORY) {
        tide_status s = tide_mkdirs(path, 0700, err);
        return s != TIDE_OK ? s : see_device(x, path, err);
    }
    if (item->kind == TIDE_FILE_SYMLINK)
        return TIDE_OK;
    tide_status s = see_folder_of(x, path, err);
    if (s != TIDE_OK)
        return s;
    return item->layout == TREE_LEAVES ? add_large(x, scan, path, item, err) : add_small(x, path, item, err);
}

typedef tide_status visit_fn(struct extract *x, struct tree_scan *scan, const char *path,
                             const struct tree_item *item, struct tide_err *err);

/* Every entry that is wanted, held ones or all others. */
static tide_status visit(struct extract *x, bool held, visit_fn *fn, struct tide_err *err)
{
    struct tree_scan *scan = NULL;
    tide_status s = tree_scan_new(x->t->files, x->t->walker, NULL, &scan, err);
    for (uint64_t cookie = 0; s == TIDE_OK; cookie++) {
        char path[TIDE_PATH_MAX] = "";
        const struct tree_item *item = NULL;
        s = tree_scan_next(scan, &item, err);
        if (s == TIDE_NOT_FOUND) {
            s = TIDE_OK;
            break;
        }
        if (s == TIDE_OK)
            s = extract_check(x, err);
        if (s != TIDE_OK || is_held(&x->o, item->name) != held)
            continue;
        s = place_item(x, item, cookie, path, err);
        if (s == TIDE_OK && *path != '\0')
            s = fn(x, scan, path, item, err);
    }
    tree_scan_free(scan);
    return s;
}

/* ------------------------------------------------------------------ second pass: what content must not meet */

/* Symlinks last, so that no file is written through one; modes of directories last, so that they can be filled. */
static tide_status finish_item(struct extract *x, struct tree_scan *scan, const char *path,
                               const struct tree_item *item, struct tide_err *err)
{
    (void)scan;
    if (item->kind == TIDE_FILE_SYMLINK)
        return target_symlink(path, item, &x->target, err);
    if (item->kind == TIDE_FILE_DIRECTORY)
        return target_set_attributes(path, item, &x->target, err);
    return TIDE_OK;
}

static tide_status write_all(struct extract *x, bool held, struct tide_err *err)
{
    tide_status s = visit(x, held, add_item, err);
    if (s == TIDE_OK)
        s = flush_batch(x, err);
    /* A worker's failure makes the walk fail, too, and its reason is the better one. */
    if (s == TIDE_OK || tide_pool_status(x->pool, NULL) != TIDE_OK)
        s = tide_pool_wait(x->pool, err);
    if (s == TIDE_OK)
        s = visit(x, held, finish_item, err);
    return s == TIDE_OK ? sync_devices(x, err) : s;
}

static tide_status extract_open(struct extract *x, struct tide_err *err)
{
    tide_status s = tide_mkdirs(x->o.root, 0700, err);
    if (s == TIDE_OK)
        s = see_device(x, x->o.root, err);
    if (s == TIDE_OK)
        s = read_lanes_new(x->t, &x->lanes, err);
    if (s == TIDE_OK)
        s = tide_pool_new(x->t->jobs, (size_t)x->t->jobs * 4, extract_run, extract_task_free, &x->pool, err);
    return s;
}

tide_status tree_extract(struct tree_reader *t, const struct tree_extract_options *o, struct tide_err *err)
{
    struct extract_disk disk = {.n = 0};
    struct extract x = {.t = t,
                        .o = *o,
                        .target = {.resume = o->resume, .direct = o->direct, .uid = o->uid, .gid = o->gid},
                        .disk = &disk};
    tide_status s = extract_open(&x, err);
    if (s == TIDE_OK)
        s = write_all(&x, false, err);
    if (s == TIDE_OK && o->hold != NULL && *o->hold != NULL)
        s = write_all(&x, true, err);
    tide_pool_free(x.pool);
    if (x.batch != NULL)
        extract_task_free(x.batch);
    read_lanes_free(t, x.lanes);
    for (unsigned i = 0; i < disk.n; i++)
        tide_closep(&disk.items[i].fd);
    return s;
}
