#include "plugins/postgresql/restore_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t from_control(const struct pg_restore *r, const char *name)
{
    PG_AUTO(pg_freep) char *path = pg_path_join(r->dir, "global/pg_control");
    PG_AUTO(pg_freep) char *data = NULL;
    struct pg_control c;
    size_t len;

    if (path == NULL || !pg_path_exists(path) ||
        pg_file_read(r->host, path, PG_CONTROL_FILE_SIZE, &data, &len, r->err) != TIDE_OK ||
        !pg_control_parse(data, len, &c))
        return 0;
    const uint32_t values[] = {c.max_connections, c.max_worker_processes, c.max_wal_senders,
                               c.max_prepared_transactions, c.max_locks_per_transaction};
    for (size_t i = 0; i < PG_N_INSISTED; i++)
        if (strcmp(name, pg_settings_insisted[i]) == 0)
            return values[i];
    return 0;
}

int64_t pg_settings_required(const struct pg_restore *r, const char *name)
{
    const char *text = json_string_value(json_object_get(json_object_get(r->meta, "settings"), name));
    int64_t value = text != NULL ? strtoll(text, NULL, 10) : 0;
    int64_t control = from_control(r, name);
    char from_log[32];

    if (control > value)
        value = control;
    for (size_t i = 0; i < PG_N_INSISTED; i++)
        if (strcmp(name, pg_settings_insisted[i]) == 0 && r->raised[i] > value)
            value = r->raised[i];
    /* A value lowered on the way does not help: replay passes the higher one first. */
    if (pg_settings_value(r->params->settings, name, from_log, sizeof from_log) &&
        strtoll(from_log, NULL, 10) > value)
        value = strtoll(from_log, NULL, 10);
    return value;
}

uint64_t pg_host_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t total = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 30;
    unsigned long long limit;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");

    if (f != NULL) {
        if (fscanf(f, "%llu", &limit) == 1 && limit > 0 && limit < total)
            total = limit;
        (void)fclose(f);
    }
    return total;
}
