#include "wal/control_path.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

tide_status control_path_make(const char *path, struct control_path *out, struct tide_err *err)
{
    const char *slash = strrchr(path, '/');
    char directory[PATH_MAX];

    *out = (struct control_path){.address = {.sun_family = AF_UNIX}, .directory_fd = -1};
    if (strlen(path) < sizeof out->address.sun_path) {
        (void)snprintf(out->address.sun_path, sizeof out->address.sun_path, "%s", path);
        return TIDE_OK;
    }
    if (slash == NULL || (size_t)(slash - path) >= sizeof directory)
        return tide_fail(err, TIDE_INVALID, "the path of a control socket is too long");
    memcpy(directory, path, (size_t)(slash - path));
    directory[slash - path] = '\0';
    out->directory_fd = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (out->directory_fd < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", directory);
    int n = snprintf(out->address.sun_path, sizeof out->address.sun_path, "/proc/self/fd/%d/%s", out->directory_fd,
                     slash + 1);
    if (n < 0 || (size_t)n >= sizeof out->address.sun_path) {
        control_path_clear(out);
        return tide_fail(err, TIDE_INVALID, "the name of a control socket is too long");
    }
    return TIDE_OK;
}

void control_path_clear(struct control_path *p)
{
    if (p->directory_fd >= 0)
        (void)close(p->directory_fd);
    p->directory_fd = -1;
}
