#include "plugins/postgresql/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUTPUT_MAX 65536u

/* Ours without PG*: a PGDATA or PGOPTIONS of the caller's must not reach the restored server. */
static char **clean_environment(void)
{
    size_t n = 0, k = 0;

    while (environ[n] != NULL)
        n++;
    char **env = calloc(n + 1, sizeof *env);
    for (size_t i = 0; env != NULL && i < n; i++)
        if (strncmp(environ[i], "PG", 2) != 0 && strncmp(environ[i], "TIDE", 4) != 0)
            env[k++] = environ[i];
    return env;
}

static int become(const struct pg_os_user *user)
{
    if (user == NULL || user->name == NULL)
        return 0;
    if (setgroups((size_t)user->n_groups, user->groups) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0)
        return errno;
    return 0;
}

static void default_signals(void)
{
    struct sigaction sa = {.sa_handler = SIG_DFL};
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        (void)sigaction(sig, &sa, NULL);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Between fork and exec: only what is safe after fork() in a process with threads. */
static _Noreturn void child(const struct pg_process *p, char **env, int null_fd, int report_fd, pid_t parent)
{
    int out = p->output_fd >= 0 ? p->output_fd : null_fd;
    int e = 0;

    (void)setsid();
    default_signals();
    if (dup2(null_fd, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
        e = errno;
    (void)close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
    (void)umask(077);
    if (e == 0)
        e = become(p->user);
    if (e == 0 && p->directory != NULL && chdir(p->directory) != 0)
        e = errno;
    if (e == 0 && p->die_with_us) { /* after setuid(), which clears it */
        (void)prctl(PR_SET_PDEATHSIG, SIGQUIT);
        if (getppid() != parent)
            _exit(127);
    }
    if (e == 0) {
        char *const *argv;
        memcpy(&argv, &p->argv, sizeof argv); /* execve() takes char *const, and changes nothing */
        (void)execve(p->argv[0], argv, env);
        e = errno;
    }
    (void)!write(report_fd, &e, sizeof e);
    _exit(127);
}

int pg_process_start(const struct tide_host *host, const struct pg_process *process, pid_t *pid, struct tide_err *err)
{
    PG_AUTO(pg_freep) char **env = clean_environment();
    PG_AUTO(pg_closep) int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipe_fds[2];
    pid_t parent = getpid();

    if (env == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (null_fd < 0 || pipe2(pipe_fds, O_CLOEXEC) != 0)
        return tide_plugin_fail(host, err, TIDE_IO, errno, "could not start \"%s\"", process->argv[0]);
    PG_AUTO(pg_closep) int report = pipe_fds[0];
    pid_t child_pid = fork();
    if (child_pid == 0)
        child(process, env, null_fd, pipe_fds[1], parent);
    int fork_errno = errno;
    (void)close(pipe_fds[1]);
    if (child_pid < 0)
        return tide_plugin_fail(host, err, TIDE_IO, fork_errno, "could not start \"%s\"", process->argv[0]);

    /* Closed by a successful exec; else it tells why there was none. */
    int failed = 0;
    ssize_t n;
    do
        n = read(report, &failed, sizeof failed);
    while (n < 0 && errno == EINTR);
    if (n == (ssize_t)sizeof failed) {
        (void)waitpid(child_pid, NULL, 0);
        return tide_plugin_fail(host, err, pg_status_of_errno(failed), failed, "could not run \"%s\"",
                                process->argv[0]);
    }
    *pid = child_pid;
    return TIDE_OK;
}

static void collect(struct pg_text *output, int fd)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof buf);

    if (n > 0 && output->len + (size_t)n <= OUTPUT_MAX)
        pg_text_add(output, buf, (size_t)n);
}

/* The pipe is not waited on for its end: a daemon that the program leaves behind may keep it open. */
static int wait_for(const struct tide_host *host, pid_t pid, int out_fd, int timeout_ms, struct pg_text *output,
                    int *status, struct tide_err *err)
{
    int64_t deadline = pg_monotonic_ms() + timeout_ms;

    for (;;) {
        unsigned ready;
        pid_t got = waitpid(pid, status, WNOHANG);
        if (got == pid)
            break;
        if (got < 0 && errno != EINTR)
            return tide_plugin_fail(host, err, TIDE_IO, errno, "could not wait for a program");
        if (pg_monotonic_ms() > deadline)
            return tide_plugin_fail(host, err, TIDE_IO, 0, "a program did not end within %d s", timeout_ms / 1000);
        int s = pg_wait(host, &(struct pg_wait){.fd = out_fd, .events = 1, .extra_fd = -1, .timeout_ms = 50}, &ready,
                        err);
        if (s != TIDE_OK)
            return s;
        if (ready != 0)
            collect(output, out_fd);
    }
    size_t before;
    do {
        before = output->len;
        collect(output, out_fd);
    } while (output->len != before);
    return TIDE_OK;
}

int pg_process_run(const struct tide_host *host, const struct pg_process *process, int timeout_ms,
                   struct pg_text *output, int *exit_code, struct tide_err *err)
{
    int fds[2];
    pid_t pid;
    int status = 0;

    if (pipe2(fds, O_CLOEXEC) != 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
        return tide_plugin_fail(host, err, TIDE_IO, errno, "could not make a pipe");
    PG_AUTO(pg_closep) int out_read = fds[0];
    PG_AUTO(pg_closep) int out_write = fds[1];
    struct pg_process with_pipe = *process;
    with_pipe.output_fd = out_write;
    int s = pg_process_start(host, &with_pipe, &pid, err);
    if (s != TIDE_OK)
        return s;
    s = wait_for(host, pid, out_read, timeout_ms, output, &status, err);
    if (s != TIDE_OK) {
        (void)kill(-pid, SIGKILL); /* it leads its own session */
        (void)waitpid(pid, NULL, 0);
        return s;
    }
    *exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    return output->failed ? tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory") : TIDE_OK;
}
