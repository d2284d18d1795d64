#ifndef TIDE_PIPE_FRAME_CIPHER_H
#define TIDE_PIPE_FRAME_CIPHER_H

/*
 * The proof of a frame: an AES-256-GCM tag, or a cut SHA-256.  For frame.c only.
 *
 * Setting a key costs more than a small frame, so contexts are kept by key and
 * direction.  One belongs to one thread.
 */

#include "orchestrator/pipe/frame.h"

#define FRAME_COVERED  16u /* bytes of the frame's header that the tag covers */
#define FRAME_TAG_SIZE 16u

struct frame_cipher;

tide_status frame_cipher_new(struct frame_cipher **out, struct tide_err *err) TIDE_MUST_CHECK;
void frame_cipher_free(struct frame_cipher *c);

/* in and out may be the same. */
tide_status frame_cipher_seal(struct frame_cipher *c, const struct frame_seal *s,
                              const uint8_t covered[FRAME_COVERED], const void *in, size_t len, void *out,
                              uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err) TIDE_MUST_CHECK;
/* CORRUPT when the tag does not fit; out then holds zeros. */
tide_status frame_cipher_open(struct frame_cipher *c, const struct frame_seal *s,
                              const uint8_t covered[FRAME_COVERED], const void *in, size_t len, void *out,
                              const uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err) TIDE_MUST_CHECK;
/* Without encryption. */
tide_status frame_cipher_digest(struct frame_cipher *c, const struct frame_seal *s,
                                const uint8_t covered[FRAME_COVERED], const void *payload, size_t len,
                                uint8_t tag[FRAME_TAG_SIZE], struct tide_err *err) TIDE_MUST_CHECK;

#endif
