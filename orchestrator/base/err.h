#ifndef TIDE_BASE_ERR_H
#define TIDE_BASE_ERR_H

/*
 * Outcomes.  Every function that can fail returns a tide_status to decide on
 * and explains itself in the caller's struct tide_err.  The deepest function
 * says what failed, each layer adds what it was doing, only the top logs or
 * turns it into an exit code.
 */

#include "plugins/tide_plugin.h"

#define TIDE_MUST_CHECK   __attribute__((warn_unused_result))
#define TIDE_PRINTF(f, a) __attribute__((format(printf, f, a)))

struct tide_err {
    tide_status status;
    int os_errno;
    char msg[1024];
    char hint[512];  /* what the operator can do; a sentence of its own */
    char before[40]; /* TIDE_OUTSIDE: nearest restorable times, RFC 3339, or empty */
    char after[40];
};

#define TIDE_ERR_INIT                                                                                                \
    {                                                                                                                \
        .status = TIDE_OK                                                                                            \
    }

/* Each returns its status, so that a failure is one line.  err may be NULL.  A new failure clears the hint, before
 * and after: set them behind it. */
tide_status tide_fail(struct tide_err *err, tide_status s, const char *fmt, ...) TIDE_PRINTF(3, 4);
/* Appends ": <reason>" and picks the status from errno: ENOENT NOT_FOUND, EEXIST EXISTS, EACCES/EPERM DENIED,
 * ENOSPC/EDQUOT FULL, ENOMEM NO_MEMORY, else IO. */
tide_status tide_fail_errno(struct tide_err *err, int errnum, const char *fmt, ...) TIDE_PRINTF(3, 4);
/* Puts "<text>: " before the message.  Returns s. */
tide_status tide_wrap(struct tide_err *err, tide_status s, const char *fmt, ...) TIDE_PRINTF(3, 4);
/* Sets the hint.  Returns s. */
tide_status tide_hint(struct tide_err *err, tide_status s, const char *fmt, ...) TIDE_PRINTF(3, 4);

void tide_err_clear(struct tide_err *err);
const char *tide_status_name(tide_status s); /* "not found" */
/* The exit code of DESIGN's table: 0, 1, 2, 4..9, 130. */
int tide_status_exit(tide_status s);

/* A broken invariant is our bug: reports and aborts, in release builds too. */
#define tide_assert(cond) ((cond) ? (void)0 : tide_assert_failed(#cond, __FILE__, __LINE__, __func__))
_Noreturn void tide_assert_failed(const char *cond, const char *file, int line, const char *func);

#endif
