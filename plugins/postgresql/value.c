#include "plugins/postgresql/pg_pure.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static bool hex32(const char *text, char stop, const char **end, uint32_t *out)
{
    uint64_t n = 0;
    const char *p = text;

    for (; isxdigit((unsigned char)*p); p++) {
        char digit[2] = {*p, '\0'};

        n = n << 4 | strtoul(digit, NULL, 16);
        if (n > UINT32_MAX)
            return false;
    }
    if (p == text || *p != stop)
        return false;
    *end = p;
    *out = (uint32_t)n;
    return true;
}

bool pg_lsn_parse(const char *text, uint64_t *lsn)
{
    uint32_t hi, lo;

    if (text == NULL || !hex32(text, '/', &text, &hi) || !hex32(text + 1, '\0', &text, &lo))
        return false;
    *lsn = (uint64_t)hi << 32 | lo;
    return true;
}

void pg_lsn_text(uint64_t lsn, char *buf, size_t size)
{
    (void)snprintf(buf, size, "%" PRIX32 "/%" PRIX32, (uint32_t)(lsn >> 32), (uint32_t)lsn);
}

void pg_pos_format(struct tide_pos pos, char *buf, size_t size)
{
    pg_lsn_text(pos.lo, buf, size);
}

int pg_pos_parse(const char *text, struct tide_pos *pos)
{
    uint64_t lsn;

    if (!pg_lsn_parse(text, &lsn))
        return TIDE_INVALID;
    *pos = pg_pos(lsn);
    return TIDE_OK;
}

int64_t pg_monotonic_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void pg_freep(void *p)
{
    void *owned;

    memcpy(&owned, p, sizeof owned);
    free(owned);
}

void pg_closep(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

void pg_copy_out(void *out, uint32_t size, const void *from, size_t from_size)
{
    memcpy(out, from, size != 0 && size < from_size ? size : from_size);
}
