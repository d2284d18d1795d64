#include "orchestrator/daemon/restore_doc.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/values.h"
#include <string.h>

/* What a restore copies in a second when nothing is known of the machine: only for an estimate. */
#define ASSUMED_BYTES_PER_S  (INT64_C(200) << 20)
#define ASSUMED_REPLAY_PER_S (INT64_C(50) << 20)
#define ASSUMED_START_S      5

static json_t *commit_json(const struct restore_facts *f, const struct plan_commit *c)
{
    if (tide_pos_is_none(c->start) && c->time_us == TIDE_TIME_NONE)
        return json_null();
    return json_pack("{s:o, s:o, s:o}", "time", value_time(c->time_us), "position",
                     value_position(f->job->plugin, c->start), "transaction",
                     c->transaction == 0 ? json_null() : json_integer((json_int_t)c->transaction));
}

/* The same moment as the zone's clocks showed it; null where no zone is configured. */
static json_t *zoned_json(const struct restore_facts *f)
{
    struct tide_err ignored = TIDE_ERR_INIT;
    char text[96];

    if (f->job->settings.timezone == NULL || f->plan->target_us == TIDE_TIME_NONE ||
        tide_time_format_zone(f->plan->target_us, f->job->settings.timezone, text, sizeof text, &ignored) != TIDE_OK)
        return json_null();
    return json_string(text);
}

static json_t *target_json(const struct restore_facts *f)
{
    return json_pack("{s:o, s:o}", "time", value_time(f->plan->target_us), "position",
                     value_position(f->job->plugin, f->plan->expected_end));
}

json_t *restore_doc_target(const struct restore_facts *f)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:s, s:i}", "kind", "target", "requested", f->requested,
                     "time", value_time(f->plan->target_us), "zoned", zoned_json(f), "position",
                     value_position(f->job->plugin, f->plan->expected_end), "last_commit_included",
                     commit_json(f, &f->plan->included), "first_commit_excluded", commit_json(f, &f->plan->excluded),
                     "backup", f->plan->backup.id, "lineage", (int)f->plan->lineage);
}

static json_t *problems_json(const struct restore_facts *f, uint32_t from, uint32_t to)
{
    json_t *list = json_array();

    for (size_t i = 0; i < f->report->findings.n; i++) {
        const struct finding *p = &f->report->findings.items[i];
        if (p->severity < from || p->severity > to)
            continue;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:o, s:o, s:o}", "severity", p->severity >= 2 ? "critical" : "warning", "code",
                            value_string(p->code), "message", value_string(p->message), "fix", value_string(p->fix)));
    }
    return list;
}

json_t *restore_doc_plan(const struct restore_facts *f)
{
    const struct plan *p = f->plan;
    const struct restore_report *r = f->report;
    int64_t seconds = (int64_t)p->backup.totals.bytes / ASSUMED_BYTES_PER_S +
                      (int64_t)p->log_bytes / ASSUMED_REPLAY_PER_S + ASSUMED_START_S;
    uint32_t port = r->instance.port != 0 ? r->instance.port : f->options->port;
    const char *bin_dir = r->bin_dir[0] != '\0' ? r->bin_dir : f->options->bin_dir;

    return json_pack("{s:i, s:{s:s, s:s, s:i, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}}",
                     "schema", 1, "plan", "requested", f->requested, "backup", p->backup.id, "lineage",
                     (int)p->lineage, "target", target_json(f), "last_commit_included", commit_json(f, &p->included),
                     "first_commit_excluded", commit_json(f, &p->excluded), "bytes",
                     (json_int_t)p->backup.totals.bytes, "log_objects", (json_int_t)p->log_objects, "log_bytes",
                     (json_int_t)p->log_bytes, "needed_bytes", (json_int_t)r->needed_bytes, "free_bytes",
                     (json_int_t)r->free_bytes, "requests", (json_int_t)p->requests, "estimated_seconds",
                     (json_int_t)seconds, "bin_dir", value_string(bin_dir), "port",
                     port == 0 ? json_null() : json_integer(port), "problems", problems_json(f, 1, 2));
}

static json_t *prepared_json(const char *text)
{
    json_t *list = json_array();

    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (len > 0)
            (void)json_array_append_new(list, json_stringn(text, len));
        text += len + (text[len] == '\n');
    }
    return list;
}

/* A server that is started by hand fetches its log itself, as its own user. */
static json_t *must_read_json(const struct restore_facts *f)
{
    TIDE_AUTO(settings_repo_clear) struct settings_repo repo = {0};
    struct tide_err ignored = TIDE_ERR_INIT;
    json_t *list = json_array();
    const char *config = job_text(f->job, "config");

    if (!f->options->no_start || settings_repo_describe(f->job->config, f->job->instance, &repo, &ignored) != TIDE_OK)
        return list;
    const char *key = config_value(f->job->config, CONFIG_REPOSITORY, repo.name, "encryption_key_file").text;
    (void)json_array_append_new(list, json_string(config != NULL ? config : "/etc/tidemark/tidemark.conf"));
    if (key != NULL)
        (void)json_array_append_new(list, value_string(key));
    (void)json_array_append_new(list, value_string(repo.url));
    return list;
}

json_t *restore_doc_result(const struct restore_facts *f)
{
    const struct plan *p = f->plan;
    const struct restore_report *r = f->report;
    const struct tide_restore_result *i = &r->instance;
    struct tide_pos reached = tide_pos_is_none(i->reached) ? p->expected_end : i->reached;
    json_t *endpoint = f->options->no_start ? json_null()
                                            : json_pack("{s:o, s:i, s:o}", "host", value_string(i->host), "port",
                                                        (int)i->port, "socket", value_string(i->socket_directory));

    return json_pack("{s:i, s:s, s:o, s:s, s:{s:o, s:o}, s:o, s:o, s:o, s:s, s:i, s:I, s:o, s:o, s:o, s:o, s:o}",
                     "schema", 1, "data_directory", f->options->into, "endpoint", endpoint, "requested", f->requested,
                     "recovered_to", "time", value_time(p->target_us), "position",
                     value_position(f->job->plugin, reached), "last_commit_included", commit_json(f, &p->included),
                     "first_commit_excluded", commit_json(f, &p->excluded), "prepared_transactions",
                     prepared_json(i->prepared), "backup", p->backup.id, "lineage", (int)p->lineage, "bytes",
                     (json_int_t)r->bytes, "seconds", value_seconds(r->finished_us - r->started_us), "start_command",
                     value_string(i->start_command), "stop_command", value_string(i->stop_command), "warnings",
                     problems_json(f, 1, 1), "must_read", must_read_json(f));
}
