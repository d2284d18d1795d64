#ifndef TIDE_REPOSITORY_OBJECT_INTERNAL_H
#define TIDE_REPOSITORY_OBJECT_INTERNAL_H

/* Objects with a header that the caller made: for log objects, and for the vectors of FORMAT.md, whose ids and salts
 * are fixed.  A header must never be used for two different objects. */

#include "orchestrator/repository/object.h"

#define OBJECT_HEADER_SIZE  96u
#define OBJECT_HEADER_MAX   (OBJECT_HEADER_SIZE + OBJECT_EXT_MAX)
#define OBJECT_ENTRY_SIZE   20u
#define OBJECT_TRAILER_SIZE 24u
#define OBJECT_VERSION      1u

/* CORRUPT unless the header is of this type. */
tide_status object_check_type(const struct object_header *h, enum object_type type,
                              struct tide_err *err) TIDE_MUST_CHECK;

/* Appends header and the only frame to out. */
tide_status object_small_seal(struct repo *r, const struct object_header *h, const void *plain, size_t len,
                              struct tide_buf *out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status object_small_open(struct repo *r, const void *stored, size_t stored_len, enum object_type type,
                              struct tide_buf *out, struct object_header *h, struct tide_err *err) TIDE_MUST_CHECK;

tide_status object_writer_begin_header(struct repo *r, const char *key, const struct object_header *h,
                                       struct frame_coder *coder, struct object_writer **out,
                                       struct tide_err *err) TIDE_MUST_CHECK;

/* Proves one frame and appends its plain bytes to out. */
tide_status object_open_frame(struct frame_coder *coder, const struct frame_seal *seal, const void *stored,
                              size_t total, uint32_t number, struct tide_buf *out, struct frame_info *info,
                              struct tide_err *err) TIDE_MUST_CHECK;

/* Cleanup for seals on the stack. */
void object_seal_clear(struct frame_seal *seal);

#endif
