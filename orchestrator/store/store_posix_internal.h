#ifndef TIDE_STORE_STORE_POSIX_INTERNAL_H
#define TIDE_STORE_STORE_POSIX_INTERNAL_H

/* For store_posix*.c only.  _root.c: the directory itself and its folders; _list.c: listing; store_posix.c: objects.
 */

#include "orchestrator/store/store_internal.h"

#include <pthread.h>

#define POSIX_TMP            ".tmp"
#define POSIX_DESCRIPTOR_MAX 65536u
#define POSIX_KNOWN_FOLDERS  1024u

struct posix_store {
    char *root;  /* absolute, no slash at the end */
    bool create; /* not only a repository may be written to */
    mode_t file_mode, folder_mode;
    uid_t uid;
    gid_t gid;
    bool chown; /* we are root and the directory is somebody's: what we make is theirs too */
    pthread_mutex_t lock;
    /* under lock */
    dev_t dev;
    ino_t ino;
    struct tide_buf descriptor;          /* bytes of tidemark.json, once seen */
    uint64_t known[POSIX_KNOWN_FOLDERS]; /* hashes of folders that are on disk, direct-mapped */
};

tide_status posix_open(const struct store_options *o, void **self, uint32_t *features,
                       struct tide_err *err) TIDE_MUST_CHECK;
void posix_close(void *self);

/* As tide_fail_errno, but what says "the file system is not there" is UNAVAILABLE. */
tide_status posix_fail(struct tide_err *err, int errnum, const char *fmt, ...) TIDE_PRINTF(3, 4);

/*
 * A descriptor of the root, proved to be the directory that was opened; the caller closes it.  Holding it keeps the
 * file system mounted, so that the check and what follows cannot be torn apart.  UNAVAILABLE when the root is gone
 * or is another directory now.
 */
tide_status posix_root(struct posix_store *s, int *fd, struct tide_err *err) TIDE_MUST_CHECK;
/* The same, for writing: a directory without a descriptor belongs to `init` alone. */
tide_status posix_root_for_writing(struct posix_store *s, int *fd, struct tide_err *err) TIDE_MUST_CHECK;

/* fsync(2), going on after signals. */
int posix_fsync(int fd);
/* "" is the root. */
tide_status posix_sync_folder(int root_fd, const char *folder, struct tide_err *err) TIDE_MUST_CHECK;
/* One folder, with the repository's mode and owner; not fsynced.  There already: OK. */
tide_status posix_make_folder(struct posix_store *s, int root_fd, const char *folder,
                              struct tide_err *err) TIDE_MUST_CHECK;
/*
 * Every folder above key is there and its entry is on disk.  A folder that exists is no proof of the second: who made
 * it may have died before its fsync.  So each is fsynced into its parent once in the life of this process.
 */
tide_status posix_make_folders(struct posix_store *s, int root_fd, const char *key,
                               struct tide_err *err) TIDE_MUST_CHECK;
void posix_forget_folders(struct posix_store *s);

/* store_driver.list below an open root. */
tide_status posix_list_root(int root_fd, const char *prefix, const char *after, uint64_t limit, bool folder,
                            store_list_fn *fn, void *ctx, struct tide_err *err) TIDE_MUST_CHECK;

#endif
