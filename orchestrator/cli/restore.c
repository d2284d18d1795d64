#include "orchestrator/cli/restore_text.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* tidemark restore */

static const struct cli_option options[] = {
    {"to", 0, "TARGET", "a time with zone, latest, '15m ago', backup:ID, lsn:POS, xid:N, name:POINT (required)"},
    {"into", 0, "DIR", "the data directory to make (required)"},
    {"exclusive", 0, NULL, "stop just before the target"},
    {"plan", 0, NULL, "look at everything, write nothing"},
    {"backup", 0, "ID", "start from this base backup (default: the newest that serves)"},
    {"lineage", 0, "N", "of this lineage (default: the one that was live at that time)"},
    {"port", 'p', "N", "the instance's port (default: the first free one from 15432)"},
    {"listen", 0, "ADDRESS", "listen there, too (default: 127.0.0.1 and a socket only)"},
    {"no-start", 0, NULL, "leave a directory, and say how to start it"},
    {"run", 0, "FILE.sql", "run this before others may connect"},
    {"tablespace", 0, "NAME=DIR", "where one tablespace goes; may be repeated"},
    {"tablespaces-into", 0, "DIR", "where the others go (default: INTO.tablespaces)"},
    {"bin-dir", 0, "DIR", "the server's programs"},
    {"os-user", 0, "USER", "run the instance as this user (as root only)"},
    {"jobs", 'j', "N", "threads that fetch and write (default: all processors)"},
    {"continue", 0, NULL, "go on with an interrupted restore (which also happens without it)"},
    {0},
};

static void add_text(json_t *request, const struct cli_args *args, const char *name, const char *member)
{
    const char *text = cli_args_value(args, name);
    if (text != NULL)
        (void)json_object_set_new(request, member, json_string(text));
}

static tide_status add_path(json_t *request, const struct cli_args *args, const char *name, const char *member,
                            struct tide_err *err)
{
    const char *text = cli_args_value(args, name);
    char cwd[PATH_MAX], path[PATH_MAX];

    if (text == NULL)
        return TIDE_OK;
    int n = snprintf(path, sizeof path, "%s", text);
    if (text[0] != '/') {
        if (getcwd(cwd, sizeof cwd) == NULL)
            return tide_fail(err, TIDE_INVALID, "the working directory cannot be found; give \"--%s\" in full", name);
        n = snprintf(path, sizeof path, "%s/%s", cwd, text);
    }
    if (n < 0 || (size_t)n >= sizeof path)
        return tide_fail(err, TIDE_INVALID, "\"--%s\" is too long", name);
    while (n > 1 && path[n - 1] == '/')
        path[--n] = '\0';
    (void)json_object_set_new(request, member, json_string(path));
    return TIDE_OK;
}

static tide_status add_number(json_t *request, const struct cli_args *args, const char *name, uint64_t max,
                              struct tide_err *err)
{
    uint64_t v = 0;

    tide_status s = cli_args_number(args, name, 1, max, 0, &v, err);
    if (s == TIDE_OK && v > 0)
        (void)json_object_set_new(request, name, json_integer((json_int_t)v));
    return s;
}

static tide_status add_tablespaces(json_t *request, const struct cli_args *args, struct tide_err *err)
{
    json_t *list = json_array();

    (void)json_object_set_new(request, "tablespaces", list);
    for (size_t i = 0;; i++) {
        const char *text = cli_args_nth(args, "tablespace", i);
        if (text == NULL)
            return TIDE_OK;
        const char *equals = strchr(text, '=');
        if (equals == NULL || equals == text || equals[1] != '/')
            return tide_fail(err, TIDE_INVALID, "\"--tablespace %s\" is not NAME=DIR with a whole path", text);
        (void)json_array_append_new(list, json_string(text));
    }
}

static tide_status build_request(const struct cli_args *args, json_t *request, struct tide_err *err)
{
    if (cli_args_value(args, "to") == NULL) {
        tide_status s = tide_fail(err, TIDE_INVALID, "restore to when? \"--to\" is missing");
        return tide_hint(err, s, "For everything that is stored: --to latest.  tidemark status shows the window.");
    }
    if (cli_args_value(args, "into") == NULL)
        return tide_fail(err, TIDE_INVALID, "restore into which directory? \"--into\" is missing");
    add_text(request, args, "to", "to");
    add_text(request, args, "backup", "backup");
    add_text(request, args, "listen", "listen");
    add_text(request, args, "os-user", "os_user");
    (void)json_object_set_new(request, "exclusive", json_boolean(cli_args_has(args, "exclusive")));
    (void)json_object_set_new(request, "plan", json_boolean(cli_args_has(args, "plan")));
    (void)json_object_set_new(request, "no_start", json_boolean(cli_args_has(args, "no-start")));
    tide_status s = add_path(request, args, "into", "into", err);
    if (s == TIDE_OK)
        s = add_path(request, args, "tablespaces-into", "tablespaces_into", err);
    if (s == TIDE_OK)
        s = add_path(request, args, "bin-dir", "bin_dir", err);
    if (s == TIDE_OK)
        s = add_path(request, args, "run", "run", err);
    if (s == TIDE_OK)
        s = add_number(request, args, "port", 65535, err);
    if (s == TIDE_OK)
        s = add_number(request, args, "lineage", UINT32_MAX, err);
    if (s == TIDE_OK)
        s = add_number(request, args, "jobs", 256, err);
    return s == TIDE_OK ? add_tablespaces(request, args, err) : s;
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    json_t *request = json_object(), *data = NULL;
    const char *instance = NULL;

    tide_status s = cli_words(args, 1, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = build_request(args, request, err);
    if (s != TIDE_OK) {
        json_decref(request);
        return s;
    }
    bool plan = cli_args_has(args, "plan");
    s = cli_run_job(cli,
                    &(struct cli_job){.job = "restore",
                                      .instance = instance,
                                      .request = request,
                                      .event = restore_text_event,
                                      .event_ctx = cli},
                    &data, err);
    if (data != NULL && cli->json)
        out_json(data);
    else if (data != NULL && plan)
        restore_text_plan(data);
    else if (data != NULL && s == TIDE_OK)
        restore_text_result(data);
    /* A plan with problems is printed whole; its error says only how it would end. */
    if (data != NULL && s != TIDE_OK)
        s = cli_fail_printed(cli, s, err);
    json_decref(data);
    return s;
}

const struct cli_command cli_restore = {
    .name = "restore",
    .arguments = "INSTANCE --to TARGET --into DIR [options]",
    .summary = "a running instance as of any second of the window",
    .options = options,
    .more =
        "A time means: every transaction that was acknowledged by then is there, none that committed after.  What "
        "was\n"
        "asked for is proved before a byte is copied; a time outside the window or in a gap is refused (exit 4) "
        "with\n"
        "the nearest times that can be had.  The result is a new instance in quarantine, listening on this host "
        "only;\n"
        "the source and what is stored of it are not touched.  The same command goes on with a restore that was cut.",
    .run = run,
};
