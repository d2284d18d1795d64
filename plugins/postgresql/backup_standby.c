#include "plugins/postgresql/backup_internal.h"

#include <stdlib.h>
#include <string.h>

#define LAG_LOOKS    10
#define LAG_PAUSE_MS 200

/*
 * Seconds that the standby is behind: none when it streams and has replayed all that it received.  Otherwise since
 * the newest commit that it replayed, or, without one, since the checkpoint that it began from.  After an idle hour
 * the former is an hour for the moment in which the first commit arrives; hence the second looks.
 */
static int read_lag(const struct tide_host *host, PGconn *conn, uint64_t *lag_s, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = pg_query(
        host, conn,
        "SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_stat_get_wal_receiver() r WHERE r.status = 'streaming'"
        "  AND pg_catalog.pg_last_wal_replay_lsn() >= greatest(r.flushed_lsn, r.latest_end_lsn)) THEN 0"
        " ELSE greatest(0, extract(epoch FROM pg_catalog.clock_timestamp() - greatest("
        "  pg_catalog.pg_last_xact_replay_timestamp(), c.checkpoint_time))::bigint) END"
        " FROM pg_catalog.pg_control_checkpoint() c",
        &res, err);

    if (s == TIDE_OK)
        *lag_s = strtoull(pg_value(res, 0, 0, "0"), NULL, 10);
    return s;
}

static int measure_lag(struct pg_backup_run *run, PGconn *conn, uint64_t *lag_s, struct tide_err *err)
{
    for (int look = 1;; look++) {
        unsigned ready;
        int s = read_lag(run->host, conn, lag_s, err);
        if (s != TIDE_OK || run->params->max_lag_s == 0 || *lag_s <= run->params->max_lag_s || look == LAG_LOOKS)
            return s;
        s = pg_wait(run->host, &(struct pg_wait){.fd = -1, .extra_fd = -1, .timeout_ms = LAG_PAUSE_MS}, &ready, err);
        if (s != TIDE_OK)
            return s;
    }
}

/* *fresh: the session is a standby's that may be read from. */
static int judge(struct pg_backup_run *run, PGconn *conn, bool *fresh, uint64_t *lag_s, struct tide_err *err)
{
    *fresh = false;
    if (!pg_conn_is_standby(conn))
        return TIDE_OK;
    int s = measure_lag(run, conn, lag_s, err);
    *fresh = s == TIDE_OK && (run->params->max_lag_s == 0 || *lag_s <= run->params->max_lag_s);
    return s;
}

/* One endpoint; one that does not answer is passed over, as the others may. */
static int try_endpoint(struct pg_backup_run *run, const struct pg_endpoint *endpoint, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    char where[300];
    uint64_t lag_s = 0;
    bool fresh = false;
    int s = pg_conn_open_endpoint(run->host, &run->inst->target, endpoint, PG_CONN_SQL_STANDBY, &conn, err);

    if (s == TIDE_OK)
        s = judge(run, conn, &fresh, &lag_s, err);
    if (s != TIDE_OK)
        return s == TIDE_CANCELLED ? s : TIDE_OK;
    pg_endpoint_text(endpoint, where, sizeof where);
    if (!fresh && pg_conn_is_standby(conn))
        pg_log(run->host, TIDE_LOG_WARN, "postgresql.backup.lag",
               "the standby at \"%s\" is %llu s behind, more than max_lag, and is not read from", where,
               (unsigned long long)lag_s);
    if (!fresh)
        return TIDE_OK;
    run->session = conn;
    conn = NULL;
    return TIDE_OK;
}

int pg_session_open_standby(struct pg_backup_run *run, struct tide_err *err)
{
    const struct pg_target *target = &run->inst->target;
    uint64_t lag_s = 0;
    bool fresh = false;

    for (size_t i = 0; i < target->n_endpoints; i++) {
        int s = try_endpoint(run, &target->endpoints[i], err);
        if (s != TIDE_OK || run->session != NULL)
            return s;
    }
    int s = pg_conn_open(run->host, target, PG_CONN_SQL, &run->session, err);
    if (s == TIDE_OK)
        s = judge(run, run->session, &fresh, &lag_s, err);
    if (s != TIDE_OK || fresh || !pg_conn_is_standby(run->session))
        return s;
    return pg_fail_hint(run->host, err, TIDE_AGAIN,
                        "wait until it has caught up, raise max_lag, or name the primary in \"connection\", too",
                        "the standby is %llu s behind, more than max_lag = %u s, and no primary answers",
                        (unsigned long long)lag_s, run->params->max_lag_s);
}
