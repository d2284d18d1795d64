#include "orchestrator/cli/cli.h"

#include <stdio.h>

/* tidemark verify */

static const struct cli_option options[] = {
    {"sample", 0, "PERCENT", "a random part of the blocks and log objects, such as 5%"},
    {0},
};

static void print_bad(void *ctx, const json_t *bad)
{
    const struct cli *cli = ctx;

    if (cli->json)
        return;
    (void)printf("%-8s %s\n         %s\n         %s\n", out_str(bad, "state"), out_str(bad, "object"),
                 out_str(bad, "what"), out_str(bad, "why"));
    (void)fflush(stdout);
}

static void print_losses(const json_t *data)
{
    const json_t *lost = json_object_get(data, "lost"), *l;
    size_t i;

    if (json_array_size(lost) == 0)
        (void)printf("\nNo second of the window is lost by it: other backups and log serve every one.\n");
    else
        (void)printf("\nCannot be restored any more:\n");
    json_array_foreach(lost, i, l)
    {
        char from[OUT_TEXT], to[OUT_TEXT];
        out_time(l, "from", from);
        out_time(l, "to", to);
        (void)printf("  %s  to  %s  (lineage %lld)\n", from,
                     json_is_null(json_object_get(l, "to")) ? "the end of the window" : to,
                     (long long)json_integer_value(json_object_get(l, "lineage")));
    }
}

static void print_fine(const json_t *data)
{
    char bytes[OUT_TEXT], took[OUT_TEXT];
    long long percent = (long long)json_integer_value(json_object_get(data, "percent"));

    if (json_integer_value(json_object_get(data, "backups")) == 0) {
        (void)puts("there is no base backup, and so nothing that could be proved");
        return;
    }
    out_size(data, "bytes", bytes);
    out_seconds(data, "seconds", took);
    (void)printf("%lld backup(s) and their log prove: %s read in %s",
                 (long long)json_integer_value(json_object_get(data, "backups")), bytes, took);
    if (percent < 100)
        (void)printf(", a sample of %lld%%", percent);
    (void)putchar('\n');
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;
    uint64_t percent = 100;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = cli_percent(args, "sample", &percent, err);
    if (s != TIDE_OK)
        return s;
    json_t *request = json_pack("{s:I}", "percent", (json_int_t)percent);
    s = cli_run_job(
        cli,
        &(struct cli_job){
            .job = "verify", .instance = instance, .request = request, .event = print_bad, .event_ctx = cli},
        &data, err);
    if (data != NULL && (s == TIDE_OK || s == TIDE_CORRUPT)) {
        if (cli->json)
            out_json(data);
        else if (s == TIDE_OK)
            print_fine(data);
        else
            print_losses(data);
        if (s == TIDE_CORRUPT)
            s = cli_fail_printed(cli, s, err);
    }
    json_decref(data);
    return s;
}

const struct cli_command cli_verify = {
    .name = "verify",
    .arguments = "[INSTANCE] [--sample PERCENT]",
    .summary = "read back and prove every stored byte that the window depends on",
    .options = options,
    .more = "Every bad or missing object is named once, with the seconds that are lost by it; exit code 5 then.",
    .run = run,
};
