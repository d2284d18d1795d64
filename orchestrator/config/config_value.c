#include "orchestrator/config/config_internal.h"

#include "orchestrator/base/cleanup.h"

#include <stdlib.h>
#include <string.h>

const struct config_entry *config_effective(const struct config *c, const char *instance, const char *key)
{
    const struct config_section *own = config_section_find(c, CONFIG_INSTANCE, instance);
    const struct config_section *defaults = config_section_find(c, CONFIG_DEFAULTS, NULL);
    const struct config_entry *e = config_entry_find(own, key);
    if (e != NULL)
        return e;
    const struct config_entry *policy = config_entry_find(own, "policy");
    if (policy == NULL)
        policy = config_entry_find(defaults, "policy");
    if (policy != NULL)
        e = config_entry_find(config_section_find(c, CONFIG_POLICY, policy->text), key);
    return e != NULL ? e : config_entry_find(defaults, key);
}

struct config_value config_value(const struct config *c, enum config_kind kind, const char *name, const char *key)
{
    const struct config_entry *e = kind == CONFIG_INSTANCE
                                       ? config_effective(c, name, key)
                                       : config_entry_find(config_section_find(c, kind, name), key);
    if (e != NULL)
        return (struct config_value){.text = e->text, .file = e->file, .line = e->line};
    const struct config_option *o = config_option_find(kind, key);
    return (struct config_value){.text = o != NULL ? o->def : NULL};
}

struct config_value config_instance_value(const struct config *c, const char *instance, const char *key)
{
    return config_value(c, CONFIG_INSTANCE, instance, key);
}

tide_status config_instance_repository(const struct config *c, const char *instance, const char **name,
                                       struct tide_err *err)
{
    struct config_value v = config_instance_value(c, instance, "repository");
    if (v.text != NULL) {
        *name = v.text; /* config_load proved that it is there */
        return TIDE_OK;
    }
    size_t n = config_count(c, CONFIG_REPOSITORY);
    if (n == 1) {
        *name = config_name(c, CONFIG_REPOSITORY, 0);
        return TIDE_OK;
    }
    if (n == 0)
        return tide_fail(err, TIDE_INVALID, "the configuration has no section [repository NAME]");
    return tide_fail(err, TIDE_INVALID, "[instance %s] does not say which of the %zu repositories is its own",
                     instance, n);
}

/* ------------------------------------------------------------------ by type */

/* The value in base units, as text. */
static tide_status base_text(const struct config *c, enum config_kind kind, const char *name, const char *key,
                             uint32_t type, struct tide_buf *out, struct tide_err *err)
{
    struct config_value v = config_value(c, kind, name, key);
    if (v.text == NULL)
        return tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is not configured", key);
    const struct config_option *known = config_option_find(kind, key);
    struct config_option o = known != NULL ? *known : (struct config_option){.key = key};
    o.type = type;
    tide_status st = config_check_value(&o, v.text, out, err);
    if (st == TIDE_OK)
        st = tide_buf_check(out, key, err);
    if (st == TIDE_OK)
        return TIDE_OK;
    st = tide_wrap(err, st, "\"%s\"", key);
    return v.file != NULL ? config_at(err, st, v.file, v.line) : st;
}

static tide_status number(const struct config *c, enum config_kind kind, const char *name, const char *key,
                          uint32_t type, int64_t *out, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(32);
    tide_status st = base_text(c, kind, name, key, type, &text, err);
    if (st == TIDE_OK)
        *out = strtoll(tide_buf_cstr(&text), NULL, 10); /* printed by config_check_value */
    return st;
}

tide_status config_string(const struct config *c, enum config_kind kind, const char *name, const char *key,
                          const char **out, struct tide_err *err)
{
    struct config_value v = config_value(c, kind, name, key);
    if (v.text == NULL)
        return tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is not configured", key);
    *out = v.text;
    return TIDE_OK;
}

tide_status config_duration(const struct config *c, enum config_kind kind, const char *name, const char *key,
                            int64_t *us, struct tide_err *err)
{
    return number(c, kind, name, key, TIDE_OPTION_DURATION, us, err);
}

tide_status config_size(const struct config *c, enum config_kind kind, const char *name, const char *key,
                        uint64_t *bytes, struct tide_err *err)
{
    int64_t v = 0;
    tide_status st = number(c, kind, name, key, TIDE_OPTION_SIZE, &v, err);
    if (st == TIDE_OK)
        *bytes = (uint64_t)v;
    return st;
}

tide_status config_integer(const struct config *c, enum config_kind kind, const char *name, const char *key,
                           int64_t *out, struct tide_err *err)
{
    return number(c, kind, name, key, TIDE_OPTION_INTEGER, out, err);
}

tide_status config_bool(const struct config *c, enum config_kind kind, const char *name, const char *key, bool *out,
                        struct tide_err *err)
{
    int64_t v = 0;
    tide_status st = number(c, kind, name, key, TIDE_OPTION_BOOL, &v, err);
    if (st == TIDE_OK)
        *out = v != 0;
    return st;
}

tide_status config_engine_option(const struct config *c, const char *instance, const struct tide_option *option,
                                 struct tide_secret *value, struct tide_err *err)
{
    if ((option->flags & TIDE_OPTION_SECRET) != 0)
        return config_secret(c, CONFIG_INSTANCE, instance, option->key, value, NULL, err);
    const struct config_entry *e = config_effective(c, instance, option->key);
    const char *text = e != NULL ? e->text : option->def;
    if (text == NULL)
        return tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is not configured", option->key);
    TIDE_AUTO(tide_buf_clear) struct tide_buf base = TIDE_BUF_INIT(CONFIG_LINE_MAX);
    struct config_option o = config_option_of(option);
    tide_status st = config_check_value(&o, text, &base, err);
    if (st == TIDE_OK)
        st = tide_buf_check(&base, option->key, err);
    if (st == TIDE_OK)
        return tide_secret_set(value, tide_buf_cstr(&base), base.len, err);
    st = tide_wrap(err, st, "\"%s\"", option->key);
    return e != NULL ? config_at(err, st, e->file, e->line) : st;
}
