#ifndef TIDE_PLUGIN_HOST_H
#define TIDE_PLUGIN_HOST_H

/* What the core offers a plugin: struct tide_host, filled in.  Thread-safe. */

#include "orchestrator/base/secret.h"
#include "orchestrator/base/thread.h"

struct plugin_host;

struct plugin_host_options {
    const char *instance;
    struct tide_cancel *cancel; /* borrowed; NULL: never cancelled */
    /* The value of an option in base units into `value`; NOT_FOUND: it has none.  Called once for each key. */
    tide_status (*option)(void *ctx, const char *key, struct tide_secret *value, struct tide_err *err);
    void *option_ctx;
    void (*progress)(void *ctx, const struct tide_progress *p); /* NULL: dropped */
    void *progress_ctx;
};

tide_status plugin_host_new(const struct plugin_host_options *o, struct plugin_host **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
/* Wipes what option() gave. */
void plugin_host_free(struct plugin_host *h);
const struct tide_host *plugin_host_table(const struct plugin_host *h);

#endif
