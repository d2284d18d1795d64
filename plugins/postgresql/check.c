#include "plugins/postgresql/check_internal.h"

#define CHECK_TIMEOUT_MS 30000

void check_add(const struct check *c, uint32_t severity, const char *code, const char *fix, const char *fmt, ...)
{
    char message[900];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    const struct tide_finding f = {
        .struct_size = sizeof f, .severity = severity, .code = code, .message = message, .fix = fix};
    c->out->add(c->out->ctx, &f);
}

int check_query(struct check *c, PGconn *conn, const char *sql, PGresult **res)
{
    return pg_query_run(&c->recorder.host, conn, &(struct pg_query){.sql = sql, .timeout_ms = CHECK_TIMEOUT_MS}, res,
                        NULL);
}

int pg_check(void *p, const struct tide_findings *out, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    struct check c = {.inst = inst, .out = out};
    int (*const parts[])(struct check *) = {check_server, check_settings, check_role};

    pg_recorder_init(&c.recorder, inst->host);
    int s = check_hosts(&c);
    if (s == TIDE_OK && pg_conn_open(&c.recorder.host, &inst->target, PG_CONN_SQL, &conn, NULL) == TIDE_OK) {
        c.conn = conn;
        c.standby = pg_conn_is_standby(conn);
        for (size_t i = 0; s == TIDE_OK && i < sizeof parts / sizeof parts[0]; i++)
            s = parts[i](&c);
    }
    /* What cannot be reached was told as a finding; only the end of the whole check is an error. */
    if (inst->host->cancelled(inst->host->ctx))
        return tide_plugin_fail(inst->host, err, TIDE_CANCELLED, 0, "cancelled");
    if (s != TIDE_OK)
        return pg_fail_hint(inst->host, err, s, c.recorder.hint[0] != '\0' ? c.recorder.hint : NULL, "%s",
                            c.recorder.message);
    return TIDE_OK;
}
