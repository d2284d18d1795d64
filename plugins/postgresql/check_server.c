#include "plugins/postgresql/check_internal.h"
#include "plugins/postgresql/wal_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROBE_TIMEOUT_MS 10000
#define SKEW_WARNING_US  1000000

/* -------------------------------------------------------------- log format */

/* The first message of a stream that holds log; its length, or 0 when none comes. */
static int first_message(struct check *c, PGconn *repl, char **msg)
{
    int64_t deadline = pg_monotonic_ms() + PROBE_TIMEOUT_MS;

    *msg = NULL;
    while (pg_monotonic_ms() < deadline) {
        unsigned ready;
        int n = PQgetCopyData(repl, msg, 1);

        if (n < 0 || (n > 0 && (*msg)[0] == 'w'))
            return n > 0 ? n : 0;
        PQfreemem(*msg);
        *msg = NULL;
        if (n == 0 &&
            (pg_wait(&c->recorder.host,
                     &(struct pg_wait){
                         .fd = PQsocket(repl), .events = POLLIN, .extra_fd = -1, .timeout_ms = PROBE_TIMEOUT_MS},
                     &ready, NULL) != TIDE_OK ||
             !PQconsumeInput(repl)))
            return 0;
    }
    return 0;
}

/* Looks at the first page of the newest segment: a pre-release of a known major may write another format. */
static void check_magic(struct check *c, PGconn *repl, const struct pg_system *system)
{
    PG_AUTO(pg_result_clearp) PGresult *size = NULL;
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    char sql[120], lsn[PG_LSN_TEXT_SIZE];
    char *msg;

    if (check_query(c, c->conn, "SELECT pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))",
                    &size) != TIDE_OK)
        return;
    uint64_t segment = strtoull(pg_value(size, 0, 0, "0"), NULL, 10);
    if (!wal_segment_size_valid(segment) || system->flushed <= segment)
        return;
    pg_lsn_text((system->flushed - 1) / segment * segment, lsn, sizeof lsn);
    (void)snprintf(sql, sizeof sql, "START_REPLICATION PHYSICAL %s TIMELINE %" PRIu32, lsn, system->timeline);
    if (check_query(c, repl, sql, &res) != TIDE_OK)
        return; /* the page is on another timeline, or gone; the shipper will look at it */
    int n = first_message(c, repl, &msg);
    if (n >= 25 + 2) {
        uint16_t magic = wal_u16((const uint8_t *)msg + 25);

        if (magic != 0 && wal_layout_of_magic(magic) == NULL)
            check_add(
                c, CHECK_CRITICAL, "postgresql.wal_format", NULL,
                "the server writes WAL with the page magic 0x%04X, which this version of Tidemark does not know",
                magic);
    }
    PQfreemem(msg);
}

static int check_replication(struct check *c, struct pg_system *system)
{
    PG_AUTO(pg_conn_finishp) PGconn *repl = NULL;
    int s = pg_conn_open_same(&c->recorder.host, &c->inst->target, c->conn, PG_CONN_BASEBACKUP, &repl, NULL);

    memset(system, 0, sizeof *system);
    if (s == TIDE_OK)
        s = pg_identify_system(&c->recorder.host, repl, system, NULL);
    if (s == TIDE_CANCELLED)
        return s;
    if (s != TIDE_OK) {
        check_add(c, CHECK_CRITICAL, "postgresql.replication",
                  "a line in pg_hba.conf: hostssl replication tidemark ADDRESS scram-sha-256",
                  "a replication connection is refused: %s", c->recorder.message);
        return TIDE_OK;
    }
    check_add(c, CHECK_OK, "postgresql.replication", NULL,
              "replication connections work; system %" PRIu64 ", timeline %" PRIu32, system->identifier,
              system->timeline);
    check_magic(c, repl, system);
    return TIDE_OK;
}

/* ------------------------------------------------------------------- clock */

static int64_t now_us(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int check_clock(struct check *c)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    int64_t before = now_us();
    int s =
        check_query(c, c->conn, "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000000)::bigint", &res);
    int64_t after = now_us();

    if (s != TIDE_OK)
        return s;
    int64_t server = strtoll(pg_value(res, 0, 0, "0"), NULL, 10);
    /* The server read its clock somewhere between the two. */
    int64_t skew = server < before ? server - before : server > after ? server - after : 0;
    if (skew > SKEW_WARNING_US || skew < -SKEW_WARNING_US)
        check_add(c, CHECK_WARNING, "postgresql.clock", "synchronise both clocks (chrony, systemd-timesyncd)",
                  "the server's clock is %.1f s %s ours", (double)(skew < 0 ? -skew : skew) / 1e6,
                  skew < 0 ? "behind" : "ahead of");
    return TIDE_OK;
}

/* ---------------------------------------------------------- data directory */

static bool control_identifier(const char *directory, uint64_t *identifier, int *error)
{
    char path[4200];
    uint8_t raw[8];

    (void)snprintf(path, sizeof path, "%s/global/pg_control", directory);
    PG_AUTO(pg_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, raw, sizeof raw) : -1;
    *error = n < 0 ? errno : 0;
    if (n != (ssize_t)sizeof raw)
        return false;
    *identifier = wal_u64(raw);
    return true;
}

static int check_data_directory(struct check *c, uint64_t identifier)
{
    PG_AUTO(pg_result_clearp) PGresult *res = NULL;
    const struct tide_host *host = c->inst->host;
    const char *method = host->option(host->ctx, "backup_method");
    const char *directory = host->option(host->ctx, "data_directory");
    uint64_t found;
    int error;

    if (method != NULL && strcmp(method, "files") != 0)
        return TIDE_OK;
    int s = check_query(c, c->conn,
                        "SELECT CASE WHEN pg_catalog.pg_has_role('pg_read_all_settings', 'USAGE') THEN "
                        "pg_catalog.current_setting('data_directory') END",
                        &res);
    if (s != TIDE_OK)
        return s;
    if (directory == NULL)
        directory = pg_value(res, 0, 0, NULL);
    if (directory == NULL)
        return TIDE_OK; /* check_role() asks for the grant */
    if (!control_identifier(directory, &found, &error))
        check_add(c, CHECK_CRITICAL, "postgresql.data_directory",
                  "run as the server's user or root on its host, or set backup_method = stream",
                  "the data directory \"%s\" cannot be read here: %s", directory,
                  error != 0 ? strerrordesc_np(error) : "no control file");
    else if (identifier != 0 && found != identifier)
        check_add(c, CHECK_CRITICAL, "postgresql.data_directory", "set data_directory, or backup_method = stream",
                  "the data directory \"%s\" belongs to another cluster (system %" PRIu64 ")", directory, found);
    else
        check_add(c, CHECK_OK, "postgresql.data_directory", NULL, "the data directory \"%s\" can be read", directory);
    return TIDE_OK;
}

int check_server(struct check *c)
{
    struct pg_system system;
    int major = pg_major(c->conn);

    if (wal_layout_of_major(major) == NULL)
        check_add(c, CHECK_CRITICAL, "postgresql.version", NULL,
                  "PostgreSQL %d is not supported: the format of its log is known for %d to %d", major,
                  PG_VERSION_MIN, PG_VERSION_MAX);
    else
        check_add(c, CHECK_OK, "postgresql.version", NULL, "PostgreSQL %s",
                  PQparameterStatus(c->conn, "server_version"));
    int s = check_replication(c, &system);
    if (s == TIDE_OK)
        s = check_clock(c);
    return s == TIDE_OK ? check_data_directory(c, system.identifier) : s;
}
