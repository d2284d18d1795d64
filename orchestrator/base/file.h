#ifndef TIDE_BASE_FILE_H
#define TIDE_BASE_FILE_H

/* Files that survive a crash, and the loops around read and write that everybody forgets. */

#include "orchestrator/base/buf.h"
#include <sys/stat.h>
#include <sys/types.h>

#define TIDE_PATH_MAX 4096

/* a/b; TIDE_INVALID when it does not fit. */
tide_status tide_path_join(char out[TIDE_PATH_MAX], const char *a, const char *b,
                           struct tide_err *err) TIDE_MUST_CHECK;

/* All of it, or an error; EINTR and short transfers handled.  name is for the text. */
tide_status tide_write_all(int fd, const void *data, size_t len, const char *name,
                           struct tide_err *err) TIDE_MUST_CHECK;
tide_status tide_pwrite_all(int fd, const void *data, size_t len, uint64_t offset, const char *name,
                            struct tide_err *err) TIDE_MUST_CHECK;
/* Up to len bytes; *got < len only at the end of the file. */
tide_status tide_read_upto(int fd, void *data, size_t len, size_t *got, const char *name,
                           struct tide_err *err) TIDE_MUST_CHECK;
tide_status tide_pread_upto(int fd, void *data, size_t len, uint64_t offset, size_t *got, const char *name,
                            struct tide_err *err) TIDE_MUST_CHECK;

/* The whole file, appended to out (whose max bounds it). */
tide_status tide_file_read(const char *path, struct tide_buf *out, struct tide_err *err) TIDE_MUST_CHECK;

/* Write to a temporary name (PATH.tmp-XXXXXXXX, which a crash may leave behind), fsync, rename over path, fsync the
 * directory.  Never half. */
tide_status tide_file_replace(const char *path, const void *data, size_t len, mode_t mode,
                              struct tide_err *err) TIDE_MUST_CHECK;

/* mkdir -p; every directory made is fsynced into its parent. */
tide_status tide_mkdirs(const char *path, mode_t mode, struct tide_err *err) TIDE_MUST_CHECK;
tide_status tide_fsync_dir(const char *path, struct tide_err *err) TIDE_MUST_CHECK;
tide_status tide_fsync_parent(const char *path, struct tide_err *err) TIDE_MUST_CHECK;
/* rm -rf, without following links.  NOT_FOUND is OK. */
tide_status tide_remove_tree(const char *path, struct tide_err *err) TIDE_MUST_CHECK;
/* *empty also when the directory does not exist. */
tide_status tide_dir_is_empty(const char *path, bool *empty, struct tide_err *err) TIDE_MUST_CHECK;
tide_status tide_disk_free(const char *path, uint64_t *free_bytes, struct tide_err *err) TIDE_MUST_CHECK;

#endif
