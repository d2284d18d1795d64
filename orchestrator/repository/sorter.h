#ifndef TIDE_REPOSITORY_SORTER_H
#define TIDE_REPOSITORY_SORTER_H

/*
 * Sorts any number of (key, value) records in bounded memory: what does not
 * fit is spilled as sorted runs to unlinked temporary files and merged while
 * it is read.  Keys compare as bytes, a prefix before what continues it;
 * records of one key come in any order.
 */

#include "orchestrator/base/err.h"

#define SORTER_KEY_MAX   8192u
#define SORTER_VALUE_MAX (64u << 10)

struct sorter;

struct sorter_record {
    const uint8_t *key, *value; /* valid until the next call */
    size_t key_len, value_len;
};

/* memory: bytes for records before they are spilled (at least 256 KiB).  directory: for spilled runs; NULL: TMPDIR,
 * or /var/tmp, or /tmp. */
tide_status sorter_new(size_t memory, const char *directory, struct sorter **out,
                       struct tide_err *err) TIDE_MUST_CHECK;
void sorter_free(struct sorter *s);
/* From any thread, until sorter_rewind. */
tide_status sorter_add(struct sorter *s, const void *key, size_t key_len, const void *value, size_t value_len,
                       struct tide_err *err) TIDE_MUST_CHECK;
/* Ends adding; the next record is the first. */
tide_status sorter_rewind(struct sorter *s, struct tide_err *err) TIDE_MUST_CHECK;
/* NOT_FOUND (err untouched) behind the last one. */
tide_status sorter_next(struct sorter *s, struct sorter_record *r, struct tide_err *err) TIDE_MUST_CHECK;
/* How many runs were spilled. */
unsigned sorter_spills(const struct sorter *s);

int sorter_compare(const void *a, size_t a_len, const void *b, size_t b_len);

/* A file without a name in `directory` (NULL: as above). */
tide_status sorter_temporary(const char *directory, int *fd, struct tide_err *err) TIDE_MUST_CHECK;

#endif
