#include "plugins/postgresql/backup_internal.h"

#include <stdlib.h>
#include <string.h>

#define ALIVE_EVERY_MS  5000
#define STOP_TIMEOUT_MS 300000

int pg_session_open(struct pg_backup_run *run, struct tide_err *err)
{
    int s = run->params->prefer_standby
                ? pg_session_open_standby(run, err)
                : pg_conn_open(run->host, &run->inst->target, PG_CONN_SQL, &run->session, err);

    if (s != TIDE_OK)
        return s;
    /* No limit of the user's or the database's may end the session that holds hot-backup mode. */
    return pg_exec(run->host, run->session,
                   "SELECT set_config('statement_timeout', '0', false), set_config('lock_timeout', '0', false),"
                   " set_config('idle_in_transaction_session_timeout', '0', false),"
                   " set_config('idle_session_timeout', '0', false), set_config('search_path', 'pg_catalog', false),"
                   " set_config('client_min_messages', 'warning', false)",
                   err);
}

int pg_session_clock(struct pg_backup_run *run, int64_t *clock_us, bool *standby, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s =
        pg_query(run->host, run->session,
                 "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, pg_is_in_recovery()", &res, err);
    if (s != TIDE_OK)
        return s;
    *clock_us = strtoll(pg_value(res, 0, 0, "0"), NULL, 10);
    *standby = strcmp(pg_value(res, 0, 1, "f"), "t") == 0;
    return TIDE_OK;
}

static int start_timeline(struct pg_backup_run *run, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    /* The backup begins at the checkpoint that the start function made or, on a standby, found. */
    int s = pg_query(run->host, run->session, "SELECT timeline_id FROM pg_control_checkpoint()", &res, err);

    if (s != TIDE_OK)
        return s;
    run->timeline = (uint32_t)strtoul(pg_value(res, 0, 0, "0"), NULL, 10);
    return TIDE_OK;
}

int pg_session_start(struct pg_backup_run *run, struct tide_err *err)
{
    bool standby;
    int s = pg_session_clock(run, &run->start_us, &standby, err);

    if (s != TIDE_OK)
        return s;
    const char *const params[] = {run->params->label != NULL ? run->params->label : "tidemark",
                                  run->params->fast ? "true" : "false"};
    struct pg_query query = {
        .sql = pg_run_major(run) >= 15 ? "SELECT pg_backup_start($1, $2::boolean)"
                                       : "SELECT pg_start_backup($1, $2::boolean, false)",
        .params = params,
        .n_params = 2,
        .waiting = PG_CHECKPOINT_PHASE(run->params),
    };
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    s = pg_query_run(run->host, run->session, &query, &res, err);
    if (s != TIDE_OK)
        return s;
    if (!pg_lsn_parse(pg_value(res, 0, 0, ""), &run->start))
        return tide_plugin_fail(run->host, err, TIDE_IO, 0, "the server gave no start position: \"%s\"",
                                pg_value(res, 0, 0, ""));
    run->session_checked_ms = pg_monotonic_ms();
    return start_timeline(run, err);
}

static int promoted(struct pg_backup_run *run, struct tide_err *err)
{
    return pg_fail_hint(run->host, err, TIDE_AGAIN, "take the backup again; it reads from the new primary",
                        "the standby was promoted while it was backed up, so this copy cannot be used");
}

int pg_session_alive(struct pg_backup_run *run, struct tide_err *err)
{
    if (run->host->cancelled(run->host->ctx))
        return tide_plugin_fail(run->host, err, TIDE_CANCELLED, 0, "backup cancelled");
    if (run->label != NULL) /* a snapshot is read afterwards, whatever becomes of the server */
        return TIDE_OK;
    if (pg_monotonic_ms() - run->session_checked_ms < ALIVE_EVERY_MS)
        return TIDE_OK;
    int64_t now_us;
    bool standby;
    int s = pg_session_clock(run, &now_us, &standby, err);
    if (s != TIDE_OK)
        return s;
    run->session_checked_ms = pg_monotonic_ms();
    return run->source.standby && !standby ? promoted(run, err) : TIDE_OK;
}

int pg_session_clock_at_end(struct pg_backup_run *run, struct tide_err *err)
{
    bool standby;
    int s = pg_session_clock(run, &run->stop_us, &standby, err);

    if (s != TIDE_OK)
        return s;
    return run->source.standby && !standby ? promoted(run, err) : TIDE_OK;
}

bool pg_label_field(const char *label, const char *field, char *value, size_t size)
{
    size_t n = strlen(field);

    for (const char *line = label; line != NULL && *line != '\0';) {
        const char *end = strchr(line, '\n');
        size_t len = end != NULL ? (size_t)(end - line) : strlen(line);
        if (len > n && strncmp(line, field, n) == 0 && len - n < size) {
            memcpy(value, line + n, len - n);
            value[len - n] = '\0';
            return true;
        }
        line = end != NULL ? end + 1 : NULL;
    }
    return false;
}

/* What the label says must be what was told to the core at the start. */
static int check_label(struct pg_backup_run *run, struct tide_err *err)
{
    char text[64];
    uint64_t start = 0;

    if (!pg_label_field(run->label, "START WAL LOCATION: ", text, sizeof text))
        text[0] = '\0';
    text[strcspn(text, " ")] = '\0'; /* behind it stands the segment's name */
    if (!pg_lsn_parse(text, &start) || start != run->start)
        return tide_plugin_fail(run->host, err, TIDE_CORRUPT, 0, "the server's backup_label is not of this backup");
    if (pg_label_field(run->label, "START TIMELINE: ", text, sizeof text) && strtoul(text, NULL, 10) != run->timeline)
        return tide_plugin_fail(run->host, err, TIDE_AGAIN, 0,
                                "the timeline changed from %u to %s while the backup began", run->timeline, text);
    return TIDE_OK;
}

int pg_session_stop(struct pg_backup_run *run, struct tide_err *err)
{
    /* Not waiting for the archive: a broken archive_command would hang us, and our own log is what counts. */
    struct pg_query query = {
        .sql = pg_run_major(run) >= 15 ? "SELECT lsn, labelfile, spcmapfile FROM pg_backup_stop(false)"
                                       : "SELECT lsn, labelfile, spcmapfile FROM pg_stop_backup(false, false)",
        .timeout_ms = STOP_TIMEOUT_MS,
    };
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = pg_query_run(run->host, run->session, &query, &res, err);

    if (s != TIDE_OK)
        return s;
    if (!pg_lsn_parse(pg_value(res, 0, 0, ""), &run->stop))
        return tide_plugin_fail(run->host, err, TIDE_IO, 0, "the server gave no stop position: \"%s\"",
                                pg_value(res, 0, 0, ""));
    run->label = strdup(pg_value(res, 0, 1, ""));
    run->tablespace_map = strdup(pg_value(res, 0, 2, ""));
    if (run->label == NULL || run->tablespace_map == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    s = pg_session_clock_at_end(run, err);
    return s != TIDE_OK ? s : check_label(run, err);
}
