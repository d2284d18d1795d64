#include "plugins/postgresql/restore_internal.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 8192u

static int write_text(struct pg_restore *r, const char *name, const struct pg_text *text, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *path = NULL;
    int s = pg_restore_path(r, name, &path, err);

    return s != TIDE_OK ? s : pg_file_replace_text(r->host, path, text, 0600, pg_restore_owner(r), err);
}

static void put(struct pg_text *t, const char *name, const char *value)
{
    pg_text_addf(t, "%s = ", name);
    pg_text_add_conf_value(t, value);
    pg_text_puts(t, "\n");
}

static const char *setting(const struct pg_restore *r, const char *name)
{
    return json_string_value(json_object_get(json_object_get(r->meta, "settings"), name));
}

static const char *listen_address(const struct pg_restore *r)
{
    return r->params->listen != NULL && *r->params->listen != '\0' ? r->params->listen : "127.0.0.1";
}

/* ------------------------------------------------- tidemark_restored.conf */

static bool is_insisted(const char *name)
{
    for (size_t i = 0; i < PG_N_INSISTED; i++)
        if (strcmp(name, pg_settings_insisted[i]) == 0)
            return true;
    return false;
}

/* The server does not start with a locale that this host has not got. */
static bool is_missing_locale(const char *name, const char *value)
{
    if (strncmp(name, "lc_", 3) != 0 || *value == '\0')
        return false;
    locale_t l = newlocale(LC_ALL_MASK, value, (locale_t)0);
    if (l == (locale_t)0)
        return true;
    freelocale(l);
    return false;
}

static void put_required(struct pg_restore *r, struct pg_text *t)
{
    pg_text_puts(t,
                 "# What recovery insists on: at least the source's values, as the backup and the log tell them.\n");
    for (size_t i = 0; i < PG_N_INSISTED; i++) {
        int64_t value = pg_settings_required(r, pg_settings_insisted[i]);
        if (value > 0 || strcmp(pg_settings_insisted[i], "max_prepared_transactions") == 0)
            pg_text_addf(t, "%s = %lld\n", pg_settings_insisted[i], (long long)value);
    }
}

static void put_memory(struct pg_restore *r, struct pg_text *t)
{
    const char *text = setting(r, "shared_buffers");
    uint64_t blocks = text != NULL ? strtoull(text, NULL, 10) : 0;
    uint64_t limit = pg_host_memory() / 4 / BLOCK_BYTES;

    pg_text_puts(t, "\n# Memory: the source's shared_buffers, cut to a quarter of what this host has.\n");
    if (blocks > limit) {
        pg_text_addf(t, "# at the source: shared_buffers = %llu\n", (unsigned long long)blocks);
        blocks = limit;
    }
    if (blocks > 0)
        pg_text_addf(t, "shared_buffers = %llu\n", (unsigned long long)blocks);
    pg_text_puts(t, "huge_pages = try\n");
}

static bool is_taken_over(const char *name, const char *value)
{
    return pg_setting_is_allowed(name) && !is_missing_locale(name, value);
}

static void put_source_settings(struct pg_restore *r, struct pg_text *t)
{
    json_t *settings = json_object_get(r->meta, "settings");
    const char *name;
    json_t *v;

    pg_text_puts(t, "\n# The source's settings that change how queries run.\n");
    json_object_foreach(settings, name, v)
    {
        const char *value = json_string_value(v);
        if (value != NULL && !is_insisted(name) && is_taken_over(name, value))
            put(t, name, value);
    }
    const char *libraries = setting(r, "shared_preload_libraries");
    if (libraries != NULL && *libraries != '\0')
        put(t, "shared_preload_libraries", libraries);

    pg_text_puts(t, "\n# The source's settings that were not taken over.\n");
    json_object_foreach(settings, name, v)
    {
        const char *value = json_string_value(v);
        if (value == NULL || is_insisted(name) || is_taken_over(name, value) ||
            strcmp(name, "shared_preload_libraries") == 0 || strcmp(name, "shared_buffers") == 0)
            continue;
        pg_text_puts(t, "# ");
        put(t, name, value);
    }
}

int pg_config_write_restored(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};

    pg_text_puts(&t, "# Written by Tidemark at the restore: the source's settings as far as they suit a copy.\n"
                     "# The source's own files: postgresql.conf.source, postgresql.auto.conf.source or below\n"
                     "# " PG_CONFIG_COPIES "/.\n\n");
    pg_text_addf(&t, "port = %u\n", r->port != 0 ? r->port : PG_FIRST_PORT);
    put(&t, "unix_socket_directories", r->socket_directory);
    pg_text_puts(&t, "\n");
    put_required(r, &t);
    put_memory(r, &t);
    put_source_settings(r, &t);
    return write_text(r, PG_CONF_RESTORED, &t, err);
}

/* ----------------------------------------------- tidemark_quarantine.conf */

static void put_libraries_quiet(struct pg_restore *r, struct pg_text *t)
{
    const char *all = setting(r, "shared_preload_libraries");
    PG_AUTO(pg_freep) char *quiet = pg_settings_quiet_libraries(all != NULL ? all : "");

    if (quiet == NULL) {
        t->failed = true;
        return;
    }
    pg_text_puts(t, "\n# No job schedulers, no extension that calls out or joins a cluster.\n");
    put(t, "shared_preload_libraries", quiet);
    if (all != NULL && strstr(all, "timescaledb") != NULL)
        pg_text_puts(t, "timescaledb.max_background_workers = 0\n");
}

static int write_quarantine(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};

    pg_text_puts(&t,
                 "# Quarantine: a restored server must not act on production.  Everything that holds it back is in\n"
                 "# this file; \"tidemark activate DIR\" removes it, and a restart makes that count.\n\n"
                 "# Nobody but this host reaches it, by rules of its own.\n");
    put(&t, "listen_addresses", listen_address(r));
    PG_AUTO(pg_freep) char *hba = pg_path_join(r->dir, PG_HBA_QUARANTINE);
    if (hba == NULL)
        return tide_plugin_fail(r->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    put(&t, "hba_file", hba);
    pg_text_puts(&t, "ssl = off\ncluster_name = 'tidemark_restored'\n\n"
                     "# It writes into nobody's archive.\n"
                     "archive_mode = off\narchive_command = ''\n");
    if (r->major >= 15)
        pg_text_puts(&t, "archive_library = ''\n");
    pg_text_puts(&t, "archive_cleanup_command = ''\nrecovery_end_command = ''\n\n"
                     "# It follows nobody, waits for nobody, and takes nobody's slot.\n"
                     "primary_conninfo = ''\nprimary_slot_name = ''\nsynchronous_standby_names = ''\n"
                     "hot_standby_feedback = off\nmax_logical_replication_workers = 0\n");
    if (r->major >= 17)
        pg_text_puts(&t, "sync_replication_slots = off\nsynchronized_standby_slots = ''\n");
    put_libraries_quiet(r, &t);
    return write_text(r, PG_CONF_QUARANTINE, &t, err);
}

static bool is_loopback(const char *list)
{
    return strcmp(list, "127.0.0.1") == 0 || strcmp(list, "localhost") == 0 || strcmp(list, "::1") == 0 ||
           strcmp(list, "127.0.0.1,::1") == 0 || *list == '\0';
}

/* Passwords stored as md5 cannot be checked by scram-sha-256; md5 takes both. */
static const char *password_method(const struct pg_restore *r)
{
    const char *stored = pg_meta_text(r, "password_encryption");

    return stored != NULL && strcmp(stored, "md5") == 0 ? "md5" : "scram-sha-256";
}

static int write_hba(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    const char *method = password_method(r);
    /* In our own directory, 0700, only the server's user and root get as far as this rule. */
    bool own = r->params->socket_directory == NULL || *r->params->socket_directory == '\0';

    pg_text_puts(&t, "# Who may connect while " PG_CONF_QUARANTINE " is there.  The source's rules, in pg_hba.conf,\n"
                     "# count again after \"tidemark activate\".\n");
    if (own)
        pg_text_addf(&t,
                     "# The directory of the socket, %s, is open only to the server's user and root.\n"
                     "local all all trust\n",
                     r->private_socket);
    else
        pg_text_addf(&t, "local all all peer\n");
    pg_text_addf(&t, "host all all 127.0.0.1/32 %s\nhost all all ::1/128 %s\n", method, method);
    if (!is_loopback(listen_address(r)))
        pg_text_addf(&t, "host all all all %s\n", method);
    return write_text(r, PG_HBA_QUARANTINE, &t, err);
}

/* ------------------------------------------------------- during recovery */

static int write_recovery(struct pg_restore *r, struct tide_err *err)
{
    const struct tide_restore_params *p = r->params;
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    char lsn[PG_LSN_TEXT_SIZE];

    pg_text_puts(&t, "# Where recovery gets the log from, and where it ends.  Counts only while recovery.signal is "
                     "there.\n");
    put(&t, "restore_command", p->fetch_command != NULL ? p->fetch_command : "");
    /* A number, never "latest": another clone's timeline may lie in the same repository. */
    pg_text_addf(&t, "recovery_target_timeline = '%llu'\n", (unsigned long long)p->branch);
    if (!tide_pos_is_none(p->target_start)) {
        /* The START of the last wanted record: recovery stops behind the first record at or after the target, so
         * its end would take one record too many, or never come. */
        pg_lsn_text(p->target_start.lo, lsn, sizeof lsn);
        pg_text_addf(&t, "recovery_target_lsn = '%s'\nrecovery_target_inclusive = on\n", lsn);
    } else {
        pg_text_puts(&t, "recovery_target = 'immediate'\n");
    }
    pg_text_puts(&t, "recovery_target_action = 'promote'\n");
    if (p->no_start) /* a hot standby would pause where the log demands higher settings, with nobody there to raise
                        them */
        pg_text_puts(&t, "hot_standby = off\n");
    return write_text(r, PG_CONF_RECOVERY, &t, err);
}

static int write_private(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};
    PG_AUTO(pg_text_clearp) struct pg_text hba = {0};
    PG_AUTO(pg_freep) char *hba_path = NULL;
    int s = pg_restore_path(r, PG_HBA_PRIVATE, &hba_path, err);

    if (s != TIDE_OK)
        return s;
    pg_text_puts(&hba, "# During recovery: only through the socket in a directory of the server's user.\n"
                       "local all all trust\n");
    s = write_text(r, PG_HBA_PRIVATE, &hba, err);
    if (s != TIDE_OK)
        return s;

    pg_text_puts(&t, "# The configuration while Tidemark recovers the server: nobody else can reach it.\n"
                     "include '" PG_CONF_RESTORED "'\ninclude_if_exists '" PG_CONF_QUARANTINE
                     "'\ninclude '" PG_CONF_RECOVERY "'\n"
                     "listen_addresses = ''\n");
    put(&t, "unix_socket_directories", r->private_socket);
    put(&t, "hba_file", hba_path);
    pg_text_puts(&t, "unix_socket_permissions = 0700\n"
                     "hot_standby = on\nmax_standby_archive_delay = 0\n"
                     "autovacuum = off\nrestart_after_crash = off\nstatement_timeout = 0\n"
                     "idle_in_transaction_session_timeout = 0\n"
                     "logging_collector = off\nlog_destination = stderr\nlog_min_messages = warning\n"
                     "log_line_prefix = '%m [%p] '\nlc_messages = 'C'\nlog_statement = none\n"
                     "log_min_duration_statement = -1\n");
    return write_text(r, PG_CONF_PRIVATE, &t, err);
}

int pg_config_write_all(struct pg_restore *r, struct tide_err *err)
{
    int s = pg_restore_make_sockets(r, err);

    if (s == TIDE_OK)
        s = pg_config_write_restored(r, err);
    if (s == TIDE_OK)
        s = write_quarantine(r, err);
    if (s == TIDE_OK)
        s = write_hba(r, err);
    if (s == TIDE_OK)
        s = write_recovery(r, err);
    if (s == TIDE_OK)
        s = write_private(r, err);
    return s;
}

/* -------------------------------------------------------- postgresql.conf */

int pg_config_write_gate(struct pg_restore *r, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};

    pg_text_puts(
        &t, "# This directory is being restored by Tidemark, or its restore was interrupted or failed its proof.\n"
            "# The next line keeps the server from being started by hand on what is not proved.  Run the same\n"
            "# \"tidemark restore\" again; it writes the real file when the reached position was proved.\n"
            "include '" PG_GATE_INCLUDE "'\n");
    pg_text_addf(&t, PG_MADE_FOR "%s\n", r->dir);
    return write_text(r, "postgresql.conf", &t, err);
}

int pg_config_write_final(struct pg_restore *r, bool with_recovery, struct tide_err *err)
{
    PG_AUTO(pg_text_clearp) struct pg_text t = {0};

    pg_text_addf(&t, PG_MADE_FOR "%s\n", r->dir);
    pg_text_puts(&t, "# A server restored by Tidemark.  Settings of your own go to the end of this file.\n\n"
                     "include '" PG_CONF_RESTORED "'\n"
                     "include_if_exists '" PG_CONF_QUARANTINE "' # removed by \"tidemark activate\"\n");
    if (with_recovery)
        pg_text_puts(&t, "include_if_exists '" PG_CONF_RECOVERY "'\n");
    return write_text(r, "postgresql.conf", &t, err);
}
