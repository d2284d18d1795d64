#ifndef TIDE_TESTS_PLUGIN_HOST_H
#define TIDE_TESTS_PLUGIN_HOST_H

/* A host for tests that call a plugin's functions themselves. */

#include "orchestrator/base/err.h"
#include "plugins/tide_plugin.h"

#include <stdatomic.h>

/* Options come as "key", "value", ..., NULL; the array is borrowed.  Log lines are dropped. */
struct test_host {
    struct tide_host host;
    const char *const *options;
    const char *instance;
    atomic_bool cancelled;
    int cancel_fd; /* -1: none */
};

void test_host_init(struct test_host *h, const char *instance, const char *const *options);

#endif
