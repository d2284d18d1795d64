#include "plugins/postgresql/control.h"

/* Offsets in ControlFileData, the same in majors 14 to 18 up to data_checksum_version. */
enum {
    AT_SYSTEM_IDENTIFIER = 0,
    AT_CONTROL_VERSION = 8,
    AT_CATALOG_VERSION = 12,
    AT_STATE = 16,
    AT_CHECKPOINT = 32,
    AT_REDO = 40,
    AT_TIMELINE = 48,
    AT_MIN_RECOVERY_POINT = 136,
    AT_MIN_RECOVERY_TIMELINE = 144,
    AT_MAX_CONNECTIONS = 180,
    AT_MAX_WORKER_PROCESSES = 184,
    AT_MAX_WAL_SENDERS = 188,
    AT_MAX_PREPARED = 192,
    AT_MAX_LOCKS = 196,
    AT_BLOCK_SIZE = 216,
    AT_SEGMENT_BLOCKS = 220,
    AT_WAL_SEGMENT_SIZE = 228,
    AT_DATA_CHECKSUMS = 252,
    AT_CRC_UP_TO_17 = 288,
    AT_CRC_FROM_18 = 292, /* one more bool before the nonce moves it */
};

static uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint64_t get64(const uint8_t *p)
{
    return (uint64_t)get32(p) | (uint64_t)get32(p + 4) << 32;
}

/* Bit by bit: only used on a few hundred bytes. */
uint32_t pg_crc32c_of(const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t crc = 0xFFFFFFFFu;

    for (size_t i = 0; i < len; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
    }
    return ~crc;
}

static size_t crc_place(const uint8_t *raw)
{
    return get32(raw + AT_CONTROL_VERSION) >= 1800 ? AT_CRC_FROM_18 : AT_CRC_UP_TO_17;
}

bool pg_control_parse(const void *data, size_t len, struct pg_control *out)
{
    const uint8_t *p = data;

    if (len < AT_CRC_FROM_18 + 4)
        return false;
    uint32_t version = get32(p + AT_CONTROL_VERSION);
    size_t crc_at = crc_place(p);
    if (version < 1300 || version > 1899 || pg_crc32c_of(p, crc_at) != get32(p + crc_at))
        return false;
    *out = (struct pg_control){
        .system_identifier = get64(p + AT_SYSTEM_IDENTIFIER),
        .control_version = version,
        .catalog_version = get32(p + AT_CATALOG_VERSION),
        .state = get32(p + AT_STATE),
        .checkpoint = get64(p + AT_CHECKPOINT),
        .redo = get64(p + AT_REDO),
        .timeline = get32(p + AT_TIMELINE),
        .min_recovery_point = get64(p + AT_MIN_RECOVERY_POINT),
        .min_recovery_timeline = get32(p + AT_MIN_RECOVERY_TIMELINE),
        .max_connections = get32(p + AT_MAX_CONNECTIONS),
        .max_worker_processes = get32(p + AT_MAX_WORKER_PROCESSES),
        .max_wal_senders = get32(p + AT_MAX_WAL_SENDERS),
        .max_prepared_transactions = get32(p + AT_MAX_PREPARED),
        .max_locks_per_transaction = get32(p + AT_MAX_LOCKS),
        .block_size = get32(p + AT_BLOCK_SIZE),
        .segment_blocks = get32(p + AT_SEGMENT_BLOCKS),
        .wal_segment_size = get32(p + AT_WAL_SEGMENT_SIZE),
        .data_checksum_version = get32(p + AT_DATA_CHECKSUMS),
    };
    return true;
}

static void put32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

void pg_control_raise_min_recovery_point(uint8_t *raw, uint64_t lsn)
{
    size_t crc_at = crc_place(raw);

    if (get64(raw + AT_MIN_RECOVERY_POINT) >= lsn)
        return;
    put32(raw + AT_MIN_RECOVERY_POINT, (uint32_t)lsn);
    put32(raw + AT_MIN_RECOVERY_POINT + 4, (uint32_t)(lsn >> 32));
    put32(raw + crc_at, pg_crc32c_of(raw, crc_at));
}
