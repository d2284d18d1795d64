#include "plugins/postgresql/restore_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOG_TAIL_MAX        65536
#define LEFTOVER_TIMEOUT_MS 60000
#define START_TIMEOUT_S     600

static int open_log(struct pg_restore *r, const char *name, int *fd, off_t *end, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    struct stat st;
    int s = pg_restore_path(r, name, &path, err);

    if (s != TIDE_OK)
        return s;
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (*fd < 0 || fstat(*fd, &st) != 0)
        return tide_plugin_fail(r->host, err, TIDE_IO, errno, "could not open \"%s\"", path);
    *end = st.st_size;
    if (r->user.name != NULL && fchown(*fd, r->user.uid, r->user.gid) != 0)
        return tide_plugin_fail(r->host, err, TIDE_DENIED, errno, "could not give \"%s\" to user \"%s\"", path,
                                r->user.name);
    return TIDE_OK;
}

int pg_private_start(struct pg_restore *r, struct pg_private *server, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *postgres = pg_path_join(r->bin_dir, "postgres");
    PG_AUTO(pg_text_clearp) struct pg_text config = {0};
    PG_AUTO(pg_closep) int log_fd = -1;

    pg_text_addf(&config, "config_file=%s/" PG_CONF_PRIVATE, r->dir);
    if (postgres == NULL || config.failed)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = open_log(r, PG_RECOVERY_LOG, &log_fd, &server->log_from, err);
    if (s != TIDE_OK)
        return s;
    const char *const argv[] = {postgres, "-D", r->dir, "-c", config.data, NULL};
    return pg_process_start(
        r->host,
        &(struct pg_process){
            .argv = argv, .user = &r->user, .directory = r->dir, .output_fd = log_fd, .die_with_us = true},
        &server->pid, err);
}

/* "postgres" unless somebody dropped it. */
static const char *any_database(const struct pg_restore *r)
{
    const json_t *list = json_object_get(r->meta, "databases");

    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_object_get(json_array_get(list, i), "name"));
        if (name != NULL && strcmp(name, "postgres") == 0)
            return name;
    }
    return json_array_size(list) == 0 ? "postgres" : "template1";
}

void pg_private_connect(struct pg_restore *r, struct pg_private *server)
{
    char port[12];
    const char *superuser = pg_meta_text(r, "superuser");
    const char *const keys[] = {"host", "port", "user", "dbname", "connect_timeout", "application_name", NULL};
    const char *const values[] = {
        r->private_socket,  port, superuser != NULL ? superuser : "postgres", any_database(r), "5",
        "tidemark_restore", NULL};

    (void)snprintf(port, sizeof port, "%u", r->port);
    server->conn = PQconnectdbParams(keys, values, 0);
    if (server->conn != NULL && PQstatus(server->conn) != CONNECTION_OK) {
        PQfinish(server->conn);
        server->conn = NULL;
    }
}

static void disconnect(struct pg_private *server)
{
    PQfinish(server->conn);
    server->conn = NULL;
}

bool pg_private_ended(struct pg_private *server)
{
    if (server->pid <= 0)
        return true;
    if (waitpid(server->pid, NULL, WNOHANG) != server->pid)
        return false;
    server->pid = 0;
    return true;
}

void pg_private_kill(struct pg_private *server)
{
    disconnect(server);
    if (server->pid <= 0)
        return;
    (void)kill(server->pid, SIGQUIT);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
    server->pid = 0;
}

int pg_private_stop(struct pg_restore *r, struct pg_private *server, struct tide_err *err)
{
    disconnect(server);
    if (server->pid <= 0)
        return TIDE_OK;
    (void)kill(server->pid, SIGINT);
    while (!pg_private_ended(server)) {
        unsigned ready;
        int s = pg_wait(r->host, &(struct pg_wait){.fd = -1, .extra_fd = -1, .timeout_ms = 50}, &ready, err);
        if (s != TIDE_OK) {
            pg_private_kill(server);
            return s;
        }
    }
    return TIDE_OK;
}

/* --------------------------------------------------------------------- log */

char *pg_log_tail(const struct pg_restore *r, const char *name, off_t from)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(r->dir, name);
    PG_AUTO(pg_closep) int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0)
        return NULL;
    if (st.st_size - from > LOG_TAIL_MAX)
        from = st.st_size - LOG_TAIL_MAX;
    char *text = malloc(LOG_TAIL_MAX + 1);
    if (text == NULL)
        return NULL;
    ssize_t n = pread(fd, text, LOG_TAIL_MAX, from);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

/* --------------------------------------------------------------- leftovers */

static bool is_postgres_in(pid_t pid, const char *dir)
{
    char link[64], target[4096];
    struct stat a, b;

    (void)snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t n = readlink(link, target, sizeof target - 1);
    if (n <= 0)
        return false;
    target[n] = '\0';
    const char *base = strrchr(target, '/');
    (void)snprintf(link, sizeof link, "/proc/%d/cwd", (int)pid);
    return base != NULL && strncmp(base, "/postgres", 9) == 0 && stat(link, &a) == 0 && stat(dir, &b) == 0 &&
           a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static bool gate_is_there(const struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(r->dir, "postgresql.conf");
    PG_AUTO(pg_freep) char *data = NULL;
    size_t len;

    return path != NULL && pg_path_exists(path) &&
           pg_file_read(r->host, path, 16 * 1024 * 1024, &data, &len, err) == TIDE_OK &&
           strstr(data, PG_GATE_INCLUDE) != NULL;
}

int pg_leftover_stop(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_freep) char *data = NULL;
    size_t len;
    int s = pg_restore_path(r, "postmaster.pid", &path, err);

    if (s != TIDE_OK || !pg_path_exists(path))
        return s;
    s = pg_file_read(r->host, path, 4096, &data, &len, err);
    if (s != TIDE_OK)
        return s;
    pid_t pid = (pid_t)strtol(data, NULL, 10);
    if (pid <= 1 || !is_postgres_in(pid, r->dir))
        return TIDE_OK;
    if (!gate_is_there(r, err))
        return tide_plugin_fail(r->host, err, TIDE_REFUSED, 0, "a server (process %d) is running in \"%s\"", (int)pid,
                                r->dir);
    (void)kill(pid, SIGQUIT);
    for (int64_t end = pg_monotonic_ms() + LEFTOVER_TIMEOUT_MS; is_postgres_in(pid, r->dir);) {
        unsigned ready;
        if (pg_monotonic_ms() > end)
            return tide_plugin_fail(r->host, err, TIDE_BUSY, 0,
                                    "the server of an interrupted restore (process %d) does not end", (int)pid);
        s = pg_wait(r->host, &(struct pg_wait){.fd = -1, .extra_fd = -1, .timeout_ms = 100}, &ready, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

/* ------------------------------------------------------ the finished server */

int pg_server_start(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *pg_ctl = pg_path_join(r->bin_dir, "pg_ctl");
    PG_AUTO(pg_freep) char *log = pg_path_join(r->dir, PG_SERVER_LOG);
    PG_AUTO(pg_text_clearp) struct pg_text output = {0};
    char timeout[12], reasons[600];
    PG_AUTO(pg_closep) int fd = -1;
    off_t from;
    int code;

    (void)snprintf(timeout, sizeof timeout, "%d", START_TIMEOUT_S);
    if (pg_ctl == NULL || log == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = open_log(r, PG_SERVER_LOG, &fd, &from, err);
    if (s != TIDE_OK)
        return s;
    const char *const argv[] = {pg_ctl, "-D", r->dir, "-l", log, "-w", "-t", timeout, "start", NULL};
    s = pg_process_run(r->host,
                       &(struct pg_process){.argv = argv, .user = &r->user, .directory = r->dir, .output_fd = -1},
                       (START_TIMEOUT_S + 30) * 1000, &output, &code, err);
    if (s != TIDE_OK || code == 0)
        return s;
    PG_AUTO(pg_freep) char *tail = pg_log_tail(r, PG_SERVER_LOG, from);
    pg_log_failures(tail, reasons, sizeof reasons);
    return tide_plugin_fail(r->host, err, TIDE_IO, 0, "the restored server did not start: %s (see \"%s\")",
                            reasons[0] != '\0' ? reasons : "no reason in its log", log);
}

static void add_user_change(const struct pg_restore *r, struct pg_text *t)
{
    if (r->user.name == NULL)
        return;
    pg_text_puts(t, "runuser -u ");
    pg_text_add_shell_word(t, r->user.name);
    pg_text_puts(t, " -- ");
}

void pg_server_commands(const struct pg_restore *r, struct tide_restore_result *result)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    PG_AUTO(pg_freep) char *pg_ctl = pg_path_join(r->bin_dir, "pg_ctl");
    PG_AUTO(pg_freep) char *log = pg_path_join(r->dir, PG_SERVER_LOG);

    if (pg_ctl == NULL || log == NULL)
        return;
    add_user_change(r, &t);
    pg_text_add_shell_word(&t, pg_ctl);
    pg_text_puts(&t, " -D ");
    pg_text_add_shell_word(&t, r->dir);
    PG_AUTO(pg_text_clearp) struct pg_text stop = {0};
    if (t.data != NULL)
        pg_text_puts(&stop, t.data);
    pg_text_puts(&stop, " -m fast stop");
    pg_text_puts(&t, " -l ");
    pg_text_add_shell_word(&t, log);
    /* A server that recovers by itself may take its time. */
    pg_text_puts(&t, r->params->no_start ? " -w -t 86400 start" : " -w start");
    if (t.failed || stop.failed)
        return;
    (void)snprintf(result->start_command, sizeof result->start_command, "%s", t.data);
    (void)snprintf(result->stop_command, sizeof result->stop_command, "%s", stop.data);
}
