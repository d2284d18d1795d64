#include "orchestrator/cli/cli.h"

#include "orchestrator/base/clock.h"
#include <stdio.h>
#include <string.h>

/* tidemark backup */

static const struct cli_option options[] = {
    {"fast", 0, NULL, "let the server write its checkpoint at once; it is spread over minutes otherwise"},
    {"jobs", 'j', "N", "threads that read and compress (default: half of the processors, at most 4)"},
    {"limit", 0, "SIZE", "bytes read in a second, such as 50MiB"},
    {"keep", 0, NULL, "pin it: it never expires"},
    {"note", 0, "KEY=VALUE", "kept with the backup and shown by list --json; may be repeated"},
    {0},
};

static tide_status add_notes(const struct cli_args *args, json_t *request, struct tide_err *err)
{
    json_t *notes = json_object();

    (void)json_object_set_new(request, "notes", notes);
    for (size_t i = 0;; i++) {
        const char *note = cli_args_nth(args, "note", i);
        if (note == NULL)
            return TIDE_OK;
        const char *equals = strchr(note, '=');
        char key[128];
        if (equals == NULL || equals == note || (size_t)(equals - note) >= sizeof key)
            return tide_fail(err, TIDE_INVALID, "\"--note %s\" is not KEY=VALUE", note);
        (void)snprintf(key, sizeof key, "%.*s", (int)(equals - note), note);
        if (json_object_set_new(notes, key, json_string(equals + 1)) != 0)
            return tide_fail(err, TIDE_INVALID, "\"--note %s\" is no UTF-8 text", note);
    }
}

static tide_status build_request(const struct cli_args *args, json_t *request, struct tide_err *err)
{
    const char *limit = cli_args_value(args, "limit");
    uint64_t jobs = 0, bytes = 0;

    tide_status s = cli_args_number(args, "jobs", 1, 256, 0, &jobs, err);
    if (s == TIDE_OK && limit != NULL) {
        s = tide_size_parse(limit, &bytes, err);
        if (s == TIDE_OK && bytes == 0)
            s = tide_fail(err, TIDE_INVALID, "\"--limit %s\" would never end", limit);
    }
    if (s != TIDE_OK)
        return s;
    if (jobs > 0)
        (void)json_object_set_new(request, "jobs", json_integer((json_int_t)jobs));
    if (bytes > 0)
        (void)json_object_set_new(request, "limit", json_integer((json_int_t)bytes));
    (void)json_object_set_new(request, "fast", json_boolean(cli_args_has(args, "fast")));
    (void)json_object_set_new(request, "keep", json_boolean(cli_args_has(args, "keep")));
    return add_notes(args, request, err);
}

static void print_result(const json_t *data)
{
    char bytes[OUT_TEXT], stored[OUT_TEXT], added[OUT_TEXT], took[OUT_TEXT], end[OUT_TEXT];
    long long damaged = (long long)json_integer_value(json_object_get(data, "damaged_pages"));

    out_size(data, "bytes", bytes);
    out_size(data, "stored_bytes", stored);
    out_size(data, "new_bytes", added);
    out_seconds(data, "seconds", took);
    out_time(data, "consistent", end);
    (void)printf("backup      %s\n", out_str(data, "id"));
    (void)printf("method      %s%s, lineage %lld\n", out_str(data, "method"),
                 json_is_true(json_object_get(data, "from_standby")) ? ", from a standby" : "",
                 (long long)json_integer_value(json_object_get(data, "lineage")));
    (void)printf("log         %s  to  %s\n", out_str(data, "start_position"), out_str(data, "end_position"));
    (void)printf("restorable  from %s\n", end);
    (void)printf("size        %s, stored as %s, %s of it new", bytes, stored, added);
    if (json_is_string(json_object_get(data, "parent")))
        (void)printf(" (against %s)", out_str(data, "parent"));
    (void)printf("\ntime        %s\n", took);
    if (damaged > 0)
        (void)printf("DAMAGED     %lld page(s) of the source failed their checksum; they are named by: tidemark list "
                     "--json\n",
                     damaged);
    if (json_is_true(json_object_get(data, "only_its_end")))
        (void)printf(
            "\nNobody ships the log of this instance, so the backup stored the log it needs by itself: only its\n"
            "end can be restored.  Start a shipper: tidemark ship %s\n",
            out_str(data, "instance"));
}

static tide_status run(struct cli *cli, const struct cli_args *args, struct tide_err *err)
{
    json_t *request = json_object(), *data = NULL;
    const char *instance = NULL;

    tide_status s = cli_words(args, 0, 1, err);
    if (s == TIDE_OK)
        s = cli_instance(cli, args, &instance, err);
    if (s == TIDE_OK)
        s = build_request(args, request, err);
    if (s != TIDE_OK) {
        json_decref(request);
        return s;
    }
    s = cli_run_job(cli, &(struct cli_job){.job = "backup", .instance = instance, .request = request}, &data, err);
    if (s == TIDE_OK && cli->json)
        out_json(data);
    else if (s == TIDE_OK)
        print_result(data);
    json_decref(data);
    return s;
}

const struct cli_command cli_backup = {
    .name = "backup",
    .arguments = "[INSTANCE] [options]",
    .summary = "take a base backup now",
    .options = options,
    .more =
        "Reads the instance while it runs.  The backup counts once the log between its start and its end is stored,\n"
        "too; what is interrupted before that leaves nothing that could be taken for a backup, and a new attempt\n"
        "stores again only what is not there yet.  Exit code 3: done, but nobody ships the log, or pages of the\n"
        "source were damaged.",
    .run = run,
};
