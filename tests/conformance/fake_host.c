#include "tests/conformance/conformance.h"

#include "orchestrator/base/clock.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static void fake_log(void *ctx, int level, const char *event, const char *message)
{
    (void)ctx;
    if (getenv("CONFORMANCE_VERBOSE") != NULL)
        tap_diag("log %d %s: %s", level, event, message);
}

static int fake_set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                          const char *hint)
{
    struct fake_host *h = ctx;

    h->errors++;
    if (message == NULL || message[0] == '\0' || status <= TIDE_OK || status > TIDE_FULL)
        h->bad_error = true;
    (void)tide_fail(err, (tide_status)status, "%s", message == NULL ? "" : message);
    if (hint != NULL)
        (void)tide_hint(err, (tide_status)status, "%s", hint);
    if (err != NULL)
        err->os_errno = os_errno;
    return status;
}

static void fake_progress(void *ctx, const struct tide_progress *p)
{
    struct fake_host *h = ctx;

    if (p->struct_size < sizeof *p || p->phase == NULL || p->phase[0] == '\0' ||
        (p->bytes_total != 0 && p->bytes_done > p->bytes_total))
        h->bad_progress = true;
}

static bool fake_cancelled(void *ctx)
{
    const struct fake_host *h = ctx;
    return tide_cancel_is_set(h->cancel);
}

static int fake_cancel_fd(void *ctx)
{
    const struct fake_host *h = ctx;
    return tide_cancel_fd(h->cancel);
}

static const char *fake_option(void *ctx, const char *key)
{
    const struct fake_host *h = ctx;
    size_t len = strlen(key);

    for (const char *const *o = h->options; o != NULL && *o != NULL; o++)
        if (strncmp(*o, key, len) == 0 && (*o)[len] == '=')
            return *o + len + 1;
    return NULL;
}

static const char *fake_instance(void *ctx)
{
    (void)ctx;
    return "conformance";
}

bool fake_host_init(struct fake_host *h, const char *const *options)
{
    struct tide_err err = TIDE_ERR_INIT;

    *h = (struct fake_host){.options = options};
    h->table = (struct tide_host){
        .struct_size = sizeof h->table,
        .abi = TIDE_PLUGIN_ABI,
        .ctx = h,
        .log = fake_log,
        .set_error = fake_set_error,
        .progress = fake_progress,
        .cancelled = fake_cancelled,
        .cancel_fd = fake_cancel_fd,
        .option = fake_option,
        .instance = fake_instance,
    };
    return tide_cancel_new(&h->cancel, &err) == TIDE_OK;
}

void fake_host_clear(struct fake_host *h)
{
    tide_cancel_free(h->cancel);
    h->cancel = NULL;
}

struct later {
    pthread_t thread;
    struct tide_cancel *cancel;
    int64_t after_us;
};

static void *wait_and_cancel(void *arg)
{
    const struct later *l = arg;

    tide_sleep_us(l->after_us);
    tide_cancel_set(l->cancel);
    return NULL;
}

struct later *later_cancel(struct fake_host *h, int64_t after_us)
{
    struct later *l = calloc(1, sizeof *l);

    if (l == NULL)
        return NULL;
    l->cancel = h->cancel;
    l->after_us = after_us;
    if (pthread_create(&l->thread, NULL, wait_and_cancel, l) == 0)
        return l;
    free(l);
    return NULL;
}

void later_join(struct later *l)
{
    if (l == NULL)
        return;
    (void)pthread_join(l->thread, NULL);
    free(l);
}
