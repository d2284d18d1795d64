#include "orchestrator/cli/cli.h"

#include <stdio.h>

/* tidemark log verify */

static const struct cli_option options[] = {
    {"lineage", 0, "N", "only this one"},
    {"sample", 0, "PERCENT", "read only so many of the objects, such as 5%"},
    {0},
};

static void print_range(void *ctx, const json_t *r)
{
    const struct cli *cli = ctx;
    char from[OUT_TEXT], to[OUT_TEXT];

    if (cli->json)
        return;
    out_time(r, "from_time", from);
    out_time(r, "to_time", to);
    (void)printf("%-8s lineage %lld  %s to %s  %s to %s", out_str(r, "state"),
                 (long long)json_integer_value(json_object_get(r, "lineage")), out_str(r, "from"), out_str(r, "to"),
                 from, to);
    if (json_is_string(json_object_get(r, "object")))
        (void)printf("\n         %s", out_str(r, "object"));
    if (json_is_string(json_object_get(r, "why")))
        (void)printf("\n         %s", out_str(r, "why"));
    (void)putchar('\n');
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;
    uint64_t lineage = 0, percent = 100;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = cli_args_number(args, "lineage", 1, UINT32_MAX, 0, &lineage, err);
    if (s == TIDE_OK)
        s = cli_percent(args, "sample", &percent, err);
    if (s != TIDE_OK)
        return s;
    json_t *request = json_pack("{s:I, s:I}", "lineage", (json_int_t)lineage, "percent", (json_int_t)percent);
    s = cli_run_job(
        cli,
        &(struct cli_job){
            .job = "log-verify", .instance = instance, .request = request, .event = print_range, .event_ctx = cli},
        &data, err);
    if (!cli->json && s == TIDE_OK && json_array_size(json_object_get(data, "ranges")) == 0) {
        if (lineage != 0)
            (void)printf("no log of \"%s\" on lineage %llu is stored\n", instance, (unsigned long long)lineage);
        else
            (void)printf("no log of \"%s\" is stored\n", instance);
    }
    if (cli->json && data != NULL && (s == TIDE_OK || s == TIDE_CORRUPT)) {
        out_json(data);
        if (s == TIDE_CORRUPT)
            return cli_fail_printed(cli, s, err);
    }
    json_decref(data);
    return s;
}

const struct cli_command cli_log_verify = {
    .name = "log verify",
    .arguments = "[INSTANCE] [options]",
    .summary = "read the stored log back and prove it: FOUND, MISSING, CORRUPT",
    .options = options,
    .more = "Exit code 5 when something is missing or damaged.",
    .run = run,
};
