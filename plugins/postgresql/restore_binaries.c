#include "plugins/postgresql/restore_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VERSION_TIMEOUT_MS 20000

static void binaries_clear(struct pg_binaries *b)
{
    free(b->dir);
    *b = (struct pg_binaries){0};
}

/* "postgres (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)" */
static bool parse_version(const char *text, struct pg_binaries *out)
{
    static const char mark[] = "(PostgreSQL) ";
    const char *p = strstr(text, mark);

    if (p == NULL)
        return false;
    p += sizeof mark - 1;
    (void)snprintf(out->version, sizeof out->version, "%.*s", (int)strcspn(p, "\n"), p);
    char *end;
    out->major = (int)strtol(p, &end, 10);
    out->minor = *end == '.' ? (int)strtol(end + 1, NULL, 10) : 0; /* betas have none */
    return out->major > 0;
}

/* Run as the user who will run the server: only so is it known that he can reach it. */
static int try_dir(const struct pg_restore *r, const char *dir, struct pg_binaries *out, bool *good,
                   struct tide_err *err)
{
    PG_AUTO(pg_freep) char *postgres = pg_path_join(dir, "postgres");
    PG_AUTO(pg_freep) char *pg_ctl = pg_path_join(dir, "pg_ctl");
    PG_AUTO(pg_text_clearp) struct pg_text text = {0};
    int code;

    *good = false;
    if (postgres == NULL || pg_ctl == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (access(postgres, X_OK) != 0 || access(pg_ctl, X_OK) != 0)
        return TIDE_OK;
    const char *const argv[] = {postgres, "-V", NULL};
    int s = pg_process_run(r->host,
                           &(struct pg_process){.argv = argv, .user = &r->user, .directory = "/", .output_fd = -1},
                           VERSION_TIMEOUT_MS, &text, &code, err);
    if (s == TIDE_CANCELLED)
        return s;
    if (s != TIDE_OK || code != 0 || text.data == NULL || !parse_version(text.data, out))
        return TIDE_OK;
    *good = out->major == r->major;
    if (*good) {
        out->dir = strdup(dir);
        if (out->dir == NULL)
            return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    return TIDE_OK;
}

/* The distributions' places, then PATH. */
static void add_candidates(const struct pg_restore *r, struct pg_text *list)
{
    const char *path = getenv("PATH");

    pg_text_addf(list,
                 "/usr/lib/postgresql/%d/bin:/usr/pgsql-%d/bin:/usr/lib/postgresql%d/bin:"
                 "/usr/libexec/postgresql%d:/usr/local/pgsql/bin:/opt/postgresql/%d/bin",
                 r->major, r->major, r->major, r->major, r->major);
    if (path != NULL && *path != '\0')
        pg_text_addf(list, ":%s", path);
}

static int not_found(const struct pg_restore *r, const char *tried, int found_major, struct tide_err *err)
{
    char hint[200];

    (void)snprintf(hint, sizeof hint,
                   "install PostgreSQL %d on this host (Debian: apt-get install postgresql-%d), or give --bin-dir",
                   r->major, r->major);
    if (found_major != 0)
        return pg_fail_hint(r->host, err, TIDE_NOT_FOUND, hint,
                            "the server binaries in \"%s\" are of PostgreSQL %d, and %d is needed", tried,
                            found_major, r->major);
    return pg_fail_hint(r->host, err, TIDE_NOT_FOUND, hint, "no server binaries of PostgreSQL %d in %s", r->major,
                        tried);
}

int pg_binaries_find(const struct pg_restore *r, struct pg_binaries *out, struct tide_err *err)
{
    const char *given = r->params->bin_dir;
    PG_AUTO(pg_text_clearp) struct pg_text list = {0};
    PG_AUTO(binaries_clear) struct pg_binaries found = {0};
    bool good = false;

    if (given != NULL && *given != '\0')
        pg_text_puts(&list, given);
    else
        add_candidates(r, &list);
    if (list.failed)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    for (const char *p = list.data; *p != '\0' && !good;) {
        size_t n = strcspn(p, ":");
        PG_AUTO(pg_freep) char *dir = strndup(p, n);
        if (dir == NULL)
            return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
        if (dir[0] == '/') {
            int s = try_dir(r, dir, &found, &good, err);
            if (s != TIDE_OK)
                return s;
        }
        p += n + (p[n] == ':' ? 1 : 0);
    }
    if (!good)
        return not_found(r, list.data, given != NULL && *given != '\0' ? found.major : 0, err);
    *out = found;
    found = (struct pg_binaries){0};
    return TIDE_OK;
}

int pg_binaries_library_dirs(const struct pg_restore *r, const char *bin_dir, struct pg_text *dirs,
                             struct tide_err *err)
{
    PG_AUTO(pg_freep) char *pg_config = pg_path_join(bin_dir, "pg_config");
    PG_AUTO(pg_text_clearp) struct pg_text text = {0};
    int code = -1;

    if (pg_config == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (access(pg_config, X_OK) == 0) {
        const char *const argv[] = {pg_config, "--pkglibdir", NULL};
        int s = pg_process_run(
            r->host, &(struct pg_process){.argv = argv, .user = &r->user, .directory = "/", .output_fd = -1},
            VERSION_TIMEOUT_MS, &text, &code, err);
        if (s == TIDE_CANCELLED)
            return s;
    }
    if (code == 0 && text.data != NULL && text.data[0] == '/')
        pg_text_addf(dirs, "%.*s\n", (int)strcspn(text.data, "\n"), text.data);
    /* Without the development tools: relative to the binaries, as the server itself finds them. */
    pg_text_addf(dirs, "%s/../lib\n%s/../lib/postgresql\n%s/../lib64/postgresql\n", bin_dir, bin_dir, bin_dir);
    return dirs->failed ? tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory") : TIDE_OK;
}
