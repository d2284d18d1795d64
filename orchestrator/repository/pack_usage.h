#ifndef TIDE_REPOSITORY_PACK_USAGE_H
#define TIDE_REPOSITORY_PACK_USAGE_H

/* How many bytes of which packs something refers to.  For small sets: the packs of a leaf, of a table. */

#include "orchestrator/repository/object.h"

struct pack_bytes {
    uint8_t pack[OBJECT_ID_SIZE];
    uint64_t bytes;
};

struct pack_usage {
    struct pack_bytes *items; /* owned */
    size_t n, size;
};

void pack_usage_clear(struct pack_usage *u);
void pack_usage_reset(struct pack_usage *u); /* empty, memory kept */
tide_status pack_usage_add(struct pack_usage *u, const uint8_t pack[OBJECT_ID_SIZE], uint64_t bytes,
                           struct tide_err *err) TIDE_MUST_CHECK;

#endif
