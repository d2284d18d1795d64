#ifndef TIDE_PLUGIN_PG_FILES_H
#define TIDE_PLUGIN_PG_FILES_H

/* Growing texts and small files, for the backup and restore half of the plugin. */

#include "plugins/tide_plugin.h"

#include <sys/types.h>

/* A text that grows.  Zero-initialise; after a failed allocation `failed` is set and additions do nothing, so
 * that callers check once, at the end. */
struct pg_text {
    char *data; /* NUL-terminated, or NULL while empty */
    size_t len, cap;
    bool failed;
};

void pg_text_add(struct pg_text *t, const void *data, size_t len);
void pg_text_puts(struct pg_text *t, const char *s);
void pg_text_addf(struct pg_text *t, const char *fmt, ...) TIDE_PLUGIN_PRINTF(2, 3);
/* As a value of postgresql.conf: quoted, with quotes, backslashes and line ends escaped. */
void pg_text_add_conf_value(struct pg_text *t, const char *value);
/* As one word of a POSIX shell command: quoted only when needed. */
void pg_text_add_shell_word(struct pg_text *t, const char *word);
void pg_text_clear(struct pg_text *t);

/* "<a>/<b>" in memory of the caller's to free(), or NULL when out of memory. */
char *pg_path_join(const char *a, const char *b);
bool pg_path_exists(const char *path);
/* Whether path is dir or lies below it; both absolute, without trailing slash. */
bool pg_path_is_below(const char *path, const char *dir);

/* Reads a whole file of at most max bytes, NUL-terminated behind *len.  TIDE_NOT_FOUND when it is not there. */
int pg_file_read(const struct tide_host *host, const char *path, size_t max, char **data, size_t *len,
                 struct tide_err *err);

/* Who new files belong to; uid (uid_t)-1: whoever we are. */
struct pg_owner {
    uid_t uid;
    gid_t gid;
};
#define PG_OWNER_SELF ((struct pg_owner){.uid = (uid_t)-1, .gid = (gid_t)-1})

/* Replaces a file so that a crash leaves the old or the new one: temporary name, fsync, rename, fsync of the
 * directory. */
int pg_file_replace(const struct tide_host *host, const char *path, const void *data, size_t len, mode_t mode,
                    struct pg_owner owner, struct tide_err *err);
int pg_file_replace_text(const struct tide_host *host, const char *path, const struct pg_text *text, mode_t mode,
                         struct pg_owner owner, struct tide_err *err);
/* Renames inside one directory and makes it durable; a missing `from` is success. */
int pg_file_rename(const struct tide_host *host, const char *from, const char *to, struct tide_err *err);
/* A missing file is success. */
int pg_file_remove(const struct tide_host *host, const char *path, struct tide_err *err);
int pg_dir_sync(const struct tide_host *host, const char *path, struct tide_err *err);

/* The status for an errno: ENOENT NOT_FOUND, EACCES/EPERM DENIED, ENOSPC/EDQUOT FULL, else IO. */
int pg_status_of_errno(int errnum);

static inline void pg_text_clearp(struct pg_text *t)
{
    pg_text_clear(t);
}

#endif
