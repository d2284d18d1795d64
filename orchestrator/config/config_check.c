#include "orchestrator/config/config_internal.h"

#include "orchestrator/base/cleanup.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

tide_status config_at(struct tide_err *err, tide_status s, const char *file, int line)
{
    return tide_wrap(err, s, "%s:%d", file, line);
}

/* ------------------------------------------------------------- passwords */

/*
 * password=... in a connection string, in the forms of libpq (words, URI) and of others alike.  What is found is not
 * printed, and nor is the value it stands in.
 */
static bool holds_password(const char *text)
{
    static const char word[] = "password";
    for (const char *p = strcasestr(text, word); p != NULL; p = strcasestr(p + 1, word)) {
        const char *behind = p + sizeof word - 1;
        while (isspace((unsigned char)*behind))
            behind++;
        if (*behind == '=')
            return true;
    }
    const char *scheme = strstr(text, "://");
    if (scheme == NULL)
        return false;
    size_t authority = strcspn(scheme + 3, "/?#");
    const char *at = memchr(scheme + 3, '@', authority);
    return at != NULL && memchr(scheme + 3, ':', (size_t)(at - scheme - 3)) != NULL;
}

static tide_status refuse_secret(const char *key, const char *what, struct tide_err *err)
{
    tide_status st = tide_fail(err, TIDE_INVALID, "%s is not written into the configuration", what);
    return tide_hint(err, st, "Use %s_file, %s_command, or the environment; see tidemark.conf(5).", key, key);
}

/* ---------------------------------------------------------------- one entry */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein's distance of short words; long ones are far from everything. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 40 };
    size_t row[LONGEST + 1], la = strlen(a), lb = strlen(b);
    if (la > LONGEST || lb > LONGEST)
        return LONGEST;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j];
            row[j] = smaller(smaller(row[j] + 1, row[j - 1] + 1), diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[lb];
}

struct guess {
    const char *key;
    size_t distance;
};

static void consider(struct guess *g, const char *candidate, const char *key)
{
    size_t d = distance(candidate, key);
    if (d <= 2 && d < g->distance)
        *g = (struct guess){candidate, d};
}

static tide_status unknown_key(enum config_kind kind, const char *name, const char *key,
                               const struct tide_option *engine, size_t n_engine, struct tide_err *err)
{
    char title[CONFIG_TITLE];
    size_t n;
    const struct config_option *o = config_options(&n);
    struct guess g = {.distance = SIZE_MAX};
    for (size_t i = 0; i < n; i++)
        if ((o[i].sections & kind) != 0)
            consider(&g, o[i].key, key);
    for (size_t i = 0; i < n_engine; i++)
        consider(&g, engine[i].key, key);
    config_section_title(kind, name, title);
    tide_status st = tide_fail(err, TIDE_INVALID, "unknown key \"%s\" in %s", key, title);
    return g.key == NULL ? st : tide_hint(err, st, "Is \"%s\" meant?", g.key);
}

/* key is the option's own, or one of the two ways to a secret. */
static tide_status check_option(const struct config_option *o, const char *key, const char *text,
                                struct tide_err *err)
{
    if ((o->flags & TIDE_OPTION_SECRET) == 0) {
        if (strcmp(o->key, "connection") == 0 && holds_password(text))
            return refuse_secret("password", "a password in \"connection\"", err);
        tide_status st = config_check_value(o, text, NULL, err);
        return st != TIDE_OK ? tide_wrap(err, st, "\"%s\"", key) : TIDE_OK;
    }
    if (strcmp(o->key, key) == 0) {
        char what[CONFIG_TITLE];
        (void)snprintf(what, sizeof what, "\"%.60s\"", key);
        return refuse_secret(key, what, err);
    }
    struct config_option path = {.key = key, .type = TIDE_OPTION_PATH};
    bool is_file = strcmp(key + strlen(o->key), "_file") == 0;
    tide_status st = is_file ? config_check_value(&path, text, NULL, err) : TIDE_OK;
    return st != TIDE_OK ? tide_wrap(err, st, "\"%s\"", key) : TIDE_OK;
}

tide_status config_check_entry(enum config_kind kind, const char *name, const char *key, const char *text,
                               struct tide_err *err)
{
    const struct config_option *o = config_option_find(kind, key);
    if (o != NULL)
        return check_option(o, key, text, err);
    if (kind == CONFIG_INSTANCE) {
        /* Its engine may know the key; a password is refused by any. */
        return holds_password(text) && strstr(key, "conn") != NULL
                   ? refuse_secret("password", "a password in a connection", err)
                   : TIDE_OK;
    }
    return unknown_key(kind, name, key, NULL, 0, err);
}

/* --------------------------------------------------------------- references */

static tide_status check_named(const struct config *c, const struct config_section *s, const char *key,
                               enum config_kind kind, struct tide_err *err)
{
    const struct config_entry *e = config_entry_find(s, key);
    if (e == NULL || config_has(c, kind, e->text))
        return TIDE_OK;
    tide_status st =
        tide_fail(err, TIDE_INVALID, "\"%s\": there is no section [%s %s]", key, config_kind_word(kind), e->text);
    return config_at(err, st, e->file, e->line);
}

tide_status config_check_references(const struct config *c, struct tide_err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct config_section *s = &c->sections[i];
        if (s->kind == CONFIG_REPOSITORY && config_entry_find(s, "url") == NULL) {
            tide_status st = tide_fail(err, TIDE_INVALID, "[repository %s] has no \"url\"", s->name);
            return config_at(err, st, s->file, s->line);
        }
        tide_status st = check_named(c, s, "policy", CONFIG_POLICY, err);
        if (st == TIDE_OK)
            st = check_named(c, s, "repository", CONFIG_REPOSITORY, err);
        if (st != TIDE_OK)
            return st;
    }
    return TIDE_OK;
}

/* ------------------------------------------------------------------ engines */

static bool option_takes(const struct config_option *o, const char *key)
{
    size_t len = strlen(o->key);
    if (strcmp(o->key, key) == 0)
        return true;
    return (o->flags & TIDE_OPTION_SECRET) != 0 && strncmp(key, o->key, len) == 0 &&
           (strcmp(key + len, "_file") == 0 || strcmp(key + len, "_command") == 0);
}

/* One value of an instance, wherever it was written, against the engine's option of that key if it has one. */
static tide_status check_engine_entry(const struct config_entry *e, const char *instance,
                                      const struct tide_option *options, size_t n, struct tide_err *err)
{
    for (size_t i = 0; i < n; i++) {
        struct config_option o = config_option_of(&options[i]);
        if (option_takes(&o, e->key))
            return check_option(&o, e->key, e->text, err);
    }
    return config_option_find(CONFIG_INSTANCE, e->key) != NULL
               ? TIDE_OK
               : unknown_key(CONFIG_INSTANCE, instance, e->key, options, n, err);
}

static tide_status check_missing(const struct config *c, const struct config_section *s,
                                 const struct tide_option *options, size_t n, struct tide_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if ((options[i].flags & TIDE_OPTION_REQUIRED) == 0 || (options[i].flags & TIDE_OPTION_SECRET) != 0 ||
            options[i].def != NULL || config_effective(c, s->name, options[i].key) != NULL)
            continue;
        tide_status st = tide_fail(err, TIDE_INVALID, "[instance %s] has no \"%s\"", s->name, options[i].key);
        return config_at(err, st, s->file, s->line);
    }
    return TIDE_OK;
}

tide_status config_validate_instance(const struct config *c, const char *instance, const struct tide_option *options,
                                     size_t n, struct tide_err *err)
{
    const struct config_section *s = config_section_find(c, CONFIG_INSTANCE, instance);
    if (s == NULL)
        return TIDE_OK; /* known to the repository only: nothing of it is configured */
    for (size_t i = 0; i < s->n; i++) {
        tide_status st = check_engine_entry(&s->entries[i], instance, options, n, err);
        if (st != TIDE_OK)
            return config_at(err, st, s->entries[i].file, s->entries[i].line);
    }
    return check_missing(c, s, options, n, err);
}

tide_status config_validate(const struct config *c, config_engine_fn *fn, void *ctx, struct tide_err *err)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct config_section *s = &c->sections[i];
        const struct tide_option *options = NULL;
        size_t n = 0;
        if (s->kind != CONFIG_INSTANCE)
            continue;
        const struct config_entry *engine = config_effective(c, s->name, "engine");
        if (engine == NULL) {
            tide_status st = tide_fail(err, TIDE_INVALID, "[instance %s] has no \"engine\"", s->name);
            return config_at(err, st, s->file, s->line);
        }
        tide_status st = fn(ctx, engine->text, &options, &n, err);
        if (st != TIDE_OK)
            return config_at(err, st, engine->file, engine->line);
        st = config_validate_instance(c, s->name, options, n, err);
        if (st != TIDE_OK)
            return st;
    }
    return TIDE_OK;
}
