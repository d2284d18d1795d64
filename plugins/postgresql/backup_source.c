#include "plugins/postgresql/backup_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static char *copy_text(const char *s)
{
    return strdup(s != NULL ? s : "");
}

static uint64_t number(const PGresult *res, int row, int column)
{
    return strtoull(pg_value(res, row, column, "0"), NULL, 10);
}

void pg_source_clear(struct pg_source *source)
{
    for (size_t i = 0; i < source->n_tablespaces; i++) {
        free(source->tablespaces[i].oid);
        free(source->tablespaces[i].name);
        free(source->tablespaces[i].path);
    }
    free(source->tablespaces);
    free(source->version);
    free(source->data_directory);
    *source = (struct pg_source){0};
}

static int read_settings(struct pg_backup_run *run, struct tide_err *err)
{
    struct pg_source *src = &run->source;
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    /* The second argument: NULL instead of an error where the user may not see a setting. */
    int s = pg_query(run->host, run->session,
                     "SELECT current_setting('server_version_num'), current_setting('server_version'),"
                     " current_setting('data_directory', true), pg_is_in_recovery(),"
                     " current_setting('data_checksums'), current_setting('block_size'),"
                     " (SELECT setting FROM pg_settings WHERE name = 'segment_size'), current_setting('port'),"
                     " (SELECT system_identifier FROM pg_control_system()),"
                     " (SELECT catalog_version_no FROM pg_control_system()),"
                     " extract(epoch FROM pg_postmaster_start_time())::bigint",
                     &res, err);
    if (s != TIDE_OK)
        return s;
    src->version_num = (int)number(res, 0, 0);
    src->version = copy_text(pg_value(res, 0, 1, ""));
    src->data_directory = copy_text(pg_value(res, 0, 2, ""));
    src->standby = strcmp(pg_value(res, 0, 3, "f"), "t") == 0;
    src->data_checksums = strcmp(pg_value(res, 0, 4, "off"), "on") == 0;
    src->block_size = (uint32_t)number(res, 0, 5);
    src->segment_blocks = (uint32_t)number(res, 0, 6);
    src->port = (uint32_t)number(res, 0, 7);
    src->system_identifier = number(res, 0, 8);
    src->catalog_version = (uint32_t)number(res, 0, 9);
    src->started_s = (int64_t)number(res, 0, 10);
    if (src->version == NULL || src->data_directory == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int major = src->version_num / 10000;
    if (major < PG_VERSION_MIN || major > PG_VERSION_MAX)
        return tide_plugin_fail(run->host, err, TIDE_UNSUPPORTED, 0, "PostgreSQL %s is none of the majors %d to %d",
                                src->version, PG_VERSION_MIN, PG_VERSION_MAX);
    return TIDE_OK;
}

static int read_tablespaces(struct pg_backup_run *run, struct tide_err *err)
{
    struct pg_source *src = &run->source;
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    /* In-place tablespaces (a developer's setting) have a relative path and are plain directories. */
    int s = pg_query(run->host, run->session,
                     "SELECT oid, spcname, pg_tablespace_location(oid) FROM pg_tablespace"
                     " WHERE pg_tablespace_location(oid) LIKE '/%' ORDER BY oid",
                     &res, err);
    if (s != TIDE_OK)
        return s;
    int n = PQntuples(res);
    if (n == 0)
        return TIDE_OK;
    src->tablespaces = calloc((size_t)n, sizeof *src->tablespaces);
    if (src->tablespaces == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    src->n_tablespaces = (size_t)n;
    for (int i = 0; i < n; i++) {
        struct pg_tablespace *t = &src->tablespaces[i];

        t->oid = copy_text(pg_value(res, i, 0, ""));
        t->name = copy_text(pg_value(res, i, 1, ""));
        t->path = copy_text(pg_value(res, i, 2, ""));
        if (t->oid == NULL || t->name == NULL || t->path == NULL)
            return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    return TIDE_OK;
}

int pg_source_read(struct pg_backup_run *run, struct tide_err *err)
{
    int s = read_settings(run, err);

    return s != TIDE_OK ? s : read_tablespaces(run, err);
}

const char *pg_backup_directory(const struct pg_backup_run *run)
{
    const char *option = run->host->option(run->host->ctx, "data_directory");

    return option != NULL && *option != '\0' ? option : run->source.data_directory;
}

/* postmaster.pid: pid, data directory, start time, port, socket directory, ... one a line. */
static bool pid_file_agrees(const struct pg_source *src, const char *text)
{
    const char *line = text;
    int64_t started = 0;
    uint64_t port = 0;

    for (int i = 1; i <= 4; i++) {
        if (i == 3)
            started = strtoll(line, NULL, 10);
        if (i == 4)
            port = strtoull(line, NULL, 10);
        line = strchr(line, '\n');
        if (line == NULL)
            break;
        line++;
    }
    /* The file is written first and shared memory set up after it, which takes a while with many huge pages. */
    int64_t later = src->started_s - started;
    return port == src->port && later >= -2 && later <= 300;
}

/*
 * The path alone proves nothing: two hosts, or a primary and its standby on
 * one host, have the same one, or the same system identifier.
 */
int pg_source_prove_directory(struct pg_backup_run *run, const char *directory, struct tide_err *err)
{
    static const char hint[] = "run Tidemark on the database's host as a user who can read its files, correct "
                               "data_directory, or set backup_method = stream";
    const struct tide_host *host = run->host;
    PG_AUTO(pg_freep) char *control_path = pg_path_join(directory, "global/pg_control");
    PG_AUTO(pg_freep) char *pid_path = pg_path_join(directory, "postmaster.pid");
    PG_AUTO(pg_freep) char *pid_text = NULL;
    uint8_t raw[PG_CONTROL_FILE_SIZE];
    struct pg_control control;
    size_t len;

    if (*directory == '\0')
        return pg_fail_hint(host, err, TIDE_DENIED, "grant pg_read_all_settings to the user, or set data_directory",
                            "the server does not show its data directory");
    if (control_path == NULL || pid_path == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = pg_control_read(host, control_path, raw, &len, &control, err);
    if (s == TIDE_NOT_FOUND || s == TIDE_DENIED)
        return pg_fail_hint(host, err, s == TIDE_NOT_FOUND ? TIDE_INVALID : s, hint,
                            "could not read the data directory \"%s\": %s", directory,
                            s == TIDE_NOT_FOUND ? "no PostgreSQL cluster is there" : "permission denied");
    if (s != TIDE_OK)
        return s;
    s = pg_file_read(host, pid_path, 4096, &pid_text, &len, err);
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        return s;
    if (s == TIDE_NOT_FOUND || control.system_identifier != run->source.system_identifier ||
        !pid_file_agrees(&run->source, pid_text))
        return pg_fail_hint(host, err, TIDE_INVALID, hint,
                            "\"%s\" on this host is not the data directory of the connected server (system "
                            "identifier %" PRIu64 ", port %u)",
                            directory, run->source.system_identifier, run->source.port);
    return TIDE_OK;
}
