#ifndef TIDE_PLUGIN_PG_CHECK_INTERNAL_H
#define TIDE_PLUGIN_PG_CHECK_INTERNAL_H

#include "plugins/postgresql/pg_log.h"
#include "plugins/postgresql/recorder.h"

enum { CHECK_OK = 0, CHECK_WARNING = 1, CHECK_CRITICAL = 2 };

struct check {
    struct pg_instance *inst;
    const struct tide_findings *out;
    struct pg_recorder recorder; /* what is tried goes through it, what fails becomes a finding */
    PGconn *conn;                /* borrowed: the ordinary connection that was made */
    bool standby;
};

/* fix: NULL, or the statement that mends it. */
void check_add(const struct check *c, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
    TIDE_PLUGIN_PRINTF(5, 6);

/* check_settings.c: what the server's settings mean for us */
int check_settings(struct check *c) PG_MUST_CHECK;
/* check_role.c: privileges, and services that forbid what we need */
int check_role(struct check *c) PG_MUST_CHECK;
/* check_hosts.c: every host of the connection: reachable, TLS, its slot */
int check_hosts(struct check *c) PG_MUST_CHECK;
/* check_server.c: replication works, the log's format is known, clock, data directory */
int check_server(struct check *c) PG_MUST_CHECK;

/* Runs a query through the recorder. */
int check_query(struct check *c, PGconn *conn, const char *sql, PGresult **res) PG_MUST_CHECK;

#endif
