#include "plugins/postgresql/check_internal.h"

#include <string.h>

static int remove_slot(struct check *c, PGconn *conn, const char *name, const char *where)
{
    struct pg_slot slot;
    int s = pg_slot_read(&c->recorder.host, conn, name, &slot, NULL);

    if (s == TIDE_OK && slot.exists && !slot.physical)
        return s; /* none of ours */
    if (s == TIDE_OK && slot.exists)
        s = pg_slot_drop(&c->recorder.host, conn, name, NULL);
    if (s == TIDE_OK)
        check_add(c, CHECK_OK, "postgresql.slot.removed", NULL, "replication slot \"%s\" is gone from \"%s\"", name,
                  where);
    return s;
}

static int make_slot(struct check *c, PGconn *conn, const char *name, const char *where)
{
    bool made;
    int s = pg_slot_ensure(&c->recorder.host, conn, name, &made, NULL);

    if (s == TIDE_OK && made)
        check_add(c, CHECK_OK, "postgresql.slot.made", NULL,
                  "replication slot \"%s\" was made on \"%s\"; it holds nothing back until a shipper streams", name,
                  where);
    else if (s == TIDE_OK)
        check_add(c, CHECK_OK, "postgresql.slot", NULL, "replication slot \"%s\" is there on \"%s\"", name, where);
    return s;
}

/* A host that is down now must not keep the others from being prepared. */
static int setup_host(struct check *c, const struct pg_endpoint *endpoint, bool remove)
{
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    char name[PG_SLOT_NAME_SIZE], where[300];
    int s = pg_conn_open_endpoint(&c->recorder.host, &c->inst->target, endpoint, PG_CONN_SQL, &conn, NULL);

    pg_slot_name(c->inst->host, name);
    pg_endpoint_text(endpoint, where, sizeof where);
    if (s == TIDE_OK)
        s = remove ? remove_slot(c, conn, name, where) : make_slot(c, conn, name, where);
    if (s != TIDE_OK && s != TIDE_CANCELLED)
        check_add(c, CHECK_CRITICAL, remove ? "postgresql.slot.not_removed" : "postgresql.slot.not_made",
                  c->recorder.hint[0] != '\0' ? c->recorder.hint : NULL, "replication slot \"%s\" on \"%s\": %s",
                  name, where, c->recorder.message);
    c->recorder.hint[0] = '\0';
    return s;
}

int pg_setup(void *p, const struct tide_setup_params *params, const struct tide_findings *out, struct tide_err *err)
{
    struct pg_instance *inst = p;
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    struct check c = {.inst = inst, .out = out};
    const struct pg_target *t = &inst->target;
    size_t done = 0;
    int s = TIDE_OK, last = TIDE_OK;

    pg_recorder_init(&c.recorder, inst->host);
    for (size_t i = 0; i < t->n_endpoints && s != TIDE_CANCELLED; i++) {
        s = setup_host(&c, &t->endpoints[i], params->remove != 0);
        done += s == TIDE_OK;
        last = s != TIDE_OK ? s : last;
    }
    if (done == 0 || s == TIDE_CANCELLED)
        return tide_plugin_fail(inst->host, err, last, 0, "%s", c.recorder.message);
    if (params->remove != 0 || pg_conn_open(&c.recorder.host, t, PG_CONN_SQL, &conn, NULL) != TIDE_OK)
        return TIDE_OK;
    /* The grants that are still to be given; we may lack the right to give them. */
    c.conn = conn;
    s = check_role(&c);
    return s == TIDE_OK ? s : tide_plugin_fail(inst->host, err, s, 0, "%s", c.recorder.message);
}
