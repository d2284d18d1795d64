#include "orchestrator/daemon/report.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/status.h"
#include "orchestrator/daemon/values.h"
#include "orchestrator/repository/lineage.h"
#include <string.h>
#include <sys/statvfs.h>

/*
 * Everything that must be true for the next backup and the next restore to
 * work, one finding each.  A failure of one part is a finding; the others are
 * still looked at.
 */

#define DISK_WARNING_PERCENT 80u
#define DISK_ALERT_PERCENT   90u
#define STORE_SKEW_LIMIT_US  (300 * TIDE_SECOND_US)

/* Writes, reads back and removes a small object: permissions, space, and a file system that is really there. */
static void check_writable(struct report *r)
{
    struct tide_store *store = repo_store(r->job->repo);
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t random[8], back[8];
    char hex[17], key[64];
    size_t got = 0;

    tide_status s = tide_random(random, sizeof random, &err);
    if (s == TIDE_OK) {
        tide_hex(random, sizeof random, hex);
        (void)snprintf(key, sizeof key, "probes/%s", hex);
        s = store_put(store, key, random, sizeof random, &err);
    }
    if (s == TIDE_OK) {
        s = store_get(store, key, 0, back, sizeof back, &got, &err);
        if (s == TIDE_OK && (got != sizeof back || memcmp(back, random, sizeof back) != 0))
            s = tide_fail(&err, TIDE_CORRUPT, "the repository gives back other bytes than were stored");
        struct tide_err ignored = TIDE_ERR_INIT;
        tide_status removed = store_delete(store, key, s == TIDE_OK ? &err : &ignored);
        s = s == TIDE_OK ? removed : s;
    }
    if (s != TIDE_OK)
        report_failure(r, 2, "repository.writable", &err);
    else
        report_add(r, 0, "repository.writable", NULL, "the repository can be written and read");
}

static void check_features(struct report *r)
{
    uint32_t features = store_features(repo_store(r->job->repo));

    if ((features & STORE_FEATURE_CONDITIONAL_CREATE) == 0)
        report_add(r, 1, "repository.conditional_create", NULL,
                   "the repository cannot refuse a second writer of one name: leases are best effort");
    if (repo_is_encrypted(r->job->repo))
        report_add(r, 0, "repository.encryption", NULL, "what is stored is encrypted");
    else
        report_add(r, 1, "repository.encryption",
                   "set encryption_key_file in a new [repository], init it and take a new backup",
                   "the repository is not encrypted: whoever reads it has the whole database");
}

static void check_disk(struct report *r)
{
    const char *url = store_url(repo_store(r->job->repo));
    const char *path = strncmp(url, "file://", 7) == 0 ? url + 7 : NULL;
    struct statvfs fs;
    char left[32];

    if (path == NULL || statvfs(path, &fs) != 0 || fs.f_blocks == 0)
        return;
    uint64_t usable = fs.f_blocks - fs.f_bfree + fs.f_bavail;
    uint64_t used = usable == 0 ? 100 : (usable - fs.f_bavail) * 100 / usable;
    tide_size_format((uint64_t)fs.f_bavail * fs.f_frsize, left, sizeof left);
    uint32_t severity = used >= DISK_ALERT_PERCENT ? 2 : used >= DISK_WARNING_PERCENT ? 1 : 0;
    report_add(r, severity, "repository.disk", NULL, "the repository's file system is %u%% full, %s are left",
               (unsigned)used, left);
}

static void check_store_clock(struct report *r)
{
    struct tide_err err = TIDE_ERR_INIT;
    int64_t theirs;

    if (store_now(repo_store(r->job->repo), &theirs, &err) != TIDE_OK) {
        report_failure(r, 1, "repository.clock", &err);
        return;
    }
    int64_t off = theirs - tide_now_us();
    if (off > STORE_SKEW_LIMIT_US || off < -STORE_SKEW_LIMIT_US) {
        char text[32];
        tide_duration_format(off < 0 ? -off : off, text, sizeof text);
        report_add(r, 1, "repository.clock", "run a time service on both hosts",
                   "the repository's clock is %s away from this host's", text);
    }
}

static void check_configuration(struct report *r)
{
    TIDE_AUTO(settings_repo_clear) struct settings_repo repo = {0};
    struct tide_err err = TIDE_ERR_INIT;

    /* A key that cannot be read shows again, and worse, when the repository is opened. */
    if (settings_repo_read(r->job->config, r->job->instance, &repo, &err) == TIDE_OK && repo.key_warning[0] != '\0')
        report_add(r, 1, "config.key_file", "chmod 600", "%s", repo.key_warning);
}

static bool check_repository(struct report *r)
{
    struct tide_err err = TIDE_ERR_INIT;

    tide_status s = job_open_repo(r->job, &err);
    if (s != TIDE_OK) {
        if (err.hint[0] == '\0')
            (void)tide_hint(&err, s,
                            s == TIDE_DENIED ? "put the key file back; for a new repository: tidemark init %s"
                                             : "mount it; for a new repository: tidemark init %s",
                            r->job->instance);
        report_failure(r, 2, s == TIDE_DENIED ? "repository.key" : "repository.open", &err);
        return false;
    }
    report_add(r, 0, "repository.open", NULL, "repository \"%s\" is there and its key opens it",
               store_url(repo_store(r->job->repo)));
    check_writable(r);
    check_features(r);
    check_disk(r);
    check_store_clock(r);
    return true;
}

/* An instance that the configuration does not name: the repository may know it, and then it can be restored. */
static void check_unconfigured(struct report *r)
{
    struct tide_err err = TIDE_ERR_INIT;
    char engine[32];

    tide_status s = instance_engine(r->job->repo, r->job->instance, engine, &err);
    if (s == TIDE_OK)
        report_add(r, 1, "config.instance", NULL,
                   "[instance %s] is not in the configuration: it can be restored, but neither shipped nor backed up "
                   "from here",
                   r->job->instance);
    else if (s == TIDE_NOT_FOUND)
        report_add(r, 2, "config.instance", "put [instance NAME] into the configuration",
                   "neither the configuration nor the repository knows an instance \"%s\"", r->job->instance);
    else
        report_failure(r, 2, "repository.instance", &err);
}

static void check_server(struct report *r)
{
    struct tide_findings sink = report_sink(r);
    struct tide_err err = TIDE_ERR_INIT;
    void *handle = NULL;

    tide_status s = job_open_plugin(r->job, &err);
    if (s != TIDE_OK) {
        report_failure(r, 2, "plugin.load", &err);
        return;
    }
    report_add(r, 0, "plugin.load", NULL, "plugin \"%s\" %s is loaded", r->job->plugin->name,
               r->job->plugin->version);
    s = (tide_status)r->job->plugin->open(r->job->host, &handle, &err);
    if (s == TIDE_OK)
        s = (tide_status)r->job->plugin->check(handle, &sink, &err);
    r->job->plugin->close(handle);
    if (s != TIDE_OK)
        report_failure(r, 2, "server", &err);
}

/* Warnings and alerts of `status` are warnings and criticals here. */
static void check_state(struct report *r)
{
    char control[TIDE_PATH_MAX];
    struct tide_err err = TIDE_ERR_INIT;
    json_t *doc = NULL;

    tide_status s = status_compute(&(struct status_options){.repo = r->job->repo,
                                                            .instance = r->job->instance,
                                                            .settings = &r->job->settings,
                                                            .control_path = control_path_or_null(r->job, control)},
                                   &doc, &err);
    if (s != TIDE_OK) {
        report_failure(r, 2, "repository.state", &err);
        return;
    }
    const json_t *reasons = json_object_get(doc, "reasons"), *reason;
    size_t i;
    json_array_foreach(reasons, i, reason)
    {
        bool alert = strcmp(json_string_value(json_object_get(reason, "severity")), "alert") == 0;
        report_add(r, alert ? 2 : 1, json_string_value(json_object_get(reason, "code")), NULL, "%s",
                   json_string_value(json_object_get(reason, "message")));
    }
    if (json_array_size(reasons) == 0)
        report_add(r, 0, "state", NULL, "the instance is protected");
    json_decref(doc);
}

tide_status job_check(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(report_clear) struct report r = {0};

    tide_status s = report_init(&r, job, err);
    if (s != TIDE_OK)
        return s;
    check_configuration(&r);
    bool configured = config_has(job->config, CONFIG_INSTANCE, job->instance);
    bool there = check_repository(&r);
    if (there && !configured)
        check_unconfigured(&r);
    if (configured && !tide_cancel_is_set(job->cancel))
        check_server(&r);
    if (there && !tide_cancel_is_set(job->cancel))
        check_state(&r);
    job->data = json_pack("{s:i, s:i, s:O}", "schema", 1, "severity", (int)r.worst, "findings", r.list);
    return tide_cancel_is_set(job->cancel) ? tide_fail(err, TIDE_CANCELLED, "cancelled") : TIDE_OK;
}
