#include "plugins/postgresql/backup_internal.h"

#include <jansson.h>
#include <pwd.h>
#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <gnu/libc-version.h>

/* Databases that are asked for the libraries their functions live in. */
#define MAX_DATABASES 200

static void decrefp(json_t **j)
{
    json_decref(*j);
}

static void set_text(json_t *object, const char *key, const char *value)
{
    (void)json_object_set_new(object, key, value != NULL ? json_string(value) : json_null());
}

static void set_number(json_t *object, const char *key, uint64_t value)
{
    (void)json_object_set_new(object, key, json_integer((json_int_t)value));
}

/* Rows of a statement as objects, keyed by the column's name; every value is text or null. */
static json_t *rows_of(const PGresult *res)
{
    json_t *rows = json_array();

    for (int i = 0; i < PQntuples(res); i++) {
        json_t *row = json_object();
        for (int c = 0; c < PQnfields(res); c++)
            set_text(row, PQfname(res, c), pg_value(res, i, c, NULL));
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static int add_rows(struct pg_backup_run *run, json_t *root, const char *key, const char *sql, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = pg_query(run->host, run->session, sql, &res, err);

    if (s == TIDE_OK)
        (void)json_object_set_new(root, key, rows_of(res));
    return s;
}

/* The same for what is good to know: no privilege or an old server leaves the key empty. */
static int add_optional_rows(struct pg_backup_run *run, json_t *root, const char *key, const char *sql,
                             struct tide_err *err)
{
    (void)json_object_set_new(root, key, json_array());
    int s = add_rows(run, root, key, sql, err);

    return s == TIDE_CANCELLED || PQstatus(run->session) != CONNECTION_OK ? s : TIDE_OK;
}

/* The first row's columns become keys of root itself. */
static int add_values(struct pg_backup_run *run, json_t *root, const char *sql, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = pg_query(run->host, run->session, sql, &res, err);

    for (int c = 0; s == TIDE_OK && c < PQnfields(res); c++)
        set_text(root, PQfname(res, c), pg_value(res, 0, c, NULL));
    return s;
}

static int add_settings(struct pg_backup_run *run, json_t *root, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    /* What can hold a password stays out: it is nobody's business in a catalogue, and no restore applies it. */
    int s = pg_query(run->host, run->session,
                     "SELECT name, setting FROM pg_settings WHERE (source IN ('configuration file', 'command line',"
                     " 'environment variable', 'global') OR name IN ('max_connections', 'max_worker_processes',"
                     " 'max_wal_senders', 'max_prepared_transactions', 'max_locks_per_transaction', 'wal_level',"
                     " 'shared_preload_libraries', 'TimeZone', 'track_commit_timestamp', 'shared_buffers'))"
                     " AND name NOT IN ('primary_conninfo', 'ssl_passphrase_command', 'data_directory',"
                     " 'config_file', 'hba_file', 'ident_file', 'external_pid_file') ORDER BY name",
                     &res, err);
    if (s != TIDE_OK)
        return s;
    json_t *settings = json_object();
    for (int i = 0; i < PQntuples(res); i++)
        set_text(settings, pg_value(res, i, 0, ""), pg_value(res, i, 1, ""));
    (void)json_object_set_new(root, "settings", settings);
    return TIDE_OK;
}

static int add_tablespaces(struct pg_backup_run *run, json_t *root, struct tide_err *err)
{
    json_t *list = json_array();

    (void)json_object_set_new(root, "tablespaces", list);
    for (size_t i = 0; i < run->source.n_tablespaces; i++) {
        struct pg_tablespace *t = &run->source.tablespaces[i];
        const char *const params[] = {t->oid};
        PG_AUTO(pg_result_clearp) PGresult *res = NULL;
        /* Needs a right of its own and time; the size is a help for the plan, no more. */
        int s = pg_query_run(
            run->host, run->session,
            &(struct pg_query){
                .sql = "SELECT pg_tablespace_size($1::oid)", .params = params, .n_params = 1, .timeout_ms = 60000},
            &res, err);
        if (s == TIDE_CANCELLED || PQstatus(run->session) != CONNECTION_OK)
            return s;
        t->bytes = s == TIDE_OK ? strtoull(pg_value(res, 0, 0, "0"), NULL, 10) : 0;
        json_t *o = json_object();
        set_text(o, "oid", t->oid);
        set_text(o, "name", t->name);
        set_text(o, "path", t->path);
        set_number(o, "size", t->bytes);
        (void)json_array_append_new(list, o);
    }
    return TIDE_OK;
}

/* ------------------------------------------- libraries of every database */

/* The session's own parameters, password included, with another database. */
static PGconn *connect_database(const struct pg_backup_run *run, const char *database)
{
    enum { MAX_PARAMS = 80 };
    const char *keys[MAX_PARAMS + 1], *values[MAX_PARAMS + 1];
    PQconninfoOption *options = PQconninfo(run->session);
    int n = 0;

    if (options == NULL)
        return NULL;
    for (const PQconninfoOption *o = options; o->keyword != NULL && n < MAX_PARAMS; o++) {
        const char *value = strcmp(o->keyword, "dbname") == 0 ? database : o->val;
        if (value == NULL || *value == '\0')
            continue;
        keys[n] = o->keyword;
        values[n++] = value;
    }
    keys[n] = values[n] = NULL;
    PGconn *conn = PQconnectdbParams(keys, values, 0);
    PQconninfoFree(options);
    return conn;
}

static void merge_result(json_t *list, const PGresult *res)
{
    for (int i = 0; i < PQntuples(res); i++) {
        const char *value = pg_value(res, i, 0, "");
        bool known = false;
        for (size_t k = 0; k < json_array_size(list) && !known; k++)
            known = strcmp(json_string_value(json_array_get(list, k)), value) == 0;
        if (!known)
            (void)json_array_append_new(list, json_string(value));
    }
}

static int add_libraries_of(struct pg_backup_run *run, const char *database, json_t *extensions, json_t *libraries,
                            struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *conn = connect_database(run, database);
    PG_AUTO(pg_result_clearp) PGresult *ext = NULL;
    PG_AUTO(pg_result_clearp) PGresult *lib = NULL;

    if (conn == NULL || PQstatus(conn) != CONNECTION_OK) {
        pg_log(run->host, TIDE_LOG_DEBUG, "postgresql.backup.libraries", "database \"%s\" was not asked", database);
        return TIDE_OK;
    }
    int s = pg_query(run->host, conn, "SELECT extname FROM pg_catalog.pg_extension ORDER BY 1", &ext, err);
    if (s == TIDE_OK)
        s = pg_query(run->host, conn,
                     "SELECT DISTINCT probin FROM pg_catalog.pg_proc WHERE probin IS NOT NULL ORDER BY 1", &lib, err);
    if (s == TIDE_OK) {
        merge_result(extensions, ext);
        merge_result(libraries, lib);
    }
    return s == TIDE_CANCELLED ? s : TIDE_OK;
}

static int add_libraries(struct pg_backup_run *run, json_t *root, struct tide_err *err)
{
    json_t *extensions = json_array(), *libraries = json_array();
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;

    (void)json_object_set_new(root, "extensions", extensions);
    (void)json_object_set_new(root, "libraries", libraries);
    int s = pg_query(run->host, run->session,
                     "SELECT datname FROM pg_database WHERE datallowconn AND datname <> 'template1' ORDER BY 1", &res,
                     err);
    for (int i = 0; s == TIDE_OK && i < PQntuples(res) && i < MAX_DATABASES; i++)
        s = add_libraries_of(run, pg_value(res, i, 0, ""), extensions, libraries, err);
    return s;
}

/* ------------------------------------------------------------- the rest */

static void add_config_files(const struct pg_backup_run *run, json_t *root)
{
    json_t *list = json_array();

    for (const char *p = run->config_files.data; p != NULL && *p != '\0'; p = strchr(p, '\n') + 1)
        (void)json_array_append_new(list, json_stringn(p, strcspn(p, "\n")));
    (void)json_object_set_new(root, "config_files", list);
}

/* Seen only where the files are; a restore elsewhere falls back to the engine's usual user. */
static void add_owner(const struct pg_backup_run *run, json_t *root)
{
    char buf[2048], mode[8];
    struct passwd pw, *pwp = NULL;
    struct group gr, *grp = NULL;
    struct stat st;

    if (!run->local || stat(run->source.data_directory, &st) != 0)
        return;
    json_t *o = json_object();
    if (getpwuid_r(st.st_uid, &pw, buf, sizeof buf, &pwp) == 0 && pwp != NULL)
        set_text(o, "user", pw.pw_name);
    if (getgrgid_r(st.st_gid, &gr, buf, sizeof buf, &grp) == 0 && grp != NULL)
        set_text(o, "group", gr.gr_name);
    (void)snprintf(mode, sizeof mode, "%04o", st.st_mode & 07777u);
    set_text(o, "mode", mode);
    (void)json_object_set_new(root, "owner", o);
}

static int add_source(struct pg_backup_run *run, json_t *root, struct tide_err *err)
{
    char id[24];

    set_number(root, "schema", 1);
    set_text(root, "server_version", run->source.version);
    set_number(root, "server_version_num", (uint64_t)run->source.version_num);
    set_number(root, "major", (uint64_t)pg_run_major(run));
    (void)snprintf(id, sizeof id, "%llu", (unsigned long long)run->source.system_identifier);
    set_text(root, "system_identifier", id);
    set_number(root, "catalog_version", run->source.catalog_version);
    set_number(root, "block_size", run->source.block_size);
    set_number(root, "segment_blocks", run->source.segment_blocks);
    (void)json_object_set_new(root, "data_checksums", json_boolean(run->source.data_checksums));
    set_text(root, "data_directory", run->source.data_directory);
    add_config_files(run, root);
    add_owner(run, root);
    return add_values(run, root,
                      "SELECT version() AS version_text,"
                      " substring(version() FROM ' on ([^-, ]+)-') AS architecture,"
                      " (SELECT rolname FROM pg_roles WHERE oid = 10) AS superuser,"
                      " current_setting('wal_segment_size') AS wal_segment_size,"
                      " current_setting('config_file', true) AS config_file,"
                      " current_setting('hba_file', true) AS hba_file,"
                      " current_setting('ident_file', true) AS ident_file,"
                      " current_setting('password_encryption') AS password_encryption",
                      err);
}

static int add_locales(struct pg_backup_run *run, json_t *root, struct tide_err *err)
{
    const char *databases = pg_run_major(run) >= 15
                                ? "SELECT oid, datname AS name, pg_encoding_to_char(encoding) AS encoding,"
                                  " datcollate AS collate, datctype AS ctype, datlocprovider AS provider,"
                                  " datcollversion AS collation_version FROM pg_database ORDER BY oid"
                                : "SELECT oid, datname AS name, pg_encoding_to_char(encoding) AS encoding,"
                                  " datcollate AS collate, datctype AS ctype, 'c' AS provider,"
                                  " NULL AS collation_version FROM pg_database ORDER BY oid";
    int s = add_rows(run, root, "databases", databases, err);

    if (s != TIDE_OK)
        return s;
    /* On Linux the version of the C library's collations is that of the library. */
    s = add_optional_rows(run, root, "collations",
                          "SELECT collprovider AS provider, max(pg_collation_actual_version(oid)) AS version"
                          " FROM pg_collation WHERE collprovider IN ('c', 'i') GROUP BY 1 ORDER BY 1",
                          err);
    set_text(root, "libc_version", run->local ? gnu_get_libc_version() : NULL);
    for (size_t i = 0; i < json_array_size(json_object_get(root, "collations")); i++) {
        const json_t *row = json_array_get(json_object_get(root, "collations"), i);
        const char *provider = json_string_value(json_object_get(row, "provider"));
        const char *version = json_string_value(json_object_get(row, "version"));
        if (provider != NULL && strcmp(provider, "c") == 0 && version != NULL)
            set_text(root, "libc_version", version);
    }
    return s;
}

int pg_metadata_build(struct pg_backup_run *run, char **json, struct tide_err *err)
{
    PG_AUTO(decrefp) json_t *root = json_object();

    if (root == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = add_source(run, root, err);
    if (s == TIDE_OK)
        s = add_locales(run, root, err);
    if (s == TIDE_OK)
        s = add_settings(run, root, err);
    if (s == TIDE_OK)
        s = add_tablespaces(run, root, err);
    if (s == TIDE_OK)
        s = add_libraries(run, root, err);
    if (s == TIDE_OK)
        s = add_optional_rows(run, root, "subscriptions",
                              "SELECT subname AS name, subenabled AS enabled FROM pg_subscription ORDER BY 1", err);
    if (s != TIDE_OK)
        return s;
    *json = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (*json == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory writing the metadata");
    return TIDE_OK;
}

int pg_metadata_add_positions(struct pg_backup_run *run, char **json, struct tide_err *err)
{
    PG_AUTO(decrefp) json_t *root = json_loads(*json, 0, NULL);
    char lsn[PG_LSN_TEXT_SIZE];

    if (root == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory writing the metadata");
    pg_lsn_text(run->start, lsn, sizeof lsn);
    set_text(root, "start", lsn);
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (text == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory writing the metadata");
    free(*json);
    *json = text;
    return TIDE_OK;
}
