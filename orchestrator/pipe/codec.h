#ifndef TIDE_PIPE_CODEC_H
#define TIDE_PIPE_CODEC_H

/* Compression of one frame's bytes: zstd frames, lz4 blocks.  One codec belongs to one thread. */

#include "orchestrator/pipe/frame.h"

struct codec;

/* level: zstd 1..19; lz4 below 3 is the fast mode, from 3 on the slow one. */
tide_status codec_new(enum frame_codec kind, int level, struct codec **out, struct tide_err *err) TIDE_MUST_CHECK;
void codec_free(struct codec *c);
enum frame_codec codec_kind(const struct codec *c);

/*
 * Compresses src into dst.  *got 0: it did not get smaller by at least a 64th, and is to be stored as it is.
 * dst needs no more room than len.
 */
tide_status codec_compress(struct codec *c, const void *src, size_t len, void *dst, size_t *got,
                           struct tide_err *err) TIDE_MUST_CHECK;

/* Exactly plain_len bytes come out, by whatever codec wrote them; else CORRUPT. */
tide_status codec_expand(struct codec *c, enum frame_codec kind, const void *src, size_t len, void *plain,
                         size_t plain_len, struct tide_err *err) TIDE_MUST_CHECK;

#endif
