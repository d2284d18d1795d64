#include "plugins/postgresql/backup_internal.h"

int pg_files_data(struct pg_backup_run *run, const char *name, uint32_t flags, const char *data, size_t len,
                  struct tide_err *err)
{
    struct tide_file f = {
        .struct_size = sizeof f,
        .kind = TIDE_FILE_REGULAR,
        .flags = flags,
        .mode = 0600,
        .name = name,
        .size = len,
        .mtime_us = run->start_us,
    };

    return run->sink->data(run->sink->ctx, &f, data, len, err);
}

int pg_control_judge(struct pg_backup_run *run, const struct pg_control *control, struct tide_err *err)
{
    if (control->system_identifier != run->source.system_identifier)
        return tide_plugin_fail(run->host, err, TIDE_CORRUPT, 0, "pg_control belongs to another cluster");
    if (!run->source.standby)
        return TIDE_OK;
    if (control->state != PG_CONTROL_IN_ARCHIVE_RECOVERY)
        return tide_plugin_fail(run->host, err, TIDE_AGAIN, 0,
                                "the standby left recovery while it was backed up, so this copy cannot be used");
    if (control->min_recovery_timeline != run->timeline)
        return tide_plugin_fail(run->host, err, TIDE_AGAIN, 0,
                                "the standby followed its primary from timeline %u to %u during the backup",
                                run->timeline, control->min_recovery_timeline);
    run->min_recovery_point = control->min_recovery_point;
    return TIDE_OK;
}

/*
 * Read here and not by the core, so that what is in the backup is what was
 * judged: on a standby its minRecoveryPoint is the backup's end, and its state
 * tells whether the server still was a standby.
 */
int pg_files_control(struct pg_backup_run *run, const char *data_directory, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(data_directory, "global/pg_control");
    uint8_t raw[PG_CONTROL_FILE_SIZE];
    struct pg_control control;
    size_t len;

    if (path == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = pg_control_read(run->host, path, raw, &len, &control, err);
    if (s != TIDE_OK)
        return s;
    s = pg_control_judge(run, &control, err);
    if (s != TIDE_OK)
        return s;
    /*
     * A snapshot that is no single moment (a copy file by file) may hold pages that were written after its
     * pg_control.  What the standby said when it was done covers them all.
     */
    if (run->source.standby && run->label != NULL && run->stop > run->min_recovery_point) {
        pg_control_raise_min_recovery_point(raw, run->stop);
        run->min_recovery_point = run->stop;
    }
    /* Stable also means to a restore: put it there last. */
    return pg_files_data(run, "global/pg_control", TIDE_FILE_STABLE, (const char *)raw, len, err);
}
