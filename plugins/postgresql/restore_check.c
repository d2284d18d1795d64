#include "plugins/postgresql/restore_internal.h"

#include <gnu/libc-version.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

enum { OK = 0, WARNING = 1, CRITICAL = 2 };

struct checking {
    struct pg_restore *r;
    const struct tide_findings *out;
};

static void add(const struct checking *c, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
    TIDE_PLUGIN_PRINTF(5, 6);
static void add(const struct checking *c, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
{
    char message[700];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    c->out->add(c->out->ctx, &(struct tide_finding){.struct_size = sizeof(struct tide_finding),
                                                    .severity = severity,
                                                    .code = code,
                                                    .message = message,
                                                    .fix = fix});
}

/* ----------------------------------------------------------------- binaries */

static int check_binaries(struct checking *c, struct tide_err *err)
{
    struct pg_binaries found = {0};
    char fix[120];
    int s = pg_binaries_find(c->r, &found, err);

    if (s == TIDE_NOT_FOUND) {
        (void)snprintf(fix, sizeof fix, "apt-get install postgresql-%d, or --bin-dir DIR", c->r->major);
        add(c, CRITICAL, "postgresql.restore.binaries", fix, "no server binaries of PostgreSQL %d %s%s", c->r->major,
            c->r->params->bin_dir != NULL ? "in " : "on this host",
            c->r->params->bin_dir != NULL ? c->r->params->bin_dir : "");
        return TIDE_OK;
    }
    if (s != TIDE_OK)
        return s;
    c->r->bin_dir = found.dir;
    add(c, OK, "postgresql.restore.binaries", NULL, "PostgreSQL %s in \"%s\"", found.version, found.dir);
    int source_minor = (int)(pg_meta_number(c->r, "server_version_num", 0) % 10000);
    if (found.minor < source_minor)
        add(c, WARNING, "postgresql.restore.minor", "install the source's minor version or a newer one",
            "the binaries are of %s, the source ran %d.%d", found.version, c->r->major, source_minor);
    return TIDE_OK;
}

static bool library_exists(const char *dirs, const char *name, size_t len)
{
    for (const char *p = dirs; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, "\n");
        PG_AUTO(pg_text_clearp) struct pg_text path = {0};
        PG_AUTO(pg_text_clearp) struct pg_text with_suffix = {0};

        pg_text_addf(&path, "%.*s/%.*s", (int)n, p, (int)len, name);
        pg_text_addf(&with_suffix, "%.*s/%.*s.so", (int)n, p, (int)len, name);
        if (path.data == NULL || with_suffix.data == NULL)
            return false;
        if (pg_path_exists(with_suffix.data) || (strstr(path.data, ".so") != NULL && pg_path_exists(path.data)))
            return true;
        p += n + (p[n] == '\n' ? 1 : 0);
    }
    return false;
}

/* "$libdir/x", "x" and "/path/to/x.so" are all ways to name one. */
static bool library_is_here(const char *dirs, const char *name, size_t len)
{
    static const char libdir[] = "$libdir/";

    if (len > sizeof libdir - 1 && strncmp(name, libdir, sizeof libdir - 1) == 0)
        return library_exists(dirs, name + sizeof libdir - 1, len - (sizeof libdir - 1));
    if (len > 0 && name[0] == '/') {
        char path[1024];
        (void)snprintf(path, sizeof path, "%.*s", (int)len, name);
        if (pg_path_exists(path))
            return true;
        (void)snprintf(path, sizeof path, "%.*s.so", (int)len, name);
        return pg_path_exists(path);
    }
    return library_exists(dirs, name, len);
}

static void check_preload(struct checking *c, const char *dirs)
{
    const char *list =
        json_string_value(json_object_get(json_object_get(c->r->meta, "settings"), "shared_preload_libraries"));
    PG_AUTO(pg_freep) char *quiet = pg_settings_quiet_libraries(list != NULL ? list : "");

    /* What quarantine leaves out need not be here. */
    for (const char *p = quiet; p != NULL && *p != '\0';) {
        while (*p == ' ' || *p == ',')
            p++;
        size_t len = strcspn(p, ", ");
        if (len > 0 && !library_is_here(dirs, p, len))
            add(c, CRITICAL, "postgresql.restore.library", "install the extension's package on this host",
                "the server does not start without \"%.*s\" of shared_preload_libraries, which is not installed",
                (int)len, p);
        p += len;
    }
}

static int check_libraries(struct checking *c, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text dirs = {0};
    const json_t *libraries = json_object_get(c->r->meta, "libraries");

    if (c->r->bin_dir == NULL)
        return TIDE_OK;
    int s = pg_binaries_library_dirs(c->r, c->r->bin_dir, &dirs, err);
    if (s != TIDE_OK)
        return s;
    check_preload(c, dirs.data);
    for (size_t i = 0; i < json_array_size(libraries); i++) {
        const char *name = json_string_value(json_array_get(libraries, i));
        if (name != NULL && !library_is_here(dirs.data, name, strlen(name)))
            add(c, WARNING, "postgresql.restore.library", "install the extension's package on this host",
                "functions in \"%s\" will fail: the library is not installed", name);
    }
    return TIDE_OK;
}

/* ----------------------------------------------------------------- platform */

static void check_architecture(struct checking *c)
{
    const char *source = pg_meta_text(c->r, "architecture");
    struct utsname un;

    if (source == NULL || uname(&un) != 0 || strcmp(source, un.machine) == 0)
        return;
    add(c, CRITICAL, "postgresql.restore.architecture", "restore on a host of the source's architecture",
        "the backup is of a server on %s, this host is %s", source, un.machine);
}

static void check_collations(struct checking *c)
{
    const char *source = pg_meta_text(c->r, "libc_version");
    const char *here = gnu_get_libc_version();

    if (source == NULL || strcmp(source, here) == 0)
        return;
    add(c, WARNING, "postgresql.restore.collation",
        "REINDEX the indexes on text after the restore, or restore where the C library is the same",
        "the source sorted by C library %s, this host has %s: indexes on text may be out of order", source, here);
}

static bool locale_is_here(const char *name)
{
    locale_t l = newlocale(LC_ALL_MASK, name, (locale_t)0);

    if (l == (locale_t)0)
        return false;
    freelocale(l);
    return true;
}

static void check_locales(struct checking *c)
{
    static const char *const keys[] = {"collate", "ctype"};
    const json_t *databases = json_object_get(c->r->meta, "databases");
    const char *last = "";

    for (size_t i = 0; i < json_array_size(databases); i++)
        for (size_t k = 0; k < 2; k++) {
            const json_t *db = json_array_get(databases, i);
            const char *name = json_string_value(json_object_get(db, "name"));
            const char *locale = json_string_value(json_object_get(db, keys[k]));
            if (locale == NULL || name == NULL || strcmp(locale, last) == 0 || locale_is_here(locale))
                continue;
            last = locale;
            add(c, CRITICAL, "postgresql.restore.locale", "generate the locale (locale-gen, localedef)",
                "database \"%s\" cannot be opened without locale \"%s\", which this host has not got", name, locale);
        }
}

/* ------------------------------------------------------------- the instance */

static void check_port(struct checking *c)
{
    const struct tide_restore_params *p = c->r->params;
    uint32_t port = pg_port_choose(p);

    if (port == 0)
        add(c, CRITICAL, "postgresql.restore.port", "give --port", "no port from %u on is free", PG_FIRST_PORT);
    else if (port > 65535)
        add(c, CRITICAL, "postgresql.restore.port", "give --port", "%u is not a port", port);
    else if (!pg_port_is_free(port, p->listen))
        add(c, CRITICAL, "postgresql.restore.port", "give another --port, or none", "port %u is in use", port);
    else
        add(c, OK, "postgresql.restore.port", NULL, "port %u is free", port);
}

static void check_user(struct checking *c)
{
    if (c->r->user.name != NULL)
        add(c, OK, "postgresql.restore.user", NULL, "the server will run as \"%s\"", c->r->user.name);
}

static void check_tablespaces(struct checking *c)
{
    const json_t *list = json_object_get(c->r->meta, "tablespaces");
    const char *lines = c->r->params->tablespaces;
    char target[4096];

    if (lines == NULL || *lines == '\0') /* not placed yet; prepare insists on it */
        return;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i);
        const char *oid = json_string_value(json_object_get(t, "oid"));
        const char *name = json_string_value(json_object_get(t, "name"));
        if (oid != NULL && pg_tablespaces_target(c->r, oid, name, target, sizeof target) == NULL)
            add(c, CRITICAL, "postgresql.restore.tablespace", "give --tablespace NAME=DIR",
                "no directory is given for tablespace \"%s\"", name != NULL ? name : oid);
    }
}

/* A line "tablespace.OID.LSN=PATH" of a CREATE TABLESPACE record that this backup replays. */
static const char *created_tablespace(const struct checking *c, const char *line, size_t len, size_t *path_len)
{
    static const char mark[] = "tablespace.";
    const char *path = memchr(line, '=', len), *dot;
    char text[PG_LSN_TEXT_SIZE];
    uint64_t lsn, start;

    if (path == NULL || strncmp(line, mark, sizeof mark - 1) != 0)
        return NULL;
    dot = memchr(line + sizeof mark - 1, '.', (size_t)(path - line) - (sizeof mark - 1));
    if (dot != NULL) {
        (void)snprintf(text, sizeof text, "%.*s", (int)(path - dot - 1), dot + 1);
        const char *redo = pg_meta_text(c->r, "start");
        if (redo != NULL && pg_lsn_parse(redo, &start) && pg_lsn_parse(text, &lsn) && lsn < start)
            return NULL; /* in the log file where the backup begins, but before it */
    }
    *path_len = len - (size_t)(path + 1 - line);
    return path + 1;
}

/*
 * Replay of CREATE TABLESPACE goes to the very path that was typed at the
 * source.  On the source's own host that is the live directory, which the clone
 * would then share; elsewhere the path must exist.  Neither can be redirected.
 */
static void check_tablespaces_in_log(struct checking *c)
{
    for (const char *p = c->r->params->settings; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "\n"), path_len = 0;
        const char *path = created_tablespace(c, p, len, &path_len);
        if (path != NULL)
            add(c, CRITICAL, "postgresql.restore.tablespace_created",
                "take a base backup after CREATE TABLESPACE, or restore to a moment before it",
                "the log creates a tablespace at \"%.*s\" after this backup, and replay can put it nowhere else",
                (int)path_len, path);
        p += len + (p[len] == '\n' ? 1 : 0);
    }
}

int pg_restore_check(const struct tide_host *host, const struct tide_restore_params *params,
                     const struct tide_findings *out, char *bin_dir, size_t bin_dir_size, struct tide_err *err)
{
    PG_AUTO(pg_restore_clear) struct pg_restore r = {0};
    struct checking c = {.r = &r, .out = out};
    int s = pg_restore_open(&r, host, params, err);

    if (bin_dir_size > 0)
        bin_dir[0] = '\0';
    if (s == TIDE_OK)
        s = check_binaries(&c, err);
    if (s == TIDE_OK)
        s = check_libraries(&c, err);
    if (s == TIDE_OK)
        s = pg_restore_choose_sockets(&r, err);
    if (s != TIDE_OK)
        return s;
    check_architecture(&c);
    check_collations(&c);
    check_locales(&c);
    check_user(&c);
    check_port(&c);
    check_tablespaces(&c);
    check_tablespaces_in_log(&c);
    if (r.bin_dir != NULL && snprintf(bin_dir, bin_dir_size, "%s", r.bin_dir) >= (int)bin_dir_size)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "the path \"%s\" is too long", r.bin_dir);
    return TIDE_OK;
}
