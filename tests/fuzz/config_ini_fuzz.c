/* A configuration file of any content is read or refused, whole. */

#include "orchestrator/config/config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, size) != (ssize_t)size)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct config *c = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    tide_status s = config_load(&(struct config_sources){.file = path}, &c, &err);
    if ((s == TIDE_OK) != (c != NULL) || (s != TIDE_OK && err.msg[0] == '\0'))
        abort();
    for (size_t i = 0; s == TIDE_OK && i < config_count(c, CONFIG_INSTANCE); i++) {
        int64_t us;
        const char *name = config_name(c, CONFIG_INSTANCE, i);
        if (config_duration(c, CONFIG_INSTANCE, name, "ship_interval", &us, &err) != TIDE_OK)
            abort(); /* what config_load took must be a value */
    }
    config_free(c);
    (void)close(fd);
    return 0;
}
