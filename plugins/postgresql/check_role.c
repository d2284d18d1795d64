#include "plugins/postgresql/check_internal.h"

#include <string.h>

static bool yes(const PGresult *res, int row, int column)
{
    return pg_value(res, row, column, "f")[0] == 't';
}

/* What stands between a role and the functions of a base backup; their names changed with 15. */
static int check_functions(struct check *c, const char *user)
{
    static const char *const before_15[] = {"pg_start_backup(text,boolean,boolean)",
                                            "pg_stop_backup(boolean,boolean)"};
    static const char *const since_15[] = {"pg_backup_start(text,boolean)", "pg_backup_stop(boolean)"};
    const char *method = c->inst->host->option(c->inst->host->ctx, "backup_method");
    const char *const *names = pg_major(c->conn) < 15 ? before_15 : since_15;

    for (size_t i = 0; i < 2 && (method == NULL || strcmp(method, "stream") != 0); i++) {
        PG_AUTO(pg_result_clearp) PGresult *res = NULL;
        char sql[200], fix[300];

        (void)snprintf(sql, sizeof sql, "SELECT pg_catalog.has_function_privilege('pg_catalog.%s', 'EXECUTE')",
                       names[i]);
        int s = check_query(c, c->conn, sql, &res);
        if (s != TIDE_OK)
            return s;
        (void)snprintf(fix, sizeof fix, "GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %s; -- in database %s", names[i],
                       user, PQdb(c->conn));
        if (!yes(res, 0, 0))
            check_add(c, CHECK_CRITICAL, "postgresql.role.backup", fix,
                      "the role may not call %s, so it cannot take a base backup from files", names[i]);
    }
    return TIDE_OK;
}

static const char *managed_service(const char *role)
{
    static const struct {
        const char *role, *service;
    } services[] = {
        {"rds_superuser", "Amazon RDS or Aurora"},
        {"cloudsqlsuperuser", "Google Cloud SQL"},
        {"alloydbsuperuser", "Google AlloyDB"},
        {"azure_pg_admin", "Azure Database for PostgreSQL"},
    };

    for (size_t i = 0; i < sizeof services / sizeof services[0]; i++)
        if (strcmp(services[i].role, role) == 0)
            return services[i].service;
    return NULL;
}

static int check_managed(struct check *c)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = check_query(c, c->conn,
                        "SELECT rolname FROM pg_catalog.pg_roles WHERE rolname IN ('rds_superuser', "
                        "'cloudsqlsuperuser', 'alloydbsuperuser', 'azure_pg_admin') LIMIT 1",
                        &res);

    if (s != TIDE_OK)
        return s;
    const char *service = managed_service(pg_value(res, 0, 0, ""));
    if (service != NULL)
        check_add(c, CHECK_CRITICAL, "postgresql.managed", NULL,
                  "this looks like %s: such a service lets nobody read the data files nor stream the log physically; "
                  "only its own backups can restore it to a second",
                  service);
    return TIDE_OK;
}

int check_role(struct check *c)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int s = check_query(c, c->conn,
                        "SELECT pg_catalog.quote_ident(current_user), rolsuper, rolreplication, "
                        "pg_catalog.pg_has_role('pg_monitor', 'USAGE'), "
                        "pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE') "
                        "FROM pg_catalog.pg_roles WHERE rolname = current_user",
                        &res);
    char fix[300];

    if (s != TIDE_OK)
        return s;
    const char *user = pg_value(res, 0, 0, "tidemark");
    bool super = yes(res, 0, 1);
    if (!super && !yes(res, 0, 2)) {
        (void)snprintf(fix, sizeof fix, "ALTER ROLE %s REPLICATION;", user);
        check_add(c, CHECK_CRITICAL, "postgresql.role.replication", fix, "role %s lacks REPLICATION", user);
    }
    if (!super && !(yes(res, 0, 3) && yes(res, 0, 4))) {
        (void)snprintf(fix, sizeof fix, "GRANT pg_monitor TO %s;", user);
        check_add(c, CHECK_CRITICAL, "postgresql.role.monitor", fix,
                  "role %s is not in pg_monitor: it cannot see where the data directory is, nor which log is left",
                  user);
    }
    s = check_functions(c, user);
    return s == TIDE_OK ? check_managed(c) : s;
}
