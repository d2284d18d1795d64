#ifndef TIDE_REPOSITORY_TREE_TARGET_H
#define TIDE_REPOSITORY_TREE_TARGET_H

/* Files of a restore, as they are written: shared by the tasks that fill them.  For tree_extract*.c. */

#include "orchestrator/repository/tree_item.h"
#include <stdatomic.h>

struct target_options {
    bool resume; /* what is there is kept and re-proved, else replaced */
    bool direct; /* try O_DIRECT */
    long uid, gid;
};

struct target {
    char *path;
    uint64_t size;
    uint32_t mode;
    int64_t mtime_us;
    long uid, gid;
    int fd, direct_fd; /* direct_fd -1: not possible */
    bool existing;     /* holds something that may be right already */
    _Atomic unsigned users;
    _Atomic uint32_t left; /* leaves that are not yet written */
};

/* Makes the file with its size.  Its folder is made when it is missing.  FULL, DENIED, IO. */
tide_status target_open(const char *path, const struct tree_item *item, const struct target_options *o,
                        struct target **out, struct tide_err *err) TIDE_MUST_CHECK;
void target_release(struct target *t);
/* Room for a range that is about to be written densely. */
tide_status target_reserve(struct target *t, uint64_t offset, uint64_t len, struct tide_err *err) TIDE_MUST_CHECK;
/* offset is a multiple of TREE_BLOCK; data is aligned for O_DIRECT. */
tide_status target_write(struct target *t, const uint8_t *data, size_t len, uint64_t offset,
                         struct tide_err *err) TIDE_MUST_CHECK;
tide_status target_read(struct target *t, uint8_t *data, size_t len, uint64_t offset, size_t *got,
                        struct tide_err *err) TIDE_MUST_CHECK;
/* All bytes are written: sets mode, owner and time. */
tide_status target_finish(struct target *t, struct tide_err *err) TIDE_MUST_CHECK;

/* mode and owner of something by its path; symlinks are not followed and keep their mode. */
tide_status target_set_attributes(const char *path, const struct tree_item *item, const struct target_options *o,
                                  struct tide_err *err) TIDE_MUST_CHECK;
tide_status target_symlink(const char *path, const struct tree_item *item, const struct target_options *o,
                           struct tide_err *err) TIDE_MUST_CHECK;

#endif
