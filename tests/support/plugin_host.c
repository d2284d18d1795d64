#include "tests/support/plugin_host.h"

#include <string.h>

static void drop_log(void *ctx, int level, const char *event, const char *message)
{
    (void)ctx;
    (void)level;
    (void)event;
    (void)message;
}

static int set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message, const char *hint)
{
    (void)ctx;
    (void)hint;
    if (os_errno != 0)
        return (int)tide_fail(err, (tide_status)status, "%s: %s", message, strerror(os_errno));
    return (int)tide_fail(err, (tide_status)status, "%s", message);
}

static void drop_progress(void *ctx, const struct tide_progress *p)
{
    (void)ctx;
    (void)p;
}

static bool is_cancelled(void *ctx)
{
    return ((struct test_host *)ctx)->cancelled;
}

static int cancel_fd(void *ctx)
{
    return ((struct test_host *)ctx)->cancel_fd;
}

static const char *option(void *ctx, const char *key)
{
    const struct test_host *h = ctx;

    for (size_t i = 0; h->options != NULL && h->options[i] != NULL; i += 2)
        if (strcmp(h->options[i], key) == 0)
            return h->options[i + 1];
    return NULL;
}

static const char *instance(void *ctx)
{
    return ((struct test_host *)ctx)->instance;
}

void test_host_init(struct test_host *h, const char *name, const char *const *options)
{
    *h = (struct test_host){.host = {.struct_size = sizeof h->host,
                                     .abi = TIDE_PLUGIN_ABI,
                                     .ctx = h,
                                     .log = drop_log,
                                     .set_error = set_error,
                                     .progress = drop_progress,
                                     .cancelled = is_cancelled,
                                     .cancel_fd = cancel_fd,
                                     .option = option,
                                     .instance = instance},
                            .options = options,
                            .instance = name,
                            .cancel_fd = -1};
}
