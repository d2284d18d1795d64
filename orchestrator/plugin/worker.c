#include "orchestrator/plugin/worker.h"

#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/plugin/loader.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MESSAGE_MAX   (64u << 20)
#define ARGS_MAX      16u
#define HUNG_GRACE_US (30 * TIDE_SECOND_US) /* from SIGTERM to SIGKILL, for one that hung */
#define TERM_GRACE_US (90 * TIDE_SECOND_US) /* the same for one that was cancelled: it may have a server to stop */
#define EXIT_GRACE_US (30 * TIDE_SECOND_US) /* from the result to the end of the process */

/* One supervised process. */
struct supervised {
    const struct worker_options *o;
    struct worker_result *result;
    pid_t pid;
    int fd;     /* the conversation */
    int log_fd; /* its stderr, or -1 */
    struct tide_buf in, log;
    int64_t heard_us;     /* when the last line came */
    int64_t terminate_us; /* when SIGTERM was sent; 0: not yet */
    bool deadline_passed, killed, has_result;
};

void worker_result_clear(struct worker_result *r)
{
    json_decref(r->data);
    *r = (struct worker_result){0};
}

/* ---------------------------------------------------------------- starting */

/* Between fork and exec: only what is safe there. */
_Noreturn static void become_worker(const char *program, char *const *argv, pid_t parent, int fd, int log_fd)
{
    /* A descriptor that is about to be overwritten by dup2 must be out of the way first. */
    int safe = fcntl(fd, F_DUPFD, WORKER_FD + 1);
    int safe_log = log_fd < 0 ? STDERR_FILENO : fcntl(log_fd, F_DUPFD, WORKER_FD + 1);
    int null = open("/dev/null", O_RDONLY);
    if (safe < 0 || safe_log < 0 || null < 0)
        _exit(127);
    /* What a client library prints is no data of ours: stdout goes where the log goes. */
    if (dup2(null, STDIN_FILENO) < 0 || dup2(safe_log, STDERR_FILENO) < 0 || dup2(safe_log, STDOUT_FILENO) < 0 ||
        dup2(safe, WORKER_FD) < 0)
        _exit(127);
    (void)close_range(WORKER_FD + 1, ~0u, 0);

    (void)setpgid(0, 0); /* Ctrl-C reaches it once, through us */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        _exit(127); /* it died before the call above */

    sigset_t none;
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execv(program, argv);
    _exit(127);
}

static tide_status spawn(struct supervised *w, struct tide_err *err)
{
    char self[TIDE_PATH_MAX];
    const char *argv[ARGS_MAX] = {"tidemark"};
    size_t n = 1;

    /* The link, not where it leads: during an upgrade the file may have another name or none. */
    const char *program = w->o->program != NULL ? w->o->program : "/proc/self/exe";
    tide_status s = plugin_self_path(self, err);
    if (s != TIDE_OK)
        return s;
    for (const char *const *a = w->o->argv; *a != NULL; a++) {
        tide_assert(n + 1 < ARGS_MAX);
        argv[n++] = *a;
    }

    int pair[2], logs[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        return tide_fail_errno(err, errno, "could not make a socket for a worker");
    TIDE_AUTO(tide_closep) int ours = pair[0];
    TIDE_AUTO(tide_closep) int theirs = pair[1];
    if (w->o->events.log != NULL && pipe2(logs, O_CLOEXEC) != 0)
        return tide_fail_errno(err, errno, "could not make a pipe for a worker");
    TIDE_AUTO(tide_closep) int log_ours = logs[0];
    TIDE_AUTO(tide_closep) int log_theirs = logs[1];

    pid_t parent = getpid(), pid = fork();
    if (pid < 0)
        return tide_fail_errno(err, errno, "could not start a worker");
    if (pid == 0)
        become_worker(program, (char *const *)(uintptr_t)argv, parent, theirs, log_theirs);
    (void)setpgid(pid, pid); /* whoever is first */
    w->pid = pid;
    w->fd = tide_take_fd(&ours);
    w->log_fd = tide_take_fd(&log_ours);
    w->heard_us = tide_monotonic_us();
    return TIDE_OK;
}

static tide_status send_request(struct supervised *w, struct tide_err *err)
{
    char *text = json_dumps(w->o->request, JSON_COMPACT);
    if (text == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory starting a worker");
    TIDE_AUTO(tide_buf_clear) struct tide_buf line = TIDE_BUF_INIT(MESSAGE_MAX);
    tide_buf_str(&line, text);
    tide_buf_u8(&line, '\n');
    free(text);
    tide_status s = tide_buf_check(&line, "a job's request", err);
    if (s != TIDE_OK)
        return s;
    for (size_t done = 0; done < line.len;) {
        ssize_t n = send(w->fd, line.data + done, line.len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EPIPE || errno == ECONNRESET))
            return TIDE_OK; /* it died; how, is told when it is reaped */
        if (n < 0)
            return tide_fail_errno(err, errno, "could not send a worker its request");
        done += (size_t)n;
    }
    return TIDE_OK;
}

/* --------------------------------------------------------------- listening */

static const char *text_of(const json_t *line, const char *member)
{
    const char *text = json_string_value(json_object_get(line, member));
    return text == NULL ? "" : text;
}

static int64_t time_of(const json_t *line, const char *member)
{
    const json_t *v = json_object_get(line, member);
    return json_is_integer(v) ? (int64_t)json_integer_value(v) : TIDE_TIME_NONE;
}

static void take_progress(const struct worker_events *events, const json_t *line)
{
    struct worker_progress p = {
        .bytes_done = (uint64_t)json_integer_value(json_object_get(line, "bytes_done")),
        .bytes_total = (uint64_t)json_integer_value(json_object_get(line, "bytes_total")),
        .time_us = time_of(line, "time_us"),
        .until_us = time_of(line, "until_us"),
    };

    (void)snprintf(p.phase, sizeof p.phase, "%s", text_of(line, "phase"));
    if (events->progress != NULL)
        events->progress(events->ctx, &p);
}

static void take_result(struct supervised *w, const json_t *line)
{
    struct worker_result *r = w->result;

    w->has_result = true;
    r->status = (tide_status)json_integer_value(json_object_get(line, "status"));
    r->degraded = json_is_true(json_object_get(line, "degraded"));
    json_decref(r->data);
    r->data = json_incref(json_object_get(line, "data"));
    tide_err_clear(&r->err);
    r->err.status = r->status;
    r->err.os_errno = (int)json_integer_value(json_object_get(line, "errno"));
    (void)snprintf(r->err.msg, sizeof r->err.msg, "%s", text_of(line, "message"));
    (void)snprintf(r->err.hint, sizeof r->err.hint, "%s", text_of(line, "hint"));
    (void)snprintf(r->err.before, sizeof r->err.before, "%s", text_of(line, "before"));
    (void)snprintf(r->err.after, sizeof r->err.after, "%s", text_of(line, "after"));
}

static tide_status take_line(struct supervised *w, const char *text, size_t len, struct tide_err *err)
{
    json_error_t why;
    json_t *line = json_loadb(text, len, 0, &why);
    if (!json_is_object(line)) {
        json_decref(line);
        return tide_fail(err, TIDE_IO, "the worker said something that is no message: %.80s", why.text);
    }
    const char *type = text_of(line, "type");
    if (strcmp(type, "progress") == 0)
        take_progress(&w->o->events, line);
    else if (strcmp(type, "event") == 0 && w->o->events.event != NULL)
        w->o->events.event(w->o->events.ctx, json_object_get(line, "event"));
    else if (strcmp(type, "result") == 0)
        take_result(w, line);
    json_decref(line);
    return TIDE_OK;
}

/* What came so far, line by line; the rest stays. */
static tide_status take_lines(struct supervised *w, struct tide_buf *in, bool is_log, struct tide_err *err)
{
    size_t begin = 0;

    for (size_t i = 0; i < in->len; i++) {
        if (in->data[i] != '\n')
            continue;
        tide_status s = TIDE_OK;
        in->data[i] = '\0';
        const char *line = (const char *)in->data + begin;
        if (is_log)
            w->o->events.log(w->o->events.ctx, line);
        else
            s = take_line(w, line, i - begin, err);
        if (s != TIDE_OK)
            return s;
        begin = i + 1;
    }
    memmove(in->data, in->data + begin, in->len - begin);
    in->len -= begin;
    return TIDE_OK;
}

/* *fd becomes -1 at the end. */
static tide_status read_some(struct supervised *w, int *fd, struct tide_buf *in, struct tide_err *err)
{
    char piece[65536];
    ssize_t n = read(*fd, piece, sizeof piece);

    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return TIDE_OK;
    if (n < 0 && errno != ECONNRESET)
        return tide_fail_errno(err, errno, "could not listen to a worker");
    if (n <= 0) {
        tide_closep(fd);
        *fd = -1;
        return TIDE_OK;
    }
    w->heard_us = tide_monotonic_us();
    size_t before = in->len;
    tide_buf_append(in, piece, (size_t)n);
    tide_status s = tide_buf_check(in, "a worker's message", err);
    if (s != TIDE_OK)
        return s;
    if (memchr(in->data + before, '\n', in->len - before) == NULL)
        return TIDE_OK;
    return take_lines(w, in, in == &w->log, err);
}

/* ------------------------------------------------------------- supervising */

static void terminate(struct supervised *w)
{
    if (w->terminate_us != 0)
        return;
    w->terminate_us = tide_monotonic_us();
    (void)kill(w->pid, SIGTERM);
}

/* Sends the signals that are due; gives the milliseconds until it has to look again. */
static int look_after(struct supervised *w)
{
    int64_t now = tide_monotonic_us(), next = now + TIDE_SECOND_US;
    int64_t deadline = w->o->progress_deadline_us;

    if (w->terminate_us == 0 && deadline > 0 && now - w->heard_us >= deadline) {
        w->deadline_passed = true;
        terminate(w);
    }
    int64_t grace = w->deadline_passed ? HUNG_GRACE_US : TERM_GRACE_US;
    if (w->terminate_us != 0 && !w->killed && now - w->terminate_us >= grace) {
        w->killed = true;
        (void)kill(-w->pid, SIGKILL);
    }
    if (w->terminate_us == 0 && deadline > 0 && w->heard_us + deadline < next)
        next = w->heard_us + deadline;
    return next <= now ? 0 : (int)((next - now) / 1000 + 1);
}

static tide_status converse(struct supervised *w, struct tide_err *err)
{
    while (w->fd >= 0) {
        int cancel_fd = w->terminate_us == 0 ? tide_cancel_fd(w->o->cancel) : -1;
        struct pollfd fds[] = {{.fd = w->fd, .events = POLLIN},
                               {.fd = w->log_fd, .events = POLLIN},
                               {.fd = cancel_fd, .events = POLLIN}};
        int n = poll(fds, 3, look_after(w));
        if (n < 0 && errno != EINTR)
            return tide_fail_errno(err, errno, "could not wait for a worker");
        if (tide_cancel_is_set(w->o->cancel))
            terminate(w);
        tide_status s = TIDE_OK;
        if (n > 0 && fds[1].revents != 0)
            s = read_some(w, &w->log_fd, &w->log, err);
        if (s == TIDE_OK && n > 0 && fds[0].revents != 0)
            s = read_some(w, &w->fd, &w->in, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

/* The last words on stderr come after the conversation has ended. */
static void drain_log(struct supervised *w)
{
    struct tide_err ignored = TIDE_ERR_INIT;

    while (w->log_fd >= 0) {
        struct pollfd p = {.fd = w->log_fd, .events = POLLIN};
        if (poll(&p, 1, 0) <= 0 || read_some(w, &w->log_fd, &w->log, &ignored) != TIDE_OK)
            break;
    }
    if (w->log.len > 0 && w->o->events.log != NULL)
        w->o->events.log(w->o->events.ctx, tide_buf_cstr(&w->log));
}

static int reap(struct supervised *w)
{
    int64_t end = tide_monotonic_us() + EXIT_GRACE_US;
    int status = 0;

    for (;;) {
        pid_t got = waitpid(w->pid, &status, WNOHANG);
        if (got == w->pid || (got < 0 && errno != EINTR))
            return status;
        if (tide_monotonic_us() >= end) {
            (void)kill(-w->pid, SIGKILL);
            end = INT64_MAX;
        }
        tide_sleep_us(2000);
    }
}

/* How it ended, when it did not say so itself or was not allowed to go on. */
static tide_status judge(struct supervised *w, int status, struct tide_err *err)
{
    const char *job = w->o->argv[0] != NULL && w->o->argv[1] != NULL ? w->o->argv[1] : "job";

    if (w->deadline_passed) {
        tide_status s =
            tide_fail(err, TIDE_IO, "the worker \"%s\" made no progress for %lld s and was stopped%s", job,
                      (long long)(w->o->progress_deadline_us / TIDE_SECOND_US), w->killed ? " by force" : "");
        return tide_hint(err, s,
                         "What it waited for is in its last log line; progress_deadline under [daemon] sets the "
                         "limit.");
    }
    if (w->killed)
        return tide_fail(err, TIDE_CANCELLED, "cancelled; the worker \"%s\" did not end and was stopped by force",
                         job);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM && w->terminate_us != 0)
        return tide_fail(err, TIDE_CANCELLED, "cancelled"); /* before it could listen to signals */
    if (WIFSIGNALED(status) && !(w->has_result && w->result->status == TIDE_CANCELLED)) {
        int sig = WTERMSIG(status);
        return tide_fail(err, TIDE_IO, "the worker \"%s\" died of signal %d (%s)", job, sig, strsignal(sig));
    }
    if (w->has_result && w->result->status == TIDE_OK && WEXITSTATUS(status) != 0)
        return tide_fail(err, TIDE_IO, "the worker \"%s\" told a result, but ended with exit code %d", job,
                         WEXITSTATUS(status));
    if (w->has_result)
        return TIDE_OK;
    if (tide_cancel_is_set(w->o->cancel))
        return tide_fail(err, TIDE_CANCELLED, "cancelled");
    return tide_fail(err, TIDE_IO, "the worker \"%s\" ended without a result (exit code %d)", job,
                     WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

tide_status worker_run(const struct worker_options *o, struct worker_result *result, struct tide_err *err)
{
    struct supervised w = {.o = o,
                           .result = result,
                           .fd = -1,
                           .log_fd = -1,
                           .in = TIDE_BUF_INIT(MESSAGE_MAX),
                           .log = TIDE_BUF_INIT(MESSAGE_MAX)};
    int status = 0;

    *result = (struct worker_result){0};
    tide_status s = spawn(&w, err);
    if (s == TIDE_OK) {
        s = send_request(&w, err);
        if (s == TIDE_OK)
            s = converse(&w, err);
        if (s != TIDE_OK)
            (void)kill(-w.pid, SIGKILL);
        status = reap(&w);
        drain_log(&w);
        if (s == TIDE_OK)
            s = judge(&w, status, err);
    }
    if (s != TIDE_OK) {
        result->status = s;
        if (err != NULL)
            result->err = *err;
    }
    tide_closep(&w.fd);
    tide_closep(&w.log_fd);
    tide_buf_clear(&w.in);
    tide_buf_clear(&w.log);
    return s;
}
