#ifndef TIDE_DAEMON_SETTINGS_H
#define TIDE_DAEMON_SETTINGS_H

/* What the core itself reads out of the configuration for one instance: effective values in base units. */

#include "orchestrator/base/file.h"
#include "orchestrator/config/config.h"
#include "orchestrator/repository/repo.h"

struct settings {
    const char *engine; /* NULL: not configured */
    int64_t ship_interval_us, heartbeat_interval_us, clock_tolerance_us, lease_us, merge_grace_us;
    int64_t progress_deadline_us;
    uint64_t object_bytes;
    const char *spool_directory; /* NULL: confirm = repository */
    uint64_t spool_limit;
    int64_t exposure_warning_us, exposure_alert_us, backup_warning_us, backup_alert_us, skew_warning_us;
    unsigned backup_jobs, restore_jobs;
    uint64_t backup_limit; /* bytes a second; 0: none */
    bool prefer_standby;
    int64_t max_lag_us;
    const char *snapshot_command, *mount_command, *release_command; /* NULL: none */
    int64_t snapshot_deadline_us;
    const char *os_user, *bin_dir, *timezone; /* NULL: none */
};

/* instance NULL or not configured: defaults and [defaults].  Texts are the configuration's. */
tide_status settings_read(const struct config *config, const char *instance, struct settings *out,
                          struct tide_err *err) TIDE_MUST_CHECK;

/* How to open the repository of an instance (NULL: of none, then there must be only one); the key is read. */
struct settings_repo {
    const char *name, *url;
    struct tide_secret key; /* empty: none is configured */
    enum frame_codec codec;
    int level;
    char key_warning[CONFIG_WARNING];
};
tide_status settings_repo_read(const struct config *config, const char *instance, struct settings_repo *out,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* All but the key. */
tide_status settings_repo_describe(const struct config *config, const char *instance, struct settings_repo *out,
                                   struct tide_err *err) TIDE_MUST_CHECK;
void settings_repo_clear(struct settings_repo *r);
tide_status settings_repo_open(const struct config *config, const char *instance, struct tide_cancel *cancel,
                               struct repo **out, struct tide_err *err) TIDE_MUST_CHECK;

/*
 * Where sockets and files of running jobs are: [daemon] state_directory, else /run/tidemark for root and for the user
 * whose it is, else tidemark in XDG_RUNTIME_DIR, else /tmp/tidemark-UID.  Made with mode 0700; REFUSED when it is
 * somebody else's.
 */
tide_status state_directory(const struct config *config, char out[TIDE_PATH_MAX],
                            struct tide_err *err) TIDE_MUST_CHECK;
/* STATE/KIND-INSTANCE-REPOSITORY.SUFFIX: what belongs to one instance in one repository. */
struct state_name {
    const char *kind, *instance, *repo_id, *suffix;
};
tide_status state_path(const struct config *config, const struct state_name *name, char out[TIDE_PATH_MAX],
                       struct tide_err *err) TIDE_MUST_CHECK;

#endif
