#ifndef TIDE_TESTS_FAULT_H
#define TIDE_TESTS_FAULT_H

/*
 * System calls that fail on order.  A test names the calls in its first lines,
 *
 *     // LDFLAGS: -Wl,--wrap=write -Wl,--wrap=fsync ...
 *
 * and then fails the 1st, 2nd, 3rd ... of them until none fails any more.  Known: open, openat, read, pread, write,
 * pwrite, fsync, fdatasync, close, fchmod, rename, link, unlink, mkdir, opendir, pipe2, eventfd, fork,
 * pthread_create, malloc, calloc, realloc.
 */

#include <stdbool.h>
#include <stddef.h>

/* The n-th wrapped call from now (from 1) fails with errnum; for_good: every later one too. */
void fault_arm(unsigned n, int errnum, bool for_good);
/* True when a call was made to fail since fault_arm. */
bool fault_disarm(void);
/* Wrapped reads and writes move at most this much at once; 0: as they like. */
void fault_short(size_t max);

#endif
