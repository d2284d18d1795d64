#include "plugins/postgresql/restore_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A line "KEY=DIR" of params->tablespaces; KEY is the tablespace's OID, its name, or its entry "pg_tblspc/OID". */
static bool find_line(const char *lines, const char *key, char *buf, size_t size)
{
    size_t n = strlen(key);

    for (const char *p = lines; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "\n");
        if (len > n && strncmp(p, key, n) == 0 && p[n] == '=' && len - n - 1 < size) {
            memcpy(buf, p + n + 1, len - n - 1);
            buf[len - n - 1] = '\0';
            return true;
        }
        p += len + (p[len] == '\n' ? 1 : 0);
    }
    return false;
}

const char *pg_tablespaces_target(const struct pg_restore *r, const char *oid, const char *name, char *buf,
                                  size_t size)
{
    char entry[64];

    (void)snprintf(entry, sizeof entry, "pg_tblspc/%s", oid);
    if (find_line(r->params->tablespaces, oid, buf, size) || find_line(r->params->tablespaces, entry, buf, size) ||
        (name != NULL && find_line(r->params->tablespaces, name, buf, size)))
        return buf;
    return NULL;
}

static int make_link(struct pg_restore *r, const char *oid, const char *target, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    char relative[64];
    struct stat st;

    (void)snprintf(relative, sizeof relative, "pg_tblspc/%s", oid);
    int s = pg_restore_path(r, relative, &path, err);
    if (s != TIDE_OK)
        return s;
    if (stat(target, &st) != 0 || !S_ISDIR(st.st_mode))
        return tide_plugin_fail(r->host, err, TIDE_INVALID, errno, "the tablespace directory \"%s\" is not there",
                                target);
    if (lstat(path, &st) == 0) {
        /* An empty directory stands there when the files were put straight to their place. */
        int failed = S_ISDIR(st.st_mode) ? rmdir(path) : unlink(path);
        if (failed)
            return tide_plugin_fail(r->host, err, TIDE_IO, errno, "could not replace \"%s\" by a link", path);
    }
    if (symlink(target, path) != 0)
        return tide_plugin_fail(r->host, err, pg_status_of_errno(errno), errno, "could not create link \"%s\"", path);
    if (r->user.name != NULL &&
        (lchown(path, r->user.uid, r->user.gid) != 0 || lchown(target, r->user.uid, r->user.gid) != 0))
        return tide_plugin_fail(r->host, err, TIDE_DENIED, errno, "could not give \"%s\" to user \"%s\"", target,
                                r->user.name);
    return TIDE_OK;
}

/* As PostgreSQL writes it: "OID PATH", line ends and backslashes escaped. */
static void add_map_line(struct pg_text *map, const char *oid, const char *target)
{
    pg_text_addf(map, "%s ", oid);
    for (const char *p = target; *p != '\0'; p++) {
        if (*p == '\n' || *p == '\r' || *p == '\\')
            pg_text_puts(map, "\\");
        pg_text_add(map, p, 1);
    }
    pg_text_puts(map, "\n");
}

static int link_one(struct pg_restore *r, const json_t *tablespace, struct pg_text *map, struct tide_err *err)
{
    const char *oid = json_string_value(json_object_get(tablespace, "oid"));
    const char *name = json_string_value(json_object_get(tablespace, "name"));
    char target[4096];

    if (oid == NULL)
        return tide_plugin_fail(r->host, err, TIDE_CORRUPT, 0, "the backup's metadata has a tablespace without OID");
    if (pg_tablespaces_target(r, oid, name, target, sizeof target) == NULL)
        return tide_plugin_fail(r->host, err, TIDE_INVALID, 0, "no directory is given for tablespace \"%s\"",
                                name != NULL ? name : oid);
    if (target[0] != '/')
        return tide_plugin_fail(r->host, err, TIDE_INVALID, 0, "the tablespace directory \"%s\" is not absolute",
                                target);
    int s = make_link(r, oid, target, err);
    if (s == TIDE_OK)
        add_map_line(map, oid, target);
    return s;
}

/*
 * The server makes the links itself from tablespace_map when it first starts;
 * left as it was copied, that file would point the clone at the source's own
 * directories.
 */
int pg_tablespaces_link(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text map = {0};
    PG_AUTO(pg_freep) char *path = NULL;
    const json_t *list = json_object_get(r->meta, "tablespaces");
    int s = pg_restore_path(r, "tablespace_map", &path, err);

    for (size_t i = 0; s == TIDE_OK && i < json_array_size(list); i++)
        s = link_one(r, json_array_get(list, i), &map, err);
    if (s != TIDE_OK)
        return s;
    if (map.len == 0 && !map.failed)
        return pg_file_remove(r->host, path, err);
    return pg_file_replace_text(r->host, path, &map, 0600, pg_restore_owner(r), err);
}
