#include "plugins/postgresql/pg_log.h"
#include "plugins/postgresql/wal_format.h"

#include <stdlib.h>
#include <string.h>

#define CLOCK_TIMEOUT_MS 20000

/*
 * The order is the whole point: the clock first, the position after it, in one
 * statement.  A materialized CTE is read before the row that is made of it is
 * computed, and both functions are volatile, so neither is evaluated earlier.
 * Then whatever was acknowledged before the clock was read had its commit
 * record inserted before the position was.
 *
 * It is the insert position and not the flushed one: with synchronous_commit =
 * off a commit is acknowledged before it is flushed.
 */
static const char clock_sql[] =
    "WITH t AS MATERIALIZED (SELECT pg_catalog.clock_timestamp() AS c) "
    "SELECT (extract(epoch FROM t.c) * 1000000)::bigint, "
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE pg_catalog.pg_current_wal_insert_lsn() END, "
    "pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size')), "
    "pg_catalog.current_setting('synchronous_standby_names'), "
    "CASE WHEN pg_catalog.pg_is_in_recovery() THEN NULL ELSE "
    "substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8) END FROM t";

int pg_clock(void *p, struct tide_clock *out, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    struct pg_slot slot;
    char name[PG_SLOT_NAME_SIZE], application[80];
    unsigned others;
    uint32_t size = out->struct_size;
    uint64_t insert;
    int s = pg_connect(inst, err);

    if (s == TIDE_OK)
        s = pg_query_run(inst->host, inst->conn, &(struct pg_query){.sql = clock_sql, .timeout_ms = CLOCK_TIMEOUT_MS},
                         &res, err);
    if (s != TIDE_OK)
        return s;
    struct tide_clock clock = {.struct_size = size};
    clock.clock_us = strtoll(pg_value(res, 0, 0, "0"), NULL, 10);
    clock.standby = !pg_lsn_parse(pg_value(res, 0, 1, NULL), &insert);
    uint64_t segment_size = strtoull(pg_value(res, 0, 2, "0"), NULL, 10);
    if (!clock.standby && wal_segment_size_valid(segment_size))
        clock.end = pg_pos(wal_normalise(insert, (uint32_t)segment_size));
    /* After a failover the clock may reach the new primary while the stream still hangs on the old one. */
    clock.branch = strtoull(pg_value(res, 0, 4, "0"), NULL, 16);
    pg_application_name(inst->host, application, sizeof application);
    clock.synchronous = !clock.standby && pg_sync_names(pg_value(res, 0, 3, ""), application, &others)
                            ? TIDE_WAITING_YES
                            : TIDE_WAITING_NO;
    pg_slot_name(inst->host, name);
    s = pg_slot_read(inst->host, inst->conn, name, &slot, err);
    if (s != TIDE_OK)
        return s;
    clock.held_back_bytes = slot.held_bytes;
    pg_copy_out(out, size, &clock, sizeof clock);
    return TIDE_OK;
}
