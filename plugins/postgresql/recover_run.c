#include "plugins/postgresql/restore_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POLL_MS          200
#define PROGRESS_MS      1000
#define QUERY_TIMEOUT_MS 10000
#define MAX_RAISES       8
#define PORT_ATTEMPTS    10
#define INIT_TIMEOUT_MS  (24 * 3600 * 1000)

struct recovery {
    struct pg_restore r;
    struct pg_private server;
    struct tide_restore_result *result;
    int64_t progress_ms;
    uint32_t timeline; /* of the restored server, once it left recovery */
};

static void recovery_clear(struct recovery *rec)
{
    pg_private_kill(&rec->server);
    pg_restore_clear(&rec->r);
}

static int run_sql(struct recovery *rec, const char *sql, PGresult **res, struct tide_err *err)
{
    return pg_query_run(rec->r.host, rec->server.conn, &(struct pg_query){.sql = sql, .timeout_ms = QUERY_TIMEOUT_MS},
                        res, err);
}

/* ---------------------------------------------------------------- failures */

static bool contains(const char *log, const char *text)
{
    return log != NULL && strstr(log, text) != NULL;
}

static int server_ended(struct recovery *rec, struct tide_err *err)
{
    struct pg_restore *r = &rec->r;
    PG_AUTO(pg_freep) char *log = pg_log_tail(r, PG_RECOVERY_LOG, rec->server.log_from);
    char reasons[700];

    pg_log_failures(log, reasons, sizeof reasons);
    if (reasons[0] == '\0')
        (void)snprintf(reasons, sizeof reasons, "no reason in its log");
    /* The log was not what the plan proved it to be. */
    int status = contains(log, "recovery ended before configured recovery target was reached") ||
                         contains(log, "requested recovery stop point is before consistent recovery point")
                     ? TIDE_CORRUPT
                     : TIDE_IO;
    char hint[300];
    (void)snprintf(hint, sizeof hint, "the server's log is %.200s/" PG_RECOVERY_LOG, r->dir);
    return pg_fail_hint(r->host, err, status, hint, "the server ended during recovery: %s", reasons);
}

/* A hot standby pauses for good where a setting is lower than the log demands. */
static bool raise_settings(struct recovery *rec)
{
    PG_AUTO(pg_freep) char *log = pg_log_tail(&rec->r, PG_RECOVERY_LOG, rec->server.log_from);
    bool raised = false;

    for (size_t i = 0; i < PG_N_INSISTED; i++) {
        int64_t value = pg_log_demanded(log, pg_settings_insisted[i]);
        if (value > rec->r.raised[i]) {
            rec->r.raised[i] = value;
            raised = true;
        }
    }
    return raised;
}

/* ------------------------------------------------------------------- replay */

static void tell_progress(struct recovery *rec, const PGresult *res)
{
    uint64_t lsn = 0;
    const char *at = pg_value(res, 0, 2, NULL);

    if (pg_monotonic_ms() - rec->progress_ms < PROGRESS_MS)
        return;
    rec->progress_ms = pg_monotonic_ms();
    (void)pg_lsn_parse(pg_value(res, 0, 1, ""), &lsn);
    rec->r.host->progress(rec->r.host->ctx,
                          &(struct tide_progress){.struct_size = sizeof(struct tide_progress),
                                                  .phase = "replay",
                                                  .position = pg_pos(lsn),
                                                  .time_us = at != NULL ? strtoll(at, NULL, 10) : TIDE_TIME_NONE});
}

enum replay_state { REPLAYING, REPLAY_PAUSED, REPLAY_OVER };

static int ask_state(struct recovery *rec, enum replay_state *state, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;

    *state = REPLAYING;
    if (rec->server.conn == NULL)
        pg_private_connect(&rec->r, &rec->server);
    if (rec->server.conn == NULL)
        return TIDE_OK;
    int s = run_sql(rec,
                    "SELECT pg_is_in_recovery(), pg_last_wal_replay_lsn(),"
                    " (extract(epoch FROM pg_last_xact_replay_timestamp()) * 1000000)::bigint,"
                    " CASE WHEN pg_is_in_recovery() THEN pg_get_wal_replay_pause_state() END",
                    &res, err);
    if (s == TIDE_CANCELLED)
        return s;
    if (s != TIDE_OK) { /* the server restarts or ends; the next round sees which */
        PQfinish(rec->server.conn);
        rec->server.conn = NULL;
        return TIDE_OK;
    }
    if (strcmp(pg_value(res, 0, 0, "t"), "f") == 0)
        *state = REPLAY_OVER;
    else if (strcmp(pg_value(res, 0, 3, ""), "paused") == 0)
        *state = REPLAY_PAUSED;
    if (*state == REPLAYING)
        tell_progress(rec, res);
    return TIDE_OK;
}

static int wait_for_end(struct recovery *rec, enum replay_state *state, struct tide_err *err)
{
    for (;;) {
        unsigned ready;
        if (pg_private_ended(&rec->server))
            return server_ended(rec, err);
        int s = ask_state(rec, state, err);
        if (s != TIDE_OK || *state != REPLAYING)
            return s;
        s = pg_wait(rec->r.host, &(struct pg_wait){.fd = -1, .extra_fd = -1, .timeout_ms = POLL_MS}, &ready, err);
        if (s != TIDE_OK)
            return s;
    }
}

static int replay(struct recovery *rec, struct tide_err *err)
{
    struct pg_restore *r = &rec->r;

    for (int attempt = 0; attempt < MAX_RAISES; attempt++) {
        enum replay_state state = REPLAYING;
        int s = pg_private_start(r, &rec->server, err);
        if (s == TIDE_OK)
            s = wait_for_end(rec, &state, err);
        if (s != TIDE_OK || state == REPLAY_OVER)
            return s;
        /* Replay goes on from its last restart point. */
        pg_private_kill(&rec->server);
        if (!raise_settings(rec))
            break;
        pg_log(r->host, TIDE_LOG_INFO, "postgresql.recover.raised",
               "the log demands higher settings; starting again");
        s = pg_config_write_all(r, err);
        if (s != TIDE_OK)
            return s;
    }
    return tide_plugin_fail(r->host, err, TIDE_IO, 0, "recovery paused by itself; see \"%s/" PG_RECOVERY_LOG "\"",
                            r->dir);
}

/* -------------------------------------------------------------------- proof */

static int prove(struct recovery *rec, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = run_sql(rec, "SELECT substring(pg_walfile_name(pg_current_wal_lsn()) FOR 8)", &res, err);

    if (s != TIDE_OK)
        return s;
    rec->timeline = (uint32_t)strtoul(pg_value(res, 0, 0, "0"), NULL, 16);
    s = pg_proof_check(&rec->r, rec->timeline, &rec->result->reached, err);
    rec->result->branch = rec->timeline;
    uint64_t reserved = rec->r.params->new_branch;
    if (s == TIDE_OK && reserved != 0 && reserved != rec->timeline)
        pg_log(rec->r.host, TIDE_LOG_WARN, "postgresql.recover.timeline",
               "the server took timeline %" PRIu32 ", reserved was %" PRIu64, rec->timeline, reserved);
    return s;
}

static int list_prepared(struct recovery *rec, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    char *out = rec->result->prepared;
    size_t size = sizeof rec->result->prepared, used = 0;
    int s = run_sql(rec,
                    "SELECT format('%s database=%s owner=%s prepared=%s', quote_literal(gid), quote_ident(database),"
                    " quote_ident(owner), to_char(prepared AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'))"
                    " FROM pg_prepared_xacts ORDER BY prepared, gid",
                    &res, err);

    for (int i = 0; s == TIDE_OK && i < PQntuples(res); i++) {
        int n = snprintf(out + used, size - used, "%s%s", i > 0 ? "\n" : "", pg_value(res, i, 0, ""));
        if (n < 0 || (size_t)n >= size - used) {
            out[used] = '\0';
            pg_log(rec->r.host, TIDE_LOG_WARN, "postgresql.recover.prepared",
                   "there are %d prepared transactions; not all are in the result", PQntuples(res));
            break;
        }
        used += (size_t)n;
    }
    return s;
}

/* psql where it is there, for its \connect; the statements otherwise. */
static int run_init_file(struct recovery *rec, struct tide_err *err)
{
    struct pg_restore *r = &rec->r;
    const char *file = r->params->init_file;
    PG_AUTO(pg_freep) char *psql = pg_path_join(r->bin_dir, "psql");
    PG_AUTO(pg_freep) char *sql = NULL;
    PG_AUTO(pg_text_clearp) struct pg_text output = {0};
    char port[12];
    size_t len;
    int code;

    if (file == NULL || *file == '\0')
        return TIDE_OK;
    /* Read as who we are: the server's user may not be able to. */
    int s = pg_file_read(r->host, file, 64 * 1024 * 1024, &sql, &len, err);
    if (s != TIDE_OK || psql == NULL)
        return s != TIDE_OK ? s : tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (access(psql, X_OK) != 0) {
        PG_AUTO(pg_result_clearp) PGresult *res = NULL;
        return pg_query_run(r->host, rec->server.conn, &(struct pg_query){.sql = sql, .timeout_ms = INIT_TIMEOUT_MS},
                            &res, err);
    }
    PG_AUTO(pg_freep) char *copy = NULL;
    s = pg_restore_path(r, "tidemark_run.sql", &copy, err);
    if (s == TIDE_OK)
        s = pg_file_replace(r->host, copy, sql, len, 0600, pg_restore_owner(r), err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(port, sizeof port, "%u", r->port);
    const char *const argv[] = {psql,
                                "-X",
                                "-q",
                                "-v",
                                "ON_ERROR_STOP=1",
                                "-h",
                                r->private_socket,
                                "-p",
                                port,
                                "-U",
                                PQuser(rec->server.conn),
                                "-d",
                                PQdb(rec->server.conn),
                                "-f",
                                copy,
                                NULL};
    s = pg_process_run(r->host,
                       &(struct pg_process){.argv = argv, .user = &r->user, .directory = r->dir, .output_fd = -1},
                       INIT_TIMEOUT_MS, &output, &code, err);
    int removed = pg_file_remove(r->host, copy, err);
    if (s != TIDE_OK)
        return s;
    if (code != 0)
        return tide_plugin_fail(r->host, err, TIDE_INVALID, 0, "\"%s\" failed: %.600s", file,
                                output.data != NULL ? output.data : "no reason given");
    return removed;
}

/* -------------------------------------------------------------------- finish */

static int remove_file(struct pg_restore *r, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    int s = pg_restore_path(r, name, &path, err);

    return s != TIDE_OK ? s : pg_file_remove(r->host, path, err);
}

/* Only now does postgresql.conf let anybody start this server. */
static int finish_files(struct pg_restore *r, struct tide_err *err)
{
    static const char *const names[] = {PG_CONF_PRIVATE, PG_HBA_PRIVATE, PG_CONF_RECOVERY, PG_EXPECTED};
    int s = pg_config_write_final(r, false, err);

    for (size_t i = 0; s == TIDE_OK && i < sizeof names / sizeof names[0]; i++)
        s = remove_file(r, names[i], err);
    return s;
}

static void fill_endpoint(const struct pg_restore *r, struct tide_restore_result *result)
{
    const char *host = r->params->listen;
    size_t n;

    if (host == NULL || *host == '\0' || *host == '*' || strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
        host = "127.0.0.1";
    n = strcspn(host, ", ");
    (void)snprintf(result->host, sizeof result->host, "%.*s", (int)n, host);
    (void)snprintf(result->socket_directory, sizeof result->socket_directory, "%s", r->socket_directory);
    result->port = r->port;
    pg_server_commands(r, result);
}

/* The directory is left so that starting it recovers; what drives it then is the server alone. */
static int leave_prepared(struct recovery *rec, struct tide_err *err)
{
    struct pg_restore *r = &rec->r;
    int s = remove_file(r, PG_CONF_PRIVATE, err);

    if (s == TIDE_OK)
        s = remove_file(r, PG_HBA_PRIVATE, err);
    if (s == TIDE_OK)
        s = pg_config_write_final(r, true, err);
    if (s == TIDE_OK)
        fill_endpoint(r, rec->result);
    return s;
}

/*
 * A port that nobody asked for by number may have been taken while the log was
 * replayed, by another restore for one: then the next one.
 */
static int start_finished(struct pg_restore *r, struct tide_err *err)
{
    for (int attempt = 1;; attempt++) {
        bool chosen = r->params->port == 0;
        if (chosen && !pg_port_is_free(r->port, r->params->listen)) {
            r->port = pg_port_choose(r->params);
            int s = r->port != 0
                        ? pg_config_write_restored(r, err)
                        : tide_plugin_fail(r->host, err, TIDE_BUSY, 0, "no port from %u on is free", PG_FIRST_PORT);
            if (s != TIDE_OK)
                return s;
        }
        int s = pg_server_start(r, err);
        if (s == TIDE_OK || s == TIDE_CANCELLED || !chosen || attempt == PORT_ATTEMPTS ||
            pg_port_is_free(r->port, r->params->listen))
            return s;
    }
}

static int recover_and_start(struct recovery *rec, struct tide_err *err)
{
    struct pg_restore *r = &rec->r;
    int s = replay(rec, err);

    if (s == TIDE_OK) {
        s = prove(rec, err);
        if (s == TIDE_OK)
            s = list_prepared(rec, err);
        if (s == TIDE_OK)
            s = run_init_file(rec, err);
    }
    if (s != TIDE_OK)
        return s;
    s = pg_private_stop(r, &rec->server, err);
    if (s == TIDE_OK)
        s = finish_files(r, err);
    if (s == TIDE_OK)
        s = start_finished(r, err);
    if (s == TIDE_OK)
        fill_endpoint(r, rec->result);
    return s;
}

static int open_recovery(struct recovery *rec, const struct tide_host *host, const struct tide_restore_params *params,
                         struct tide_err *err)
{
    struct pg_binaries binaries = {0};
    int s = pg_restore_open(&rec->r, host, params, err);

    if (s == TIDE_OK)
        s = pg_binaries_find(&rec->r, &binaries, err);
    if (s != TIDE_OK)
        return s;
    rec->r.bin_dir = binaries.dir;
    rec->r.port = pg_port_choose(rec->r.params);
    if (rec->r.port == 0)
        return tide_plugin_fail(host, err, TIDE_BUSY, 0, "no port from %u on is free", PG_FIRST_PORT);
    s = pg_leftover_stop(&rec->r, err);
    return s != TIDE_OK ? s : pg_config_write_all(&rec->r, err);
}

int pg_recover(const struct tide_host *host, const struct tide_restore_params *params,
               struct tide_restore_result *result, struct tide_err *err)
{
    struct tide_restore_result full = {.struct_size = result->struct_size};
    PG_AUTO(recovery_clear) struct recovery rec = {.result = &full};
    int s = open_recovery(&rec, host, params, err);

    if (s == TIDE_OK)
        s = rec.r.params->no_start ? leave_prepared(&rec, err) : recover_and_start(&rec, err);
    if (s == TIDE_OK)
        pg_copy_out(result, result->struct_size, &full, sizeof full);
    return s;
}
