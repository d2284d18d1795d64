#include "plugins/postgresql/settings_list.h"
#include "plugins/postgresql/pg_files.h"

#include <string.h>

const char *const pg_settings_insisted[PG_N_INSISTED] = {
    "max_connections",           "max_worker_processes",      "max_wal_senders",
    "max_prepared_transactions", "max_locks_per_transaction",
};

/*
 * The source's settings that a clone takes over: what changes how queries run
 * and what they return.  Not here, on purpose: paths, listening, TLS, archive,
 * replication, recovery, logging destinations, and what fits only the source's
 * hardware.  RESTORE.md lists the same.
 */
static const char *const allowed[] = {
    "array_nulls",
    "backslash_quote",
    "bytea_output",
    "check_function_bodies",
    "checkpoint_completion_target",
    "checkpoint_timeout",
    "client_encoding",
    "compute_query_id",
    "constraint_exclusion",
    "cpu_index_tuple_cost",
    "cpu_operator_cost",
    "cpu_tuple_cost",
    "cursor_tuple_fraction",
    "DateStyle",
    "deadlock_timeout",
    "default_statistics_target",
    "default_table_access_method",
    "default_text_search_config",
    "default_toast_compression",
    "default_transaction_deferrable",
    "default_transaction_isolation",
    "effective_cache_size",
    "escape_string_warning",
    "extra_float_digits",
    "from_collapse_limit",
    "geqo",
    "geqo_threshold",
    "gin_fuzzy_search_limit",
    "gin_pending_list_limit",
    "hash_mem_multiplier",
    "idle_in_transaction_session_timeout",
    "IntervalStyle",
    "join_collapse_limit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "listen_addresses",
    "lo_compat_privileges",
    "log_timezone",
    "logical_decoding_work_mem",
    "maintenance_work_mem",
    "max_files_per_process",
    "max_logical_replication_workers",
    "max_parallel_maintenance_workers",
    "max_parallel_workers",
    "max_parallel_workers_per_gather",
    "max_pred_locks_per_page",
    "max_pred_locks_per_relation",
    "max_pred_locks_per_transaction",
    "max_replication_slots",
    "max_sync_workers_per_subscription",
    "max_wal_size",
    "min_parallel_index_scan_size",
    "min_parallel_table_scan_size",
    "min_wal_size",

    "parallel_leader_participation",
    "parallel_setup_cost",
    "parallel_tuple_cost",
    "password_encryption",
    "plan_cache_mode",
    "quote_all_identifiers",
    "random_page_cost",
    "row_security",
    "seq_page_cost",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronize_seqscans",
    "temp_buffers",
    "TimeZone",
    "timezone_abbreviations",
    "track_activities",
    "track_activity_query_size",
    "track_commit_timestamp",
    "track_counts",
    "track_functions",
    "track_io_timing",
    "transform_null_equals",
    "wal_buffers",
    "wal_compression",
    "wal_level",
    "wal_log_hints",
    "work_mem",
    "xmlbinary",
    "xmloption",
};

static const char *const allowed_prefixes[] = {"autovacuum",     "enable_",  "jit",
                                               "log_autovacuum", "log_min_", "vacuum_"};

/* Settings of extensions that exist to act by themselves. */
static const char *const refused_prefixes[] = {"cron.",   "pg_cron.", "pg_net.",         "pglogical.", "spock.",
                                               "repmgr.", "bdr.",     "pg_partman_bgw.", "tidemark."};

/* Libraries whose background workers run jobs, call out, or join a replication cluster. */
static const char *const noisy_libraries[] = {
    "pg_cron", "pg_partman_bgw",    "pg_net",   "pglogical",  "spock",   "bdr",
    "repmgr",  "pg_failover_slots", "pg_later", "pg_squeeze", "pg_task", "pgagent",
};

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

static bool has_prefix_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(name, list[i], strlen(list[i])) == 0)
            return true;
    return false;
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

bool pg_setting_is_allowed(const char *name)
{
    if (strchr(name, '.') != NULL)
        return !has_prefix_of(name, refused_prefixes, COUNT(refused_prefixes));
    return is_one_of(name, allowed, COUNT(allowed)) || has_prefix_of(name, allowed_prefixes, COUNT(allowed_prefixes));
}

bool pg_settings_value(const char *lines, const char *key, char *value, size_t size)
{
    size_t n = strlen(key);
    bool found = false;

    for (const char *p = lines; p != NULL && *p != '\0';) {
        size_t len = strcspn(p, "\n");
        if (len > n && strncmp(p, key, n) == 0 && p[n] == '=' && len - n - 1 < size) {
            memcpy(value, p + n + 1, len - n - 1);
            value[len - n - 1] = '\0';
            found = true;
        }
        p += len + (p[len] == '\n' ? 1 : 0);
    }
    return found;
}

/* "$libdir/pg_cron.so" is pg_cron. */
static bool is_noisy(const char *item, size_t len)
{
    char name[128];

    for (size_t i = len; i > 0; i--)
        if (item[i - 1] == '/') {
            item += i;
            len -= i;
            break;
        }
    if (len >= sizeof name)
        return false;
    memcpy(name, item, len);
    name[len] = '\0';
    char *dot = strstr(name, ".so");
    if (dot != NULL)
        *dot = '\0';
    return is_one_of(name, noisy_libraries, COUNT(noisy_libraries));
}

char *pg_settings_quiet_libraries(const char *list)
{
    struct pg_text out = {0};

    pg_text_puts(&out, "");
    for (const char *p = list; *p != '\0';) {
        while (*p == ' ' || *p == ',')
            p++;
        size_t len = strcspn(p, ",");
        size_t trimmed = len;
        while (trimmed > 0 && p[trimmed - 1] == ' ')
            trimmed--;
        if (trimmed > 0 && !is_noisy(p, trimmed)) {
            if (out.len > 0)
                pg_text_puts(&out, ", ");
            pg_text_add(&out, p, trimmed);
        }
        p += len;
    }
    if (out.failed)
        pg_text_clear(&out);
    return out.data;
}
