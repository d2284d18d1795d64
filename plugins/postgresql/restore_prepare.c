#include "plugins/postgresql/restore_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The server makes most of them itself, but not all, and not every way of copying keeps empty directories. */
static const char *const needed_dirs[] = {
    "pg_wal",
    "pg_wal/archive_status",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
};

/* What an earlier, interrupted recovery in this directory may have left. */
static const char *const leftovers[] = {
    "postmaster.pid",   "postmaster.opts",    "standby.signal",
    "backup_label.old", "tablespace_map.old", "current_logfiles",
};

static int make_dirs(struct pg_restore *r, struct tide_err *err)
{
    for (size_t i = 0; i < sizeof needed_dirs / sizeof needed_dirs[0]; i++) {
        PG_AUTO(pg_freep) char *path = NULL;
        struct stat st;
        int s = pg_restore_path(r, needed_dirs[i], &path, err);
        if (s == TIDE_OK && stat(path, &st) != 0)
            s = pg_restore_make_dir(r, path, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static int empty_dir(struct pg_restore *r, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    int s = pg_restore_path(r, name, &path, err);
    if (s != TIDE_OK)
        return s;
    PG_AUTO(closedirp) DIR *d = opendir(path);
    if (d == NULL && errno == ENOENT)
        return TIDE_OK;
    if (d == NULL)
        return tide_plugin_fail(r->host, err, TIDE_IO, errno, "could not open directory \"%s\"", path);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d))
        if (unlinkat(dirfd(d), e->d_name, 0) != 0 && errno != EISDIR && errno != EPERM && errno != ENOENT)
            return tide_plugin_fail(r->host, err, TIDE_IO, errno, "could not remove \"%s/%s\"", path, e->d_name);
    return TIDE_OK;
}

/*
 * Log that an earlier attempt fetched, or wrote on a timeline of its own after
 * it was promoted, would lead the next recovery astray: pg_wal starts empty.
 */
static int remove_leftovers(struct pg_restore *r, struct tide_err *err)
{
    int s = empty_dir(r, "pg_wal/archive_status", err);

    if (s == TIDE_OK)
        s = empty_dir(r, "pg_wal/summaries", err); /* from 17 on */
    if (s == TIDE_OK)
        s = empty_dir(r, "pg_wal", err);
    for (size_t i = 0; s == TIDE_OK && i < sizeof leftovers / sizeof leftovers[0]; i++) {
        PG_AUTO(pg_freep) char *path = NULL;
        s = pg_restore_path(r, leftovers[i], &path, err);
        if (s == TIDE_OK)
            s = pg_file_remove(r->host, path, err);
    }
    return s;
}

/* Sets the source's own file aside; its generated replacement must not be taken for it when we come again. */
static int set_aside(struct pg_restore *r, const char *name, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_freep) char *data = NULL;
    PG_AUTO(pg_text_clearp) struct pg_text aside = {0}, mark = {0};
    size_t len;
    int s = pg_restore_path(r, name, &path, err);

    if (s != TIDE_OK || !pg_path_exists(path))
        return s;
    pg_text_addf(&aside, "%s.source", path);
    pg_text_addf(&mark, PG_MADE_FOR "%s\n", r->dir);
    if (aside.failed || mark.failed)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (pg_file_read(r->host, path, 16 * 1024 * 1024, &data, &len, err) == TIDE_OK && strstr(data, mark.data) != NULL)
        return TIDE_OK;
    return pg_file_rename(r->host, path, aside.data, err);
}

static int write_auto_conf(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    int s = pg_restore_path(r, "postgresql.auto.conf", &path, err);

    if (s != TIDE_OK)
        return s;
    pg_text_addf(&t, PG_MADE_FOR "%s\n", r->dir);
    pg_text_puts(&t, "# The source's ALTER SYSTEM settings are in postgresql.auto.conf.source.\n");
    if (t.failed)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    return pg_file_replace(r->host, path, t.data, t.len, 0600, pg_restore_owner(r), err);
}

/* A configuration file that lay outside (Debian: /etc) is given its usual place, for the time after quarantine. */
static int place_copy(struct pg_restore *r, const char *meta_key, const char *name, const char *otherwise,
                      struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_freep) char *data = NULL;
    PG_AUTO(pg_text_clearp) struct pg_text copy = {0};
    const char *source = pg_meta_text(r, meta_key);
    size_t len = 0;
    int s = pg_restore_path(r, name, &path, err);

    if (s != TIDE_OK || pg_path_exists(path))
        return s;
    pg_text_addf(&copy, "%s/" PG_CONFIG_COPIES "%s", r->dir, source != NULL ? source : "/none");
    if (copy.failed)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (pg_path_exists(copy.data)) {
        s = pg_file_read(r->host, copy.data, 16 * 1024 * 1024, &data, &len, err);
        if (s != TIDE_OK)
            return s;
    }
    if (data == NULL)
        return pg_file_replace(r->host, path, otherwise, strlen(otherwise), 0600, pg_restore_owner(r), err);
    return pg_file_replace(r->host, path, data, len, 0600, pg_restore_owner(r), err);
}

static int place_copies(struct pg_restore *r, struct tide_err *err)
{
    int s = place_copy(r, "hba_file", "pg_hba.conf", "local all all peer\n", err);

    return s != TIDE_OK ? s : place_copy(r, "ident_file", "pg_ident.conf", "", err);
}

static int own_directory(struct pg_restore *r, struct tide_err *err)
{
    struct stat st;

    if (stat(r->dir, &st) != 0)
        return tide_plugin_fail(r->host, err, TIDE_IO, errno, "could not stat \"%s\"", r->dir);
    if (r->user.name != NULL && st.st_uid != r->user.uid && chown(r->dir, r->user.uid, r->user.gid) != 0)
        return tide_plugin_fail(r->host, err, TIDE_DENIED, errno, "could not give \"%s\" to user \"%s\"", r->dir,
                                r->user.name);
    /* The server refuses anything wider. */
    if ((st.st_mode & 07027u) != 0 && chmod(r->dir, 0700) != 0)
        return tide_plugin_fail(r->host, err, TIDE_DENIED, errno, "could not set the mode of \"%s\"", r->dir);
    return TIDE_OK;
}

/* The planned end, for `activate` after a recovery that somebody else drove. */
static int write_expected(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    char lsn[PG_LSN_TEXT_SIZE];
    int s = pg_restore_path(r, PG_EXPECTED, &path, err);

    if (s != TIDE_OK)
        return s;
    pg_lsn_text(r->params->expected_end.lo, lsn, sizeof lsn);
    pg_text_addf(&t, "branch=%llu\nend=%s\n", (unsigned long long)r->params->branch, lsn);
    return pg_file_replace_text(r->host, path, &t, 0600, pg_restore_owner(r), err);
}

static int write_signal(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    int s = pg_restore_path(r, "recovery.signal", &path, err);

    return s != TIDE_OK ? s : pg_file_replace(r->host, path, "", 0, 0600, pg_restore_owner(r), err);
}

static int prepare(struct pg_restore *r, struct tide_err *err)
{
    int s = pg_leftover_stop(r, err);

    /* The gate first: from here on a start by hand says why it cannot. */
    if (s == TIDE_OK)
        s = set_aside(r, "postgresql.conf", err);
    if (s == TIDE_OK)
        s = pg_config_write_gate(r, err);
    if (s == TIDE_OK)
        s = set_aside(r, "postgresql.auto.conf", err);
    if (s == TIDE_OK)
        s = write_auto_conf(r, err);
    if (s == TIDE_OK)
        s = own_directory(r, err);
    if (s == TIDE_OK)
        s = make_dirs(r, err);
    if (s == TIDE_OK)
        s = remove_leftovers(r, err);
    if (s == TIDE_OK)
        s = pg_tablespaces_link(r, err);
    if (s == TIDE_OK)
        s = place_copies(r, err);
    if (s == TIDE_OK)
        s = pg_config_write_all(r, err);
    if (s == TIDE_OK)
        s = write_expected(r, err);
    return s != TIDE_OK ? s : write_signal(r, err);
}

int pg_restore_prepare(const struct tide_host *host, const struct tide_restore_params *params, struct tide_err *err)
{
    PG_AUTO(pg_restore_clear) struct pg_restore r = {0};
    int s = pg_restore_open(&r, host, params, err);

    return s != TIDE_OK ? s : prepare(&r, err);
}
