#include "orchestrator/pipe/codec.h"
#include "orchestrator/base/cleanup.h"

#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#define LZ4_SLOW_FROM 3

/*
 * Blocks begin without a history, so on what repeats itself a fast search leaves more than it would in a long stream.
 * Where the block before shrank to a quarter, searching longer pays, and is still about as fast as the level is on
 * what shrinks less; on what shrinks to a sixteenth, the shorter of the two is as good.
 */
#define ZSTD_LONGER_BELOW 5 /* levels from here on search that long anyway */
#define ZSTD_SHRINKS_WELL 4
#define ZSTD_SHRINKS_MOST 16
#define ZSTD_LONGER_MATCH 5

struct codec {
    enum frame_codec kind;
    int level;
    ZSTD_CCtx *zc; /* made by the first use; a reader needs none */
    int strategy;  /* of zc; 0: its level's own */
    ZSTD_DCtx *zd;
    void *lz4; /* state of either mode */
};

tide_status codec_new(enum frame_codec kind, int level, struct codec **out, struct tide_err *err)
{
    if (kind == FRAME_ZSTD && (level < 1 || level > ZSTD_maxCLevel()))
        return tide_fail(err, TIDE_INVALID, "zstd has no level %d", level);
    if (kind != FRAME_STORED && kind != FRAME_ZSTD && kind != FRAME_LZ4)
        return tide_fail(err, TIDE_INVALID, "there is no codec %d", (int)kind);
    struct codec *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a codec");
    c->kind = kind;
    c->level = level;
    *out = c;
    return TIDE_OK;
}

void codec_free(struct codec *c)
{
    if (c == NULL)
        return;
    (void)ZSTD_freeCCtx(c->zc);
    (void)ZSTD_freeDCtx(c->zd);
    free(c->lz4);
    free(c);
}

enum frame_codec codec_kind(const struct codec *c)
{
    return c->kind;
}

static tide_status set_zstd(ZSTD_CCtx *zc, ZSTD_cParameter what, int value, struct tide_err *err)
{
    size_t set = ZSTD_CCtx_setParameter(zc, what, value);
    return ZSTD_isError(set) ? tide_fail(err, TIDE_INVALID, "zstd: %s", ZSTD_getErrorName(set)) : TIDE_OK;
}

/* What follows is probably like what was compressed last.  A parameter of 0 is the level's own. */
static tide_status tune_zstd(struct codec *c, size_t len, size_t got, struct tide_err *err)
{
    int strategy = 0;
    if (c->level < ZSTD_LONGER_BELOW && got > 0 && got < len / ZSTD_SHRINKS_WELL)
        strategy = got < len / ZSTD_SHRINKS_MOST ? ZSTD_greedy : ZSTD_lazy;
    if (strategy == c->strategy)
        return TIDE_OK;
    c->strategy = strategy;
    tide_status s = set_zstd(c->zc, ZSTD_c_strategy, strategy, err);
    return s != TIDE_OK ? s : set_zstd(c->zc, ZSTD_c_minMatch, strategy != 0 ? ZSTD_LONGER_MATCH : 0, err);
}

static tide_status compress_zstd(struct codec *c, const void *src, size_t len, void *dst, size_t room, size_t *got,
                                 struct tide_err *err)
{
    if (c->zc == NULL) {
        c->zc = ZSTD_createCCtx();
        if (c->zc == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for zstd");
        tide_status s = set_zstd(c->zc, ZSTD_c_compressionLevel, c->level, err);
        if (s != TIDE_OK)
            return s;
    }
    size_t n = ZSTD_compress2(c->zc, dst, room, src, len);
    if (ZSTD_isError(n) && ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall)
        n = 0;
    if (ZSTD_isError(n))
        return tide_fail(err, TIDE_NO_MEMORY, "zstd: %s", ZSTD_getErrorName(n));
    *got = n;
    return tune_zstd(c, len, n, err);
}

static tide_status compress_lz4(struct codec *c, const void *src, size_t len, void *dst, size_t room, size_t *got,
                                struct tide_err *err)
{
    bool slow = c->level >= LZ4_SLOW_FROM;
    if (c->lz4 == NULL) {
        c->lz4 = malloc((size_t)(slow ? LZ4_sizeofStateHC() : LZ4_sizeofState()));
        if (c->lz4 == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for lz4");
    }
    int n = slow ? LZ4_compress_HC_extStateHC(c->lz4, src, dst, (int)len, (int)room, c->level)
                 : LZ4_compress_fast_extState(c->lz4, src, dst, (int)len, (int)room, 1);
    *got = n > 0 ? (size_t)n : 0;
    return TIDE_OK;
}

tide_status codec_compress(struct codec *c, const void *src, size_t len, void *dst, size_t *got, struct tide_err *err)
{
    *got = 0;
    /* Too little room makes both libraries give up early, which is what incompressible bytes deserve. */
    size_t room = len - len / 64;
    if (room <= 1 || len > FRAME_MAX_PLAIN)
        return TIDE_OK;
    switch (c->kind) {
    case FRAME_ZSTD:
        return compress_zstd(c, src, len, dst, room - 1, got, err);
    case FRAME_LZ4:
        return compress_lz4(c, src, len, dst, room - 1, got, err);
    case FRAME_STORED:
        break;
    }
    return TIDE_OK;
}

static tide_status expand_zstd(struct codec *c, const void *src, size_t len, void *plain, size_t plain_len,
                               struct tide_err *err)
{
    if (c->zd == NULL) {
        c->zd = ZSTD_createDCtx();
        if (c->zd == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for zstd");
    }
    size_t n = ZSTD_decompressDCtx(c->zd, plain, plain_len, src, len);
    if (ZSTD_isError(n))
        return tide_fail(err, TIDE_CORRUPT, "zstd: %s", ZSTD_getErrorName(n));
    if (n != plain_len)
        return tide_fail(err, TIDE_CORRUPT, "a frame expands to %zu bytes and says %zu", n, plain_len);
    return TIDE_OK;
}

tide_status codec_expand(struct codec *c, enum frame_codec kind, const void *src, size_t len, void *plain,
                         size_t plain_len, struct tide_err *err)
{
    if (len > FRAME_MAX_PLAIN || plain_len > FRAME_MAX_PLAIN)
        return tide_fail(err, TIDE_CORRUPT, "a frame of %zu bytes is too large", plain_len);
    if (kind == FRAME_ZSTD)
        return expand_zstd(c, src, len, plain, plain_len, err);
    if (kind != FRAME_LZ4)
        return tide_fail(err, TIDE_CORRUPT, "unknown codec %d", (int)kind);
    int n = LZ4_decompress_safe(src, plain, (int)len, (int)plain_len);
    if (n < 0 || (size_t)n != plain_len)
        return tide_fail(err, TIDE_CORRUPT, "an lz4 block does not expand to %zu bytes", plain_len);
    return TIDE_OK;
}
