#ifndef TIDE_STORE_STORE_INTERNAL_H
#define TIDE_STORE_STORE_INTERNAL_H

/* Shared by store.c and the drivers; nobody else includes it. */

#include "orchestrator/base/file.h"
#include "orchestrator/store/store_driver.h"

#define STORE_KEY_MAX 1024 /* S3's bound, so that a repository can always be copied there */

/* INVALID unless key is one or more components joined by single '/': none empty, none starting with a dot (which
 * keeps ".", ".." and the drivers' own names out), no control characters. */
tide_status store_key_check(const char *key, struct tide_err *err) TIDE_MUST_CHECK;
/* The same for a folder: "" or a key with '/' behind it. */
tide_status store_prefix_check(const char *prefix, struct tide_err *err) TIDE_MUST_CHECK;

/* %XX undone; INVALID when the text is malformed, holds a NUL, or does not fit. */
tide_status store_url_decode(const char *text, size_t len, char *out, size_t size,
                             struct tide_err *err) TIDE_MUST_CHECK;

/* ------------------------------------------------------------ store_fault_spec.c */

enum fault_op { FAULT_PUT, FAULT_GET, FAULT_LIST, FAULT_HEAD, FAULT_DELETE, FAULT_ANY };

enum fault_action {
    FAULT_NONE,
    FAULT_STATUS,  /* fails with .status, nothing done */
    FAULT_LOST,    /* put: stored, and UNAVAILABLE returned all the same */
    FAULT_CORRUPT, /* get: one byte differs */
    FAULT_SHORT,   /* get: half of what was asked for */
};

struct fault {
    enum fault_action action;
    tide_status status;
    int64_t delay_us; /* before anything else */
    uint64_t offset;  /* FAULT_CORRUPT: of the byte in the object; UINT64_MAX: the middle of what was read */
};

struct fault_plan;

/* The rules of store_faulty.c's header comment.  Several texts are read one after the other; NULLs are skipped. */
tide_status fault_plan_new(const char *const *texts, size_t n, struct fault_plan **out,
                           struct tide_err *err) TIDE_MUST_CHECK;
void fault_plan_free(struct fault_plan *p);
/* What happens to this call; counts it.  Thread-safe. */
struct fault fault_plan_next(struct fault_plan *p, enum fault_op op, const char *key);
/* Only whether the control file is there; f then says how to fail. */
bool fault_plan_is_down(const struct fault_plan *p, struct fault *f);

#endif
