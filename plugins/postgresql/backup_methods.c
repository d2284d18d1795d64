#include "plugins/postgresql/backup_internal.h"

#include <stdlib.h>
#include <string.h>

static int tell_started(struct pg_backup_run *run, struct tide_err *err)
{
    return run->sink->started(run->sink->ctx, pg_pos(run->start), run->timeline, run->start_us, err);
}

static int start(struct pg_backup_run *run, struct tide_err *err)
{
    pg_tell_phase(run->host, PG_CHECKPOINT_PHASE(run->params));
    int s = pg_session_start(run, err);
    return s != TIDE_OK ? s : tell_started(run, err);
}

/* backup_label is what makes the copy a backup: without it the server would start from the wrong checkpoint. */
static int hand_over_labels(struct pg_backup_run *run, struct tide_err *err)
{
    int s = pg_files_data(run, "backup_label", 0, run->label, strlen(run->label), err);

    if (s == TIDE_OK && run->tablespace_map[0] != '\0')
        s = pg_files_data(run, "tablespace_map", 0, run->tablespace_map, strlen(run->tablespace_map), err);
    return s;
}

/* All files, and when all have been read, pg_control. */
static int copy_files(struct pg_backup_run *run, const char *dir, const struct pg_path_map *map, struct tide_err *err)
{
    pg_tell_phase(run->host, "files");
    int s = pg_files_walk(run, dir, map, err);
    if (s == TIDE_OK)
        s = pg_files_config(run, err);
    if (s == TIDE_OK)
        s = run->sink->drain(run->sink->ctx, err);
    return s != TIDE_OK ? s : pg_files_control(run, dir, err);
}

int pg_backup_by_files(struct pg_backup_run *run, struct tide_err *err)
{
    int s = start(run, err);

    if (s == TIDE_OK)
        s = copy_files(run, pg_backup_directory(run), NULL, err);
    if (s == TIDE_OK)
        s = pg_session_stop(run, err);
    return s != TIDE_OK ? s : hand_over_labels(run, err);
}

/* ---------------------------------------------------------------- snapshot */

/* The data directory in the mounted snapshot: the option, absolute or below the mount; left out, the mount itself. */
static int snapshot_directory(struct pg_backup_run *run, const char *mount, char **dir, struct tide_err *err)
{
    const char *option = run->host->option(run->host->ctx, "snapshot_data_directory");
    PG_AUTO(pg_freep) char *version = NULL;

    if (option == NULL || *option == '\0')
        *dir = strdup(mount);
    else
        *dir = option[0] == '/' ? strdup(option) : pg_path_join(mount, option);
    if (*dir != NULL)
        version = pg_path_join(*dir, "PG_VERSION");
    if (*dir == NULL || version == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    for (size_t n = strlen(*dir); n > 1 && (*dir)[n - 1] == '/'; n--)
        (*dir)[n - 1] = '\0';
    if (!pg_path_exists(version))
        return pg_fail_hint(run->host, err, TIDE_INVALID,
                            "set snapshot_data_directory to its path, absolute or below the mount",
                            "there is no data directory at \"%s\" in the mounted snapshot", *dir);
    return TIDE_OK;
}

/*
 * /srv/pg/15/main at the source is /mnt/snap/15/main in the snapshot: without
 * the end that both share, /srv/pg is /mnt/snap, and tablespaces below the one
 * are found below the other.
 */
static void strip_common_end(char *from, char *to)
{
    for (;;) {
        char *a = strrchr(from, '/'), *b = strrchr(to, '/');
        if (a == NULL || b == NULL || a == from || b == to || strcmp(a, b) != 0)
            return;
        *a = *b = '\0';
    }
}

static int copy_snapshot(struct pg_backup_run *run, const char *mount, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *dir = NULL;
    PG_AUTO(pg_freep) char *from = strdup(pg_backup_directory(run));
    int s = snapshot_directory(run, mount, &dir, err);

    if (s != TIDE_OK)
        return s;
    PG_AUTO(pg_freep) char *to = strdup(dir);
    if (from == NULL || to == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    strip_common_end(from, to);
    return copy_files(run, dir, &(struct pg_path_map){.from = from, .to = to}, err);
}

/* Hot-backup mode lasts only as long as the snapshot takes; the copy is read afterwards. */
static int take_and_copy(struct pg_backup_run *run, struct tide_err *err)
{
    const struct tide_backup_sink *sink = run->sink;
    char mount[4096] = "";

    pg_tell_phase(run->host, "snapshot");
    int s = sink->snapshot(sink->ctx, TIDE_SNAPSHOT_TAKE, NULL, 0, err);
    if (s == TIDE_OK)
        s = pg_session_stop(run, err);
    if (s == TIDE_OK)
        s = sink->snapshot(sink->ctx, TIDE_SNAPSHOT_MOUNT, mount, sizeof mount, err);
    if (s == TIDE_OK)
        s = copy_snapshot(run, mount, err);
    return s != TIDE_OK ? s : hand_over_labels(run, err);
}

int pg_backup_by_snapshot(struct pg_backup_run *run, struct tide_err *err)
{
    const struct tide_backup_sink *sink = run->sink;
    int s = start(run, err);

    if (s != TIDE_OK)
        return s;
    s = take_and_copy(run, err);
    /* Also after a failed TAKE, which may have got half-way. */
    int released = sink->snapshot(sink->ctx, TIDE_SNAPSHOT_RELEASE, NULL, 0, err);
    return s != TIDE_OK ? s : released;
}
