#include "pitr/fetch_server.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#define AHEAD      8u /* files prepared before they are asked for */
#define N_SLOTS    (AHEAD + 4u)
#define N_FETCHERS 2u

enum slot_state { SLOT_EMPTY, SLOT_WANTED, SLOT_FETCHING, SLOT_READY, SLOT_ABSENT, SLOT_FAILED };

/* One log file, named by where it starts: the path of lineages says to which branch that place belongs. */
struct slot {
    enum slot_state state;
    bool asked;         /* somebody waits for it: not given up for what is planned ahead */
    tide_status failed; /* SLOT_FAILED: how */
    struct tide_log_file file;
    uint64_t used; /* when it was last asked for or planned: the oldest is reused */
    char path[TIDE_PATH_MAX];
    char text[512];
};

struct fetch_server {
    struct fetch_server_options o;
    struct fetch_file_options file_options;
    char directory[TIDE_PATH_MAX], command[TIDE_PATH_MAX];
    int listen_fd, stop_fd;
    pthread_t acceptor, fetchers[N_FETCHERS];
    unsigned n_fetchers;
    bool acceptor_runs;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stopping;
    uint64_t tick;
    struct slot slots[N_SLOTS];
    char problem[512];
    tide_status problem_status;
};

static struct slot *slot_find(struct fetch_server *f, const struct tide_log_file *file)
{
    for (size_t i = 0; i < N_SLOTS; i++) {
        struct slot *s = &f->slots[i];
        if (s->state != SLOT_EMPTY && s->file.kind == file->kind && s->file.branch == file->branch &&
            tide_pos_cmp(s->file.start, file->start) == 0)
            return s;
    }
    return NULL;
}

/* A slot for file, giving up the one that was used longest ago; NULL while all are being worked on. */
static struct slot *slot_take(struct fetch_server *f, const struct tide_log_file *file)
{
    struct slot *oldest = NULL;

    for (size_t i = 0; i < N_SLOTS; i++) {
        struct slot *s = &f->slots[i];
        if (s->state == SLOT_FETCHING || s->asked)
            continue;
        if (s->state == SLOT_EMPTY) {
            oldest = s;
            break;
        }
        if (oldest == NULL || s->used < oldest->used)
            oldest = s;
    }
    if (oldest == NULL)
        return NULL;
    if (oldest->state == SLOT_READY)
        (void)unlink(oldest->path);
    oldest->state = SLOT_WANTED;
    oldest->file = *file;
    oldest->used = ++f->tick;
    (void)snprintf(oldest->path, sizeof oldest->path, "%.3900s/%llx-%016llx-%llu", f->directory,
                   (unsigned long long)file->branch, (unsigned long long)file->start.lo, (unsigned long long)f->tick);
    (void)pthread_cond_broadcast(&f->changed);
    return oldest;
}

static struct slot *next_wanted(struct fetch_server *f)
{
    struct slot *first = NULL;

    for (size_t i = 0; i < N_SLOTS; i++) {
        struct slot *s = &f->slots[i];
        if (s->state == SLOT_WANTED && (first == NULL || s->used < first->used))
            first = s;
    }
    return first;
}

static tide_status fetch_into(struct fetch_server *f, struct log_source *source, const struct tide_log_file *file,
                              const char *path, struct tide_err *err)
{
    tide_status s = fetch_file(&f->file_options, source, file, path, err);

    if (s == TIDE_OK && f->o.uid >= 0 && chown(path, (uid_t)f->o.uid, (gid_t)f->o.gid) != 0)
        s = tide_fail_errno(err, errno, "could not give \"%s\" to the server's user", path);
    return s;
}

static void *fetcher_main(void *arg)
{
    struct fetch_server *f = arg;
    struct log_source *source = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    tide_status opened = log_source_new(f->o.repo, f->o.instance, f->o.plan->path, f->o.plan->n_path, &source, &err);

    (void)pthread_mutex_lock(&f->lock);
    while (!f->stopping) {
        struct slot *s = next_wanted(f);
        if (s == NULL) {
            (void)pthread_cond_wait(&f->changed, &f->lock);
            continue;
        }
        s->state = SLOT_FETCHING;
        struct tide_log_file file = s->file;
        char path[TIDE_PATH_MAX];
        memcpy(path, s->path, sizeof path);
        (void)pthread_mutex_unlock(&f->lock);
        tide_status got = opened;
        if (got == TIDE_OK) {
            tide_err_clear(&err);
            got = fetch_into(f, source, &file, path, &err);
        }
        (void)pthread_mutex_lock(&f->lock);
        s->state = got == TIDE_OK ? SLOT_READY : got == TIDE_NOT_FOUND ? SLOT_ABSENT : SLOT_FAILED;
        s->failed = got;
        (void)snprintf(s->text, sizeof s->text, "%.500s", err.msg);
        (void)pthread_cond_broadcast(&f->changed);
    }
    (void)pthread_mutex_unlock(&f->lock);
    log_source_free(source);
    return NULL;
}

/* Which branch a file that starts at `start` is asked under: that of the last step beginning before its end. */
static uint64_t branch_at(const struct fetch_server *f, struct tide_pos end)
{
    uint64_t branch = 0;

    for (size_t i = 0; i < f->o.plan->n_path; i++) {
        const struct lineage *l = lineage_find(f->o.lineages, f->o.plan->path[i].lineage);
        if (l != NULL && (i == 0 || tide_pos_cmp(f->o.plan->path[i].start, end) < 0))
            branch = l->branch;
    }
    return branch;
}

static void plan_ahead(struct fetch_server *f, const struct tide_log_file *file)
{
    struct tide_log_file next = *file;
    uint64_t size = file->end.lo - file->start.lo;

    for (unsigned i = 0; i < AHEAD; i++) {
        next.start = next.end;
        next.end.lo += size;
        if (tide_pos_cmp(next.start, f->o.plan->log_to) >= 0)
            return;
        next.branch = branch_at(f, next.end);
        struct slot *s = slot_find(f, &next);
        if (s != NULL)
            s->used = ++f->tick;
        else if (slot_take(f, &next) == NULL)
            return;
    }
}

/* Answers one name.  A file that was handed out is forgotten: asked again, it is fetched again. */
static void answer(struct fetch_server *f, const char *name, char *reply, size_t size)
{
    struct tide_log_file file = {.struct_size = sizeof file};
    struct tide_err err = TIDE_ERR_INIT;

    if (f->o.plugin->log_file_locate(f->o.host, f->o.plan->evidence, name, &file, &err) != TIDE_OK) {
        (void)snprintf(reply, size, "error could not tell what \"%s\" is: %s\n", name, err.msg);
        return;
    }
    if (file.kind == TIDE_LOG_FILE_OTHER || file.partial) {
        (void)snprintf(reply, size, "absent\n");
        return;
    }
    (void)pthread_mutex_lock(&f->lock);
    struct slot *s = slot_find(f, &file);
    while (s == NULL && !f->stopping) {
        s = slot_take(f, &file);
        if (s == NULL)
            (void)pthread_cond_wait(&f->changed, &f->lock);
    }
    if (s != NULL) {
        s->asked = true;
        s->used = 0; /* before everything that was planned ahead */
    }
    if (file.kind == TIDE_LOG_FILE_SEGMENT)
        plan_ahead(f, &file);
    while (s != NULL && (s->state == SLOT_WANTED || s->state == SLOT_FETCHING) && !f->stopping)
        (void)pthread_cond_wait(&f->changed, &f->lock);
    if (s != NULL && s->state == SLOT_READY) {
        (void)snprintf(reply, size, "ok %s/%s\n", FETCH_DIRECTORY, strrchr(s->path, '/') + 1);
    } else if (s != NULL && s->state == SLOT_ABSENT) {
        (void)snprintf(reply, size, "absent\n");
    } else {
        f->problem_status = s == NULL || s->state != SLOT_FAILED ? TIDE_CANCELLED : s->failed;
        (void)snprintf(f->problem, sizeof f->problem, "%.60s: %.400s", name, s == NULL ? "stopped" : s->text);
        (void)snprintf(reply, size, "error %s\n", f->problem);
    }
    if (s != NULL)
        s->asked = false;
    if (s != NULL && s->state != SLOT_FETCHING)
        s->state = SLOT_EMPTY;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
}

static void serve(struct fetch_server *f, int fd)
{
    char name[512], reply[2048];
    size_t len = 0;

    while (len < sizeof name - 1) {
        ssize_t n = read(fd, name + len, sizeof name - 1 - len);
        if (n <= 0)
            return;
        len += (size_t)n;
        if (memchr(name, '\n', len) != NULL)
            break;
    }
    name[len] = '\0';
    name[strcspn(name, "\n")] = '\0';
    answer(f, name, reply, sizeof reply);
    struct tide_err err = TIDE_ERR_INIT;
    if (tide_write_all(fd, reply, strlen(reply), "the recovering server", &err) != TIDE_OK)
        TIDE_LOG(TIDE_LOG_WARN, "restore.fetch.answer", TIDE_STR("file", name), TIDE_STR("error", err.msg));
}

static void *acceptor_main(void *arg)
{
    struct fetch_server *f = arg;
    struct pollfd fds[2] = {{.fd = f->listen_fd, .events = POLLIN}, {.fd = f->stop_fd, .events = POLLIN}};

    for (;;) {
        if (poll(fds, 2, -1) < 0) {
            if (errno == EINTR)
                continue; /* what stands in fds is from the time before */
            return NULL;
        }
        if (fds[1].revents != 0)
            return NULL;
        TIDE_AUTO(tide_closep) int fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd >= 0)
            serve(f, fd);
    }
}

/* A socket's path has 108 bytes; the data directory's may have more, so it is bound by way of the descriptor. */
static tide_status listen_in(struct fetch_server *f, struct tide_err *err)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    TIDE_AUTO(tide_closep) int dir = open(f->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", f->directory);
    f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)snprintf(addr.sun_path, sizeof addr.sun_path, "/proc/self/fd/%d/socket", dir);
    if (f->listen_fd < 0 || bind(f->listen_fd, (struct sockaddr *)&addr, sizeof addr) != 0 ||
        listen(f->listen_fd, 16) != 0)
        return tide_fail_errno(err, errno, "could not listen in \"%s\"", f->directory);
    if (f->o.uid < 0)
        return TIDE_OK;
    if (fchown(dir, (uid_t)f->o.uid, (gid_t)f->o.gid) != 0 ||
        fchownat(dir, "socket", (uid_t)f->o.uid, (gid_t)f->o.gid, 0) != 0)
        return tide_fail_errno(err, errno, "could not give \"%s\" to the server's user", f->directory);
    return TIDE_OK;
}

/*
 * The server runs the program as its own user, who may not be able to reach the place where Tidemark is installed (a
 * build below /root).  So it gets a copy in its own directory, unless that file system runs no programs.
 */
static tide_status place_program(struct fetch_server *f, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf program = TIDE_BUF_INIT(16u << 20);
    char path[TIDE_PATH_MAX];
    struct statvfs vfs;

    if (f->o.program == NULL)
        return TIDE_OK;
    if (statvfs(f->directory, &vfs) != 0)
        return tide_fail_errno(err, errno, "could not look at the file system of \"%s\"", f->directory);
    if ((vfs.f_flag & ST_NOEXEC) != 0) {
        (void)snprintf(f->command, sizeof f->command, "%.3900s %s %%f %%p", f->o.program, FETCH_SOCKET);
        return TIDE_OK;
    }
    (void)snprintf(f->command, sizeof f->command, "%s %s %%f %%p", FETCH_PROGRAM, FETCH_SOCKET);
    tide_status s = tide_path_join(path, f->o.data_directory, FETCH_PROGRAM, err);
    if (s == TIDE_OK)
        s = tide_file_read(f->o.program, &program, err);
    if (s == TIDE_OK)
        s = tide_file_replace(path, program.data, program.len, 0700, err);
    if (s == TIDE_OK && f->o.uid >= 0 && chown(path, (uid_t)f->o.uid, (gid_t)f->o.gid) != 0)
        s = tide_fail_errno(err, errno, "could not give \"%s\" to the server's user", path);
    return s;
}

const char *fetch_server_command(const struct fetch_server *f)
{
    return f->command;
}

static tide_status start_threads(struct fetch_server *f, struct tide_err *err)
{
    for (; f->n_fetchers < N_FETCHERS; f->n_fetchers++) {
        int e = pthread_create(&f->fetchers[f->n_fetchers], NULL, fetcher_main, f);
        if (e != 0)
            return tide_fail_errno(err, e, "could not start a thread");
    }
    int e = pthread_create(&f->acceptor, NULL, acceptor_main, f);
    if (e != 0)
        return tide_fail_errno(err, e, "could not start a thread");
    f->acceptor_runs = true;
    return TIDE_OK;
}

tide_status fetch_server_start(const struct fetch_server_options *o, struct fetch_server **out, struct tide_err *err)
{
    struct fetch_server *f = calloc(1, sizeof *f);

    if (f == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    f->o = *o;
    f->listen_fd = -1;
    f->stop_fd = eventfd(0, EFD_CLOEXEC);
    f->file_options = (struct fetch_file_options){.repo = o->repo,
                                                  .instance = o->instance,
                                                  .plugin = o->plugin,
                                                  .host = o->host,
                                                  .lineages = o->lineages,
                                                  .path = o->plan->path,
                                                  .n_path = o->plan->n_path,
                                                  .padded_from = o->plan->log_to,
                                                  .new_branch = o->new_branch};
    (void)pthread_mutex_init(&f->lock, NULL);
    (void)pthread_cond_init(&f->changed, NULL);
    tide_status s = f->stop_fd < 0 ? tide_fail_errno(err, errno, "could not make an event descriptor") : TIDE_OK;
    if (s == TIDE_OK)
        s = tide_path_join(f->directory, o->data_directory, FETCH_DIRECTORY, err);
    if (s == TIDE_OK)
        s = tide_remove_tree(f->directory, err);
    if (s == TIDE_OK)
        s = tide_mkdirs(f->directory, 0700, err);
    if (s == TIDE_OK)
        s = listen_in(f, err);
    if (s == TIDE_OK)
        s = place_program(f, err);
    if (s == TIDE_OK)
        s = start_threads(f, err);
    if (s != TIDE_OK) {
        fetch_server_stop(f);
        return s;
    }
    *out = f;
    return TIDE_OK;
}

void fetch_server_stop(struct fetch_server *f)
{
    struct tide_err ignored = TIDE_ERR_INIT;
    uint64_t one = 1;

    if (f == NULL)
        return;
    (void)pthread_mutex_lock(&f->lock);
    f->stopping = true;
    (void)pthread_cond_broadcast(&f->changed);
    (void)pthread_mutex_unlock(&f->lock);
    if (f->stop_fd >= 0 && write(f->stop_fd, &one, sizeof one) < 0)
        TIDE_LOG(TIDE_LOG_WARN, "restore.fetch.stop", TIDE_U64("errno", errno));
    if (f->acceptor_runs)
        (void)pthread_join(f->acceptor, NULL);
    for (unsigned i = 0; i < f->n_fetchers; i++)
        (void)pthread_join(f->fetchers[i], NULL);
    tide_closep(&f->listen_fd);
    tide_closep(&f->stop_fd);
    if (f->directory[0] != '\0' && tide_remove_tree(f->directory, &ignored) != TIDE_OK)
        TIDE_LOG(TIDE_LOG_WARN, "restore.fetch.cleanup", TIDE_STR("error", ignored.msg));
    (void)pthread_cond_destroy(&f->changed);
    (void)pthread_mutex_destroy(&f->lock);
    free(f);
}

tide_status fetch_server_problem(struct fetch_server *f, char *text, size_t size)
{
    (void)pthread_mutex_lock(&f->lock);
    tide_status s = f->problem_status;
    (void)snprintf(text, size, "%s", f->problem);
    (void)pthread_mutex_unlock(&f->lock);
    return s;
}
