#include "plugins/postgresql/backup_internal.h"
#include "plugins/postgresql/evidence.h"

#include <stdlib.h>
#include <string.h>

/* Strings of the last result; the handle keeps them until the next backup. */
struct backup_strings {
    char *metadata;
};

static void strings_free(void *p)
{
    struct backup_strings *strings = p;

    if (strings != NULL)
        free(strings->metadata);
    free(strings);
}

/* Closing the session is what ends hot-backup mode on every way out. */
static void run_clear(struct pg_backup_run *run)
{
    PQfinish(run->session);
    pg_source_clear(&run->source);
    free(run->label);
    free(run->tablespace_map);
    pg_text_clear(&run->config_files);
}

static int keep_strings(struct pg_backup_run *run, char **metadata, struct tide_err *err)
{
    struct pg_instance *inst = run->inst;
    struct backup_strings *strings = calloc(1, sizeof *strings);

    if (strings == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    strings->metadata = *metadata;
    *metadata = NULL;
    if (inst->backup != NULL)
        inst->backup_free(inst->backup);
    inst->backup = strings;
    inst->backup_free = strings_free;
    return TIDE_OK;
}

static int set_version(struct pg_backup_run *run, struct tide_err *err)
{
    char *version = strdup(run->source.version);

    if (version == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    free(run->inst->server_version);
    run->inst->server_version = version;
    return TIDE_OK;
}

static int set_evidence(struct pg_backup_run *run, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *repl = NULL;
    char *text = NULL;
    int s = pg_conn_open_same(run->host, &run->inst->target, run->session, PG_CONN_BASEBACKUP, &repl, err);

    if (s == TIDE_OK)
        s = pg_evidence_build(run->host, repl, run->timeline, &text, err);
    if (s != TIDE_OK)
        return s;
    free(run->inst->evidence);
    run->inst->evidence = text;
    return TIDE_OK;
}

/* On this host or not decides how configuration files are read, and what this host's names say about the source's. */
static int find_source(struct pg_backup_run *run, const char *method, struct tide_err *err)
{
    if (strcmp(method, "stream") == 0)
        return TIDE_OK;
    int s = pg_source_prove_directory(run, pg_backup_directory(run), err);
    run->local = s == TIDE_OK;
    return strcmp(method, "files") == 0 || s == TIDE_CANCELLED ? s : TIDE_OK;
}

static int run_method(struct pg_backup_run *run, const char *method, struct tide_err *err)
{
    if (strcmp(method, "files") == 0)
        return pg_backup_by_files(run, err);
    if (strcmp(method, "stream") == 0)
        return pg_basebackup_run(run, err);
    if (strcmp(method, "snapshot") == 0)
        return pg_backup_by_snapshot(run, err);
    return tide_plugin_fail(run->host, err, TIDE_INVALID, 0, "\"%s\" is no backup_method", method);
}

/* Recovery reads a log file from its header on, so what restoring needs begins with the file that holds the start. */
static uint64_t log_file_start(const struct pg_backup_run *run)
{
    struct evidence e;
    uint64_t start = run->start;

    if (evidence_parse(run->inst->evidence, &e) == NULL)
        start -= start % e.segment_size;
    evidence_clear(&e);
    return start;
}

static void fill_result(struct pg_backup_run *run, const char *method, struct tide_backup_result *out)
{
    struct backup_strings *strings = run->inst->backup;
    uint32_t size = out->struct_size;
    struct tide_backup_result full = {
        .struct_size = size,
        .from_standby = run->source.standby,
        .start = pg_pos(log_file_start(run)),
        /* A standby cannot write an end record: PostgreSQL takes the minRecoveryPoint of the copied pg_control. */
        .stop = pg_pos(run->source.standby ? run->min_recovery_point : run->stop),
        .branch = run->timeline,
        .start_us = run->start_us,
        .stop_us = run->stop_us,
        .evidence = run->inst->evidence,
        .server_version = run->inst->server_version,
        .metadata = strings->metadata,
        .method = method,
    };

    pg_copy_out(out, size, &full, sizeof full);
}

int pg_backup(void *p, const struct tide_backup_params *params, const struct tide_backup_sink *sink,
              struct tide_backup_result *result, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(run_clear) struct pg_backup_run run = {.host = inst->host, .inst = inst, .params = params, .sink = sink};
    PG_AUTO(pg_freep) char *metadata = NULL;
    const char *method = inst->host->option(inst->host->ctx, "backup_method");
    int s = pg_session_open(&run, err);

    if (method == NULL || *method == '\0')
        method = "files";
    if (s == TIDE_OK)
        s = pg_source_read(&run, err);
    if (s == TIDE_OK)
        s = pg_files_config_list(&run, err);
    if (s == TIDE_OK)
        s = find_source(&run, method, err);
    if (s == TIDE_OK) /* before the copy: what fails here should not cost hours */
        s = pg_metadata_build(&run, &metadata, err);
    if (s == TIDE_OK)
        s = run_method(&run, method, err);
    if (s == TIDE_OK)
        s = pg_metadata_add_positions(&run, &metadata, err);
    if (s == TIDE_OK)
        s = set_version(&run, err);
    if (s == TIDE_OK)
        s = set_evidence(&run, err);
    if (s == TIDE_OK)
        s = keep_strings(&run, &metadata, err);
    if (s != TIDE_OK)
        return s;
    fill_result(&run, method, result);
    return TIDE_OK;
}
