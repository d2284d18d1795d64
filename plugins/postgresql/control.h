#ifndef TIDE_PLUGIN_PG_CONTROL_H
#define TIDE_PLUGIN_PG_CONTROL_H

/* The parts of PostgreSQL's global/pg_control that backup and restore need (majors 14 to 18, little-endian). */

#include "plugins/tide_plugin.h"

#define PG_CONTROL_FILE_SIZE 8192u

enum pg_control_state {
    PG_CONTROL_STARTUP = 0,
    PG_CONTROL_SHUTDOWNED = 1,
    PG_CONTROL_SHUTDOWNED_IN_RECOVERY = 2,
    PG_CONTROL_SHUTDOWNING = 3,
    PG_CONTROL_IN_CRASH_RECOVERY = 4,
    PG_CONTROL_IN_ARCHIVE_RECOVERY = 5,
    PG_CONTROL_IN_PRODUCTION = 6,
};

struct pg_control {
    uint64_t system_identifier;
    uint32_t control_version, catalog_version;
    uint32_t state; /* enum pg_control_state */
    uint64_t checkpoint, redo;
    uint32_t timeline;
    uint64_t min_recovery_point;
    uint32_t min_recovery_timeline;
    uint32_t max_connections, max_worker_processes, max_wal_senders, max_prepared_transactions;
    uint32_t max_locks_per_transaction;
    uint32_t block_size, segment_blocks, wal_segment_size;
    uint32_t data_checksum_version;
};

uint32_t pg_crc32c_of(const void *data, size_t len);

/* False when the CRC is wrong (a write was in progress) or the layout is not one of ours. */
bool pg_control_parse(const void *data, size_t len, struct pg_control *out);

/* Demands that recovery goes at least to lsn, in the file itself; raw is one that pg_control_parse() took. */
void pg_control_raise_min_recovery_point(uint8_t *raw, uint64_t lsn);

/*
 * Reads the file until its CRC is right: the server writes it in place, so a
 * read can catch half of a write.  On a standby a backup stands or falls with
 * it.  TIDE_CORRUPT when it stays wrong for some seconds.
 */
int pg_control_read(const struct tide_host *host, const char *path, uint8_t raw[PG_CONTROL_FILE_SIZE], size_t *len,
                    struct pg_control *out, struct tide_err *err);

#endif
