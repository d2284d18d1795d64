#include "wal/put.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EVIDENCE_MAX (2u << 20)

struct found_file {
    char *path; /* owned */
    struct tide_log_file file;
};

struct found_files {
    struct found_file *items; /* owned */
    size_t n, cap;
};

static void found_clear(struct found_files *f)
{
    for (size_t i = 0; i < f->n; i++)
        free(f->items[i].path);
    free(f->items);
}

static tide_status add_file(struct found_files *f, const char *path, const struct tide_log_file *file,
                            struct tide_err *err)
{
    if (f->n == f->cap) {
        size_t cap = f->cap == 0 ? 64 : f->cap * 2;
        struct found_file *items = realloc(f->items, cap * sizeof *items);
        if (items == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
        f->items = items;
        f->cap = cap;
    }
    f->items[f->n] = (struct found_file){.path = strdup(path), .file = *file};
    if (f->items[f->n].path == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    f->n++;
    return TIDE_OK;
}

/* By branch, then place; a complete file before a partial one of the same place. */
static int compare_files(const void *a, const void *b)
{
    const struct tide_log_file *x = &((const struct found_file *)a)->file, *y = &((const struct found_file *)b)->file;

    if (x->branch != y->branch)
        return x->branch < y->branch ? -1 : 1;
    int c = tide_pos_cmp(x->start, y->start);
    return c != 0 ? c : (x->partial > y->partial) - (x->partial < y->partial);
}

/* Takes a file when it holds log: names are reused for what will be written later. */
static tide_status look_at(const struct wal_put_options *o, const char *name, char *buf, struct found_files *out,
                           struct tide_err *err)
{
    struct tide_log_identity id = {.struct_size = sizeof id};
    struct tide_log_file file = {.struct_size = sizeof file};
    char path[TIDE_PATH_MAX];
    tide_status s = tide_path_join(path, o->path, name, err);

    if (s != TIDE_OK)
        return s;
    s = (tide_status)o->plugin->log_file_identify(o->host, path, name, buf, EVIDENCE_MAX, &id, err);
    if (s == TIDE_INVALID || s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        return TIDE_OK;
    }
    if (s == TIDE_OK)
        s = (tide_status)o->plugin->log_file_locate(o->host, id.evidence, name, &file, err);
    return s == TIDE_OK && file.kind == TIDE_LOG_FILE_SEGMENT ? add_file(out, path, &file, err) : s;
}

static tide_status list_files(const struct wal_put_options *o, char *buf, struct found_files *out,
                              struct tide_err *err)
{
    DIR *d = opendir(o->path);
    tide_status s = TIDE_OK;

    if (d == NULL)
        return tide_fail_errno(err, errno, "could not open \"%s\"", o->path);
    while (s == TIDE_OK) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL) {
            if (errno != 0)
                s = tide_fail_errno(err, errno, "could not read \"%s\"", o->path);
            break;
        }
        if (e->d_name[0] != '.' && e->d_type != DT_DIR)
            s = look_at(o, e->d_name, buf, out, err);
    }
    (void)closedir(d);
    if (s == TIDE_OK && out->n > 1)
        qsort(out->items, out->n, sizeof *out->items, compare_files);
    return s;
}

/* Files [from, to) of one branch that join, from the one that holds the lineage's end. */
static tide_status put_run(const struct wal_put_options *o, const struct lineage *l, const struct found_file *f,
                           size_t n, uint64_t *added, struct tide_pos *end, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) const char **paths = calloc(n, sizeof *paths);
    TIDE_AUTO(tide_freep) struct tide_log_file *files = calloc(n, sizeof *files);
    uint64_t some = 0;

    if (paths == NULL || files == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++) {
        paths[i] = f[i].path;
        files[i] = f[i].file;
    }
    struct put_reader in = {.paths = paths, .files = files, .n = n};
    tide_status s = put_range(o, l, &in, false, &some, end, err);
    *added += some;
    return s;
}

static tide_status put_branch(const struct wal_put_options *o, struct found_file *f, size_t n, char *buf,
                              uint64_t *added, struct tide_pos *end, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct tide_log_identity id = {.struct_size = sizeof id};
    const struct lineage *l = NULL;
    struct tide_pos stored;
    bool empty;
    const char *name = strrchr(f[0].path, '/') + 1;
    tide_status s = (tide_status)o->plugin->log_file_identify(o->host, f[0].path, name, buf, EVIDENCE_MAX, &id, err);

    if (s == TIDE_OK)
        s = put_lineage(o, &id, f[0].file.start, &set, &l, err);
    if (s == TIDE_OK)
        s = branch_stored_end(o->repo, o->instance, l, &stored, &empty, err);
    if (s == TIDE_OK && !empty)
        *end = stored;
    for (size_t i = 0; s == TIDE_OK && i < n;) {
        size_t k = i + 1;
        while (k < n && pos_equal(f[k].file.start, f[k - 1].file.end))
            k++;
        /* What is stored entirely, and what a partial copy repeats, is passed over. */
        if (!pos_before(stored, f[i].file.end) || (i > 0 && pos_equal(f[i].file.start, f[i - 1].file.start))) {
            i++;
            continue;
        }
        s = put_run(o, l, f + i, k - i, added, end, err);
        i = k;
    }
    return s;
}

tide_status wal_put_directory(const struct wal_put_options *o, uint64_t *added, struct tide_pos *end,
                              struct tide_err *err)
{
    TIDE_AUTO(found_clear) struct found_files files = {0};
    TIDE_AUTO(tide_freep) char *buf = malloc(EVIDENCE_MAX);
    struct tide_err own = TIDE_ERR_INIT;

    if (err == NULL)
        err = &own;
    *added = 0;
    *end = TIDE_POS_NONE;
    if (buf == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    if ((o->plugin->caps & TIDE_CAP_LOG_FILES) == 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "the plugin \"%s\" cannot take log files", o->plugin->name);
    tide_status s = list_files(o, buf, &files, err);
    if (s == TIDE_OK && files.n == 0)
        s = tide_fail(err, TIDE_NOT_FOUND, "\"%s\" holds no log files", o->path);
    for (size_t i = 0; s == TIDE_OK && i < files.n;) {
        size_t k = i + 1;
        while (k < files.n && files.items[k].file.branch == files.items[i].file.branch)
            k++;
        s = put_branch(o, files.items + i, k - i, buf, added, end, err);
        i = k;
    }
    if (s != TIDE_OK)
        return tide_wrap(err, s, "adding log from \"%s\"", o->path);
    TIDE_LOG(TIDE_LOG_INFO, "wal.put.directory", TIDE_STR("instance", o->instance), TIDE_U64("added", *added));
    return TIDE_OK;
}
