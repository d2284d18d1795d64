#include "plugins/postgresql/pg.h"

#include <stdlib.h>
#include <string.h>

#define MAX_ENDPOINTS 64u

const char *pg_target_option(const struct pg_target *target, const char *keyword)
{
    for (const PQconninfoOption *o = target->options; o != NULL && o->keyword != NULL; o++)
        if (strcmp(o->keyword, keyword) == 0)
            return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
    return NULL;
}

static size_t list_length(const char *list)
{
    size_t n = 1;

    if (list == NULL)
        return 0;
    for (; *list != '\0'; list++)
        n += *list == ',';
    return n;
}

/* Element i of a comma-separated list as a new string; NULL when it is empty. */
static int list_element(const char *list, size_t i, char **out)
{
    *out = NULL;
    if (list == NULL)
        return TIDE_OK;
    while (i-- > 0)
        list = strchr(list, ',') + 1;
    size_t len = strcspn(list, ",");
    if (len == 0)
        return TIDE_OK;
    *out = strndup(list, len);
    return *out != NULL ? TIDE_OK : TIDE_NO_MEMORY;
}

static int make_endpoints(const struct tide_host *host, struct pg_target *target, struct tide_err *err)
{
    const char *hosts = pg_target_option(target, "host"), *addrs = pg_target_option(target, "hostaddr");
    const char *ports = pg_target_option(target, "port");
    size_t n = addrs != NULL ? list_length(addrs) : hosts != NULL ? list_length(hosts) : 1;
    size_t n_ports = list_length(ports);

    if ((addrs != NULL && hosts != NULL && list_length(hosts) != n) || (n_ports > 1 && n_ports != n))
        return tide_plugin_fail(host, err, TIDE_INVALID, 0,
                                "option \"connection\" lists different numbers of hosts and ports");
    if (n > MAX_ENDPOINTS)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "option \"connection\" lists more than %u hosts",
                                MAX_ENDPOINTS);
    target->endpoints = calloc(n, sizeof *target->endpoints);
    if (target->endpoints == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    target->n_endpoints = n;
    for (size_t i = 0; i < n; i++) {
        struct pg_endpoint *e = &target->endpoints[i];

        if (list_element(hosts, i, &e->host) != TIDE_OK || list_element(addrs, i, &e->hostaddr) != TIDE_OK ||
            list_element(ports, n_ports > 1 ? i : 0, &e->port) != TIDE_OK)
            return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    return TIDE_OK;
}

/*
 * A service is looked up by libpq when a connection is begun and in no other
 * public way; so one is begun, asked, and dropped.
 */
static void resolve_service(struct pg_target *target, const char *conninfo)
{
    PG_AUTO(pg_conn_finishp) PGconn *conn = PQconnectStart(conninfo);
    PQconninfoOption *resolved = conn != NULL ? PQconninfo(conn) : NULL;

    if (resolved == NULL)
        return;
    PQconninfoFree(target->options);
    target->options = resolved;
}

int pg_target_open(const struct tide_host *host, struct pg_target *target, struct tide_err *err)
{
    const char *conninfo = host->option(host->ctx, "connection");
    char *why = NULL;

    memset(target, 0, sizeof *target);
    if (conninfo == NULL)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "option \"connection\" is missing");
    target->options = PQconninfoParse(conninfo, &why);
    if (target->options == NULL) {
        int s = tide_plugin_fail(host, err, TIDE_INVALID, 0, "option \"connection\" is not a libpq string: %.*s",
                                 (int)strcspn(why != NULL ? why : "", "\n"), why != NULL ? why : "");
        PQfreemem(why);
        return s;
    }
    if (pg_target_option(target, "service") != NULL)
        resolve_service(target, conninfo);
    return make_endpoints(host, target, err);
}

void pg_target_clear(struct pg_target *target)
{
    for (size_t i = 0; i < target->n_endpoints; i++) {
        free(target->endpoints[i].host);
        free(target->endpoints[i].hostaddr);
        free(target->endpoints[i].port);
    }
    free(target->endpoints);
    PQconninfoFree(target->options);
    memset(target, 0, sizeof *target);
}

void pg_endpoint_text(const struct pg_endpoint *endpoint, char *buf, size_t size)
{
    const char *host = endpoint->host != NULL ? endpoint->host : endpoint->hostaddr;

    (void)snprintf(buf, size, "%s:%s", host != NULL ? host : "local socket",
                   endpoint->port != NULL ? endpoint->port : "5432");
}

void pg_conn_text(const PGconn *conn, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%s:%s", PQhost(conn), PQport(conn));
}

bool pg_endpoint_is_local(const struct pg_endpoint *endpoint)
{
    return pg_host_is_local(endpoint->hostaddr != NULL ? endpoint->hostaddr : endpoint->host);
}

const char *pg_target_sslmode(const struct pg_target *target, const struct pg_endpoint *endpoint)
{
    return pg_sslmode_for(pg_target_option(target, "sslmode"), pg_target_option(target, "service") != NULL,
                          pg_endpoint_is_local(endpoint));
}

void pg_application_name(const struct tide_host *host, char *buf, size_t size)
{
    pg_name_of_instance(host->instance(host->ctx), buf, size);
}
