#include "orchestrator/cli/restore_text.h"

#include <stdio.h>
#include <string.h>

static void print_commit(FILE *to, const char *label, const json_t *commit, const char *none)
{
    char time[OUT_TEXT];

    if (!json_is_object(commit)) {
        (void)fprintf(to, "%-23s  %s\n", label, none);
        return;
    }
    out_time(commit, "time", time);
    (void)fprintf(to, "%-23s  %s at %s", label, time, out_str(commit, "position"));
    if (json_is_integer(json_object_get(commit, "transaction")))
        (void)fprintf(to, ", transaction %lld",
                      (long long)json_integer_value(json_object_get(commit, "transaction")));
    (void)fputc('\n', to);
}

static void print_commits(FILE *to, const json_t *doc)
{
    /* To the end of a backup nobody looks what comes behind it. */
    bool only_backup = strncmp(out_str(doc, "requested"), "backup:", 7) == 0;

    print_commit(to, "last commit included", json_object_get(doc, "last_commit_included"),
                 "none: the state at the end of the backup");
    print_commit(to, "first commit excluded", json_object_get(doc, "first_commit_excluded"),
                 only_backup ? "the first behind the end of the backup" : "none: nothing later is stored");
}

void restore_text_event(void *ctx, const json_t *event)
{
    const struct cli *cli = ctx;
    const char *kind = out_str(event, "kind");
    char time[OUT_TEXT];

    if (strcmp(kind, "reminder") == 0) {
        (void)fprintf(stderr, "note: %s\n", out_str(event, "message"));
        return;
    }
    if (strcmp(kind, "target") != 0 || cli->quiet || cli->json)
        return;
    out_time(event, "time", time);
    (void)fprintf(stderr, "%-23s  %s\n", "target", out_str(event, "requested"));
    (void)fprintf(stderr, "%-23s  %s UTC\n", "  that is", time);
    if (json_is_string(json_object_get(event, "zoned")))
        (void)fprintf(stderr, "%-23s  %s\n", "", out_str(event, "zoned"));
    (void)fprintf(stderr, "%-23s  %s on lineage %lld\n", "  end of replay", out_str(event, "position"),
                  (long long)json_integer_value(json_object_get(event, "lineage")));
    print_commits(stderr, event);
    (void)fprintf(stderr, "%-23s  %s\n\n", "base backup", out_str(event, "backup"));
}

static void print_problems(const json_t *problems)
{
    const json_t *p;
    size_t i;

    json_array_foreach(problems, i, p)
    {
        (void)printf("%-23s  %s\n", out_str(p, "severity"), out_str(p, "message"));
        if (json_is_string(json_object_get(p, "fix")))
            (void)printf("%-23s    -> %s\n", "", out_str(p, "fix"));
    }
}

void restore_text_plan(const json_t *doc)
{
    const json_t *plan = json_object_get(doc, "plan"), *target = json_object_get(plan, "target");
    char time[OUT_TEXT], bytes[OUT_TEXT], log[OUT_TEXT], needed[OUT_TEXT], left[OUT_TEXT], estimated[OUT_TEXT];

    out_time(target, "time", time);
    out_size(plan, "bytes", bytes);
    out_size(plan, "log_bytes", log);
    out_size(plan, "needed_bytes", needed);
    out_size(plan, "free_bytes", left);
    out_seconds(plan, "estimated_seconds", estimated);
    (void)printf("%-23s  %s\n", "target", out_str(plan, "requested"));
    (void)printf("%-23s  %s, lineage %lld\n", "base backup", out_str(plan, "backup"),
                 (long long)json_integer_value(json_object_get(plan, "lineage")));
    (void)printf("%-23s  %s, %s\n", "recovered to", time, out_str(target, "position"));
    print_commits(stdout, plan);
    (void)printf("%-23s  %s\n", "files", bytes);
    (void)printf("%-23s  %s in %lld object(s)\n", "log", log,
                 (long long)json_integer_value(json_object_get(plan, "log_objects")));
    (void)printf("%-23s  %s of %s free\n", "space needed", needed, left);
    (void)printf("%-23s  %s\n", "server programs", out_str(plan, "bin_dir"));
    if (json_is_integer(json_object_get(plan, "port")))
        (void)printf("%-23s  %lld\n", "port", (long long)json_integer_value(json_object_get(plan, "port")));
    else
        (void)printf("%-23s  the first free one\n", "port");
    (void)printf("%-23s  about %s\n", "time", estimated);
    print_problems(json_object_get(plan, "problems"));
    (void)printf("\nThis was a look: nothing was written.\n");
}

static void print_endpoint(const json_t *doc)
{
    const json_t *e = json_object_get(doc, "endpoint");

    if (json_is_object(e))
        (void)printf("%-23s  %s port %lld, socket in %s\n", "endpoint", out_str(e, "host"),
                     (long long)json_integer_value(json_object_get(e, "port")), out_str(e, "socket"));
}

static void print_start_by_hand(const json_t *doc)
{
    const json_t *readable = json_object_get(doc, "must_read"), *r;
    size_t i;

    (void)printf(
        "\nNot started, and so not proved yet.  Starting it replays the log to the position above and opens it:\n"
        "  %s\n",
        out_str(doc, "start_command"));
    if (json_array_size(readable) > 0)
        (void)printf("It fetches the log itself; its user must be able to read:\n");
    json_array_foreach(readable, i, r)
    {
        (void)printf("  %s\n", json_string_value(r));
    }
}

static void print_next(const json_t *doc)
{
    const json_t *e = json_object_get(doc, "endpoint");

    if (!json_is_object(e)) {
        print_start_by_hand(doc);
        return;
    }
    (void)printf("\nNext:\n");
    (void)printf("  connect    host %s (the socket: as the server's user, no password), port %lld\n"
                 "             or host %s, with a password of the source\n",
                 out_str(e, "socket"), (long long)json_integer_value(json_object_get(e, "port")), out_str(e, "host"));
    (void)printf("  stop       %s\n", out_str(doc, "stop_command"));
    (void)printf("  keep it    tidemark activate %s\n", out_str(doc, "data_directory"));
    (void)printf("             (takes it out of quarantine: until then it archives nothing, replicates nothing and\n"
                 "             listens on this host only)\n");
}

void restore_text_result(const json_t *doc)
{
    const json_t *to = json_object_get(doc, "recovered_to"), *p;
    char time[OUT_TEXT], bytes[OUT_TEXT], took[OUT_TEXT];
    size_t i;

    out_time(to, "time", time);
    out_size(doc, "bytes", bytes);
    out_seconds(doc, "seconds", took);
    (void)puts(json_is_object(json_object_get(doc, "endpoint"))
                   ? "restored, and proved to have stopped where it should\n"
                   : "restored as far as files go\n");
    (void)printf("%-23s  %s\n", "data directory", out_str(doc, "data_directory"));
    print_endpoint(doc);
    (void)printf("%-23s  %s, %s\n",
                 json_is_object(json_object_get(doc, "endpoint")) ? "recovered to" : "will recover to", time,
                 out_str(to, "position"));
    print_commits(stdout, doc);
    (void)printf("%-23s  %s, lineage %lld\n", "base backup", out_str(doc, "backup"),
                 (long long)json_integer_value(json_object_get(doc, "lineage")));
    (void)printf("%-23s  %s in %s\n", "files", bytes, took);
    json_array_foreach(json_object_get(doc, "prepared_transactions"), i, p)
    {
        (void)printf("%-23s  %s\n", i == 0 ? "prepared transactions" : "", json_string_value(p));
    }
    print_problems(json_object_get(doc, "warnings"));
    print_next(doc);
}
