#ifndef TIDE_PLUGIN_PG_BACKUP_INTERNAL_H
#define TIDE_PLUGIN_PG_BACKUP_INTERNAL_H

/* What the files of the backup half share. */

#include "plugins/postgresql/control.h"
#include "plugins/postgresql/files_exclude.h"
#include "plugins/postgresql/pg.h"
#include "plugins/postgresql/pg_backup.h"
#include "plugins/postgresql/pg_files.h"

struct pg_tablespace {
    char *oid, *name, *path;
    uint64_t bytes; /* 0: unknown */
};

/* What the server says about itself before the backup. */
struct pg_source {
    int version_num;
    char *version; /* "15.20 (Debian 15.20-0+deb12u1)" */
    char *data_directory;
    bool standby, data_checksums;
    uint32_t block_size, segment_blocks, port;
    uint64_t system_identifier;
    uint32_t catalog_version;
    int64_t started_s; /* when the server was started, epoch */
    struct pg_tablespace *tablespaces;
    size_t n_tablespaces;
};

/* Minutes without a sign of life are explained. */
#define PG_CHECKPOINT_PHASE(params)                                                                                  \
    ((params)->fast ? "checkpoint" : "checkpoint, spread over minutes (at once: --fast)")

/* One running backup.  `session` is the connection that holds hot-backup mode: closing it ends the mode. */
struct pg_backup_run {
    const struct tide_host *host;
    struct pg_instance *inst;
    const struct tide_backup_params *params;
    const struct tide_backup_sink *sink;
    PGconn *session;
    bool local; /* the source's files are on this host */
    struct pg_source source;
    uint64_t start, stop;
    uint32_t timeline;
    int64_t start_us, stop_us;
    char *label, *tablespace_map; /* contents of the two files, from the server */
    struct pg_text config_files;  /* absolute paths of configuration outside the data directory, one a line */
    uint64_t min_recovery_point;  /* of the pg_control in the backup; from a standby */
    int64_t session_checked_ms;
};

static inline int pg_run_major(const struct pg_backup_run *run)
{
    return run->source.version_num / 10000;
}

/* backup_source.c */
int pg_source_read(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
void pg_source_clear(struct pg_source *source);
/* The option data_directory, or what the server says: "" when it does not. */
const char *pg_backup_directory(const struct pg_backup_run *run);
/* Whether directory on this host really is the one that the connected server runs on. */
int pg_source_prove_directory(struct pg_backup_run *run, const char *directory, struct tide_err *err) PG_MUST_CHECK;

/* backup_standby.c: for backup_from = prefer-standby */
/* Of the hosts the first standby that is not further behind than params->max_lag_s, else the primary. */
int pg_session_open_standby(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;

/* backup_session.c */
int pg_session_open(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
int pg_session_start(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
/* Cheap; asks the server now and then.  Fails when the session is gone or the standby was promoted. */
int pg_session_alive(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
int pg_session_stop(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
int pg_session_clock(struct pg_backup_run *run, int64_t *clock_us, bool *standby, struct tide_err *err) PG_MUST_CHECK;
/* Sets run->stop_us; fails when a standby was promoted meanwhile. */
int pg_session_clock_at_end(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
/* Reads a field such as "START TIMELINE: " of a backup_label; false when it is not there. */
bool pg_label_field(const char *label, const char *field, char *value, size_t size);

/*
 * files_walk.c.  data_directory is where to read it now: the source's own, or
 * its image in a snapshot.  Then tablespaces are read from their image, too:
 * what lies below from is read below to (NULL: where the links point).
 */
struct pg_path_map {
    const char *from, *to;
};
int pg_files_walk(struct pg_backup_run *run, const char *data_directory, const struct pg_path_map *map,
                  struct tide_err *err) PG_MUST_CHECK;
/* global/pg_control, last of all */
int pg_files_control(struct pg_backup_run *run, const char *data_directory, struct tide_err *err) PG_MUST_CHECK;
/* Whether the pg_control in the backup suits it; from a standby it sets run->min_recovery_point. */
int pg_control_judge(struct pg_backup_run *run, const struct pg_control *control, struct tide_err *err) PG_MUST_CHECK;
/* Hands over a small file whose content is known. */
int pg_files_data(struct pg_backup_run *run, const char *name, uint32_t flags, const char *data, size_t len,
                  struct tide_err *err) PG_MUST_CHECK;

/* files_config.c: configuration outside of the data directory */
#define PG_CONFIG_COPIES "tidemark_config" /* the directory of the copies, in the data directory */
/* Fills run->config_files. */
int pg_files_config_list(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
/* Hands them over. */
int pg_files_config(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;

/* backup_methods.c: each from the start of hot-backup mode to its end */
int pg_backup_by_files(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;
int pg_backup_by_snapshot(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;

/* basebackup_run.c: method "stream" */
int pg_basebackup_run(struct pg_backup_run *run, struct tide_err *err) PG_MUST_CHECK;

/* metadata.c: the JSON text is the caller's to free() */
int pg_metadata_build(struct pg_backup_run *run, char **json, struct tide_err *err) PG_MUST_CHECK;
/* Adds what is known only afterwards: where replay begins. */
int pg_metadata_add_positions(struct pg_backup_run *run, char **json, struct tide_err *err) PG_MUST_CHECK;

#endif
