#include "plugins/postgresql/restore_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CONF_MAX (16 * 1024 * 1024)

struct activation {
    const struct tide_host *host;
    const char *dir;
    const struct tide_findings *out;
};

static void add(const struct activation *a, uint32_t severity, const char *code, const char *fix, const char *fmt,
                ...) TIDE_PLUGIN_PRINTF(5, 6);
static void add(const struct activation *a, uint32_t severity, const char *code, const char *fix, const char *fmt,
                ...)
{
    char message[700];
    va_list ap;

    va_start(ap, fmt);
    (void)vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    a->out->add(a->out->ctx, &(struct tide_finding){.struct_size = sizeof(struct tide_finding),
                                                    .severity = severity,
                                                    .code = code,
                                                    .message = message,
                                                    .fix = fix});
}

static int read_file(const struct activation *a, const char *name, char **data, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(a->dir, name);
    size_t len;

    if (path == NULL)
        return tide_plugin_fail(a->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    return pg_file_read(a->host, path, CONF_MAX, data, &len, err);
}

static bool exists(const struct activation *a, const char *name)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(a->dir, name);

    return path != NULL && pg_path_exists(path);
}

static int remove_file(const struct activation *a, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(a->dir, name);

    if (path == NULL)
        return tide_plugin_fail(a->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    return pg_file_remove(a->host, path, err);
}

/* -------------------------------------------------------------------- proof */

/* "branch=1\nend=0/3000148\n" */
static bool parse_expected(const char *text, uint64_t *branch, uint64_t *end)
{
    const char *b = strstr(text, "branch="), *e = strstr(text, "end=");
    char lsn[PG_LSN_TEXT_SIZE];

    if (b == NULL || e == NULL)
        return false;
    *branch = strtoull(b + 7, NULL, 10);
    (void)snprintf(lsn, sizeof lsn, "%.*s", (int)strcspn(e + 4, "\n"), e + 4);
    return pg_lsn_parse(lsn, end);
}

/*
 * A directory that was left for a person to start has been recovered by the
 * server alone.  Its history file tells where that ended; it is compared here,
 * before anybody works with it.
 */
static int prove_prepared(const struct activation *a, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *expected = NULL;
    PG_AUTO(pg_freep) char *history = NULL;
    PG_AUTO(pg_freep) char *control_path = pg_path_join(a->dir, "global/pg_control");
    uint8_t raw[PG_CONTROL_FILE_SIZE];
    struct pg_control control;
    uint64_t branch = 0, end = 0, fork = 0;
    uint32_t parent = 0;
    char name[64];
    size_t len;

    if (!exists(a, PG_EXPECTED))
        return TIDE_OK;
    if (exists(a, "recovery.signal"))
        return pg_fail_hint(a->host, err, TIDE_REFUSED, "start the server once and let it recover",
                            "\"%s\" has not been recovered yet", a->dir);
    int s = read_file(a, PG_EXPECTED, &expected, err);
    if (s == TIDE_OK && control_path == NULL)
        s = tide_plugin_fail(a->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (s == TIDE_OK)
        s = pg_control_read(a->host, control_path, raw, &len, &control, err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(name, sizeof name, "pg_wal/%08" PRIX32 ".history", control.timeline);
    s = read_file(a, name, &history, err);
    if (s != TIDE_OK)
        return s;
    if (!parse_expected(expected, &branch, &end) || !pg_history_last(history, &parent, &fork) || parent != branch ||
        (end != 0 && pg_lsn_without_header(fork) != pg_lsn_without_header(end)))
        return tide_plugin_fail(a->host, err, TIDE_CORRUPT, 0,
                                "recovery of \"%s\" did not end where it was planned; restore it again", a->dir);
    return TIDE_OK;
}

/* ------------------------------------------------------------------- advice */

static bool server_runs(const struct activation *a, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *text = NULL;

    if (!exists(a, "postmaster.pid") || read_file(a, "postmaster.pid", &text, err) != TIDE_OK)
        return false;
    pid_t pid = (pid_t)strtol(text, NULL, 10);
    return pid > 1 && (kill(pid, 0) == 0 || errno == EPERM);
}

/* What the source did to the outside and what its copy will not do by itself, now or later. */
static void name_left_out(const struct activation *a, struct tide_err *err)
{
    static const char *const names[] = {"archive_mode", "archive_command", "synchronous_standby_names", "ssl"};
    PG_AUTO(pg_freep) char *text = NULL;

    if (read_file(a, PG_CONF_RESTORED, &text, err) != TIDE_OK)
        return;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char mark[80];
        (void)snprintf(mark, sizeof mark, "\n# %s = ", names[i]);
        const char *at = strstr(text, mark);
        if (at != NULL && strncmp(at + strlen(mark), "''\n", 3) != 0)
            add(a, 1, "postgresql.activate.setting", NULL, "not taken over from the source: %.*s",
                (int)strcspn(at + 3, "\n"), at + 3);
    }
}

int pg_activate(const struct tide_host *host, const char *data_directory, const struct tide_findings *out,
                struct tide_err *err)
{
    struct activation a = {.host = host, .dir = data_directory, .out = out};
    PG_AUTO(pg_freep) char *conf = NULL;

    if (!exists(&a, PG_CONF_RESTORED))
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "\"%s\" is no instance restored by Tidemark",
                                data_directory);
    int s = read_file(&a, "postgresql.conf", &conf, err);
    if (s != TIDE_OK)
        return s;
    if (strstr(conf, PG_GATE_INCLUDE) != NULL)
        return pg_fail_hint(host, err, TIDE_REFUSED, "run the same restore again",
                            "the restore of \"%s\" is not finished or was not proved", data_directory);
    s = prove_prepared(&a, err);
    if (s != TIDE_OK)
        return s;
    if (!exists(&a, PG_CONF_QUARANTINE)) {
        add(&a, 0, "postgresql.activate.already", NULL, "\"%s\" is not in quarantine", data_directory);
        return TIDE_OK;
    }
    static const char *const removed[] = {PG_CONF_QUARANTINE, PG_HBA_QUARANTINE, PG_CONF_RECOVERY, PG_EXPECTED};
    for (size_t i = 0; s == TIDE_OK && i < sizeof removed / sizeof removed[0]; i++)
        s = remove_file(&a, removed[i], err);
    if (s != TIDE_OK)
        return s;
    bool runs = server_runs(&a, err);
    char restart[4200];
    (void)snprintf(restart, sizeof restart, "as the server's user: pg_ctl -D %s -m fast restart", data_directory);
    add(&a, 0, "postgresql.activate.done", runs ? restart : NULL, "quarantine of \"%s\" is removed%s", data_directory,
        runs ? "; it counts from the next restart on" : "");
    add(&a, 1, "postgresql.activate.subscriptions", "ALTER SUBSCRIPTION ... DISABLE before the restart, where needed",
        "enabled subscriptions of this copy will connect to their publishers, and its job schedulers will run");
    name_left_out(&a, err);
    return TIDE_OK;
}
