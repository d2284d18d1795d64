#include "orchestrator/daemon/status.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/values.h"

/*
 * What is not as it should be.  Each rule looks at the facts and says what it
 * found; the codes are stable, alerts match them.
 */

struct finding_text {
    int severity;     /* 0: nothing found */
    int64_t since_us; /* TIDE_TIME_NONE: unknown */
    char message[512];
};

typedef void rule_fn(const struct status_facts *f, struct finding_text *out);

#define FOUND(out_, severity_, since_, ...)                                                                          \
    do {                                                                                                             \
        (out_)->severity = (severity_);                                                                              \
        (out_)->since_us = (since_);                                                                                 \
        (void)snprintf((out_)->message, sizeof(out_)->message, __VA_ARGS__);                                         \
    } while (0)

static const struct backup *last_backup(const struct status_facts *f)
{
    return f->backups.n == 0 ? NULL : &f->backups.items[f->backups.n - 1];
}

static void no_backup(const struct status_facts *f, struct finding_text *out)
{
    if (f->backups.n == 0)
        FOUND(out, STATUS_ALERT, TIDE_TIME_NONE, "there is no base backup; take one: tidemark backup %s",
              f->o->instance);
}

static void no_window(const struct status_facts *f, struct finding_text *out)
{
    if (f->backups.n > 0 && f->windows.n == 0)
        FOUND(out, STATUS_ALERT, TIDE_TIME_NONE,
              "no moment can be restored: the log that the base backups need is not "
              "all stored");
    else if (f->backups.n > 0 && f->latest_us == TIDE_TIME_NONE)
        FOUND(
            out, STATUS_ALERT, TIDE_TIME_NONE,
            "no moment of the present lineage can be restored: it has no base backup yet; take one: tidemark backup "
            "%s",
            f->o->instance);
}

static void window_ended(const struct status_facts *f, struct finding_text *out)
{
    char at[TIDE_TIME_TEXT];

    if (f->latest_us == TIDE_TIME_NONE || f->window_is_open)
        return;
    tide_time_format(f->latest_us, at);
    FOUND(out, STATUS_ALERT, f->latest_us,
          "the restore window ended at %s, where log is missing; take a new base backup: tidemark backup %s", at,
          f->o->instance);
}

static void backup_overdue(const struct status_facts *f, struct finding_text *out)
{
    const struct backup *b = last_backup(f);
    const struct settings *set = f->o->settings;
    char age[32];

    if (b == NULL)
        return;
    int64_t old = f->now_us - b->finished_us;
    tide_duration_format(old, age, sizeof age);
    if (set->backup_alert_us > 0 && old > set->backup_alert_us)
        FOUND(out, STATUS_ALERT, b->finished_us + set->backup_alert_us, "the last base backup is %s old", age);
    else if (set->backup_warning_us > 0 && old > set->backup_warning_us)
        FOUND(out, STATUS_WARNING, b->finished_us + set->backup_warning_us, "the last base backup is %s old", age);
}

static void backup_unreadable(const struct status_facts *f, struct finding_text *out)
{
    if (f->backups.n_bad > 0)
        FOUND(out, STATUS_ALERT, TIDE_TIME_NONE,
              "%zu backup(s) cannot be read, the first is \"%s\"; see: tidemark "
              "verify %s",
              f->backups.n_bad, f->backups.bad[0], f->o->instance);
}

static void damaged_pages(const struct status_facts *f, struct finding_text *out)
{
    const struct backup *b = last_backup(f);

    if (b != NULL && b->totals.damaged_pages > 0)
        FOUND(out, STATUS_ALERT, b->finished_us,
              "%llu page(s) of the source were damaged when backup \"%s\" read them",
              (unsigned long long)b->totals.damaged_pages, b->id);
}

static void shipper_silent(const struct status_facts *f, struct finding_text *out)
{
    char age[32];

    if (f->live)
        return;
    if (f->sign_us == TIDE_TIME_NONE) {
        FOUND(out, STATUS_WARNING, TIDE_TIME_NONE, "no shipper runs; start one: tidemark ship %s", f->o->instance);
        return;
    }
    int64_t silent = f->now_us - f->sign_us;
    if (silent <= 3 * f->o->settings->heartbeat_interval_us)
        return;
    tide_duration_format(silent, age, sizeof age);
    FOUND(out, STATUS_WARNING, f->sign_us, "nothing was heard of a shipper for %s; start one: tidemark ship %s", age,
          f->o->instance);
}

static void shipper_stands(const struct status_facts *f, struct finding_text *out)
{
    if (f->live && f->shipper.problem[0] != '\0')
        FOUND(out, STATUS_WARNING, f->exposed_since_us, "the shipper reports: %s", f->shipper.problem);
}

static void shipper_behind_standby(const struct status_facts *f, struct finding_text *out)
{
    if (f->live && f->shipper.standby)
        FOUND(out, STATUS_WARNING, TIDE_TIME_NONE,
              "the log comes from a standby and no primary answers: only commits move the latest restorable time");
}

static void exposure(const struct status_facts *f, struct finding_text *out)
{
    const struct settings *set = f->o->settings;
    char age[32];

    if (f->exposed_since_us == TIDE_TIME_NONE)
        return;
    int64_t exposed = f->now_us - f->exposed_since_us;
    tide_duration_format(exposed, age, sizeof age);
    int severity = set->exposure_alert_us > 0 && exposed > set->exposure_alert_us       ? STATUS_ALERT
                   : set->exposure_warning_us > 0 && exposed > set->exposure_warning_us ? STATUS_WARNING
                                                                                        : 0;
    if (severity != 0)
        FOUND(out, severity, f->exposed_since_us, "what was committed in the last %s cannot be restored yet", age);
}

static void gap(const struct status_facts *f, struct finding_text *out)
{
    if (f->windows.n_gaps == 0)
        return;
    const struct window_gap *g = &f->windows.gaps[f->windows.n_gaps - 1];
    FOUND(out, f->window_is_open ? STATUS_WARNING : STATUS_ALERT, g->from_us, "log is missing in lineage %u: %s",
          g->lineage, g->reason[0] == '\0' ? "it was never stored" : g->reason);
}

static void ambiguous(const struct status_facts *f, struct finding_text *out)
{
    char from[TIDE_TIME_TEXT], to[TIDE_TIME_TEXT];

    if (f->windows.n_ambiguous == 0)
        return;
    const struct ambiguous_range *a = &f->windows.ambiguous[f->windows.n_ambiguous - 1];
    tide_time_format(a->from_us, from);
    tide_time_format(a->to_us, to);
    FOUND(out, STATUS_WARNING, a->from_us,
          "the server's clock ran back: times from %s to %s have more than one meaning", from, to);
}

static void skew(const struct status_facts *f, struct finding_text *out)
{
    const struct settings *set = f->o->settings;
    int64_t off = f->shipper.skew_us < 0 ? -f->shipper.skew_us : f->shipper.skew_us;
    char text[32];

    if (!f->live || set->skew_warning_us <= 0 || off <= set->skew_warning_us)
        return;
    tide_duration_format(off, text, sizeof text);
    FOUND(out, STATUS_WARNING, TIDE_TIME_NONE, "the server's clock is %s %s this host's", text,
          f->shipper.skew_us < 0 ? "behind" : "ahead of");
}

static const struct {
    const char *code;
    rule_fn *rule;
} rules[] = {
    {"backup.none", no_backup},
    {"window.none", no_window},
    {"window.ended", window_ended},
    {"backup.unreadable", backup_unreadable},
    {"exposure", exposure},
    {"ship.silent", shipper_silent},
    {"ship.stands", shipper_stands},
    {"ship.standby", shipper_behind_standby},
    {"log.gap", gap},
    {"log.ambiguous", ambiguous},
    {"backup.overdue", backup_overdue},
    {"backup.damaged_pages", damaged_pages},
    {"clock.skew", skew},
};

int status_reasons(const struct status_facts *f, json_t *reasons)
{
    int worst = 0;

    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct finding_text found = {.since_us = TIDE_TIME_NONE};
        rules[i].rule(f, &found);
        if (found.severity == 0)
            continue;
        if (found.severity > worst)
            worst = found.severity;
        (void)json_array_append_new(reasons,
                                    json_pack("{s:s, s:s, s:o, s:o}", "code", rules[i].code, "severity",
                                              found.severity == STATUS_ALERT ? "alert" : "warning", "since",
                                              value_time(found.since_us), "message", value_string(found.message)));
    }
    return worst;
}
