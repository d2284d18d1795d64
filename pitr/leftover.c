#include "pitr/restore_internal.h"

#include "orchestrator/base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/*
 * A restore that was killed may have left a server behind: a private one, which ends by itself within moments, or,
 * had the restore all but finished, the restored instance itself.  Its files must not be taken from under it. Servers
 * work in their data directory, whatever the engine.
 */

#define LOOK_EVERY_US INT64_C(200000)

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool works_in(const char *pid, const struct stat *directory)
{
    char link[64];
    struct stat st;

    if (snprintf(link, sizeof link, "/proc/%s/cwd", pid) >= (int)sizeof link || stat(link, &st) != 0)
        return false; /* gone meanwhile, or of somebody else: then not of our restore */
    return st.st_dev == directory->st_dev && st.st_ino == directory->st_ino;
}

/* A process other than this one that works in the directory, 0: none. */
static tide_status find_process(const struct stat *directory, long *pid, struct tide_err *err)
{
    TIDE_AUTO(closedirp) DIR *d = opendir("/proc");

    *pid = 0;
    if (d == NULL)
        return tide_fail_errno(err, errno, "could not open directory \"/proc\"");
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            return errno == 0 ? TIDE_OK : tide_fail_errno(err, errno, "could not read directory \"/proc\"");
        long number = strtol(e->d_name, NULL, 10);
        if (number > 0 && number != (long)getpid() && works_in(e->d_name, directory)) {
            *pid = number;
            return TIDE_OK;
        }
    }
}

tide_status leftover_refuse(const char *directory, int64_t patience_us, struct tide_err *err)
{
    int64_t until = tide_monotonic_us() + patience_us;
    struct stat st;

    if (stat(directory, &st) != 0)
        return errno == ENOENT ? TIDE_OK : tide_fail_errno(err, errno, "could not look at \"%s\"", directory);
    for (;;) {
        long pid;
        tide_status s = find_process(&st, &pid, err);
        if (s != TIDE_OK || pid == 0)
            return s;
        if (tide_monotonic_us() >= until) {
            s = tide_fail(err, TIDE_REFUSED, "process %ld works in \"%s\", which holds an unfinished restore", pid,
                          directory);
            return tide_hint(err, s,
                             "nothing was changed; stop that process first, or restore into another directory");
        }
        tide_sleep_us(LOOK_EVERY_US);
    }
}
