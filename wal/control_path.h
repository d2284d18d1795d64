#ifndef TIDE_WAL_CONTROL_PATH_H
#define TIDE_WAL_CONTROL_PATH_H

/* Unix sockets at paths of any length: a long one is reached through its directory's descriptor. */

#include "orchestrator/base/err.h"
#include <sys/un.h>

struct control_path {
    struct sockaddr_un address;
    int directory_fd; /* -1: not needed; kept open while the address is used */
};

tide_status control_path_make(const char *path, struct control_path *out, struct tide_err *err) TIDE_MUST_CHECK;
void control_path_clear(struct control_path *p);

#endif
