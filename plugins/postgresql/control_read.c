#include "plugins/postgresql/control.h"
#include "plugins/postgresql/pg.h"
#include "plugins/postgresql/pg_files.h"

#include <string.h>

#define ATTEMPTS 100
#define PAUSE_MS 50

int pg_control_read(const struct tide_host *host, const char *path, uint8_t raw[PG_CONTROL_FILE_SIZE], size_t *len,
                    struct pg_control *out, struct tide_err *err)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        PG_AUTO(pg_freep) char *data = NULL;
        size_t n;
        int s = pg_file_read(host, path, PG_CONTROL_FILE_SIZE, &data, &n, err);
        if (s != TIDE_OK)
            return s;
        if (pg_control_parse(data, n, out)) {
            memcpy(raw, data, n);
            *len = n;
            return TIDE_OK;
        }
        unsigned ready;
        s = pg_wait(host, &(struct pg_wait){.fd = -1, .extra_fd = -1, .timeout_ms = PAUSE_MS}, &ready, err);
        if (s != TIDE_OK)
            return s;
    }
    return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "the checksum of \"%s\" stays wrong", path);
}
