#include "orchestrator/cli/cli.h"

#include "orchestrator/config/config.h"
#include "orchestrator/daemon/status.h"
#include <stdio.h>
#include <string.h>

/* tidemark status */

/* ------------------------------------------------------------------- text */

static void print_windows(const json_t *one)
{
    const json_t *windows = json_object_get(one, "windows"), *w;
    size_t i, n = json_array_size(windows);

    if (n == 0)
        (void)printf("  %-15s  nothing\n", "restorable");
    json_array_foreach(windows, i, w)
    {
        char from[OUT_TEXT], to[OUT_TEXT];
        out_time(w, "earliest", from);
        out_time(w, "latest", to);
        (void)printf("  %-15s  %s  to  %s", i == 0 ? "restorable" : "", from, to);
        (void)printf("  (lineage %lld)\n", (long long)json_integer_value(json_object_get(w, "lineage")));
    }
}

static void print_gaps(const json_t *one)
{
    const json_t *gaps = json_object_get(one, "gaps"), *g;
    size_t i;

    json_array_foreach(gaps, i, g)
    {
        char from[OUT_TEXT], to[OUT_TEXT];
        out_time(g, "from", from);
        out_time(g, "to", to);
        (void)printf("  %-15s  %s  to  %s  %s\n", i == 0 ? "gaps" : "", from, to, out_str(g, "reason"));
    }
}

static void print_backup(const json_t *one)
{
    const json_t *b = json_object_get(one, "last_backup");
    char ago[OUT_TEXT], bytes[OUT_TEXT], stored[OUT_TEXT];

    if (!json_is_object(b)) {
        (void)printf("  %-15s  none\n", "last backup");
        return;
    }
    out_ago(b, "finished", ago);
    out_size(b, "bytes", bytes);
    out_size(b, "stored_bytes", stored);
    (void)printf("  last backup      %s, finished %s, %s stored as %s\n", out_str(b, "id"), ago, bytes, stored);
}

static void print_running(const json_t *one)
{
    const json_t *running = json_object_get(one, "running"), *r;
    size_t i;

    json_array_foreach(running, i, r)
    {
        char done[OUT_TEXT], total[OUT_TEXT], left[OUT_TEXT];
        out_size(r, "bytes_done", done);
        out_size(r, "bytes_total", total);
        out_seconds(r, "eta_seconds", left);
        (void)printf("  %-15s  %s: %s", i == 0 ? "running" : "", out_str(r, "job"), done);
        if (json_is_integer(json_object_get(r, "bytes_total")))
            (void)printf(" of %s, %s left", total, left);
        (void)putchar('\n');
    }
}

static void print_exposure(const json_t *one)
{
    char exposure[OUT_TEXT], unshipped[OUT_TEXT], held[OUT_TEXT];

    out_seconds(one, "exposure_seconds", exposure);
    out_size(one, "unshipped_bytes", unshipped);
    out_size(one, "held_back_bytes", held);
    (void)printf("  exposure         %s", exposure);
    if (json_is_integer(json_object_get(one, "unshipped_bytes")))
        (void)printf("; %s not yet shipped, %s held back on the server", unshipped, held);
    (void)putchar('\n');
}

static void print_instance(const json_t *one)
{
    const json_t *reasons = json_object_get(one, "reasons"), *r;
    size_t i;

    (void)printf("%s  %s  %s\n", out_str(one, "name"), out_str(one, "engine"), out_str(one, "state"));
    print_windows(one);
    print_exposure(one);
    print_backup(one);
    print_gaps(one);
    print_running(one);
    json_array_foreach(reasons, i, r)
    {
        (void)printf("  %-15s  %s: %s\n", out_str(r, "severity"), out_str(r, "code"), out_str(r, "message"));
    }
}

/* --------------------------------------------------------------- gathering */

static tide_status add_instance(struct cli *cli, const char *name, json_t *list, tide_status *failed,
                                struct tide_err *err)
{
    json_t *data = NULL;

    tide_status s =
        cli_run_job(cli, &(struct cli_job){.job = "status", .instance = name, .silent = true}, &data, err);
    if (s == TIDE_OK) {
        (void)json_array_append_new(list, data);
        return TIDE_OK;
    }
    json_decref(data);
    if (s == TIDE_CANCELLED)
        return s;
    /* The others are still of interest; this one is shown as what it is. */
    *failed = s;
    const char *engine = config_instance_value(cli->config, name, "engine").text;
    data = status_unreadable(name, engine, err);
    (void)json_array_append_new(list, data);
    return TIDE_OK;
}

/* All configured instances, or those that the repository knows when none is configured. */
static tide_status add_all(struct cli *cli, json_t *list, tide_status *failed, struct tide_err *err)
{
    struct config *config = NULL;
    json_t *names = NULL, *name;
    size_t i;

    tide_status s = cli_config(cli, &config, err);
    if (s != TIDE_OK)
        return s;
    size_t n = config_count(config, CONFIG_INSTANCE);
    for (i = 0; s == TIDE_OK && i < n; i++)
        s = add_instance(cli, config_name(config, CONFIG_INSTANCE, i), list, failed, err);
    if (n > 0)
        return s;
    s = cli_run_job(cli, &(struct cli_job){.job = "instances", .silent = true}, &names, err);
    if (s == TIDE_OK)
        json_array_foreach(names, i, name) if (s == TIDE_OK) s =
            add_instance(cli, json_string_value(name), list, failed, err);
    json_decref(names);
    return s;
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    json_t *list = json_array(), *one;
    tide_status failed = TIDE_OK;
    const char *name = NULL;
    size_t i;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK && args->n_positional == 0) {
        s = add_all(cli, list, &failed, err);
    } else if (s == TIDE_OK) {
        s = cli_instance(cli, args, &name, err);
        if (s == TIDE_OK)
            s = add_instance(cli, name, list, &failed, err);
        if (s == TIDE_OK && failed != TIDE_OK)
            s = failed; /* one was asked for, and it could not be read */
    }
    if (s != TIDE_OK) {
        json_decref(list);
        return s;
    }
    if (cli->json) {
        json_t *doc = json_pack("{s:i, s:O}", "schema", 1, "instances", list);
        out_json(doc);
        json_decref(doc);
    } else {
        json_array_foreach(list, i, one)
        {
            if (i > 0)
                (void)putchar('\n');
            print_instance(one);
        }
    }
    json_decref(list);
    cli->exit_code = failed == TIDE_OK ? 0 : tide_status_exit(failed);
    tide_err_clear(err);
    return TIDE_OK;
}

const struct cli_command cli_status = {
    .name = "status",
    .arguments = "[INSTANCE]",
    .summary = "state, restore window, exposure, last backup and gaps, on one screen",
    .more =
        "Without an instance: all of them.  The state is protected, warning or alert, with its reasons; the exit\n"
        "code is 0 whenever the repository could be read.  A live shipper on this host is asked to store what it\n"
        "has first.",
    .run = run,
};
