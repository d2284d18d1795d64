#include "plugins/postgresql/recorder.h"

#include <string.h>

static void recorder_log(void *ctx, int level, const char *event, const char *message)
{
    struct pg_recorder *r = ctx;

    r->real->log(r->real->ctx, level, event, message);
}

static int recorder_set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                              const char *hint)
{
    struct pg_recorder *r = ctx;

    (void)err;
    (void)snprintf(r->message, sizeof r->message, "%s%s%s", message, os_errno != 0 ? ": " : "",
                   os_errno != 0 ? strerrordesc_np(os_errno) : "");
    (void)snprintf(r->hint, sizeof r->hint, "%s", hint != NULL ? hint : "");
    return status;
}

static void recorder_progress(void *ctx, const struct tide_progress *p)
{
    struct pg_recorder *r = ctx;

    r->real->progress(r->real->ctx, p);
}

static bool recorder_cancelled(void *ctx)
{
    struct pg_recorder *r = ctx;

    return r->stopped != NULL ? r->stopped(r->stopped_ctx) : r->real->cancelled(r->real->ctx);
}

static int recorder_cancel_fd(void *ctx)
{
    struct pg_recorder *r = ctx;

    return r->stopped != NULL ? r->stop_fd : r->real->cancel_fd(r->real->ctx);
}

static const char *recorder_option(void *ctx, const char *key)
{
    struct pg_recorder *r = ctx;

    return r->real->option(r->real->ctx, key);
}

static const char *recorder_instance(void *ctx)
{
    struct pg_recorder *r = ctx;

    return r->real->instance(r->real->ctx);
}

void pg_recorder_init(struct pg_recorder *r, const struct tide_host *real)
{
    *r = (struct pg_recorder){.host = {.struct_size = sizeof r->host,
                                       .abi = TIDE_PLUGIN_ABI,
                                       .ctx = r,
                                       .log = recorder_log,
                                       .set_error = recorder_set_error,
                                       .progress = recorder_progress,
                                       .cancelled = recorder_cancelled,
                                       .cancel_fd = recorder_cancel_fd,
                                       .option = recorder_option,
                                       .instance = recorder_instance},
                              .real = real,
                              .stop_fd = -1};
}
