#include "orchestrator/daemon/snapshot_guard.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/*
 * Lines from the worker: "mount PATH", "done".  The end of the pipe without the latter is the worker's.  A signal to
 * all processes of the service must not end the guard before the worker; what the worker had started gets SIGTERM
 * from the kernel, and a moment to end.
 */
static const char script[] = "trap '' HUP INT TERM\n"
                             "while IFS= read -r line; do\n"
                             "    case $line in\n"
                             "    done) exit 0 ;;\n"
                             "    mount\\ *) TIDEMARK_MOUNT=${line#mount } ;;\n"
                             "    esac\n"
                             "done\n"
                             "sleep 1\n"
                             "trap - HUP INT TERM\n"
                             "export TIDEMARK_MOUNT\n"
                             "exec /bin/sh -c \"$1\"\n";

static char *writable(const char *s)
{
    char *p;
    memcpy(&p, &s, sizeof p); /* posix_spawn() wants no const, and changes nothing */
    return p;
}

static char **environment_with(const char *const *added)
{
    size_t have = 0, more = 0;

    while (environ[have] != NULL)
        have++;
    while (added[more] != NULL)
        more++;
    char **all = calloc(have + more + 1, sizeof *all);
    if (all == NULL)
        return NULL;
    for (size_t i = 0; i < more; i++)
        all[i] = writable(added[i]);
    memcpy(all + more, environ, have * sizeof *all);
    return all;
}

/* In a session of its own: a signal to the worker's process group is not for it. */
static int spawn(pid_t *pid, int read_end, const char *release_command, char **envp)
{
    char *const argv[] = {writable("/bin/sh"),       writable("-c"),
                          writable(script),          writable("tidemark-snapshot-guard"),
                          writable(release_command), NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t attributes;
    sigset_t none, all;

    int rc = posix_spawn_file_actions_init(&files);
    if (rc != 0)
        return rc;
    rc = posix_spawnattr_init(&attributes);
    if (rc == 0) {
        (void)sigemptyset(&none);
        (void)sigfillset(&all);
        (void)posix_spawnattr_setsigmask(&attributes, &none);
        (void)posix_spawnattr_setsigdefault(&attributes, &all);
        (void)posix_spawnattr_setflags(&attributes,
                                       POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        rc = posix_spawn_file_actions_adddup2(&files, read_end, STDIN_FILENO);
        if (rc == 0)
            rc = posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
        if (rc == 0)
            rc = posix_spawn_file_actions_addclosefrom_np(&files, STDERR_FILENO + 1);
        if (rc == 0)
            rc = posix_spawn(pid, "/bin/sh", &files, &attributes, argv, envp);
        (void)posix_spawnattr_destroy(&attributes);
    }
    (void)posix_spawn_file_actions_destroy(&files);
    return rc;
}

tide_status snapshot_guard_start(struct snapshot_guard *g, const char *release_command,
                                 const char *const *environment, struct tide_err *err)
{
    int pipe_ends[2];
    TIDE_AUTO(tide_freep) char **envp = environment_with(environment);

    *g = SNAPSHOT_GUARD_INIT;
    if (envp == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    if (pipe2(pipe_ends, O_CLOEXEC) != 0)
        return tide_fail_errno(err, errno, "could not make a pipe");
    int rc = spawn(&g->pid, pipe_ends[0], release_command, envp);
    (void)close(pipe_ends[0]);
    if (rc != 0) {
        (void)close(pipe_ends[1]);
        g->pid = 0;
        return tide_fail_errno(err, rc, "could not start the process that guards the snapshot");
    }
    g->fd = pipe_ends[1];
    return TIDE_OK;
}

/* A guard that somebody ended is nothing that a backup fails for: the worker releases by itself. */
static void tell(const struct snapshot_guard *g, const char *what, const char *more)
{
    struct tide_err why = TIDE_ERR_INIT;
    TIDE_AUTO(tide_freep) char *line = NULL;
    int n = asprintf(&line, "%s%s\n", what, more);

    if (n < 0)
        line = NULL;
    else if (tide_write_all(g->fd, line, (size_t)n, "guard", &why) != TIDE_OK)
        TIDE_LOG(TIDE_LOG_DEBUG, "backup.snapshot.guard", TIDE_STR("message", why.msg));
}

void snapshot_guard_mount(const struct snapshot_guard *g, const char *path)
{
    if (g->pid != 0 && strchr(path, '\n') == NULL)
        tell(g, "mount ", path);
}

void snapshot_guard_dismiss(struct snapshot_guard *g)
{
    if (g->pid == 0)
        return;
    tell(g, "done", "");
    tide_closep(&g->fd);
    while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    g->pid = 0;
}
