#ifndef TIDE_REPOSITORY_LOGOBJECT_INTERNAL_H
#define TIDE_REPOSITORY_LOGOBJECT_INTERNAL_H

/* The parts of a log object; for logobject_*.c and the tests of FORMAT.md's vectors. */

#include "orchestrator/repository/logobject.h"
#include "orchestrator/repository/object_internal.h"

#define LOG_FRAME_PLAIN (1u << 20) /* of content, in every LOG frame but the last */
#define LOG_EXT_SIZE    40u
#define LOG_EXTENTS_MAX 8u
#define LOG_EVENTS_MAX  (2u << 20)
#define LOG_REFS_MAX    (4u << 20)
#define LOG_FRAMES_MAX  4096u
#define LOG_STORED_MAX  ((size_t)192 << 20)

/* The plain bytes of frame 0. */
struct log_meta {
    struct log_info info;
    char instance[REPO_NAME_MAX];
    uint32_t n_log, n_ref; /* frames of either kind */
    uint64_t n_refs;
    uint32_t *stored; /* owned: how long frames 1.. are as stored */
};

void log_meta_clear(struct log_meta *m);
void log_meta_encode(const struct log_meta *m, struct tide_buf *out);
/* Fills in everything but what the header's extension says. */
tide_status log_meta_decode(const void *data, size_t len, struct log_meta *m, struct tide_err *err) TIDE_MUST_CHECK;
/* INVALID or CORRUPT, as the caller says, when a description contradicts itself. */
tide_status log_info_check(const struct log_info *i, tide_status bad, struct tide_err *err) TIDE_MUST_CHECK;

void log_ext_encode(const struct log_name *n, uint8_t ext[LOG_EXT_SIZE]);
bool log_ext_decode(const struct object_header *h, struct log_name *n);
bool log_name_equal(const struct log_name *a, const struct log_name *b);
bool log_name_parse_key(const char *key, char instance[REPO_NAME_MAX], struct log_name *n);

/* Block references, delta-coded.  Writes frames' plain bytes one after the other: from refs[*at] on, as many as fit.
 */
void log_refs_encode(const struct tide_block_ref *refs, size_t n, size_t *at, struct tide_buf *plain);
/* Appends the references of one frame; they must be greater than all before. */
tide_status log_refs_decode(const void *data, size_t len, struct tide_block_ref *refs, size_t *n, size_t max,
                            struct tide_err *err) TIDE_MUST_CHECK;
int log_ref_cmp(const struct tide_block_ref *a, const struct tide_block_ref *b);

/* A sealed object in memory: buf from start on. */
struct log_sealed {
    struct tide_buf buf;
    size_t start;
};
void log_sealed_clear(struct log_sealed *s);
tide_status log_object_seal(struct repo *r, const struct object_header *h, const char *instance,
                            const struct log_info *info, const void *content, const struct tide_block_ref *refs,
                            size_t n_refs, struct log_sealed *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
