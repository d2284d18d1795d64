#include "plugins/postgresql/pg_files.h"
#include "plugins/postgresql/pg.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------- text */

static bool text_room(struct pg_text *t, size_t more)
{
    if (t->failed)
        return false;
    if (more < t->cap - t->len)
        return true;
    size_t cap = t->cap == 0 ? 256 : t->cap;
    while (cap - t->len <= more) {
        if (cap > SIZE_MAX / 2) {
            t->failed = true;
            return false;
        }
        cap *= 2;
    }
    char *p = realloc(t->data, cap);
    if (p == NULL) {
        t->failed = true;
        return false;
    }
    t->data = p;
    t->cap = cap;
    return true;
}

void pg_text_add(struct pg_text *t, const void *data, size_t len)
{
    if (!text_room(t, len))
        return;
    if (len > 0)
        memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
}

void pg_text_puts(struct pg_text *t, const char *s)
{
    pg_text_add(t, s, strlen(s));
}

void pg_text_addf(struct pg_text *t, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) {
        t->failed = true;
        return;
    }
    if (!text_room(t, (size_t)n))
        return;
    va_start(ap, fmt);
    (void)vsnprintf(t->data + t->len, t->cap - t->len, fmt, ap);
    va_end(ap);
    t->len += (size_t)n;
}

void pg_text_add_conf_value(struct pg_text *t, const char *value)
{
    pg_text_puts(t, "'");
    for (const char *p = value; *p != '\0'; p++) {
        if (*p == '\'')
            pg_text_puts(t, "''");
        else if (*p == '\\')
            pg_text_puts(t, "\\\\");
        else if (*p == '\n')
            pg_text_puts(t, "\\n");
        else if (*p == '\r')
            pg_text_puts(t, "\\r");
        else
            pg_text_add(t, p, 1);
    }
    pg_text_puts(t, "'");
}

void pg_text_add_shell_word(struct pg_text *t, const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%";

    if (*word != '\0' && word[strspn(word, plain)] == '\0') {
        pg_text_puts(t, word);
        return;
    }
    pg_text_puts(t, "'");
    for (const char *p = word; *p != '\0'; p++) {
        if (*p == '\'')
            pg_text_puts(t, "'\\''");
        else
            pg_text_add(t, p, 1);
    }
    pg_text_puts(t, "'");
}

void pg_text_clear(struct pg_text *t)
{
    free(t->data);
    *t = (struct pg_text){0};
}

/* ------------------------------------------------------------------ paths */

char *pg_path_join(const char *a, const char *b)
{
    struct pg_text t = {0};

    pg_text_addf(&t, "%s/%s", a, b);
    if (t.failed) {
        pg_text_clear(&t);
        return NULL;
    }
    return t.data;
}

bool pg_path_exists(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

bool pg_path_is_below(const char *path, const char *dir)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

int pg_status_of_errno(int errnum)
{
    switch (errnum) {
    case ENOENT:
        return TIDE_NOT_FOUND;
    case EEXIST:
        return TIDE_EXISTS;
    case EACCES:
    case EPERM:
        return TIDE_DENIED;
    case ENOSPC:
    case EDQUOT:
        return TIDE_FULL;
    case ENOMEM:
        return TIDE_NO_MEMORY;
    default:
        return TIDE_IO;
    }
}

/* ------------------------------------------------------------------ files */

int pg_file_read(const struct tide_host *host, const char *path, size_t max, char **data, size_t *len,
                 struct tide_err *err)
{
    PG_AUTO(pg_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not open \"%s\"", path);

    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    char buf[8192];
    for (;;) {
        ssize_t n = read(fd, buf, sizeof buf);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_plugin_fail(host, err, TIDE_IO, errno, "could not read \"%s\"", path);
        pg_text_add(&t, buf, (size_t)n);
        if (t.failed)
            return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory reading \"%s\"", path);
        if (n == 0)
            break;
        if (t.len > max)
            return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "\"%s\" is larger than %zu bytes", path, max);
    }
    *data = t.data;
    *len = t.len;
    t = (struct pg_text){0};
    return TIDE_OK;
}

int pg_dir_sync(const struct tide_host *host, const char *path, struct tide_err *err)
{
    PG_AUTO(pg_closep) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not open \"%s\"", path);
    if (fsync(fd) != 0)
        return tide_plugin_fail(host, err, TIDE_IO, errno, "could not fsync \"%s\"", path);
    return TIDE_OK;
}

static int sync_parent(const struct tide_host *host, const char *path, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *dir = strdup(path);
    if (dir == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    char *slash = strrchr(dir, '/');
    if (slash == NULL)
        return pg_dir_sync(host, ".", err);
    *(slash == dir ? slash + 1 : slash) = '\0';
    return pg_dir_sync(host, dir, err);
}

static int write_all(const struct tide_host *host, int fd, const char *path, const char *data, size_t len,
                     struct tide_err *err)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not write \"%s\"", path);
        data += n;
        len -= (size_t)n;
    }
    return TIDE_OK;
}

static int write_new(const struct tide_host *host, const char *path, const void *data, size_t len, mode_t mode,
                     struct pg_owner owner, struct tide_err *err)
{
    PG_AUTO(pg_closep) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not create \"%s\"", path);
    int s = write_all(host, fd, path, data, len, err);
    if (s != TIDE_OK)
        return s;
    if (owner.uid != (uid_t)-1 && fchown(fd, owner.uid, owner.gid) != 0)
        return tide_plugin_fail(host, err, TIDE_DENIED, errno, "could not give \"%s\" to its owner", path);
    if (fchmod(fd, mode) != 0)
        return tide_plugin_fail(host, err, TIDE_IO, errno, "could not set the mode of \"%s\"", path);
    if (fsync(fd) != 0)
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not fsync \"%s\"", path);
    return TIDE_OK;
}

int pg_file_replace(const struct tide_host *host, const char *path, const void *data, size_t len, mode_t mode,
                    struct pg_owner owner, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text tmp = {0};

    pg_text_addf(&tmp, "%s.tidemark-new", path);
    if (tmp.failed)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (unlink(tmp.data) != 0 && errno != ENOENT)
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not remove \"%s\"", tmp.data);
    int s = write_new(host, tmp.data, data, len, mode, owner, err);
    if (s == TIDE_OK && rename(tmp.data, path) != 0)
        s = tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not rename \"%s\" to \"%s\"",
                             tmp.data, path);
    if (s != TIDE_OK) {
        (void)unlink(tmp.data);
        return s;
    }
    return sync_parent(host, path, err);
}

int pg_file_replace_text(const struct tide_host *host, const char *path, const struct pg_text *text, mode_t mode,
                         struct pg_owner owner, struct tide_err *err)
{
    if (text->failed)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory writing \"%s\"", path);
    return pg_file_replace(host, path, text->len > 0 ? text->data : "", text->len, mode, owner, err);
}

int pg_file_rename(const struct tide_host *host, const char *from, const char *to, struct tide_err *err)
{
    if (rename(from, to) != 0) {
        if (errno == ENOENT)
            return TIDE_OK;
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not rename \"%s\" to \"%s\"",
                                from, to);
    }
    return sync_parent(host, to, err);
}

int pg_file_remove(const struct tide_host *host, const char *path, struct tide_err *err)
{
    if (unlink(path) != 0) {
        if (errno == ENOENT)
            return TIDE_OK;
        return tide_plugin_fail(host, err, pg_status_of_errno(errno), errno, "could not remove \"%s\"", path);
    }
    return sync_parent(host, path, err);
}
