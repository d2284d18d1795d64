#ifndef TIDE_BASE_CLEANUP_H
#define TIDE_BASE_CLEANUP_H

/*
 * Owners that clean up after themselves.
 *
 *     TIDE_AUTO(tide_freep) char *name = strdup(x);
 *     TIDE_AUTO(tide_closep) int fd = open(...);
 *
 * Declare and initialise on one line; hand ownership on with TIDE_TAKE.
 */

#define TIDE_AUTO(fn) __attribute__((cleanup(fn)))

#define TIDE_TAKE(p)                                                                                                 \
    (__extension__({                                                                                                 \
        __typeof__(p) taken_ = (p);                                                                                  \
        (p) = (__typeof__(p)){0};                                                                                    \
        taken_;                                                                                                      \
    }))

void tide_freep(void *pp); /* free(*(void **)pp) */
void tide_closep(int *fd); /* close when >= 0 */
int tide_take_fd(int *fd); /* returns *fd and sets it to -1 */

#endif
