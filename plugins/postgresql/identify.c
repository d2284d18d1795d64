#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_log.h"
#include "plugins/postgresql/wal_format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_TIMEOUT_MS 60000

static int command(const struct tide_host *host, PGconn *conn, const char *sql, PGresult **res, struct tide_err *err)
{
    return pg_query_run(host, conn, &(struct pg_query){.sql = sql, .timeout_ms = COMMAND_TIMEOUT_MS}, res, err);
}

int pg_identify_system(const struct tide_host *host, PGconn *repl, struct pg_system *out, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = command(host, repl, "IDENTIFY_SYSTEM", &res, err);

    if (s != TIDE_OK)
        return s;
    memset(out, 0, sizeof *out);
    out->identifier = strtoull(pg_value(res, 0, 0, "0"), NULL, 10);
    out->timeline = (uint32_t)strtoul(pg_value(res, 0, 1, "0"), NULL, 10);
    if (out->identifier == 0 || out->timeline == 0 || !pg_lsn_parse(pg_value(res, 0, 2, NULL), &out->flushed))
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0, "the server's answer to IDENTIFY_SYSTEM is strange");
    return TIDE_OK;
}

/* SHOW is all that a replication connection knows of settings; it answers "16MB". */
static int show_segment_size(const struct tide_host *host, PGconn *repl, uint32_t *size, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = command(host, repl, "SHOW wal_segment_size", &res, err);
    char *unit = NULL;

    if (s != TIDE_OK)
        return s;
    uint64_t n = strtoull(pg_value(res, 0, 0, "0"), &unit, 10);
    if (unit != NULL && strcmp(unit, "kB") == 0)
        n <<= 10;
    else if (unit != NULL && strcmp(unit, "MB") == 0)
        n <<= 20;
    else if (unit != NULL && strcmp(unit, "GB") == 0)
        n <<= 30;
    if (!wal_segment_size_valid(n))
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0, "the server's WAL segment size is strange");
    *size = (uint32_t)n;
    return TIDE_OK;
}

static int timeline_history(const struct tide_host *host, PGconn *repl, uint32_t timeline, char **history,
                            struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    char sql[64];

    (void)snprintf(sql, sizeof sql, "TIMELINE_HISTORY %" PRIu32, timeline);
    if (timeline > 1) {
        int s = command(host, repl, sql, &res, err);
        if (s != TIDE_OK)
            return s;
    }
    *history = strdup(timeline > 1 ? pg_value(res, 0, 1, "") : "");
    return *history != NULL ? TIDE_OK : tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
}

int pg_evidence_build(const struct tide_host *host, PGconn *repl, uint64_t branch, char **text, struct tide_err *err)
{
    struct pg_system system;
    struct evidence ev = {.major = pg_major(repl)};
    int s = pg_identify_system(host, repl, &system, err);

    if (s != TIDE_OK)
        return s;
    if (wal_layout_of_major(ev.major) == NULL)
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0, "PostgreSQL %d is not supported (%d to %d are)",
                                ev.major, PG_VERSION_MIN, PG_VERSION_MAX);
    ev.system_identifier = system.identifier;
    ev.timeline = branch != 0 ? (uint32_t)branch : system.timeline;
    s = show_segment_size(host, repl, &ev.segment_size, err);
    if (s == TIDE_OK)
        s = timeline_history(host, repl, ev.timeline, &ev.history, err);
    if (s == TIDE_OK) {
        *text = evidence_format(&ev);
        if (*text == NULL)
            s = tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    evidence_clear(&ev);
    return s;
}

int pg_oldest_log(const struct tide_host *host, PGconn *sql, uint32_t segment_size, uint64_t *lsn,
                  struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *allowed = NULL;
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    uint64_t log, segment;

    *lsn = 0;
    int s = command(host, sql, "SELECT pg_catalog.has_function_privilege('pg_catalog.pg_ls_waldir()', 'EXECUTE')",
                    &allowed, err);
    if (s != TIDE_OK || pg_value(allowed, 0, 0, "f")[0] != 't')
        return s;
    s = command(host, sql, "SELECT min(substr(name, 9)) FROM pg_catalog.pg_ls_waldir() WHERE name ~ '^[0-9A-F]{24}$'",
                &res, err);
    if (s != TIDE_OK)
        return s;
    if (sscanf(pg_value(res, 0, 0, ""), "%8" SCNx64 "%8" SCNx64, &log, &segment) == 2)
        *lsn = (log << 32) + segment * segment_size;
    return TIDE_OK;
}

/* What an ordinary connection tells about itself. */
static int read_server(struct pg_instance *inst, struct tide_log_identity *out, uint32_t segment_size,
                       struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    char name[80];
    unsigned others;
    uint64_t oldest;
    int s = command(inst->host, inst->conn,
                    "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint, "
                    "pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('server_version'), "
                    "pg_catalog.current_setting('synchronous_standby_names'), "
                    "pg_catalog.current_setting('synchronous_commit')",
                    &res, err);

    if (s != TIDE_OK)
        return s;
    out->clock_us = strtoll(pg_value(res, 0, 0, "0"), NULL, 10);
    out->standby = pg_value(res, 0, 1, "f")[0] == 't';
    free(inst->server_version);
    inst->server_version = strdup(pg_value(res, 0, 2, ""));
    if (inst->server_version == NULL)
        return tide_plugin_fail(inst->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    out->server_version = inst->server_version;
    /* A standby's own list counts for nothing until it is promoted. */
    pg_application_name(inst->host, name, sizeof name);
    out->synchronous = !out->standby && pg_sync_names(pg_value(res, 0, 3, ""), name, &others);
    s = pg_oldest_log(inst->host, inst->conn, segment_size, &oldest, err);
    if (s == TIDE_OK && oldest != 0)
        out->oldest = pg_pos(oldest);
    return s;
}

int pg_log_identify(void *p, struct tide_log_identity *out, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(pg_conn_finishp) PGconn *repl = NULL;
    PG_AUTO(pg_freep) char *text = NULL;
    struct pg_system system;
    struct evidence ev;
    uint32_t size = out->struct_size;
    int s = pg_connect(inst, err);

    if (s == TIDE_OK)
        s = pg_conn_open_same(inst->host, &inst->target, inst->conn, PG_CONN_REPLICATION, &repl, err);
    if (s == TIDE_OK)
        s = pg_evidence_build(inst->host, repl, 0, &text, err);
    if (s == TIDE_OK)
        s = pg_identify_system(inst->host, repl, &system, err);
    if (s != TIDE_OK)
        return s;
    const char *why = evidence_parse(text, &ev);
    uint32_t segment_size = ev.segment_size, timeline = ev.timeline;
    evidence_clear(&ev);
    if (why != NULL)
        return tide_plugin_fail(inst->host, err, TIDE_UNSUPPORTED, 0, "cannot use the server's history: %s", why);
    if (timeline != system.timeline)
        return tide_plugin_fail(inst->host, err, TIDE_AGAIN, 0, "the server changes its timeline just now");
    struct tide_log_identity id = {.struct_size = size, .branch = timeline};
    id.current = pg_pos(wal_normalise(system.flushed, segment_size));
    id.stream_from = pg_pos(id.current.lo - id.current.lo % segment_size);
    s = read_server(inst, &id, segment_size, err);
    if (s != TIDE_OK)
        return s;
    free(inst->evidence);
    inst->evidence = text;
    text = NULL;
    id.evidence = inst->evidence;
    pg_copy_out(out, size, &id, sizeof id);
    return TIDE_OK;
}
