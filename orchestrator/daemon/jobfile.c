#include "orchestrator/daemon/jobfile.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "orchestrator/daemon/values.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#define JOBFILE_MAX 1024u

struct jobfile {
    int fd;
    char path[TIDE_PATH_MAX];
    char job[32], kind[32];
    int64_t started_us, begun_us, written_us;
    pthread_mutex_t lock;
};

/* One write of a fixed size: a reader sees the old or the new text. */
static void write_state(struct jobfile *f, uint64_t done, uint64_t total)
{
    struct tide_err ignored = TIDE_ERR_INIT;
    char text[JOBFILE_MAX];
    int64_t elapsed = tide_monotonic_us() - f->begun_us;
    json_t *eta = json_null();

    if (total > done && done > 0 && elapsed > TIDE_SECOND_US)
        eta = json_integer((json_int_t)((double)(total - done) / (double)done * (double)elapsed / 1e6));
    json_t *doc = json_pack("{s:s, s:s, s:o, s:I, s:o, s:o}", "job", f->job, "kind", f->kind, "started",
                            value_time(f->started_us), "bytes_done", (json_int_t)done, "bytes_total",
                            total == 0 ? json_null() : json_integer((json_int_t)total), "eta_seconds", eta);
    if (doc == NULL)
        return;
    memset(text, ' ', sizeof text);
    size_t n = json_dumpb(doc, text, sizeof text - 1, JSON_COMPACT);
    json_decref(doc);
    if (n == 0 || n >= sizeof text)
        return;
    text[sizeof text - 1] = '\n';
    tide_status s = tide_pwrite_all(f->fd, text, sizeof text, 0, f->path, &ignored);
    (void)s; /* who asks sees an older state */
}

tide_status jobfile_open(const char *path, const char *job, const char *kind, struct jobfile **out,
                         struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            return tide_fail(err, TIDE_BUSY, "another %s of this instance runs on this host", job);
        return tide_fail_errno(err, errno, "could not lock \"%s\"", path);
    }
    struct jobfile *f = calloc(1, sizeof *f);
    if (f == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    (void)snprintf(f->path, sizeof f->path, "%s", path);
    (void)snprintf(f->job, sizeof f->job, "%s", job);
    (void)snprintf(f->kind, sizeof f->kind, "%s", kind);
    f->started_us = tide_now_us();
    f->begun_us = tide_monotonic_us();
    f->fd = tide_take_fd(&fd);
    pthread_mutex_init(&f->lock, NULL);
    write_state(f, 0, 0);
    *out = f;
    return TIDE_OK;
}

void jobfile_update(struct jobfile *f, uint64_t bytes_done, uint64_t bytes_total)
{
    if (f == NULL)
        return;
    int64_t now = tide_monotonic_us();
    pthread_mutex_lock(&f->lock);
    bool due = now - f->written_us >= TIDE_SECOND_US;
    if (due) {
        f->written_us = now;
        write_state(f, bytes_done, bytes_total);
    }
    pthread_mutex_unlock(&f->lock);
}

void jobfile_close(struct jobfile *f)
{
    if (f == NULL)
        return;
    (void)unlink(f->path);
    (void)close(f->fd);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

json_t *jobfile_read(const char *path)
{
    struct tide_err ignored = TIDE_ERR_INIT;
    char text[JOBFILE_MAX];
    size_t got = 0;

    TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || flock(fd, LOCK_SH | LOCK_NB) == 0)
        return NULL;
    if (tide_pread_upto(fd, text, sizeof text, 0, &got, path, &ignored) != TIDE_OK)
        return NULL;
    json_t *doc = json_loadb(text, got, 0, NULL);
    if (json_is_object(doc))
        return doc;
    json_decref(doc);
    return NULL;
}
