#include "plugins/postgresql/pg_log.h"
#include "plugins/postgresql/recorder.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define KEEPER_INTERVAL_S 10

/* A slot on a host that is not streaming. */
struct other {
    const struct pg_endpoint *endpoint; /* borrowed from target */
    PGconn *conn;
    bool failing; /* said once, not every ten seconds */
};

struct pg_keeper {
    struct pg_recorder recorder; /* the thread's host; its cancellation is `stop` */
    struct pg_target target;
    char slot[PG_SLOT_NAME_SIZE];
    struct other *others;
    size_t n_others;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t confirmed; /* under lock */
    bool stop;          /* under lock */
    int stop_fd;        /* readable once stopped */
};

static bool keeper_stopped(void *ctx)
{
    struct pg_keeper *k = ctx;

    (void)pthread_mutex_lock(&k->lock);
    bool stop = k->stop;
    (void)pthread_mutex_unlock(&k->lock);
    return stop;
}

/* ------------------------------------------------------------------- one host */

static int advance(struct pg_keeper *k, struct other *o, uint64_t lsn)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    struct pg_slot slot;
    char text[PG_LSN_TEXT_SIZE];
    bool made;
    int s = TIDE_OK;

    if (o->conn == NULL)
        s = pg_conn_open_endpoint(&k->recorder.host, &k->target, o->endpoint, PG_CONN_SQL, &o->conn, NULL);
    if (s == TIDE_OK)
        s = pg_slot_ensure(&k->recorder.host, o->conn, k->slot, &made, NULL);
    if (s == TIDE_OK)
        s = pg_slot_read(&k->recorder.host, o->conn, k->slot, &slot, NULL);
    if (s == TIDE_OK && !slot.reserved) {
        /* Set-up makes slots that hold nothing; now that we stream, this host must keep what we may come for. */
        s = pg_slot_drop(&k->recorder.host, o->conn, k->slot, NULL);
        if (s == TIDE_OK)
            s = pg_slot_create(&k->recorder.host, o->conn, k->slot, true, NULL);
        if (s == TIDE_OK)
            s = pg_slot_read(&k->recorder.host, o->conn, k->slot, &slot, NULL);
    }
    if (s != TIDE_OK || slot.restart_lsn >= lsn)
        return s;
    pg_lsn_text(lsn, text, sizeof text);
    const char *params[] = {k->slot, text};
    return pg_query_run(
        &k->recorder.host, o->conn,
        &(struct pg_query){.sql = "SELECT pg_catalog.pg_replication_slot_advance($1, $2::pg_catalog.pg_lsn)",
                           .params = params,
                           .n_params = 2,
                           .timeout_ms = 30000},
        &res, NULL);
}

static void visit(struct pg_keeper *k, struct other *o, uint64_t lsn)
{
    char where[300];
    int s = advance(k, o, lsn);

    pg_endpoint_text(o->endpoint, where, sizeof where);
    if (s != TIDE_OK && s != TIDE_CANCELLED && !o->failing) {
        pg_log(k->recorder.real, TIDE_LOG_WARN, "postgresql.slot.not_kept",
               "the slot on \"%s\" cannot be kept: %s; after a failover to it, log may be missing", where,
               k->recorder.message);
    } else if (s == TIDE_OK && o->failing) {
        pg_log(k->recorder.real, TIDE_LOG_INFO, "postgresql.slot.kept", "the slot on \"%s\" is kept again", where);
    }
    o->failing = s != TIDE_OK;
    if (s != TIDE_OK) {
        PQfinish(o->conn);
        o->conn = NULL;
    }
}

/* ----------------------------------------------------------------- the thread */

/* Waits for the interval; false when it is time to end. */
static bool pause_for_interval(struct pg_keeper *k, uint64_t *lsn)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += KEEPER_INTERVAL_S;
    (void)pthread_mutex_lock(&k->lock);
    while (!k->stop && pthread_cond_timedwait(&k->changed, &k->lock, &until) != ETIMEDOUT)
        continue;
    bool go_on = !k->stop;
    *lsn = k->confirmed;
    (void)pthread_mutex_unlock(&k->lock);
    return go_on;
}

static void *keeper_main(void *arg)
{
    struct pg_keeper *k = arg;
    uint64_t lsn = 0;

    do {
        for (size_t i = 0; lsn != 0 && i < k->n_others && !keeper_stopped(k); i++)
            visit(k, &k->others[i], lsn);
    } while (pause_for_interval(k, &lsn));
    return NULL;
}

static bool is_streaming_host(const struct pg_endpoint *e, const PGconn *streaming)
{
    const char *name = e->host != NULL ? e->host : e->hostaddr;

    return name != NULL && strcmp(name, PQhost(streaming)) == 0 &&
           strcmp(e->port != NULL ? e->port : PQport(streaming), PQport(streaming)) == 0;
}

static void keeper_free(struct pg_keeper *k)
{
    for (size_t i = 0; i < k->n_others; i++)
        PQfinish(k->others[i].conn);
    free(k->others);
    pg_target_clear(&k->target);
    if (k->stop_fd >= 0)
        (void)close(k->stop_fd);
    (void)pthread_cond_destroy(&k->changed);
    (void)pthread_mutex_destroy(&k->lock);
    free(k);
}

static int keeper_init(struct pg_keeper *k, struct pg_instance *inst, const PGconn *streaming, struct tide_err *err)
{
    pthread_condattr_t attr;
    int s = pg_target_open(inst->host, &k->target, err);

    (void)pthread_mutex_init(&k->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&k->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    k->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s != TIDE_OK)
        return s;
    k->others = calloc(k->target.n_endpoints, sizeof *k->others);
    if (k->stop_fd < 0 || k->others == NULL)
        return tide_plugin_fail(inst->host, err, TIDE_NO_MEMORY, 0, "out of memory or descriptors");
    for (size_t i = 0; i < k->target.n_endpoints; i++)
        if (!is_streaming_host(&k->target.endpoints[i], streaming))
            k->others[k->n_others++].endpoint = &k->target.endpoints[i];
    pg_slot_name(inst->host, k->slot);
    pg_recorder_init(&k->recorder, inst->host);
    k->recorder.stopped = keeper_stopped;
    k->recorder.stopped_ctx = k;
    k->recorder.stop_fd = k->stop_fd;
    return TIDE_OK;
}

int pg_keeper_start(struct pg_instance *inst, const PGconn *streaming, struct pg_keeper **out, struct tide_err *err)
{
    *out = NULL;
    if (inst->target.n_endpoints < 2)
        return TIDE_OK;
    struct pg_keeper *k = calloc(1, sizeof *k);
    if (k == NULL)
        return tide_plugin_fail(inst->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = keeper_init(k, inst, streaming, err);
    if (s == TIDE_OK) {
        int e = pthread_create(&k->thread, NULL, keeper_main, k);
        if (e != 0)
            s = tide_plugin_fail(inst->host, err, TIDE_IO, e, "could not start a thread");
    }
    if (s != TIDE_OK) {
        keeper_free(k);
        return s;
    }
    *out = k;
    return TIDE_OK;
}

void pg_keeper_confirm(struct pg_keeper *k, uint64_t lsn)
{
    if (k == NULL)
        return;
    (void)pthread_mutex_lock(&k->lock);
    k->confirmed = lsn;
    (void)pthread_mutex_unlock(&k->lock);
}

void pg_keeper_stop(struct pg_keeper *k)
{
    uint64_t one = 1;

    if (k == NULL)
        return;
    (void)pthread_mutex_lock(&k->lock);
    k->stop = true;
    (void)pthread_cond_signal(&k->changed);
    (void)pthread_mutex_unlock(&k->lock);
    ssize_t n = write(k->stop_fd, &one, sizeof one);
    (void)n;
    (void)pthread_join(k->thread, NULL);
    keeper_free(k);
}
