#include "plugins/postgresql/pg.h"

#if __has_include("plugins/postgresql/pg_backup.h")
#include "plugins/postgresql/pg_backup.h"
#define PG_HAVE_BACKUP 1
#endif
#if __has_include("plugins/postgresql/pg_restore.h")
#include "plugins/postgresql/pg_restore.h"
#define PG_HAVE_RESTORE 1
#endif

#include <stdlib.h>

TIDE_PLUGIN_EXPORT const struct tide_plugin *tide_plugin_entry(uint32_t host_abi);

static const struct tide_option pg_options[] = {
    {"connection", TIDE_OPTION_STRING, TIDE_OPTION_REQUIRED, NULL, NULL,
     "libpq connection string; several hosts are followed through a failover"},
    {"password", TIDE_OPTION_STRING, TIDE_OPTION_SECRET, NULL, NULL,
     "password of the database user, where neither peer, a certificate nor a password file is used"},
    {"slot", TIDE_OPTION_STRING, 0, NULL, NULL,
     "name of the physical replication slot; tidemark_ and the instance's name when left out"},
    {"data_directory", TIDE_OPTION_PATH, 0, NULL, NULL,
     "the cluster's data directory; asked from the server when left out"},
    {"backup_method", TIDE_OPTION_ENUM, 0, "files", "files|stream|snapshot",
     "how base backups are read: files on this host, the replication protocol, or a snapshot"},
    {"snapshot_data_directory", TIDE_OPTION_STRING, 0, NULL, NULL,
     "the data directory in a mounted snapshot, absolute or below the mount; the mount itself when left out"},
};

static void instance_close(void *p)
{
    struct pg_instance *inst = p;

    if (inst == NULL)
        return;
    if (inst->backup != NULL && inst->backup_free != NULL)
        inst->backup_free(inst->backup);
    pg_disconnect(inst);
    pg_target_clear(&inst->target);
    free(inst->evidence);
    free(inst->server_version);
    free(inst->next_evidence);
    free(inst);
}

static int instance_open(const struct tide_host *host, void **out, struct tide_err *err)
{
    struct pg_instance *inst = calloc(1, sizeof *inst);

    if (inst == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    inst->host = host;
    int s = pg_target_open(host, &inst->target, err);
    if (s != TIDE_OK) {
        instance_close(inst);
        return s;
    }
    *out = inst;
    return TIDE_OK;
}

static const struct tide_plugin pg_plugin = {
    .struct_size = sizeof(struct tide_plugin),
    .abi = TIDE_PLUGIN_ABI,
    .name = "postgresql",
    .version = "1.0",
    .caps = TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES | TIDE_CAP_SYNCHRONOUS
#ifdef PG_HAVE_BACKUP
            | TIDE_CAP_BACKUP_FILES | TIDE_CAP_BACKUP_STREAM | TIDE_CAP_BACKUP_SNAPSHOT | TIDE_CAP_INSPECT
#endif
#ifdef PG_HAVE_RESTORE
            | TIDE_CAP_RECOVER
#endif
    ,
    .options = pg_options,
    .n_options = sizeof pg_options / sizeof pg_options[0],
    .options_stride = sizeof pg_options[0],
    .open = instance_open,
    .close = instance_close,
    .check = pg_check,
    .setup = pg_setup,
    .clock = pg_clock,
    .log_identify = pg_log_identify,
    .log_relate = pg_log_relate,
    .log_stream = pg_log_stream,
    .log_scan_open = pg_log_scan_open,
    .log_scan_feed = pg_log_scan_feed,
    .log_scan_close = pg_log_scan_close,
    .log_file_locate = pg_log_file_locate,
    .log_file_identify = pg_log_file_identify,
    .log_file_content = pg_log_file_content,
    .pos_format = pg_pos_format,
    .pos_parse = pg_pos_parse,
#ifdef PG_HAVE_BACKUP
    .backup = pg_backup,
    .inspect = pg_inspect,
#endif
#ifdef PG_HAVE_RESTORE
    .restore_check = pg_restore_check,
    .restore_prepare = pg_restore_prepare,
    .recover = pg_recover,
    .activate = pg_activate,
#endif
};

const struct tide_plugin *tide_plugin_entry(uint32_t host_abi)
{
    return host_abi == TIDE_PLUGIN_ABI ? &pg_plugin : NULL;
}
