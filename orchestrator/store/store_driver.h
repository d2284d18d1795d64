#ifndef TIDE_STORE_STORE_DRIVER_H
#define TIDE_STORE_STORE_DRIVER_H

/* What a driver implements.  One folder-mate a driver: store_posix.c, store_faulty.c; store.c dispatches and counts.
 */

#include "orchestrator/store/store.h"

struct store_driver {
    const char *scheme; /* "file" */
    tide_status (*open)(const struct store_options *o, void **self, uint32_t *features, struct tide_err *err);
    void (*close)(void *self);
    tide_status (*put)(void *self, const char *key, const void *data, size_t len, struct tide_err *err);
    tide_status (*put_begin)(void *self, const char *key, void **writer, struct tide_err *err);
    tide_status (*write)(void *writer, const void *data, size_t len, struct tide_err *err);
    tide_status (*commit)(void *writer, struct tide_err *err); /* frees the writer */
    void (*abort)(void *writer);
    tide_status (*get)(void *self, const char *key, uint64_t offset, void *data, size_t len, size_t *got,
                       struct tide_err *err);
    tide_status (*head)(void *self, const char *key, uint64_t *size, int64_t *mtime_us, struct tide_err *err);
    tide_status (*list)(void *self, const char *prefix, const char *after, uint64_t limit, bool folder,
                        store_list_fn *fn, void *ctx, struct tide_err *err);
    tide_status (*remove)(void *self, const char *key, struct tide_err *err);
    tide_status (*now)(void *self, int64_t *now_us, struct tide_err *err);
};

extern const struct store_driver store_posix_driver;
extern const struct store_driver store_faulty_driver; /* wraps another: see store_faulty.c */

#endif
