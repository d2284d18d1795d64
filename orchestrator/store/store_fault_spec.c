#include "orchestrator/store/store_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MAX 32
#define TEXT_MAX  256

struct rule {
    enum fault_op op;
    uint64_t nth; /* 0: every one */
    bool onward;  /* the nth and all behind it */
    char in_key[TEXT_MAX];
    struct fault fault;
    uint64_t seen;
};

struct fault_plan {
    pthread_mutex_t lock; /* seen */
    char down[TIDE_PATH_MAX];
    struct rule rules[RULES_MAX];
    size_t n;
};

static const struct {
    const char *name;
    enum fault_op op;
} ops[] = {{"put", FAULT_PUT},   {"get", FAULT_GET},       {"list", FAULT_LIST},
           {"head", FAULT_HEAD}, {"delete", FAULT_DELETE}, {"any", FAULT_ANY}};

static const struct {
    const char *name;
    enum fault_action action;
    tide_status status;
} actions[] = {
    {"unavailable", FAULT_STATUS, TIDE_UNAVAILABLE},
    {"full", FAULT_STATUS, TIDE_FULL},
    {"io", FAULT_STATUS, TIDE_IO},
    {"denied", FAULT_STATUS, TIDE_DENIED},
    {"missing", FAULT_STATUS, TIDE_NOT_FOUND},
    {"lost", FAULT_LOST, TIDE_UNAVAILABLE},
    {"corrupt", FAULT_CORRUPT, TIDE_OK},
    {"short", FAULT_SHORT, TIDE_OK},
    {"slow", FAULT_NONE, TIDE_OK},
};

static bool take_op(const char **p, enum fault_op *op)
{
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        size_t len = strlen(ops[i].name);
        if (strncmp(*p, ops[i].name, len) == 0 && strchr("@~=", (*p)[len]) != NULL) {
            *p += len;
            *op = ops[i].op;
            return true;
        }
    }
    return false;
}

static bool parse_action(const char *text, struct fault *f)
{
    const char *arg = strchr(text, ':');
    size_t len = arg == NULL ? strlen(text) : (size_t)(arg - text);
    for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
        if (strlen(actions[i].name) != len || strncmp(text, actions[i].name, len) != 0)
            continue;
        *f = (struct fault){.action = actions[i].action, .status = actions[i].status, .offset = UINT64_MAX};
        if (strcmp(actions[i].name, "slow") == 0)
            return arg != NULL && tide_duration_parse(arg + 1, &f->delay_us, NULL) == TIDE_OK;
        if (arg == NULL)
            return true;
        char *end = NULL;
        f->offset = strtoull(arg + 1, &end, 10);
        return f->action == FAULT_CORRUPT && end != arg + 1 && *end == '\0';
    }
    return false;
}

/* OP[@N[+]][~TEXT]=ACTION[:ARG] */
static bool parse_rule(const char *text, struct rule *r)
{
    const char *p = text;
    *r = (struct rule){.nth = 0};
    if (!take_op(&p, &r->op))
        return false;
    if (*p == '@') {
        char *end = NULL;
        r->nth = strtoull(p + 1, &end, 10);
        if (r->nth == 0)
            return false;
        p = end;
        r->onward = *p == '+';
        p += r->onward ? 1 : 0;
    }
    if (*p == '~') {
        size_t len = strcspn(++p, "=");
        if (len == 0 || len >= sizeof r->in_key)
            return false;
        memcpy(r->in_key, p, len);
        p += len;
    }
    return *p == '=' && parse_action(p + 1, &r->fault);
}

static tide_status add_text(struct fault_plan *plan, const char *text, struct tide_err *err)
{
    while (*text != '\0') {
        size_t len = strcspn(text, ";");
        char one[TIDE_PATH_MAX];
        if (len >= sizeof one || plan->n == RULES_MAX)
            return tide_fail(err, TIDE_INVALID, "too many or too long fault rules");
        memcpy(one, text, len);
        one[len] = '\0';
        text += len + (text[len] == ';' ? 1 : 0);
        if (len == 0)
            continue;
        if (strncmp(one, "down=", 5) == 0)
            memcpy(plan->down, one + 5, len - 4);
        else if (!parse_rule(one, &plan->rules[plan->n++]))
            return tide_fail(err, TIDE_INVALID, "\"%s\" is no fault rule", one);
    }
    return TIDE_OK;
}

static void plan_freep(struct fault_plan **p)
{
    fault_plan_free(*p);
}

tide_status fault_plan_new(const char *const *texts, size_t n, struct fault_plan **out, struct tide_err *err)
{
    TIDE_AUTO(plan_freep) struct fault_plan *plan = calloc(1, sizeof *plan);
    if (plan == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory reading fault rules");
    (void)pthread_mutex_init(&plan->lock, NULL);
    for (size_t i = 0; i < n; i++) {
        tide_status st = texts[i] == NULL ? TIDE_OK : add_text(plan, texts[i], err);
        if (st != TIDE_OK)
            return st;
    }
    *out = TIDE_TAKE(plan);
    return TIDE_OK;
}

void fault_plan_free(struct fault_plan *p)
{
    if (p == NULL)
        return;
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool fault_plan_is_down(const struct fault_plan *p, struct fault *f)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf word = TIDE_BUF_INIT(TEXT_MAX);
    if (*p->down == '\0' || tide_file_read(p->down, &word, NULL) != TIDE_OK)
        return false;
    char text[TEXT_MAX + 1];
    (void)snprintf(text, sizeof text, "%.*s", (int)strcspn(tide_buf_cstr(&word), " \n"), tide_buf_cstr(&word));
    if (!parse_action(text, f) || f->action != FAULT_STATUS)
        *f = (struct fault){.action = FAULT_STATUS, .status = TIDE_UNAVAILABLE};
    return true;
}

struct fault fault_plan_next(struct fault_plan *p, enum fault_op op, const char *key)
{
    struct fault result = {.action = FAULT_NONE};
    if (fault_plan_is_down(p, &result))
        return result;
    pthread_mutex_lock(&p->lock);
    for (size_t i = 0; i < p->n; i++) {
        struct rule *r = &p->rules[i];
        if ((r->op != op && r->op != FAULT_ANY) || strstr(key, r->in_key) == NULL)
            continue;
        r->seen++;
        if (r->nth != 0 && !(r->seen == r->nth || (r->onward && r->seen > r->nth)))
            continue;
        int64_t delay = result.delay_us + r->fault.delay_us; /* "slow" adds to whatever else happens */
        if (result.action == FAULT_NONE)
            result = r->fault;
        result.delay_us = delay;
    }
    pthread_mutex_unlock(&p->lock);
    return result;
}
