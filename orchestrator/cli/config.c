#include "orchestrator/config/config.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/cli/cli.h"
#include "orchestrator/plugin/loader.h"
#include <stdio.h>
#include <string.h>

/* tidemark config check, and config show */

/* Plugins by engine, loaded as the configuration names them. */
struct engines {
    const char *directory;
    struct {
        char name[32];
        struct loaded_plugin *plugin;
    } items[16];
    size_t n;
};

static void engines_clear(struct engines *e)
{
    for (size_t i = 0; i < e->n; i++)
        plugin_free(e->items[i].plugin);
}

static tide_status find_options(void *ctx, const char *engine, const struct tide_option **options, size_t *n,
                                struct tide_err *err)
{
    struct engines *e = ctx;
    const char *name = plugin_name_for_engine(engine);

    for (size_t i = 0; i < e->n; i++) {
        if (strcmp(e->items[i].name, name) != 0)
            continue;
        *options = plugin_options(e->items[i].plugin, n);
        return TIDE_OK;
    }
    if (e->n == sizeof e->items / sizeof e->items[0])
        return tide_fail(err, TIDE_INVALID, "too many engines");
    struct loaded_plugin *p = NULL;
    tide_status s = plugin_load(e->directory, name, &p, err);
    if (s != TIDE_OK)
        return s == TIDE_NOT_FOUND ? tide_wrap(err, TIDE_INVALID, "\"engine\"") : s;
    (void)snprintf(e->items[e->n].name, sizeof e->items[e->n].name, "%s", name);
    e->items[e->n++].plugin = p;
    *options = plugin_options(p, n);
    return TIDE_OK;
}

static tide_status prepare(struct config *config, struct engines *e, char directory[TIDE_PATH_MAX],
                           struct tide_err *err)
{
    e->directory = directory;
    return plugin_directory_find(config_value(config, CONFIG_DAEMON, NULL, "plugin_directory").text, directory, err);
}

static tide_status run_check(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    TIDE_AUTO(engines_clear) struct engines e = {0};
    char directory[TIDE_PATH_MAX];
    struct config *config = NULL;

    tide_status s = cli_words(args, 0, 0, err);
    if (s == TIDE_OK)
        s = cli_config(cli, &config, err);
    if (s == TIDE_OK && config_count(config, CONFIG_INSTANCE) > 0) {
        s = prepare(config, &e, directory, err);
        if (s == TIDE_OK)
            s = config_validate(config, find_options, &e, err);
    }
    if (s != TIDE_OK)
        return s;
    if (cli->json) {
        json_t *doc = json_pack("{s:i, s:b, s:I, s:I}", "schema", 1, "ok", 1, "repositories",
                                (json_int_t)config_count(config, CONFIG_REPOSITORY), "instances",
                                (json_int_t)config_count(config, CONFIG_INSTANCE));
        out_json(doc);
        json_decref(doc);
    } else if (!cli->quiet) {
        (void)printf("the configuration is fine; repositories: %zu, instances: %zu\n",
                     config_count(config, CONFIG_REPOSITORY), config_count(config, CONFIG_INSTANCE));
    }
    return TIDE_OK;
}

/* ------------------------------------------------------------------- show */

struct show {
    struct config *config;
    const char *instance;
    struct out_table table;
    json_t *list; /* NULL: text */
};

static void show_key(struct show *w, const char *key, const char *def, bool secret)
{
    struct config_value v = config_instance_value(w->config, w->instance, key);
    char where[512];

    const char *text = v.text != NULL ? v.text : def;
    if (text == NULL && secret)
        return;
    if (v.file != NULL)
        (void)snprintf(where, sizeof where, "%s:%d", v.file, v.line);
    else
        (void)snprintf(where, sizeof where, text == NULL ? "not set" : "default");
    if (w->list == NULL) {
        out_table_row(&w->table, (const char *const[]){key, text == NULL ? "" : text, where});
        return;
    }
    json_t *one =
        json_pack("{s:s, s:o, s:o, s:o}", "key", key, "value", text == NULL ? json_null() : json_string(text), "file",
                  v.file == NULL ? json_null() : json_string(v.file), "line",
                  v.file == NULL ? json_null() : json_integer(v.line));
    (void)json_array_append_new(w->list, one);
}

/* A secret is never shown, only where it comes from. */
static void show_option(struct show *w, const char *key, const char *def, uint32_t flags)
{
    char name[128];

    if ((flags & TIDE_OPTION_SECRET) == 0) {
        show_key(w, key, def, false);
        return;
    }
    (void)snprintf(name, sizeof name, "%s_file", key);
    show_key(w, name, NULL, true);
    (void)snprintf(name, sizeof name, "%s_command", key);
    show_key(w, name, NULL, true);
}

static void show_all(struct show *w, const struct tide_option *engine, size_t n_engine)
{
    size_t n;
    const struct config_option *core = config_options(&n);

    for (size_t i = 0; i < n; i++)
        if ((core[i].sections & CONFIG_INSTANCE) != 0)
            show_option(w, core[i].key, core[i].def, core[i].flags);
    for (size_t i = 0; i < n_engine; i++)
        if (config_option_find(CONFIG_INSTANCE, engine[i].key) == NULL)
            show_option(w, engine[i].key, engine[i].def, engine[i].flags);
}

static tide_status must_be_configured(const struct config *config, const char *instance, struct tide_err *err)
{
    for (size_t i = 0; i < config_count(config, CONFIG_INSTANCE); i++)
        if (strcmp(config_name(config, CONFIG_INSTANCE, i), instance) == 0)
            return TIDE_OK;
    return tide_fail(err, TIDE_INVALID, "there is no section [instance %s]", instance);
}

static tide_status run_show(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    TIDE_AUTO(engines_clear) struct engines e = {0};
    struct show w = {.table = {.n_columns = 3}};
    const struct tide_option *engine = NULL;
    char directory[TIDE_PATH_MAX];
    size_t n_engine = 0;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &w.instance, err);
    if (s == TIDE_OK)
        s = cli_config(cli, &w.config, err);
    if (s == TIDE_OK)
        s = must_be_configured(w.config, w.instance, err);
    if (s != TIDE_OK)
        return s;
    /* The engine's own keys are shown when its plugin is there; the core's are of use without it. */
    struct tide_err why = TIDE_ERR_INIT;
    const char *name = config_instance_value(w.config, w.instance, "engine").text;
    if (name != NULL && prepare(w.config, &e, directory, &why) == TIDE_OK &&
        find_options(&e, name, &engine, &n_engine, &why) != TIDE_OK)
        n_engine = 0;
    if (!cli->json) {
        show_all(&w, engine, n_engine);
        out_table_print(&w.table);
        return TIDE_OK;
    }
    w.list = json_array();
    show_all(&w, engine, n_engine);
    json_t *doc = json_pack("{s:i, s:s, s:o}", "schema", 1, "instance", w.instance, "values", w.list);
    out_json(doc);
    json_decref(doc);
    return TIDE_OK;
}

static const struct cli_option show_options[] = {
    {"effective", 0, NULL, "the values that hold, each with its file and line (always so)"},
    {0},
};

const struct cli_command cli_config_check = {
    .name = "config check",
    .arguments = "",
    .summary = "read the whole configuration and say what is wrong in it",
    .run = run_check,
};

const struct cli_command cli_config_show = {
    .name = "config show",
    .arguments = "[--effective] [INSTANCE]",
    .summary = "every value that holds for an instance, with its file and line",
    .options = show_options,
    .run = run_show,
};
