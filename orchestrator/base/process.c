#include "orchestrator/base/process.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/process_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define GRACE_US      (5 * TIDE_SECOND_US)
#define NO_PIDFD_STEP (TIDE_SECOND_US / 20)

struct run {
    const struct process_options *o;
    struct process_child child;
    int pidfd; /* -1: the kernel has none, look now and then */
    int64_t started;
    tide_status ended_by; /* TIDE_OK, or why it was told to stop */
    int64_t kill_at;      /* SIGKILL then; INT64_MAX: not yet, or done */
    int read_errno;       /* output was lost */
};

static void signal_group(const struct run *r, int sig)
{
    /* ESRCH is a child that was faster. */
    (void)kill(-r->child.pid, sig);
}

static void stop(struct run *r, tide_status why)
{
    if (r->ended_by != TIDE_OK)
        return;
    r->ended_by = why;
    r->kill_at = tide_monotonic_us() + GRACE_US;
    signal_group(r, SIGTERM);
    /* One that was stopped could not even die. */
    signal_group(r, SIGCONT);
}

/* Takes what is there; closes *fd at its end.  Past the bound bytes are read and dropped, or the child would hang. */
static void drain(struct run *r, int *fd, struct tide_buf *out)
{
    uint8_t chunk[16384];
    while (*fd >= 0) {
        ssize_t n = read(*fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            r->read_errno = errno;
        if (n <= 0) {
            tide_closep(fd);
            return;
        }
        size_t len = (size_t)n, room = out->max > out->len ? out->max - out->len : 0;
        if (!out->failed)
            tide_buf_append(out, chunk, len < room ? len : room);
    }
}

/* Without reaping: while the leader is a zombie, its process group cannot be anybody else's. */
static bool has_ended(const struct run *r)
{
    siginfo_t info = {0};
    int rc;
    do {
        rc = waitid(P_PID, (id_t)r->child.pid, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (rc != 0 && errno == EINTR);
    return rc != 0 || info.si_pid == r->child.pid;
}

static int next_timeout_ms(const struct run *r)
{
    int64_t now = tide_monotonic_us(), until = r->kill_at;
    if (r->ended_by == TIDE_OK && r->o->deadline_us > 0)
        until = r->started + r->o->deadline_us;
    if (r->pidfd < 0 && until > now + NO_PIDFD_STEP)
        until = now + NO_PIDFD_STEP;
    if (until == INT64_MAX)
        return -1;
    int64_t ms = until <= now ? 0 : (until - now + 999) / 1000;
    return ms > 60000 ? 60000 : (int)ms;
}

static void check_limits(struct run *r)
{
    int64_t now = tide_monotonic_us();
    if (tide_cancel_is_set(r->o->cancel))
        stop(r, TIDE_CANCELLED);
    if (r->o->deadline_us > 0 && now - r->started >= r->o->deadline_us)
        stop(r, TIDE_AGAIN);
    if (now >= r->kill_at) {
        r->kill_at = INT64_MAX;
        signal_group(r, SIGKILL);
    }
}

/* Until the child has ended.  Its own children may hold the pipes open for ever; they are not waited for. */
static void watch(struct run *r)
{
    for (;;) {
        /* poll() ignores negative descriptors. */
        int cancel_fd = r->ended_by == TIDE_OK ? tide_cancel_fd(r->o->cancel) : -1;
        struct pollfd fds[] = {
            {.fd = r->child.out, .events = POLLIN},
            {.fd = r->child.err, .events = POLLIN},
            {.fd = cancel_fd, .events = POLLIN},
            {.fd = r->pidfd, .events = POLLIN},
        };
        (void)poll(fds, sizeof(fds) / sizeof(fds[0]), next_timeout_ms(r));
        bool ended = has_ended(r);
        drain(r, &r->child.out, r->o->out);
        drain(r, &r->child.err, r->o->err_out);
        if (ended)
            return;
        check_limits(r);
    }
}

static tide_status reap(const struct run *r, int *exit_code, struct tide_err *err)
{
    int status = 0;
    pid_t pid;
    do {
        pid = waitpid(r->child.pid, &status, 0);
    } while (pid < 0 && errno == EINTR);
    if (pid < 0)
        return tide_fail_errno(err, errno, "could not wait for \"%s\"", process_name(r->o));
    *exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return TIDE_OK;
}

static tide_status outcome(const struct run *r, struct tide_err *err)
{
    char limit[32];
    switch (r->ended_by) {
    case TIDE_OK:
        if (r->read_errno != 0)
            return tide_fail_errno(err, r->read_errno, "could not read what \"%s\" printed", process_name(r->o));
        return TIDE_OK;
    case TIDE_CANCELLED:
        return tide_fail(err, TIDE_CANCELLED, "\"%s\" was cancelled", process_name(r->o));
    default:
        tide_duration_format(r->o->deadline_us, limit, sizeof(limit));
        return tide_fail(err, TIDE_AGAIN, "\"%s\" did not end within %s", process_name(r->o), limit);
    }
}

tide_status process_run(const struct process_options *o, int *exit_code, struct tide_err *err)
{
    *exit_code = 255;
    if (tide_cancel_is_set(o->cancel))
        return tide_fail(err, TIDE_CANCELLED, "\"%s\" was cancelled", process_name(o));
    struct run r = {.o = o, .pidfd = -1, .started = tide_monotonic_us(), .kill_at = INT64_MAX};
    tide_status s = process_start(o, &r.child, err);
    if (s != TIDE_OK)
        return s;
    r.pidfd = pidfd_open(r.child.pid, 0);
    watch(&r);
    if (r.ended_by != TIDE_OK)
        signal_group(&r, SIGKILL); /* what the leader left behind */
    s = reap(&r, exit_code, err);
    tide_closep(&r.pidfd);
    tide_closep(&r.child.out);
    tide_closep(&r.child.err);
    return s == TIDE_OK ? outcome(&r, err) : s;
}
