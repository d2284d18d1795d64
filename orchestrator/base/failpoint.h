#ifndef TIDE_BASE_FAILPOINT_H
#define TIDE_BASE_FAILPOINT_H

/*
 * Places where the order of two writes matters.  TIDE_FAILPOINTS in the
 * environment names what happens there:  NAME=kill | NAME=hang | NAME=error,
 * comma-separated, with ":N" for the N-th pass ("pack-before-commit=kill:3").
 * Costs one load when the variable is not set.  Names are listed in
 * tests/crash/README.md.
 */

#include "orchestrator/base/err.h"

tide_status tide_failpoint_hit(const char *name, struct tide_err *err) TIDE_MUST_CHECK;
/* What the environment's text does; false when it is malformed, and then every hit fails with TIDE_INVALID.  For
 * tests, before there are threads. */
bool tide_failpoints_load(const char *text);
extern bool tide_failpoints_armed; /* set before main from the environment */

/* Returns from the calling function with TIDE_IO when told to fail. */
#define TIDE_FAILPOINT(name, err)                                                                                    \
    do {                                                                                                             \
        if (tide_failpoints_armed) {                                                                                 \
            tide_status fp_ = tide_failpoint_hit(name, err);                                                         \
            if (fp_ != TIDE_OK)                                                                                      \
                return fp_;                                                                                          \
        }                                                                                                            \
    } while (0)

#endif
