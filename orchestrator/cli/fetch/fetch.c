/*
 * tidemark-fetch SOCKET NAME PATH
 *
 * What a restored server runs for each log file it wants.  The restoring
 * tidemark process holds the keys, has usually fetched the file already, and
 * only tells where it lies; this program moves it into place.  It links
 * nothing but the C library, because recovery starts it once for each file.
 *
 * Exit codes, as recovery needs them: 0 the file is there; 1 its absence is
 * proved; 255 anything else, which stops recovery.
 */

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { ABSENT = 1, FAILED = 255 };

static int fail(const char *what, const char *name)
{
    (void)fprintf(stderr, "tidemark-fetch: %s \"%s\": %s\n", what, name, strerror(errno));
    return FAILED;
}

static int ask(const char *socket_path, const char *name, char *reply, size_t size)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    size_t len = strlen(socket_path), got = 0;

    if (len >= sizeof addr.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(addr.sun_path, socket_path, len + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        return -1;
    char line[512];
    int n = snprintf(line, sizeof line, "%s\n", name);
    if (n < 0 || (size_t)n >= sizeof line || write(fd, line, (size_t)n) != n)
        return -1;
    for (;;) {
        ssize_t r = read(fd, reply + got, size - 1 - got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return -1;
        if (r == 0)
            break;
        got += (size_t)r;
        if (got == size - 1)
            break;
    }
    reply[got] = '\0';
    (void)close(fd);
    return 0;
}

/*
 * Recovery asks for a log file under a name for restored files, and makes what it gets there durable before it goes on:
 * an fsync of 16 MiB for each.  This log is in the repository and is asked for again after any stop, so that is
 * waste.  Put where the server keeps its own log, under its own name, and answered "absent", recovery takes it from
 * there.  Anything else, such as a history file, goes where it was asked for.
 */
static int place(const char *from, const char *name, const char *path)
{
    static const char restored[] = "/RECOVERYXLOG";
    size_t len = strlen(path), tail = sizeof restored - 1;
    char own[4096];

    if (len <= tail || strcmp(path + len - tail, restored) != 0)
        return rename(from, path) == 0 ? 0 : fail("could not move into place", from);
    int n = snprintf(own, sizeof own, "%.*s/%s", (int)(len - tail), path, name);
    if (n < 0 || (size_t)n >= sizeof own) {
        errno = ENAMETOOLONG;
        return fail("could not move into place", from);
    }
    return rename(from, own) == 0 ? ABSENT : fail("could not move into place", from);
}

int main(int argc, char **argv)
{
    char reply[4096];

    if (argc != 4) {
        (void)fprintf(stderr, "usage: tidemark-fetch SOCKET NAME PATH\n");
        return FAILED;
    }
    if (ask(argv[1], argv[2], reply, sizeof reply) != 0)
        return fail("could not ask the restore at", argv[1]);
    char *end = strchr(reply, '\n');
    if (end == NULL) {
        errno = EPROTO;
        return fail("no answer from the restore at", argv[1]);
    }
    *end = '\0';
    if (strcmp(reply, "absent") == 0)
        return ABSENT;
    if (strncmp(reply, "ok ", 3) == 0)
        return place(reply + 3, argv[2], argv[3]);
    (void)fprintf(stderr, "tidemark-fetch: %s\n", strncmp(reply, "error ", 6) == 0 ? reply + 6 : reply);
    return FAILED;
}
