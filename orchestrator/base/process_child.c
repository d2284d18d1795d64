#include "orchestrator/base/process_child.h"
#include "orchestrator/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUPS_MAX 1024

/*
 * Between fork and exec of a threaded process only async-signal-safe calls are
 * allowed (another thread may have held malloc's lock), so all that needs
 * memory or the user database is prepared here, before.
 */
struct prepared {
    const char *const *argv;
    const char *directory;
    char **envp; /* owned array; own strings below */
    char *home, *user, *logname;
    bool switch_user;
    uid_t uid;
    gid_t gid;
    gid_t groups[GROUPS_MAX];
    int n_groups;
    int null_fd, out_w, err_w, report_w;
};

enum stage { STAGE_DIRECTORY, STAGE_USER, STAGE_STREAMS, STAGE_EXEC };

struct report {
    enum stage stage;
    int errnum;
};

static void prepared_clear(struct prepared *p)
{
    free(p->envp);
    free(p->home);
    free(p->user);
    free(p->logname);
    tide_closep(&p->null_fd);
    tide_closep(&p->out_w);
    tide_closep(&p->err_w);
    tide_closep(&p->report_w);
}

const char *process_name(const struct process_options *o)
{
    return o->shell != NULL ? o->shell : o->argv[0];
}

static tide_status no_memory(const struct process_options *o, struct tide_err *err)
{
    return tide_fail(err, TIDE_NO_MEMORY, "out of memory running \"%s\"", process_name(o));
}

static tide_status look_up_user(const struct process_options *o, struct prepared *p, struct tide_err *err)
{
    if (o->user == NULL || geteuid() != 0)
        return TIDE_OK;
    struct passwd entry, *found = NULL;
    TIDE_AUTO(tide_freep) char *space = malloc(65536);
    if (space == NULL)
        return no_memory(o, err);
    int rc = getpwnam_r(o->user, &entry, space, 65536, &found);
    if (rc != 0)
        return tide_fail_errno(err, rc, "could not look up user \"%s\"", o->user);
    if (found == NULL)
        return tide_fail(err, TIDE_INVALID, "there is no user \"%s\"", o->user);
    p->n_groups = GROUPS_MAX;
    if (getgrouplist(o->user, entry.pw_gid, p->groups, &p->n_groups) < 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "user \"%s\" is in more than %d groups", o->user, GROUPS_MAX);
    p->switch_user = true;
    p->uid = entry.pw_uid;
    p->gid = entry.pw_gid;
    if (asprintf(&p->home, "HOME=%s", entry.pw_dir) < 0)
        p->home = NULL;
    if (asprintf(&p->user, "USER=%s", o->user) < 0)
        p->user = NULL;
    if (asprintf(&p->logname, "LOGNAME=%s", o->user) < 0)
        p->logname = NULL;
    return p->home != NULL && p->user != NULL && p->logname != NULL ? TIDE_OK : no_memory(o, err);
}

/* Sets NAME=value in the array, in place of the same name. */
static void set_variable(char **envp, size_t *n, const char *assignment)
{
    size_t len = strcspn(assignment, "=") + 1;
    char *value;
    memcpy(&value, &assignment, sizeof(value)); /* execve() wants no const, and changes nothing */
    for (size_t i = 0; i < *n; i++) {
        if (strncmp(envp[i], assignment, len) == 0) {
            envp[i] = value;
            return;
        }
    }
    envp[(*n)++] = value;
}

static tide_status build_environment(const struct process_options *o, struct prepared *p, struct tide_err *err)
{
    size_t have = 0, added = 0, n = 0;
    while (environ != NULL && environ[have] != NULL)
        have++;
    while (o->env_add != NULL && o->env_add[added] != NULL)
        added++;
    p->envp = calloc(have + added + 4, sizeof(*p->envp));
    if (p->envp == NULL)
        return no_memory(o, err);
    for (; n < have; n++)
        p->envp[n] = environ[n];
    if (p->switch_user) {
        set_variable(p->envp, &n, p->home);
        set_variable(p->envp, &n, p->user);
        set_variable(p->envp, &n, p->logname);
    }
    for (size_t i = 0; i < added; i++)
        set_variable(p->envp, &n, o->env_add[i]);
    return TIDE_OK;
}

/* The child's 0, 1 and 2 are set with dup2, so no descriptor that we hand over may be one of them. */
static int above_stderr(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd;
    int saved, moved = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    saved = errno;
    (void)close(fd);
    errno = saved;
    return moved;
}

static bool make_pipe(int *r, int *w)
{
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0)
        return false;
    *r = above_stderr(fds[0]);
    *w = above_stderr(fds[1]);
    return *r >= 0 && *w >= 0;
}

static tide_status open_streams(const struct process_options *o, struct prepared *p, struct process_child *c,
                                int *report_r, struct tide_err *err)
{
    p->null_fd = above_stderr(open("/dev/null", O_RDWR | O_CLOEXEC));
    if (p->null_fd < 0)
        return tide_fail_errno(err, errno, "could not open \"/dev/null\"");
    bool ok = make_pipe(report_r, &p->report_w);
    if (ok && o->out != NULL)
        ok = make_pipe(&c->out, &p->out_w) && fcntl(c->out, F_SETFL, O_NONBLOCK) == 0;
    if (ok && o->err_out != NULL)
        ok = make_pipe(&c->err, &p->err_w) && fcntl(c->err, F_SETFL, O_NONBLOCK) == 0;
    return ok ? TIDE_OK : tide_fail_errno(err, errno, "could not make a pipe for \"%s\"", process_name(o));
}

/* From here to exec_child: in the child, async-signal-safe calls only. */

static _Noreturn void give_up(const struct prepared *p, enum stage stage)
{
    struct report r = {.stage = stage, .errnum = errno};
    ssize_t ignored = write(p->report_w, &r, sizeof(r));
    (void)ignored;
    _exit(127);
}

static void close_on_exec_above(int first)
{
    if (close_range((unsigned)first, ~0U, CLOSE_RANGE_CLOEXEC) == 0)
        return;
    struct rlimit limit = {0};
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 65536)
        limit.rlim_cur = 65536;
    for (int fd = first; fd < (int)limit.rlim_cur; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static _Noreturn void exec_child(const struct prepared *p)
{
    (void)setpgid(0, 0);
    /* Our handlers must not run here, and what we ignore or block must not be inherited. */
    for (int sig = 1; sig < NSIG; sig++)
        (void)signal(sig, SIG_DFL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);

    if (dup2(p->null_fd, STDIN_FILENO) < 0 || dup2(p->out_w >= 0 ? p->out_w : p->null_fd, STDOUT_FILENO) < 0 ||
        (p->err_w >= 0 && dup2(p->err_w, STDERR_FILENO) < 0))
        give_up(p, STAGE_STREAMS);
    close_on_exec_above(STDERR_FILENO + 1);

    if (p->switch_user &&
        (setgroups((size_t)p->n_groups, p->groups) != 0 || setgid(p->gid) != 0 || setuid(p->uid) != 0))
        give_up(p, STAGE_USER);
    /* As the new user: what he may not enter is an error now, not a surprise later. */
    if (p->directory != NULL && chdir(p->directory) != 0)
        give_up(p, STAGE_DIRECTORY);
    /* A parent that dies takes it along, since nobody would hear of how it ended.  Changing the user resets this. */
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    environ = p->envp;
    char *const *argv;
    memcpy(&argv, &p->argv, sizeof(argv));
    (void)execvp(argv[0], argv);
    give_up(p, STAGE_EXEC);
}

static tide_status fork_child(const struct prepared *p, pid_t *pid, struct tide_err *err)
{
    /* A signal between fork and the reset of the handlers would run our handler in the child. */
    sigset_t all, old;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &old);
    *pid = fork();
    if (*pid == 0)
        exec_child(p);
    int why = errno;
    (void)pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (*pid < 0)
        return tide_fail_errno(err, why, "could not start a process for \"%s\"", p->argv[0]);
    /* Both sides do it, so that neither has to wait; it fails when the child was first and has called exec. */
    (void)setpgid(*pid, *pid);
    return TIDE_OK;
}

static tide_status explain(const struct process_options *o, const struct report *r, struct tide_err *err)
{
    switch (r->stage) {
    case STAGE_DIRECTORY:
        return tide_fail_errno(err, r->errnum, "could not run \"%s\" in directory \"%s\"", process_name(o),
                               o->directory);
    case STAGE_USER:
        return tide_fail_errno(err, r->errnum, "could not run \"%s\" as user \"%s\"", process_name(o), o->user);
    case STAGE_STREAMS:
    case STAGE_EXEC:
        break;
    }
    return tide_fail_errno(err, r->errnum, "could not run \"%s\"", process_name(o));
}

static tide_status start_prepared(const struct process_options *o, struct prepared *p, struct process_child *c,
                                  struct tide_err *err)
{
    TIDE_AUTO(tide_closep) int report_r = -1;
    tide_status s = open_streams(o, p, c, &report_r, err);
    if (s != TIDE_OK)
        return s;
    s = fork_child(p, &c->pid, err);
    if (s != TIDE_OK)
        return s;
    tide_closep(&p->report_w);

    /* End of file is a successful exec, which closed the other end. */
    struct report report;
    size_t got = 0;
    s = tide_read_upto(report_r, &report, sizeof(report), &got, "child", err);
    if (s == TIDE_OK && got != sizeof(report))
        return TIDE_OK;
    if (s == TIDE_OK)
        s = explain(o, &report, err);
    else
        (void)kill(-c->pid, SIGKILL);
    while (waitpid(c->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return s;
}

tide_status process_start(const struct process_options *o, struct process_child *child, struct tide_err *err)
{
    const char *const by_shell[] = {"/bin/sh", "-c", o->shell, NULL};
    struct process_child c = {.pid = -1, .out = -1, .err = -1};
    TIDE_AUTO(prepared_clear)
    struct prepared p = {
        .argv = o->shell != NULL ? by_shell : o->argv,
        .directory = o->directory,
        .null_fd = -1,
        .out_w = -1,
        .err_w = -1,
        .report_w = -1,
    };
    tide_status s = look_up_user(o, &p, err);
    if (s == TIDE_OK)
        s = build_environment(o, &p, err);
    if (s == TIDE_OK)
        s = start_prepared(o, &p, &c, err);
    if (s != TIDE_OK) {
        tide_closep(&c.out);
        tide_closep(&c.err);
        return s;
    }
    *child = c;
    return TIDE_OK;
}
