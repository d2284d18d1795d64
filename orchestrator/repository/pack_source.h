#ifndef TIDE_REPOSITORY_PACK_SOURCE_H
#define TIDE_REPOSITORY_PACK_SOURCE_H

/* Open packs, shared by the readers of one source.  For pack_reader.c only. */

#include "orchestrator/repository/pack.h"
#include "orchestrator/repository/relocation.h"

/* What is needed to find and open the frames of one pack, wherever they lie now. */
struct pack_handle {
    uint8_t id[OBJECT_ID_SIZE];
    unsigned users;
    uint64_t used; /* when, counted in acquisitions */
    struct object_reader *object;
    struct relocation *moved; /* instead of object */
    char key[REPO_KEY_MAX];   /* of the object that holds the frames now */
    const struct frame_seal *seal;
};

/* NOT_FOUND when neither the pack nor a relocation of it is there. */
tide_status pack_source_acquire(struct pack_source *s, const uint8_t id[OBJECT_ID_SIZE], struct pack_handle **out,
                                struct tide_err *err) TIDE_MUST_CHECK;
void pack_source_release(struct pack_source *s, struct pack_handle *h);
/* The object went away under the handle: the next acquire looks again. */
void pack_source_forget(struct pack_source *s, const struct pack_handle *h);

#endif
