#include "plugins/postgresql/restore_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PORTS_TRIED 200u

/* -------------------------------------------------------------------- user */

static int set_user(struct pg_restore *r, const struct passwd *pw, struct tide_err *err)
{
    struct pg_os_user *u = &r->user;

    u->name = strdup(pw->pw_name);
    if (u->name == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    u->uid = pw->pw_uid;
    u->gid = pw->pw_gid;
    /* Looked up now: between fork and exec it would not be safe. */
    u->n_groups = (int)(sizeof u->groups / sizeof u->groups[0]);
    if (getgrouplist(pw->pw_name, pw->pw_gid, u->groups, &u->n_groups) < 0) {
        u->groups[0] = pw->pw_gid;
        u->n_groups = 1;
    }
    return TIDE_OK;
}

/* The user asked for, else the owner of the source's data directory, else the engine's usual one. */
static int resolve_user(struct pg_restore *r, struct tide_err *err)
{
    const char *owner = json_string_value(json_object_get(json_object_get(r->meta, "owner"), "user"));
    const char *const candidates[] = {r->params->os_user, owner, "postgres"};
    bool given = r->params->os_user != NULL && r->params->os_user[0] != '\0';
    char buf[4096];
    struct passwd pw, *found = NULL;

    if (geteuid() != 0 && !given)
        return TIDE_OK;
    for (size_t i = given ? 0 : 1; i < 3; i++) {
        if (candidates[i] != NULL && candidates[i][0] != '\0')
            (void)getpwnam_r(candidates[i], &pw, buf, sizeof buf, &found);
        if (given || (found != NULL && found->pw_uid != 0))
            break;
        found = NULL;
    }
    if (found == NULL)
        return pg_fail_hint(r->host, err, TIDE_INVALID, "set os_user",
                            "there is no user \"%s\" on this host to run PostgreSQL as",
                            given ? r->params->os_user : "postgres");
    if (found->pw_uid == 0)
        return tide_plugin_fail(r->host, err, TIDE_INVALID, 0, "PostgreSQL does not run as \"%s\"", found->pw_name);
    if (found->pw_uid == geteuid())
        return TIDE_OK;
    if (geteuid() != 0)
        return tide_plugin_fail(r->host, err, TIDE_DENIED, 0, "only root can run the server as user \"%s\"",
                                found->pw_name);
    return set_user(r, found, err);
}

struct pg_owner pg_restore_owner(const struct pg_restore *r)
{
    return r->user.name == NULL ? PG_OWNER_SELF : (struct pg_owner){.uid = r->user.uid, .gid = r->user.gid};
}

/* ----------------------------------------------------------------- context */

const char *pg_meta_text(const struct pg_restore *r, const char *key)
{
    return json_string_value(json_object_get(r->meta, key));
}

int64_t pg_meta_number(const struct pg_restore *r, const char *key, int64_t def)
{
    const json_t *v = json_object_get(r->meta, key);

    if (json_is_integer(v))
        return json_integer_value(v);
    return json_is_string(v) ? strtoll(json_string_value(v), NULL, 10) : def;
}

int pg_restore_open(struct pg_restore *r, const struct tide_host *host, const struct tide_restore_params *params,
                    struct tide_err *err)
{
    json_error_t e;

    *r = (struct pg_restore){.host = host, .dir = params->data_directory, .err = err};
    pg_copy_out(&r->own_params, params->struct_size, params, sizeof r->own_params);
    params = r->params = &r->own_params;
    if (r->dir == NULL || r->dir[0] != '/')
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "the directory to restore into must be an absolute path");
    r->meta = json_loads(params->metadata != NULL ? params->metadata : "{}", 0, &e);
    if (!json_is_object(r->meta))
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "the backup's metadata cannot be read: %s", e.text);
    r->major = (int)pg_meta_number(r, "major", 0);
    if (r->major == 0 && params->server_version != NULL)
        r->major = (int)strtol(params->server_version, NULL, 10);
    if (r->major < PG_VERSION_MIN || r->major > PG_VERSION_MAX)
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0, "PostgreSQL major %d is none of %d to %d", r->major,
                                PG_VERSION_MIN, PG_VERSION_MAX);
    r->port = params->port;
    return resolve_user(r, err);
}

void pg_restore_clear(struct pg_restore *r)
{
    json_decref(r->meta);
    free(r->user.name);
    free(r->bin_dir);
    free(r->socket_directory);
    free(r->private_socket);
    *r = (struct pg_restore){0};
}

int pg_restore_path(const struct pg_restore *r, const char *name, char **path, struct tide_err *err)
{
    *path = pg_path_join(r->dir, name);
    return *path != NULL ? TIDE_OK : tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
}

int pg_restore_make_dir(const struct pg_restore *r, const char *path, struct tide_err *err)
{
    struct stat st;
    uid_t owner = r->user.name != NULL ? r->user.uid : geteuid();

    if (mkdir(path, 0700) == 0) {
        if (r->user.name != NULL && chown(path, r->user.uid, r->user.gid) != 0)
            return tide_plugin_fail(r->host, err, TIDE_DENIED, errno, "could not give \"%s\" to user \"%s\"", path,
                                    r->user.name);
        return TIDE_OK;
    }
    if (errno != EEXIST)
        return tide_plugin_fail(r->host, err, pg_status_of_errno(errno), errno, "could not create directory \"%s\"",
                                path);
    if (lstat(path, &st) != 0 || !S_ISDIR(st.st_mode) || st.st_uid != owner)
        return tide_plugin_fail(r->host, err, TIDE_DENIED, 0, "\"%s\" is not a directory of the server's user", path);
    return TIDE_OK;
}

/* ----------------------------------------------------------------- sockets */

static bool fits_socket(const char *dir)
{
    struct sockaddr_un un;

    return strlen(dir) + sizeof "/.s.PGSQL.65535" <= sizeof un.sun_path;
}

/* In the data directory, unless its path is too long for a socket's address. */
static char *own_socket_directory(const struct pg_restore *r)
{
    char *path = pg_path_join(r->dir, PG_SOCKET_DIR);

    if (path == NULL || fits_socket(path))
        return path;
    free(path);
    uint64_t h = 14695981039346656037u;
    for (const char *p = r->dir; *p != '\0'; p++)
        h = (h ^ (uint8_t)*p) * 1099511628211u;
    struct pg_text t = {0};
    pg_text_addf(&t, "/tmp/tidemark-%016llx", (unsigned long long)h);
    return t.data;
}

int pg_restore_choose_sockets(struct pg_restore *r, struct tide_err *err)
{
    const char *given = r->params->socket_directory;

    free(r->private_socket);
    free(r->socket_directory);
    r->private_socket = own_socket_directory(r);
    r->socket_directory = given != NULL && *given != '\0' ? strdup(given) : own_socket_directory(r);
    if (r->private_socket == NULL || r->socket_directory == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (!fits_socket(r->socket_directory))
        return tide_plugin_fail(r->host, err, TIDE_INVALID, 0, "\"%s\" is too long for a directory of sockets",
                                r->socket_directory);
    return TIDE_OK;
}

int pg_restore_make_sockets(struct pg_restore *r, struct tide_err *err)
{
    int s = pg_restore_choose_sockets(r, err);

    if (s == TIDE_OK)
        s = pg_restore_make_dir(r, r->private_socket, err);
    if (s == TIDE_OK && !pg_path_exists(r->socket_directory))
        s = pg_restore_make_dir(r, r->socket_directory, err);
    return s;
}

/* ------------------------------------------------------------------- ports */

static bool can_bind(const struct sockaddr *sa, socklen_t len, int family)
{
    int one = 1;
    PG_AUTO(pg_closep) int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return true; /* no such family here: nobody listens in it */
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    if (bind(fd, sa, len) != 0)
        return errno != EADDRINUSE;
    return true;
}

bool pg_port_is_free(uint32_t port, const char *listen_on)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};

    /* Another address is checked with the wildcard: a little strict, never wrong. */
    if (listen_on == NULL || strcmp(listen_on, "127.0.0.1") == 0)
        v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    else
        v4.sin_addr.s_addr = htonl(INADDR_ANY);
    v6.sin6_addr = listen_on == NULL || strcmp(listen_on, "127.0.0.1") == 0 ? in6addr_loopback : in6addr_any;
    return can_bind((const struct sockaddr *)&v4, sizeof v4, AF_INET) &&
           can_bind((const struct sockaddr *)&v6, sizeof v6, AF_INET6);
}

uint32_t pg_port_choose(const struct tide_restore_params *params)
{
    if (params->port != 0)
        return params->port;
    for (uint32_t port = PG_FIRST_PORT; port < PG_FIRST_PORT + PORTS_TRIED; port++)
        if (pg_port_is_free(port, params->listen))
            return port;
    return 0;
}
