#include "orchestrator/daemon/snapshot.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/base/process.h"
#include "orchestrator/daemon/snapshot_guard.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OUTPUT_MAX          65536u
#define RELEASE_DEADLINE_US (10 * 60 * TIDE_SECOND_US)

struct snapshot {
    struct job *job;
    bool taken; /* perhaps: the command was started */
    struct snapshot_guard guard;
    char mount[TIDE_PATH_MAX];
    char environment[4][TIDE_PATH_MAX + 64];
};

tide_status snapshot_new(struct job *job, const char *backup_id, struct snapshot **out, struct tide_err *err)
{
    char state[TIDE_PATH_MAX], name[128];

    tide_status st = state_directory(job->config, state, err);
    if (st != TIDE_OK)
        return st;
    TIDE_AUTO(tide_freep) struct snapshot *s = calloc(1, sizeof *s);
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    s->job = job;
    s->guard = SNAPSHOT_GUARD_INIT;
    (void)snprintf(name, sizeof name, "snapshot-%s", backup_id);
    st = tide_path_join(s->mount, state, name, err);
    if (st != TIDE_OK)
        return st;
    const char *directory = config_instance_value(job->config, job->instance, "data_directory").text;
    (void)snprintf(s->environment[0], sizeof s->environment[0], "TIDEMARK_INSTANCE=%s", job->instance);
    (void)snprintf(s->environment[1], sizeof s->environment[1], "TIDEMARK_BACKUP=%s", backup_id);
    (void)snprintf(s->environment[2], sizeof s->environment[2], "TIDEMARK_DATA_DIRECTORY=%s",
                   directory == NULL ? "" : directory);
    *out = TIDE_TAKE(s);
    return TIDE_OK;
}

static void list_environment(struct snapshot *s, const char *list[5])
{
    (void)snprintf(s->environment[3], sizeof s->environment[3], "TIDEMARK_MOUNT=%s", s->mount);
    for (size_t i = 0; i < 4; i++)
        list[i] = s->environment[i];
    list[4] = NULL;
}

static tide_status run_command(struct snapshot *s, const char *key, const char *command, bool release,
                               struct tide_buf *out, struct tide_err *err)
{
    const char *environment[5];
    int exit_code = 0;

    list_environment(s, environment);
    /* A cancelled backup must still release its snapshot. */
    tide_status st =
        process_run(&(struct process_options){.shell = command,
                                              .env_add = environment,
                                              .deadline_us = release ? RELEASE_DEADLINE_US
                                                                     : s->job->settings.snapshot_deadline_us,
                                              .cancel = release ? NULL : s->job->cancel,
                                              .out = out},
                    &exit_code, err);
    if (st == TIDE_AGAIN)
        return tide_fail(err, TIDE_IO, "%s did not end within its deadline and was stopped", key);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "running %s", key);
    if (exit_code != 0)
        return tide_fail(err, TIDE_IO, "%s ended with exit code %d", key, exit_code);
    return TIDE_OK;
}

static tide_status release(struct snapshot *s, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(OUTPUT_MAX);

    if (!s->taken)
        return TIDE_OK;
    s->taken = false;
    tide_status st = run_command(s, "release_command", s->job->settings.release_command, true, &out, err);
    snapshot_guard_dismiss(&s->guard);
    (void)rmdir(s->mount);
    return st;
}

void snapshot_free(struct snapshot *s)
{
    struct tide_err why = TIDE_ERR_INIT;

    if (s == NULL)
        return;
    if (release(s, &why) != TIDE_OK)
        TIDE_LOG(TIDE_LOG_ERROR, "backup.snapshot.left", TIDE_STR("instance", s->job->instance),
                 TIDE_STR("mount", s->mount), TIDE_STR("message", why.msg));
    free(s);
}

/* The last line that the command printed which is not empty. */
static void take_path(struct snapshot *s, const struct tide_buf *out)
{
    const char *text = tide_buf_cstr(out), *best = NULL;
    size_t best_len = 0;

    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len > 0 && line[0] == '/' && len < sizeof s->mount) {
            best = line;
            best_len = len;
        }
        line += len + (line[len] == '\n');
    }
    if (best != NULL)
        (void)snprintf(s->mount, sizeof s->mount, "%.*s", (int)best_len, best);
}

static tide_status mount(struct snapshot *s, char *path, size_t path_size, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(OUTPUT_MAX);
    struct stat st;

    tide_status status = tide_mkdirs(s->mount, 0700, err);
    if (status == TIDE_OK)
        status = run_command(s, "mount_command", s->job->settings.mount_command, false, &out, err);
    if (status != TIDE_OK)
        return status;
    take_path(s, &out);
    snapshot_guard_mount(&s->guard, s->mount);
    if (stat(s->mount, &st) != 0 || !S_ISDIR(st.st_mode))
        return tide_fail(err, TIDE_IO, "mount_command said \"%s\", which is no directory", s->mount);
    if ((size_t)snprintf(path, path_size, "%s", s->mount) >= path_size)
        return tide_fail(err, TIDE_INVALID, "the path \"%s\" is too long", s->mount);
    return TIDE_OK;
}

/* All three, or nothing is begun that could not be undone. */
static tide_status commands_are_set(const struct snapshot *s, struct tide_err *err)
{
    const struct settings *set = &s->job->settings;
    const char *missing = set->snapshot_command == NULL  ? "snapshot_command"
                          : set->mount_command == NULL   ? "mount_command"
                          : set->release_command == NULL ? "release_command"
                                                         : NULL;

    if (missing != NULL)
        return tide_fail(err, TIDE_INVALID, "backup_method = snapshot, but \"%s\" is not configured", missing);
    return TIDE_OK;
}

static tide_status take(struct snapshot *s, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(OUTPUT_MAX);
    const char *environment[5];

    list_environment(s, environment);
    tide_status st = commands_are_set(s, err);
    if (st == TIDE_OK)
        st = snapshot_guard_start(&s->guard, s->job->settings.release_command, environment, err);
    if (st != TIDE_OK)
        return st;
    job_phase(s->job, "snapshot");
    s->taken = true; /* one that fails may have frozen something */
    return run_command(s, "snapshot_command", s->job->settings.snapshot_command, false, &out, err);
}

int snapshot_act(struct snapshot *s, int action, char *path, size_t path_size, struct tide_err *err)
{
    struct tide_err why = TIDE_ERR_INIT;
    tide_status st;

    switch (action) {
    case TIDE_SNAPSHOT_TAKE:
        st = take(s, err);
        break;
    case TIDE_SNAPSHOT_MOUNT:
        st = mount(s, path, path_size, err);
        break;
    case TIDE_SNAPSHOT_RELEASE:
        return release(s, err);
    default:
        return tide_fail(err, TIDE_UNSUPPORTED, "unknown snapshot action %d", action);
    }
    /* At once: a file system that stays frozen stops the database. */
    if (st != TIDE_OK && release(s, &why) != TIDE_OK)
        TIDE_LOG(TIDE_LOG_ERROR, "backup.snapshot.left", TIDE_STR("instance", s->job->instance),
                 TIDE_STR("message", why.msg));
    return st;
}
