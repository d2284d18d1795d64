#include "plugins/postgresql/pg_log.h"

#include <stdlib.h>
#include <string.h>

void pg_slot_name(const struct tide_host *host, char buf[PG_SLOT_NAME_SIZE])
{
    const char *option = host->option(host->ctx, "slot");

    if (option != NULL && option[0] != '\0')
        (void)snprintf(buf, PG_SLOT_NAME_SIZE, "%s", option);
    else
        pg_application_name(host, buf, PG_SLOT_NAME_SIZE);
}

static int run_named(const struct tide_host *host, PGconn *conn, const char *sql, const char *name, PGresult **res,
                     struct tide_err *err)
{
    const char *params[] = {name};

    return pg_query_run(host, conn, &(struct pg_query){.sql = sql, .params = params, .n_params = 1}, res, err);
}

int pg_slot_read(const struct tide_host *host, PGconn *conn, const char *name, struct pg_slot *slot,
                 struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = run_named(host, conn,
                      "SELECT slot_type = 'physical', active, wal_status, restart_lsn, "
                      "pg_catalog.pg_wal_lsn_diff(CASE WHEN pg_catalog.pg_is_in_recovery() THEN "
                      "pg_catalog.pg_last_wal_replay_lsn() ELSE pg_catalog.pg_current_wal_lsn() END, restart_lsn) "
                      "FROM pg_catalog.pg_replication_slots WHERE slot_name = $1",
                      name, &res, err);

    memset(slot, 0, sizeof *slot);
    if (s != TIDE_OK || PQntuples(res) == 0)
        return s;
    slot->exists = true;
    slot->physical = pg_value(res, 0, 0, "f")[0] == 't';
    slot->active = pg_value(res, 0, 1, "f")[0] == 't';
    slot->lost = strcmp(pg_value(res, 0, 2, ""), "lost") == 0;
    slot->reserved = pg_lsn_parse(pg_value(res, 0, 3, NULL), &slot->restart_lsn);
    long long held = strtoll(pg_value(res, 0, 4, "0"), NULL, 10);
    slot->held_bytes = held > 0 ? (uint64_t)held : 0;
    return TIDE_OK;
}

int pg_slot_create(const struct tide_host *host, PGconn *conn, const char *name, bool reserve, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;

    return run_named(host, conn,
                     reserve ? "SELECT pg_catalog.pg_create_physical_replication_slot($1, true)"
                             : "SELECT pg_catalog.pg_create_physical_replication_slot($1, false)",
                     name, &res, err);
}

int pg_slot_drop(const struct tide_host *host, PGconn *conn, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;

    return run_named(host, conn, "SELECT pg_catalog.pg_drop_replication_slot($1)", name, &res, err);
}

int pg_slot_ensure(const struct tide_host *host, PGconn *conn, const char *name, bool *made, struct tide_err *err)
{
    struct pg_slot slot;
    int s = pg_slot_read(host, conn, name, &slot, err);

    *made = false;
    if (s != TIDE_OK)
        return s;
    if (slot.exists && !slot.physical)
        return pg_fail_hint(host, err, TIDE_INVALID, "give another name with the option \"slot\"",
                            "replication slot \"%s\" exists and is a logical one", name);
    if (slot.exists && !slot.lost)
        return TIDE_OK;
    if (slot.exists) {
        s = pg_slot_drop(host, conn, name, err);
        if (s != TIDE_OK)
            return s;
    }
    s = pg_slot_create(host, conn, name, false, err);
    if (s == TIDE_EXISTS) /* somebody was faster */
        return TIDE_OK;
    *made = s == TIDE_OK;
    return s;
}
