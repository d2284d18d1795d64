#include "plugins/postgresql/backup_internal.h"

#include <stdlib.h>
#include <string.h>

#define CONFIG_FILE_MAX (1024 * 1024)

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);

    return n >= m && strcmp(s + n - m, end) == 0;
}

/* A private key is never copied, whatever names it. */
static bool is_wanted(const struct pg_backup_run *run, const char *path)
{
    return path[0] == '/' && !pg_path_is_below(path, run->source.data_directory) && strstr(path, "/../") == NULL &&
           !ends_with(path, ".key") && !ends_with(path, ".pem");
}

static bool is_listed(const struct pg_text *list, const char *path)
{
    size_t n = strlen(path);

    for (const char *p = list->data; p != NULL && *p != '\0'; p = strchr(p, '\n') + 1)
        if (strncmp(p, path, n) == 0 && p[n] == '\n')
            return true;
    return false;
}

static void list_result(struct pg_backup_run *run, const PGresult *res)
{
    for (int row = 0; row < PQntuples(res); row++) {
        const char *path = pg_value(res, row, 0, "");
        if (is_wanted(run, path) && strchr(path, '\n') == NULL && !is_listed(&run->config_files, path))
            pg_text_addf(&run->config_files, "%s\n", path);
    }
}

int pg_files_config_list(struct pg_backup_run *run, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *named = NULL;
    PG_AUTO(pg_result_clearp) PGresult *included = NULL;
    int s = pg_query(run->host, run->session,
                     "SELECT setting FROM pg_settings WHERE name IN ('config_file', 'hba_file', 'ident_file')",
                     &named, err);

    if (s != TIDE_OK)
        return s;
    list_result(run, named);
    /* Included files are a superuser's to see; without that right the main files have to do. */
    s = pg_query(run->host, run->session, "SELECT DISTINCT sourcefile FROM pg_file_settings", &included, err);
    if (s == TIDE_CANCELLED || s == TIDE_AGAIN)
        return s;
    if (s == TIDE_OK)
        list_result(run, included);
    else
        pg_log(run->host, TIDE_LOG_DEBUG, "postgresql.backup.config", "the server does not show its included files");
    if (run->config_files.failed)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    return TIDE_OK;
}

/* Through the server, for what only its user can read and for hosts without file access. */
static int read_by_server(struct pg_backup_run *run, const char *path, char **data, size_t *len, struct tide_err *err)
{
    const char *const params[] = {path};
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = pg_query_run(run->host, run->session,
                         &(struct pg_query){.sql = "SELECT pg_read_binary_file($1)", .params = params, .n_params = 1},
                         &res, err);

    if (s != TIDE_OK)
        return s;
    unsigned char *raw = PQunescapeBytea((const unsigned char *)pg_value(res, 0, 0, ""), len);
    if (raw == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    *data = malloc(*len + 1);
    if (*data != NULL) {
        memcpy(*data, raw, *len);
        (*data)[*len] = '\0';
    }
    PQfreemem(raw);
    return *data != NULL ? TIDE_OK : tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
}

static int hand_over_parents(struct pg_backup_run *run, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *dir = strdup(name);

    if (dir == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    for (char *slash = strchr(dir, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        struct tide_file f = {
            .struct_size = sizeof f,
            .kind = TIDE_FILE_DIRECTORY,
            .mode = 0700,
            .name = dir,
            .mtime_us = run->start_us,
        };
        int s = run->sink->file(run->sink->ctx, &f, err);
        if (s != TIDE_OK)
            return s;
        *slash = '/';
    }
    return TIDE_OK;
}

static int hand_over_one(struct pg_backup_run *run, const char *path, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *data = NULL;
    size_t len = 0;
    /* On another host the same path would be another server's file. */
    int s = run->local ? pg_file_read(run->host, path, CONFIG_FILE_MAX, &data, &len, err) : TIDE_NOT_FOUND;

    if (s != TIDE_OK)
        s = read_by_server(run, path, &data, &len, err);
    if (s == TIDE_CANCELLED || s == TIDE_AGAIN)
        return s;
    if (s != TIDE_OK) { /* useful, not needed: the settings that count are in the metadata */
        pg_log(run->host, TIDE_LOG_WARN, "postgresql.backup.config", "could not copy configuration file \"%s\"",
               path);
        return TIDE_OK;
    }
    PG_AUTO(pg_freep) char *name = pg_path_join(PG_CONFIG_COPIES, path + 1);
    if (name == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    s = hand_over_parents(run, name, err);
    if (s != TIDE_OK)
        return s;
    return pg_files_data(run, name, TIDE_FILE_CONFIG, data, len, err);
}

int pg_files_config(struct pg_backup_run *run, struct tide_err *err)
{
    const char *p = run->config_files.data;
    int s = TIDE_OK;

    while (s == TIDE_OK && p != NULL && *p != '\0') {
        const char *end = strchr(p, '\n');
        PG_AUTO(pg_freep) char *path = strndup(p, (size_t)(end - p));

        if (path == NULL)
            return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
        s = hand_over_one(run, path, err);
        p = end + 1;
    }
    return s;
}
