#include "orchestrator/plugin/host.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A value handed to the plugin: it stays where it is until the host goes. */
struct cached_option {
    struct cached_option *next;
    bool present;
    struct tide_secret value;
    char key[];
};

struct plugin_host {
    struct tide_host table;
    struct plugin_host_options o;
    char instance[128];
    pthread_mutex_t lock; /* guards options */
    struct cached_option *options;
};

static void host_log(void *ctx, int level, const char *event, const char *message)
{
    const struct plugin_host *h = ctx;
    enum tide_log_level l = level <= TIDE_LOG_ERROR   ? TIDE_LOG_ERROR
                            : level >= TIDE_LOG_DEBUG ? TIDE_LOG_DEBUG
                                                      : (enum tide_log_level)level;

    TIDE_LOG(l, event == NULL ? "plugin" : event, TIDE_STR("instance", h->instance), TIDE_STR("message", message));
}

static int host_set_error(void *ctx, struct tide_err *err, int status, int os_errno, const char *message,
                          const char *hint)
{
    tide_status s = status <= TIDE_OK || status > TIDE_FULL ? TIDE_IO : (tide_status)status;

    (void)ctx;
    if (message == NULL)
        message = "the plugin gave no reason";
    if (os_errno != 0) {
        char reason[128];
        (void)tide_fail(err, s, "%s: %s", message, strerror_r(os_errno, reason, sizeof reason));
        if (err != NULL)
            err->os_errno = os_errno;
    } else {
        (void)tide_fail(err, s, "%s", message);
    }
    if (hint != NULL && hint[0] != '\0')
        (void)tide_hint(err, s, "%s", hint);
    return s;
}

static void host_progress(void *ctx, const struct tide_progress *p)
{
    const struct plugin_host *h = ctx;
    struct tide_progress ours = {.time_us = TIDE_TIME_NONE};

    if (h->o.progress == NULL || p == NULL || p->struct_size < offsetof(struct tide_progress, position))
        return;
    memcpy(&ours, p, p->struct_size < sizeof ours ? p->struct_size : sizeof ours);
    ours.struct_size = sizeof ours;
    h->o.progress(h->o.progress_ctx, &ours);
}

static bool host_cancelled(void *ctx)
{
    const struct plugin_host *h = ctx;
    return tide_cancel_is_set(h->o.cancel);
}

static int host_cancel_fd(void *ctx)
{
    const struct plugin_host *h = ctx;
    return tide_cancel_fd(h->o.cancel);
}

static const char *host_instance(void *ctx)
{
    const struct plugin_host *h = ctx;
    return h->instance;
}

static struct cached_option *look_up(struct plugin_host *h, const char *key)
{
    for (struct cached_option *c = h->options; c != NULL; c = c->next)
        if (strcmp(c->key, key) == 0)
            return c;

    size_t len = strlen(key);
    struct cached_option *c = calloc(1, sizeof *c + len + 1);
    if (c == NULL)
        return NULL;
    memcpy(c->key, key, len);
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = h->o.option == NULL ? TIDE_NOT_FOUND : h->o.option(h->o.option_ctx, key, &c->value, &why);
    /* The plugin sees "no value" and says what it misses; why, is in the log. */
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        TIDE_LOG(TIDE_LOG_ERROR, "plugin.option", TIDE_STR("instance", h->instance), TIDE_STR("key", key),
                 TIDE_STR("message", why.msg));
    c->present = s == TIDE_OK;
    c->next = h->options;
    h->options = c;
    return c;
}

static const char *host_option(void *ctx, const char *key)
{
    struct plugin_host *h = ctx;

    pthread_mutex_lock(&h->lock);
    const struct cached_option *c = look_up(h, key);
    pthread_mutex_unlock(&h->lock);
    if (c == NULL || !c->present)
        return NULL;
    return c->value.data == NULL ? "" : (const char *)c->value.data;
}

tide_status plugin_host_new(const struct plugin_host_options *o, struct plugin_host **out, struct tide_err *err)
{
    struct plugin_host *h = calloc(1, sizeof *h);
    if (h == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory preparing a plugin");
    h->o = *o;
    (void)snprintf(h->instance, sizeof h->instance, "%s", o->instance);
    h->o.instance = h->instance;
    pthread_mutex_init(&h->lock, NULL);
    h->table = (struct tide_host){
        .struct_size = sizeof h->table,
        .abi = TIDE_PLUGIN_ABI,
        .ctx = h,
        .log = host_log,
        .set_error = host_set_error,
        .progress = host_progress,
        .cancelled = host_cancelled,
        .cancel_fd = host_cancel_fd,
        .option = host_option,
        .instance = host_instance,
    };
    *out = h;
    return TIDE_OK;
}

void plugin_host_free(struct plugin_host *h)
{
    if (h == NULL)
        return;
    while (h->options != NULL) {
        struct cached_option *c = h->options;
        h->options = c->next;
        tide_secret_clear(&c->value);
        free(c);
    }
    pthread_mutex_destroy(&h->lock);
    free(h);
}

const struct tide_host *plugin_host_table(const struct plugin_host *h)
{
    return &h->table;
}
