#include "orchestrator/cli/cli.h"

#include <stdio.h>

/* tidemark log show */

static void print_lineage(const json_t *l)
{
    const json_t *ranges = json_object_get(l, "ranges"), *r;
    struct out_table t = {.n_columns = 6, .right = "llrr", .indent = "  "};
    size_t i;

    (void)printf("lineage %lld, branch %lld", (long long)json_integer_value(json_object_get(l, "lineage")),
                 (long long)json_integer_value(json_object_get(l, "branch")));
    if (json_is_integer(json_object_get(l, "parent")))
        (void)printf(", forked from lineage %lld at %s", (long long)json_integer_value(json_object_get(l, "parent")),
                     out_str(l, "fork"));
    (void)printf("\n");
    if (json_array_size(ranges) == 0)
        (void)printf("  nothing is stored\n");
    else
        out_table_row(&t, (const char *const[]){"FROM", "TO", "OBJECTS", "LOG", "FIRST COMMIT", "LAST COMMIT"});
    json_array_foreach(ranges, i, r)
    {
        char objects[24], bytes[OUT_TEXT], first[OUT_TEXT], last[OUT_TEXT];
        (void)snprintf(objects, sizeof objects, "%lld", (long long)json_integer_value(json_object_get(r, "objects")));
        out_size(r, "bytes", bytes);
        out_time(r, "first_commit", first);
        out_time(r, "last_commit", last);
        out_table_row(&t, (const char *const[]){out_str(r, "from"), out_str(r, "to"), objects, bytes, first, last});
    }
    out_table_print(&t);
    if (json_array_size(ranges) > 1)
        (void)printf("  between these ranges log is missing\n");
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL, *l;
    size_t i;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = cli_run_job(cli, &(struct cli_job){.job = "log-show", .instance = instance, .silent = true}, &data, err);
    if (s == TIDE_OK && cli->json) {
        out_json(data);
    } else if (s == TIDE_OK) {
        json_array_foreach(json_object_get(data, "lineages"), i, l)
        {
            print_lineage(l);
        }
        if (json_array_size(json_object_get(data, "lineages")) == 0)
            (void)printf("no log of \"%s\" was ever stored\n", instance);
    }
    json_decref(data);
    return s;
}

const struct cli_command cli_log_show = {
    .name = "log show",
    .arguments = "[INSTANCE]",
    .summary = "which ranges of the log are stored",
    .run = run,
};
