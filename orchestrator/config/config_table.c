#include "orchestrator/config/config_internal.h"

#include "orchestrator/base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define REPO  CONFIG_REPOSITORY
#define ALL   (CONFIG_DEFAULTS | CONFIG_POLICY | CONFIG_INSTANCE)
#define SEC   TIDE_SECOND_US
#define HOUR  (3600 * SEC)
#define DAY   (24 * HOUR)
#define MIB   (INT64_C(1) << 20)
#define WHERE TIDE_OPTION_PATH

static const struct config_option options[] = {
    {.key = "url",
     .sections = REPO,
     .type = TIDE_OPTION_STRING,
     .flags = TIDE_OPTION_REQUIRED,
     .help = "where the repository is: file:///srv/backups, a directory"},
    {.key = "encryption_key",
     .sections = REPO,
     .flags = TIDE_OPTION_SECRET | CONFIG_EXACT,
     .help = "the key that opens the repository, byte by byte; without one nothing is encrypted"},
    {.key = "compression",
     .sections = REPO,
     .def = "zstd:3",
     .help = "how new data is compressed: zstd:1 to zstd:19, lz4, or none"},

    {.key = "log_format",
     .sections = CONFIG_DAEMON,
     .type = TIDE_OPTION_ENUM,
     .def = "text",
     .choices = "text|json",
     .help = "how log lines are written to stderr"},
    {.key = "plugin_directory",
     .sections = CONFIG_DAEMON,
     .type = WHERE,
     .help = "where the engines' plugins are; left out: where they were installed"},
    {.key = "state_directory",
     .sections = CONFIG_DAEMON,
     .type = WHERE,
     .help = "sockets and files of running jobs; left out: /run/tidemark for root and for the user whose it is, else "
             "tidemark below XDG_RUNTIME_DIR, else /tmp/tidemark-UID"},

    {.key = "engine", .sections = ALL, .help = "which database it is: the plugin's name, postgresql"},
    {.key = "repository", .sections = ALL, .help = "the repository to use; left out: the only one"},
    {.key = "policy",
     .sections = CONFIG_DEFAULTS | CONFIG_INSTANCE,
     .help = "the [policy] whose values are used where the instance has none"},
    {.key = "connection",
     .sections = CONFIG_INSTANCE,
     .help = "how the server is reached, in the engine's own words; never with a password in it"},
    {.key = "password",
     .sections = CONFIG_INSTANCE,
     .flags = TIDE_OPTION_SECRET,
     .help = "the password of the database user, where one is needed"},
    {.key = "data_directory",
     .sections = CONFIG_INSTANCE,
     .type = WHERE,
     .help = "the server's data directory; left out: asked from the server"},

    {.key = "ship_interval",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "2s",
     .help = "new log is stored at least so often",
     .min = SEC / 10,
     .max = HOUR},
    {.key = "heartbeat_interval",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "10s",
     .help = "an idle server's clock is stored at least so often",
     .min = SEC / 10,
     .max = HOUR},
    {.key = "log_object_size",
     .sections = ALL,
     .type = TIDE_OPTION_SIZE,
     .def = "16MiB",
     .help = "log is stored when so much of it is there, too",
     .min = MIB / 16,
     .max = 1024 * MIB},
    {.key = "clock_tolerance",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "1s",
     .help = "a larger step back of the server's clock makes the time between ambiguous",
     .max = DAY},
    {.key = "confirm",
     .sections = ALL,
     .type = TIDE_OPTION_ENUM,
     .def = "repository",
     .choices = "repository|spool",
     .help = "where log must be durable before the server may forget it"},
    {.key = "spool_directory", .sections = ALL, .type = WHERE, .help = "where log waits with confirm = spool"},
    {.key = "spool_limit",
     .sections = ALL,
     .type = TIDE_OPTION_SIZE,
     .def = "10GiB",
     .help = "how much log may wait in the spool directory",
     .min = MIB},
    {.key = "lease_time",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "30s",
     .help = "a shipper that is silent for so long may be replaced",
     .min = SEC,
     .max = HOUR},
    {.key = "exposure_warning",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "60s",
     .help = "exposure from which the state is warning",
     .min = SEC},
    {.key = "exposure_alert",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "300s",
     .help = "exposure from which the state is alert",
     .min = SEC},
    {.key = "backup_overdue_warning",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "26h",
     .help = "age of the last base backup from which the state is warning",
     .min = SEC},
    {.key = "backup_overdue_alert",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "50h",
     .help = "age of the last base backup from which the state is alert",
     .min = SEC},
    {.key = "clock_skew_warning",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "1s",
     .help = "a larger difference between the server's clock and ours is a warning",
     .min = SEC / 1000},

    {.key = "backup_method",
     .sections = ALL,
     .type = TIDE_OPTION_ENUM,
     .def = "files",
     .choices = "files|stream|snapshot",
     .help = "how base backups are read: files on this host, the server's replication protocol, or a snapshot"},
    {.key = "backup_from",
     .sections = ALL,
     .type = TIDE_OPTION_ENUM,
     .def = "primary",
     .choices = "primary|prefer-standby",
     .help = "which server of the connection base backups are read from"},
    {.key = "max_lag",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "5m",
     .help = "a standby that is further behind is not read from"},
    {.key = "backup_jobs",
     .sections = ALL,
     .type = TIDE_OPTION_INTEGER,
     .help = "threads of a backup; left out: half of the processors, at most 4",
     .min = 1,
     .max = 256},
    {.key = "backup_rate_limit",
     .sections = ALL,
     .type = TIDE_OPTION_SIZE,
     .help = "bytes that a backup reads in a second; left out: unlimited",
     .min = 1},
    {.key = "snapshot_command", .sections = ALL, .help = "takes the snapshot, for backup_method = snapshot"},
    {.key = "mount_command", .sections = ALL, .help = "mounts the snapshot and prints where"},
    {.key = "release_command", .sections = ALL, .help = "unmounts and removes the snapshot"},
    {.key = "snapshot_deadline",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "60s",
     .help = "after so long a snapshot that is not done is released",
     .min = SEC,
     .max = DAY},

    {.key = "restore_jobs",
     .sections = ALL,
     .type = TIDE_OPTION_INTEGER,
     .help = "threads of a restore; left out: all processors",
     .min = 1,
     .max = 256},
    {.key = "bin_dir",
     .sections = ALL,
     .type = WHERE,
     .help = "where the server's programs are; left out: the distribution's places, then PATH"},
    {.key = "os_user",
     .sections = ALL,
     .help = "whom a restored server runs as when root restores; left out: the engine's own user"},
    {.key = "timezone",
     .sections = ALL,
     .help = "the zone of times that are typed without one, such as Europe/Berlin"},

    {.key = "progress_deadline",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "10m",
     .help = "a job that makes no progress for so long is ended",
     .min = SEC,
     .max = 7 * DAY},
    {.key = "expiry_grace",
     .sections = ALL,
     .type = TIDE_OPTION_DURATION,
     .def = "72h",
     .help = "what merging made superfluous is kept for so long",
     .min = HOUR},
};

const struct config_option *config_options(size_t *n)
{
    *n = sizeof options / sizeof *options;
    return options;
}

static bool names_secret(const char *key, const char *secret)
{
    size_t len = strlen(secret);
    return strncmp(key, secret, len) == 0 && (strcmp(key + len, "_file") == 0 || strcmp(key + len, "_command") == 0);
}

const struct config_option *config_option_find(enum config_kind kind, const char *key)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const struct config_option *o = &options[i];
        if ((o->sections & kind) != 0 &&
            (strcmp(o->key, key) == 0 || ((o->flags & TIDE_OPTION_SECRET) != 0 && names_secret(key, o->key))))
            return o;
    }
    return NULL;
}

struct config_option config_option_of(const struct tide_option *o)
{
    return (struct config_option){.key = o->key,
                                  .sections = CONFIG_INSTANCE,
                                  .type = o->type,
                                  .flags = o->flags,
                                  .def = o->def,
                                  .choices = o->choices,
                                  .help = o->help};
}

/* -------------------------------------------------------------------- values */

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *p = choices; p != NULL; p = strchr(p, '|')) {
        p += *p == '|' ? 1 : 0;
        if (strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0'))
            return true;
    }
    return false;
}

static tide_status parse_bool(const char *text, int64_t *v, struct tide_err *err)
{
    static const char *const words[] = {"no", "yes", "off", "on", "false", "true", "0", "1"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(words[i], text) == 0) {
            *v = (int64_t)(i & 1);
            return TIDE_OK;
        }
    }
    return tide_fail(err, TIDE_INVALID, "\"%s\" is neither yes nor no", text);
}

static tide_status parse_integer(const char *text, int64_t *v, struct tide_err *err)
{
    char *end = NULL;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0')
        return tide_fail(err, TIDE_INVALID, "\"%s\" is not a whole number", text);
    *v = n;
    return TIDE_OK;
}

/* The number that a value stands for in base units. */
static tide_status parse_number(const struct config_option *o, const char *text, int64_t *v, struct tide_err *err)
{
    if (o->type == TIDE_OPTION_BOOL)
        return parse_bool(text, v, err);
    if (o->type == TIDE_OPTION_INTEGER)
        return parse_integer(text, v, err);
    if (o->type == TIDE_OPTION_DURATION)
        return tide_duration_parse(text, v, err);
    uint64_t bytes = 0;
    tide_status st = tide_size_parse(text, &bytes, err);
    if (st == TIDE_OK && bytes > INT64_MAX)
        st = tide_fail(err, TIDE_INVALID, "\"%s\" is too large", text);
    *v = (int64_t)bytes;
    return st;
}

static tide_status check_number(const struct config_option *o, const char *text, struct tide_buf *out,
                                struct tide_err *err)
{
    int64_t v = 0;
    tide_status st = parse_number(o, text, &v, err);
    if (st != TIDE_OK)
        return st;
    if ((o->min != 0 || o->max != 0) && v < o->min)
        return tide_fail(err, TIDE_INVALID, "%s is too small", text);
    if (o->max != 0 && v > o->max)
        return tide_fail(err, TIDE_INVALID, "%s is too large", text);
    if (out != NULL)
        tide_buf_printf(out, "%" PRId64, v);
    return TIDE_OK;
}

static tide_status check_compression(const char *text, struct tide_err *err)
{
    int64_t level = 0;
    if (strcmp(text, "none") == 0 || strcmp(text, "lz4") == 0 || strcmp(text, "zstd") == 0)
        return TIDE_OK;
    if (strncmp(text, "zstd:", 5) == 0 && parse_integer(text + 5, &level, NULL) == TIDE_OK && level >= 1 &&
        level <= 19)
        return TIDE_OK;
    return tide_fail(err, TIDE_INVALID, "\"%s\" is none of zstd:1 to zstd:19, lz4, none", text);
}

/* What one key of the core asks for beyond its type. */
static tide_status check_meaning(const struct config_option *o, const char *text, struct tide_err *err)
{
    if (strcmp(o->key, "compression") == 0)
        return check_compression(text, err);
    char zoned[64];
    if (strcmp(o->key, "timezone") == 0)
        return tide_time_format_zone(0, text, zoned, sizeof zoned, err);
    return TIDE_OK;
}

tide_status config_check_value(const struct config_option *o, const char *text, struct tide_buf *out,
                               struct tide_err *err)
{
    switch ((enum tide_option_type)o->type) {
    case TIDE_OPTION_BOOL:
    case TIDE_OPTION_INTEGER:
    case TIDE_OPTION_SIZE:
    case TIDE_OPTION_DURATION:
        return check_number(o, text, out, err);
    case TIDE_OPTION_PATH:
        if (text[0] != '/')
            return tide_fail(err, TIDE_INVALID, "\"%s\" is not an absolute path", text);
        break;
    case TIDE_OPTION_ENUM:
        if (!is_choice(o->choices, text))
            return tide_fail(err, TIDE_INVALID, "\"%s\" is none of %s", text, o->choices);
        break;
    case TIDE_OPTION_STRING:
        break;
    }
    tide_status st = check_meaning(o, text, err);
    if (st == TIDE_OK && out != NULL)
        tide_buf_str(out, text);
    return st;
}
