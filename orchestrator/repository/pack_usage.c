#include "orchestrator/repository/pack_usage.h"

#include <stdlib.h>
#include <string.h>

void pack_usage_clear(struct pack_usage *u)
{
    free(u->items);
    *u = (struct pack_usage){0};
}

void pack_usage_reset(struct pack_usage *u)
{
    u->n = 0;
}

tide_status pack_usage_add(struct pack_usage *u, const uint8_t pack[OBJECT_ID_SIZE], uint64_t bytes,
                           struct tide_err *err)
{
    /* From the end: neighbours mostly lie in the pack of the one before. */
    for (size_t i = u->n; i > 0; i--) {
        if (memcmp(u->items[i - 1].pack, pack, OBJECT_ID_SIZE) == 0) {
            u->items[i - 1].bytes += bytes;
            return TIDE_OK;
        }
    }
    if (u->n == u->size) {
        size_t size = u->size == 0 ? 8 : 2 * u->size;
        struct pack_bytes *items = realloc(u->items, size * sizeof *items);
        if (items == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory counting bytes of packs");
        u->items = items;
        u->size = size;
    }
    memcpy(u->items[u->n].pack, pack, OBJECT_ID_SIZE);
    u->items[u->n++].bytes = bytes;
    return TIDE_OK;
}
