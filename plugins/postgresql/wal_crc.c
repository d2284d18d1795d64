#include "plugins/postgresql/wal_format.h"

#include <stdlib.h>
#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* Castagnoli's, reflected */

static uint32_t update_software(const struct wal_crc *crc, uint32_t value, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint32_t(*t)[256] = crc->table;

    for (; len >= 8; p += 8, len -= 8) {
        uint32_t a = wal_u32(p) ^ value, b = wal_u32(p + 4);

        value = t[7][a & 0xff] ^ t[6][a >> 8 & 0xff] ^ t[5][a >> 16 & 0xff] ^ t[4][a >> 24] ^ t[3][b & 0xff] ^
                t[2][b >> 8 & 0xff] ^ t[1][b >> 16 & 0xff] ^ t[0][b >> 24];
    }
    for (; len > 0; p++, len--)
        value = t[0][(value ^ *p) & 0xff] ^ value >> 8;
    return value;
}

static bool make_table(struct wal_crc *crc)
{
    crc->table = malloc(8 * sizeof *crc->table);
    if (crc->table == NULL)
        return false;
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t v = i;

        for (int bit = 0; bit < 8; bit++)
            v = v & 1 ? v >> 1 ^ POLYNOMIAL : v >> 1;
        crc->table[0][i] = v;
    }
    for (uint32_t i = 0; i < 256; i++)
        for (int k = 1; k < 8; k++)
            crc->table[k][i] = crc->table[0][crc->table[k - 1][i] & 0xff] ^ crc->table[k - 1][i] >> 8;
    return true;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t update_sse42(const struct wal_crc *crc, uint32_t value,
                                                               const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t v = value;

    (void)crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t word;

        memcpy(&word, p, sizeof word);
        v = __builtin_ia32_crc32di(v, word);
    }
    value = (uint32_t)v;
    for (; len > 0; p++, len--)
        value = __builtin_ia32_crc32qi(value, *p);
    return value;
}
#endif

bool wal_crc_init(struct wal_crc *crc, bool software)
{
    memset(crc, 0, sizeof *crc);
#if defined(__x86_64__)
    if (!software && __builtin_cpu_supports("sse4.2")) {
        crc->update = update_sse42;
        return true;
    }
#else
    (void)software;
#endif
    crc->update = update_software;
    return make_table(crc);
}

void wal_crc_clear(struct wal_crc *crc)
{
    free(crc->table);
    crc->table = NULL;
}
