#include "orchestrator/cli/cli.h"

#include <stdio.h>

/* tidemark list */

static void print_list(const json_t *doc, const char *instance)
{
    const json_t *backups = json_object_get(doc, "backups"), *bad = json_object_get(doc, "unreadable"), *b;
    struct out_table t = {.n_columns = 8, .right = "lllrrr"};
    size_t i;

    if (json_array_size(backups) == 0)
        (void)printf("no base backup of \"%s\"\n", instance);
    else
        out_table_row(&t,
                      (const char *const[]){"BACKUP", "FINISHED", "METHOD", "SIZE", "STORED", "NEW", "LINEAGE", ""});
    json_array_foreach(backups, i, b)
    {
        char finished[OUT_TEXT], bytes[OUT_TEXT], stored[OUT_TEXT], added[OUT_TEXT], lineage[16], remarks[128];
        out_time(b, "finished", finished);
        out_size(b, "bytes", bytes);
        out_size(b, "stored_bytes", stored);
        out_size(b, "new_bytes", added);
        (void)snprintf(lineage, sizeof lineage, "%lld", (long long)json_integer_value(json_object_get(b, "lineage")));
        (void)snprintf(remarks, sizeof remarks, "%s%s%s%s", json_is_true(json_object_get(b, "kept")) ? "kept " : "",
                       json_is_true(json_object_get(b, "restorable")) ? "" : "NOT RESTORABLE: log is missing ",
                       json_is_true(json_object_get(b, "only_its_end")) ? "only its end " : "",
                       json_integer_value(json_object_get(b, "damaged_pages")) > 0 ? "DAMAGED PAGES " : "");
        out_table_row(&t, (const char *const[]){out_str(b, "id"), finished, out_str(b, "method"), bytes, stored,
                                                added, lineage, remarks});
    }
    out_table_print(&t);
    json_array_foreach(bad, i, b)
    {
        (void)printf("UNREADABLE  %s\n", json_string_value(b));
    }
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    const char *instance = NULL;
    json_t *data = NULL;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = cli_run_job(cli, &(struct cli_job){.job = "list", .instance = instance, .silent = true}, &data, err);
    if (s == TIDE_OK && cli->json)
        out_json(data);
    else if (s == TIDE_OK)
        print_list(data, instance);
    json_decref(data);
    return s;
}

const struct cli_command cli_list = {
    .name = "list",
    .arguments = "[INSTANCE]",
    .summary = "base backups",
    .more = "SIZE is the instance's, STORED what restoring it reads, NEW what it added to the repository.",
    .run = run,
};
