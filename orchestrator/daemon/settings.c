#include "orchestrator/daemon/settings.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The instance whose section does not exist: only [defaults] and the table's defaults hold. */
#define NOBODY ""

struct reader {
    const struct config *config;
    const char *instance;
    struct tide_err *err;
    tide_status status; /* the first failure; later reads do nothing */
};

static void keep(struct reader *r, tide_status s)
{
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        r->status = s;
}

static void read_duration(struct reader *r, const char *key, int64_t *out)
{
    if (r->status == TIDE_OK)
        keep(r, config_duration(r->config, CONFIG_INSTANCE, r->instance, key, out, r->err));
}

static void read_size(struct reader *r, const char *key, uint64_t *out)
{
    if (r->status == TIDE_OK)
        keep(r, config_size(r->config, CONFIG_INSTANCE, r->instance, key, out, r->err));
}

static void read_text(struct reader *r, const char *key, const char **out)
{
    if (r->status == TIDE_OK)
        keep(r, config_string(r->config, CONFIG_INSTANCE, r->instance, key, out, r->err));
}

static void read_jobs(struct reader *r, const char *key, unsigned *out)
{
    int64_t n = 0;

    if (r->status != TIDE_OK)
        return;
    keep(r, config_integer(r->config, CONFIG_INSTANCE, r->instance, key, &n, r->err));
    if (n > 0)
        *out = (unsigned)n;
}

static bool is_word(struct reader *r, const char *key, const char *word)
{
    const char *text = NULL;

    read_text(r, key, &text);
    return text != NULL && strcmp(text, word) == 0;
}

static unsigned processors(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (unsigned)n;
}

static void read_log(struct reader *r, struct settings *out)
{
    read_duration(r, "ship_interval", &out->ship_interval_us);
    read_duration(r, "heartbeat_interval", &out->heartbeat_interval_us);
    read_duration(r, "clock_tolerance", &out->clock_tolerance_us);
    read_duration(r, "lease_time", &out->lease_us);
    read_duration(r, "expiry_grace", &out->merge_grace_us);
    read_size(r, "log_object_size", &out->object_bytes);
    read_size(r, "spool_limit", &out->spool_limit);
    if (is_word(r, "confirm", "spool")) {
        read_text(r, "spool_directory", &out->spool_directory);
        if (r->status == TIDE_OK && out->spool_directory == NULL)
            r->status = tide_fail(r->err, TIDE_INVALID, "[instance %s] has confirm = spool, but no spool_directory",
                                  r->instance);
    }
}

tide_status settings_read(const struct config *config, const char *instance, struct settings *out,
                          struct tide_err *err)
{
    struct reader r = {.config = config, .instance = instance == NULL ? NOBODY : instance, .err = err};
    unsigned half = processors() / 2;

    *out = (struct settings){.backup_jobs = half < 1 ? 1 : half > 4 ? 4 : half, .restore_jobs = processors()};
    read_text(&r, "engine", &out->engine);
    read_log(&r, out);
    read_duration(&r, "progress_deadline", &out->progress_deadline_us);
    read_duration(&r, "exposure_warning", &out->exposure_warning_us);
    read_duration(&r, "exposure_alert", &out->exposure_alert_us);
    read_duration(&r, "backup_overdue_warning", &out->backup_warning_us);
    read_duration(&r, "backup_overdue_alert", &out->backup_alert_us);
    read_duration(&r, "clock_skew_warning", &out->skew_warning_us);
    read_jobs(&r, "backup_jobs", &out->backup_jobs);
    read_jobs(&r, "restore_jobs", &out->restore_jobs);
    read_size(&r, "backup_rate_limit", &out->backup_limit);
    out->prefer_standby = is_word(&r, "backup_from", "prefer-standby");
    read_duration(&r, "max_lag", &out->max_lag_us);
    read_text(&r, "snapshot_command", &out->snapshot_command);
    read_text(&r, "mount_command", &out->mount_command);
    read_text(&r, "release_command", &out->release_command);
    read_duration(&r, "snapshot_deadline", &out->snapshot_deadline_us);
    read_text(&r, "os_user", &out->os_user);
    read_text(&r, "bin_dir", &out->bin_dir);
    read_text(&r, "timezone", &out->timezone);
    if (r.status == TIDE_OK)
        tide_err_clear(err); /* what is not set left its traces there */
    return r.status;
}

/* -------------------------------------------------------------- repository */

void settings_repo_clear(struct settings_repo *r)
{
    tide_secret_clear(&r->key);
}

static void read_compression(const char *text, struct settings_repo *out)
{
    out->codec = FRAME_ZSTD;
    out->level = 3;
    if (text == NULL || strcmp(text, "zstd") == 0)
        return;
    if (strncmp(text, "zstd:", 5) == 0)
        out->level = atoi(text + 5); /* checked when the file was read */
    else
        out->codec = strcmp(text, "lz4") == 0 ? FRAME_LZ4 : FRAME_STORED;
}

tide_status settings_repo_describe(const struct config *config, const char *instance, struct settings_repo *out,
                                   struct tide_err *err)
{
    *out = (struct settings_repo){0};
    tide_status s = config_instance_repository(config, instance == NULL ? NOBODY : instance, &out->name, err);
    if (s == TIDE_OK)
        s = config_string(config, CONFIG_REPOSITORY, out->name, "url", &out->url, err);
    if (s != TIDE_OK)
        return s;
    read_compression(config_value(config, CONFIG_REPOSITORY, out->name, "compression").text, out);
    return TIDE_OK;
}

tide_status settings_repo_read(const struct config *config, const char *instance, struct settings_repo *out,
                               struct tide_err *err)
{
    tide_status s = settings_repo_describe(config, instance, out, err);
    if (s != TIDE_OK)
        return s;
    s = config_secret(config, CONFIG_REPOSITORY, out->name, "encryption_key", &out->key, out->key_warning, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    return s == TIDE_OK ? s : tide_wrap(err, s, "reading the key of repository \"%s\"", out->name);
}

tide_status settings_repo_open(const struct config *config, const char *instance, struct tide_cancel *cancel,
                               struct repo **out, struct tide_err *err)
{
    TIDE_AUTO(settings_repo_clear) struct settings_repo r = {0};

    tide_status s = settings_repo_read(config, instance, &r, err);
    if (s != TIDE_OK)
        return s;
    s = repo_open(
        &(struct repo_options){
            .url = r.url, .key = r.key.len > 0 ? &r.key : NULL, .codec = r.codec, .level = r.level, .cancel = cancel},
        out, err);
    if (s == TIDE_NOT_FOUND) {
        /* For the caller it is unreachable: nothing there says that it ever was a repository. */
        s = tide_wrap(err, TIDE_UNAVAILABLE, "opening repository \"%s\"", r.name);
        return err == NULL || err->hint[0] != '\0'
                   ? s
                   : tide_hint(err, s, "Is the file system mounted?  A new repository is made by: tidemark init.");
    }
    return s == TIDE_OK ? s : tide_wrap(err, s, "opening repository \"%s\"", r.name);
}

/* ------------------------------------------------------------------- state */

#define SYSTEM_STATE "/run/tidemark"

/* The unit of the shipper made it for its user: a backup from cron or a shell has to find the shipper there, too. */
static bool system_state_is_ours(void)
{
    struct stat st;

    return geteuid() == 0 || (lstat(SYSTEM_STATE, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid());
}

static void default_state(char out[TIDE_PATH_MAX])
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (system_state_is_ours())
        (void)snprintf(out, TIDE_PATH_MAX, SYSTEM_STATE);
    else if (runtime != NULL && runtime[0] == '/')
        (void)snprintf(out, TIDE_PATH_MAX, "%s/tidemark", runtime);
    else
        (void)snprintf(out, TIDE_PATH_MAX, "/tmp/tidemark-%u", (unsigned)geteuid());
}

tide_status state_directory(const struct config *config, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    const char *given = config_value(config, CONFIG_DAEMON, NULL, "state_directory").text;
    struct stat st;

    if (given != NULL)
        (void)snprintf(out, TIDE_PATH_MAX, "%s", given);
    else
        default_state(out);
    tide_status s = tide_mkdirs(out, 0700, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "making the state directory");
    if (lstat(out, &st) != 0)
        return tide_fail_errno(err, errno, "could not open the state directory \"%s\"", out);
    /* Below /tmp anybody may have been there first.  Root uses the directory of the server's user, whose shipper it
     * wants to talk to. */
    bool ours =
        st.st_uid == geteuid() || st.st_uid == 0 || (geteuid() == 0 && (st.st_mode & (S_IWGRP | S_IWOTH)) == 0);
    if (!S_ISDIR(st.st_mode) || !ours) {
        s = tide_fail(err, TIDE_REFUSED, "the state directory \"%s\" belongs to somebody else", out);
        return tide_hint(err, s, "Name another by state_directory under [daemon].");
    }
    return TIDE_OK;
}

tide_status state_path(const struct config *config, const struct state_name *name, char out[TIDE_PATH_MAX],
                       struct tide_err *err)
{
    char directory[TIDE_PATH_MAX], file[REPO_NAME_MAX + 64];

    tide_status s = state_directory(config, directory, err);
    if (s != TIDE_OK)
        return s;
    (void)snprintf(file, sizeof file, "%s-%s-%.8s.%s", name->kind, name->instance, name->repo_id, name->suffix);
    return tide_path_join(out, directory, file, err);
}
