#include "plugins/postgresql/check_internal.h"

#include <stdlib.h>
#include <string.h>

static const char settings_sql[] =
    "SELECT n, pg_catalog.current_setting(n, true) FROM (VALUES ('wal_level'), ('max_wal_senders'), "
    "('max_replication_slots'), ('max_slot_wal_keep_size'), ('synchronous_standby_names'), ('synchronous_commit'), "
    "('archive_mode'), ('data_checksums'), ('full_page_writes'), ('fsync')) AS s(n)";

static const char *setting(const PGresult *res, const char *name)
{
    for (int i = 0; i < PQntuples(res); i++)
        if (strcmp(PQgetvalue(res, i, 0), name) == 0)
            return pg_value(res, i, 1, "");
    return "";
}

static bool is(const PGresult *res, const char *name, const char *value)
{
    return strcmp(setting(res, name), value) == 0;
}

static void check_log_settings(const struct check *c, const PGresult *res)
{
    if (is(res, "wal_level", "minimal"))
        check_add(c, CHECK_CRITICAL, "postgresql.wal_level", "ALTER SYSTEM SET wal_level = 'replica'; -- and restart",
                  "wal_level is minimal: the log does not hold what recovery needs");
    else
        check_add(c, CHECK_OK, "postgresql.wal_level", NULL, "wal_level is %s", setting(res, "wal_level"));
    if (strtol(setting(res, "max_wal_senders"), NULL, 10) < 2)
        check_add(c, CHECK_CRITICAL, "postgresql.wal_senders",
                  "ALTER SYSTEM SET max_wal_senders = 10; -- and restart",
                  "max_wal_senders is %s: no room for a stream and a base backup", setting(res, "max_wal_senders"));
    if (strtol(setting(res, "max_replication_slots"), NULL, 10) < 1)
        check_add(c, CHECK_CRITICAL, "postgresql.replication_slots",
                  "ALTER SYSTEM SET max_replication_slots = 10; -- and restart",
                  "max_replication_slots is 0: no slot can be made");
    if (is(res, "max_slot_wal_keep_size", "-1"))
        check_add(
            c, CHECK_WARNING, "postgresql.slot.unlimited",
            "ALTER SYSTEM SET max_slot_wal_keep_size = '50GB'; SELECT pg_reload_conf(); -- what pg_wal can bear",
            "nothing limits the log that a slot holds back (max_slot_wal_keep_size = -1): an outage of the "
            "repository could fill pg_wal");
    if (is(res, "archive_mode", "off"))
        check_add(c, CHECK_OK, "postgresql.archive_mode", NULL, "archive_mode is off: the log is streamed");
    else
        check_add(c, CHECK_OK, "postgresql.archive_mode", NULL,
                  "archive_mode is %s; streaming does not need it and does not touch it",
                  setting(res, "archive_mode"));
}

static void check_safety_settings(const struct check *c, const PGresult *res)
{
    if (is(res, "full_page_writes", "off"))
        check_add(c, CHECK_CRITICAL, "postgresql.full_page_writes",
                  "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf();",
                  "full_page_writes is off: pages torn while a backup reads them could not be mended");
    if (is(res, "fsync", "off"))
        check_add(c, CHECK_WARNING, "postgresql.fsync", "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf();",
                  "fsync is off: a crash of the server's host may corrupt it, and then what we copy");
    if (is(res, "data_checksums", "off"))
        check_add(c, CHECK_WARNING, "postgresql.checksums", "pg_checksums --enable (while the server is stopped)",
                  "data checksums are off: damaged pages cannot be told from good ones while a backup reads them");
    else
        check_add(c, CHECK_OK, "postgresql.checksums", NULL, "data checksums are on");
}

static void check_synchronous(const struct check *c, const PGresult *res)
{
    char name[80];
    unsigned others;

    pg_application_name(c->inst->host, name, sizeof name);
    if (c->standby || !pg_sync_names(setting(res, "synchronous_standby_names"), name, &others))
        return;
    if (is(res, "synchronous_commit", "remote_apply"))
        check_add(c, CHECK_CRITICAL, "postgresql.synchronous.remote_apply",
                  "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf();",
                  "synchronous_commit is remote_apply and \"%s\" is a synchronous candidate: we apply nothing, so a "
                  "commit would be taken for applied on a standby where it is not",
                  name);
    if (others == 0)
        check_add(
            c, CHECK_WARNING, "postgresql.synchronous.only_candidate",
            "ALTER SYSTEM SET synchronous_standby_names = 'ANY 1 (another_standby, ...)'; SELECT "
            "pg_reload_conf();",
            "\"%s\" is the only synchronous candidate: while nobody ships, or the repository cannot be reached, "
            "every commit waits",
            name);
    else
        check_add(c, CHECK_OK, "postgresql.synchronous", NULL, "commits may wait for \"%s\"", name);
}

int check_settings(struct check *c)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = check_query(c, c->conn, settings_sql, &res);

    if (s != TIDE_OK)
        return s;
    check_log_settings(c, res);
    check_safety_settings(c, res);
    check_synchronous(c, res);
    return TIDE_OK;
}
