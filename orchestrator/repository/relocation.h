#ifndef TIDE_REPOSITORY_RELOCATION_H
#define TIDE_REPOSITORY_RELOCATION_H

/*
 * relocations/OLDID/GENERATION: where the frames of a pack went that was
 * repacked.  Frames are copied as they are stored; what proves and opens them,
 * the old pack's header, comes along.  One level: a relocation never leads to
 * another, repacking again makes the next generation.  FORMAT.md, section 8.
 */

#include "orchestrator/repository/object.h"

#define RELOCATION_FRAMES_MAX 262144u

struct relocation {
    struct object_header header;  /* of the old pack */
    struct frame_seal seal;       /* made from it */
    uint8_t pack[OBJECT_ID_SIZE]; /* where the frames lie now */
    struct frame_ref *frames;     /* owned; numbers as in the old pack, ascending; offsets in the new one */
    size_t n;
};

void relocation_free(struct relocation *r);
/* NOT_FOUND when the pack was never repacked. */
tide_status relocation_load(struct repo *r, const char *instance, const uint8_t old_pack[OBJECT_ID_SIZE],
                            struct relocation **out, struct tide_err *err) TIDE_MUST_CHECK;
/* Makes the next generation.  The new pack must be stored by then; m->seal is not used. */
tide_status relocation_put(struct repo *r, const char *instance, const struct relocation *m,
                           struct tide_err *err) TIDE_MUST_CHECK;
/* NULL when the frame was not taken along. */
const struct frame_ref *relocation_find(const struct relocation *m, uint32_t number);

#endif
