#include "pitr/fetch_server.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLICE (8u << 20)

/* The last step of the path whose log begins before `end` owns a file that ends there. */
static const struct lineage_step *owner_of(const struct fetch_file_options *o, struct tide_pos end)
{
    const struct lineage_step *owner = NULL;

    for (size_t i = 0; i < o->n_path; i++) {
        if (i == 0 || tide_pos_cmp(o->path[i].start, end) < 0)
            owner = &o->path[i];
    }
    return owner;
}

static const struct lineage *lineage_of_branch(const struct fetch_file_options *o, uint64_t branch)
{
    for (size_t i = 0; i < o->n_path; i++) {
        const struct lineage *l = lineage_find(o->lineages, o->path[i].lineage);
        if (l != NULL && l->branch == branch)
            return l;
    }
    return NULL;
}

/* A missing directory here says nothing of the log: never NOT_FOUND, which a server takes for the end of it. */
static tide_status create(const char *path, int *fd, struct tide_err *err)
{
    *fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (*fd >= 0)
        return TIDE_OK;
    tide_status s = tide_fail_errno(err, errno, "could not create \"%s\"", path);
    return s == TIDE_NOT_FOUND ? TIDE_IO : s;
}

static tide_status fetch_history(const struct fetch_file_options *o, const struct tide_log_file *file,
                                 const char *path, struct tide_err *err)
{
    const struct lineage *l = lineage_of_branch(o, file->branch);
    const struct lineage *last = lineage_find(o->lineages, o->path[o->n_path - 1].lineage);
    char content[16384];
    size_t len = 0;

    if (l != NULL) {
        tide_status s = o->plugin->log_file_content(o->host, l->evidence, file, content, sizeof content, &len, err);
        if (s != TIDE_OK)
            return s;
    } else if (last != NULL && file->branch > last->branch && file->branch < o->new_branch) {
        /* taken by another restore or branch of this instance: the server only asks whether it exists */
        len = (size_t)snprintf(content, sizeof content, "# reserved\n");
    } else {
        return tide_fail(err, TIDE_NOT_FOUND, "branch %llu has no history file", (unsigned long long)file->branch);
    }
    TIDE_AUTO(tide_closep) int fd = -1;
    tide_status s = create(path, &fd, err);
    if (s != TIDE_OK)
        return s;
    return tide_write_all(fd, content, len, path, err);
}

static tide_status copy_segment(const struct fetch_file_options *o, struct log_source *source,
                                const struct tide_log_file *file, int fd, const char *path, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) uint8_t *buf = malloc(SLICE);
    struct tide_pos at = file->start, wanted = file->end;

    if (buf == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory fetching log");
    /* Behind it stays a hole, zeros: what is stored there, or missing, is no concern of this restore. */
    if (!tide_pos_is_none(o->padded_from) && tide_pos_cmp(o->padded_from, wanted) < 0)
        wanted = o->padded_from;
    while (tide_pos_cmp(at, wanted) < 0) {
        struct tide_pos to = wanted, got = at;
        if (to.lo - at.lo > SLICE)
            to.lo = at.lo + SLICE;
        tide_status s = log_source_read(source, at, to, buf, &got, err);
        if (s == TIDE_OK)
            s = tide_pwrite_all(fd, buf, (size_t)(got.lo - at.lo), at.lo - file->start.lo, path, err);
        if (s != TIDE_OK)
            return s;
        if (tide_pos_cmp(got, to) < 0)
            return tide_fail(err, TIDE_NOT_FOUND, "the log file at this position is not complete yet");
        at = to;
    }
    return TIDE_OK;
}

static tide_status fetch_segment(const struct fetch_file_options *o, struct log_source *source,
                                 const struct tide_log_file *file, const char *path, struct tide_err *err)
{
    const struct lineage_step *owner = owner_of(o, file->end);
    const struct lineage *l = owner == NULL ? NULL : lineage_find(o->lineages, owner->lineage);

    if (l == NULL || l->branch != file->branch)
        return tide_fail(err, TIDE_NOT_FOUND, "this part of the log is not on branch %llu",
                         (unsigned long long)file->branch);
    if (!tide_pos_is_none(o->padded_from) && tide_pos_cmp(file->start, o->padded_from) >= 0)
        return tide_fail(err, TIDE_NOT_FOUND, "the restore ends before this log file");
    TIDE_AUTO(tide_closep) int fd = -1;
    tide_status s = create(path, &fd, err);
    if (s != TIDE_OK)
        return s;
    s = copy_segment(o, source, file, fd, path, err);
    if (s == TIDE_NOT_FOUND && !tide_pos_is_none(o->padded_from))
        s = tide_wrap(err, TIDE_CORRUPT,
                      "planned log is gone"); /* absence is not proved: it was there a moment ago */
    if (s == TIDE_OK && ftruncate(fd, (off_t)(file->end.lo - file->start.lo)) != 0)
        s = tide_fail_errno(err, errno, "could not extend \"%s\"", path);
    if (s == TIDE_OK && o->durable && fsync(fd) != 0)
        s = tide_fail_errno(err, errno, "could not fsync \"%s\"", path);
    return s;
}

tide_status fetch_file(const struct fetch_file_options *o, struct log_source *source,
                       const struct tide_log_file *file, const char *path, struct tide_err *err)
{
    tide_status s = TIDE_NOT_FOUND;

    if (file->kind == TIDE_LOG_FILE_HISTORY)
        s = fetch_history(o, file, path, err);
    else if (file->kind == TIDE_LOG_FILE_SEGMENT && !file->partial)
        s = fetch_segment(o, source, file, path, err);
    else
        s = tide_fail(err, TIDE_NOT_FOUND, "such files are never stored");
    if (s != TIDE_OK)
        (void)unlink(path);
    return s;
}
