#include "plugins/postgresql/check_internal.h"

#include <inttypes.h>
#include <string.h>

#define HELD_BACK_WARNING (UINT64_C(1) << 30)

static void check_tls(struct check *c, const struct pg_endpoint *e, const char *where)
{
    const char *mode = pg_target_sslmode(&c->inst->target, e);

    if (!pg_endpoint_is_local(e) && strcmp(mode, "verify-full") != 0)
        check_add(
            c, CHECK_WARNING, "postgresql.tls", NULL,
            "the certificate of \"%s\" is not fully verified (sslmode=%s): somebody in between could read the log "
            "and the password",
            where, mode);
}

static void check_slot(struct check *c, PGconn *conn, const char *where, const char *name, struct pg_slot *out)
{
    struct pg_slot slot;
    char fix[200];

    (void)snprintf(fix, sizeof fix, "tidemark init %s", c->inst->host->instance(c->inst->host->ctx));
    if (pg_slot_read(&c->recorder.host, conn, name, &slot, NULL) != TIDE_OK)
        check_add(c, CHECK_CRITICAL, "postgresql.slot.unknown", NULL, "the slots on \"%s\" cannot be read: %s", where,
                  c->recorder.message);
    else if (!slot.exists)
        check_add(c, CHECK_CRITICAL, "postgresql.slot.missing", fix,
                  "replication slot \"%s\" is missing on \"%s\": log may be removed there before we have it", name,
                  where);
    else if (!slot.physical)
        check_add(c, CHECK_CRITICAL, "postgresql.slot.logical", NULL,
                  "replication slot \"%s\" on \"%s\" is a logical one; give another name with the option \"slot\"",
                  name, where);
    else if (slot.lost)
        check_add(c, CHECK_CRITICAL, "postgresql.slot.lost", fix,
                  "the server on \"%s\" gave up replication slot \"%s\": log was removed before we had it", where,
                  name);
    else if (slot.held_bytes > HELD_BACK_WARNING)
        check_add(c, CHECK_WARNING, "postgresql.slot.held_back", NULL,
                  "replication slot \"%s\" holds back %" PRIu64 " MiB of log on \"%s\"", name, slot.held_bytes >> 20,
                  where);
    else
        check_add(c, CHECK_OK, "postgresql.slot", NULL, "replication slot \"%s\" is there on \"%s\"", name, where);
    *out = slot;
}

int check_hosts(struct check *c)
{
    const struct pg_target *t = &c->inst->target;
    char name[PG_SLOT_NAME_SIZE], where[300], first_primary[300] = "";
    uint64_t held = 0;
    bool active = false, reserved = false;

    pg_slot_name(c->inst->host, name);
    for (size_t i = 0; i < t->n_endpoints; i++) {
        PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;

        pg_endpoint_text(&t->endpoints[i], where, sizeof where);
        check_tls(c, &t->endpoints[i], where);
        int s = pg_conn_open_endpoint(&c->recorder.host, t, &t->endpoints[i], PG_CONN_SQL, &conn, NULL);
        if (s == TIDE_CANCELLED)
            return s;
        if (s != TIDE_OK) {
            check_add(c, CHECK_CRITICAL, s == TIDE_DENIED ? "postgresql.connection.denied" : "postgresql.connection",
                      c->recorder.hint[0] != '\0' ? c->recorder.hint : NULL, "%s", c->recorder.message);
            c->recorder.hint[0] = '\0';
            continue;
        }
        bool standby = pg_conn_is_standby(conn);
        check_add(c, CHECK_OK, "postgresql.connection", NULL, "\"%s\" answers, a %s", where,
                  standby ? "standby" : "primary");
        if (!standby && first_primary[0] != '\0')
            check_add(c, CHECK_CRITICAL, "postgresql.primaries", NULL,
                      "\"%s\" and \"%s\" both say that they are the primary", first_primary, where);
        else if (!standby)
            (void)snprintf(first_primary, sizeof first_primary, "%s", where);
        struct pg_slot slot = {0};
        check_slot(c, conn, where, name, &slot);
        held = slot.held_bytes > held ? slot.held_bytes : held;
        active = active || slot.active;
        reserved = reserved || slot.reserved;
    }
    /* Of several hosts only one streams; but one of them has to. */
    if (reserved && !active)
        check_add(c, CHECK_WARNING, "postgresql.slot.idle", "tidemark run, or ship",
                  "replication slot \"%s\" holds back %" PRIu64 " MiB of log and nobody streams", name, held >> 20);
    return TIDE_OK;
}
