#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/daemon/control.h"
#include "orchestrator/daemon/restore_doc.h"
#include <string.h>
#include <unistd.h>

/* From a target to a running instance: look, plan, tell, restore. */

#define FLUSH_TIMEOUT_US (10 * TIDE_SECOND_US)
#define SPACES_MAX       64u

struct restoring {
    struct job *job;
    struct target target;
    struct plan plan;
    struct restore_options options;
    struct restore_report report;
    struct restore_facts facts;
    const char *spaces[SPACES_MAX + 1];
    char fetch_program[TIDE_PATH_MAX];
    char log_get_command[2 * TIDE_PATH_MAX];
};

static void restoring_clear(struct restoring *r)
{
    restore_report_clear(&r->report);
    plan_clear(&r->plan);
}

static void tell(struct job *job, json_t *event)
{
    if (event == NULL)
        return;
    worker_send_event(job->channel, event);
    json_decref(event);
}

/* With a live shipper the window ends now; without one, and the source down, there may be log that nobody stored. */
static void look_for_newer_log(struct restoring *r)
{
    struct job *job = r->job;
    struct tide_clock clock = {.struct_size = sizeof clock};
    struct tide_err why = TIDE_ERR_INIT;
    char text[REPO_NAME_MAX + 256];
    void *handle = NULL;

    if (control_flush(job, FLUSH_TIMEOUT_US, NULL) || r->target.kind != TARGET_LATEST ||
        job->settings.engine == NULL || job->plugin->clock == NULL)
        return;
    int s = job->plugin->open(job->host, &handle, &why);
    if (s == TIDE_OK)
        s = job->plugin->clock(handle, &clock, &why);
    job->plugin->close(handle);
    /* A server that lets this user not in - root, behind peer authentication - is up and has its shipper. */
    if (s == TIDE_OK || s == TIDE_DENIED)
        return;
    (void)snprintf(
        text, sizeof text,
        "the source does not answer; if its log directory can still be read, the last seconds are added by: "
        "tidemark log put %s --from DIR",
        job->instance);
    tell(job, json_pack("{s:s, s:s}", "kind", "reminder", "message", text));
}

static tide_status make_plan(struct restoring *r, struct tide_err *err)
{
    struct job *job = r->job;

    const char *to = job_text(job, "to");
    tide_status s = target_parse(to, job_flag(job, "exclusive"), job->settings.timezone, tide_now_us(), job->plugin,
                                 &r->target, err);
    if (s != TIDE_OK)
        return s;
    look_for_newer_log(r);
    job_phase(job, "planning");
    s = plan_build(&(struct plan_options){.repo = job->repo,
                                          .instance = job->instance,
                                          .plugin = job->plugin,
                                          .host = job->host,
                                          .target = &r->target,
                                          .backup_id = job_text(job, "backup"),
                                          .lineage = (uint32_t)job_number(job, "lineage", 0),
                                          .clock_tolerance_us = job->settings.clock_tolerance_us},
                   &r->plan, err);
    return s;
}

/* An engine refuses to run as root: its own user does, unless somebody is named. */
static const char *os_user(const struct job *job)
{
    static const struct {
        const char *engine, *user;
    } users[] = {{"postgresql", "postgres"}, {"mysql", "mysql"}};
    const char *given = job_text(job, "os_user");

    if (given == NULL)
        given = job->settings.os_user;
    if (given != NULL || geteuid() != 0)
        return given;
    for (size_t i = 0; i < sizeof users / sizeof users[0]; i++)
        if (strcmp(job->plugin->name, users[i].engine) == 0)
            return users[i].user;
    return NULL;
}

/* One word of a shell command. */
static void add_word(struct tide_buf *b, const char *word)
{
    tide_buf_str(b, " '");
    for (const char *c = word; *c != '\0'; c++) {
        if (*c == '\'')
            tide_buf_str(b, "'\\''");
        else
            tide_buf_u8(b, (uint8_t)*c);
    }
    tide_buf_u8(b, '\'');
}

/* What a server that is started by hand runs to get its log. */
static tide_status build_log_get(struct restoring *r, struct tide_err *err)
{
    struct job *job = r->job;
    char self[TIDE_PATH_MAX], until[64];

    tide_status s = plugin_self_path(self, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(sizeof r->log_get_command - 1);
    job->plugin->pos_format(r->plan.log_to, until, sizeof until);
    add_word(&b, self);
    if (job_text(job, "config") != NULL) {
        tide_buf_str(&b, " -c");
        add_word(&b, job_text(job, "config"));
    }
    tide_buf_printf(&b, " log get %s %%f %%p --lineage %u --until %s", job->instance, r->plan.lineage, until);
    s = tide_buf_check(&b, "the command that fetches log", err);
    if (s == TIDE_OK)
        (void)snprintf(r->log_get_command, sizeof r->log_get_command, "%s", tide_buf_cstr(&b) + 1);
    return s;
}

/* "latest", "15m ago": typed again it means another moment, and the same restore. */
static bool moves_on(const struct target *t, const char *typed)
{
    size_t n = strlen(typed);

    return t->kind == TARGET_LATEST || (t->kind == TARGET_TIME && n > 4 && strcmp(typed + n - 4, " ago") == 0);
}

static tide_status set_options(struct restoring *r, struct tide_err *err)
{
    struct job *job = r->job;
    const json_t *spaces = json_object_get(job->request, "tablespaces");
    size_t n = json_array_size(spaces);

    if (n > SPACES_MAX)
        return tide_fail(err, TIDE_INVALID, "more than %u tablespaces are mapped", SPACES_MAX);
    for (size_t i = 0; i < n; i++)
        r->spaces[i] = json_string_value(json_array_get(spaces, i));
    tide_status s = plugin_helper_path("tidemark-fetch", r->fetch_program, err);
    if (s == TIDE_OK)
        s = build_log_get(r, err);
    if (s != TIDE_OK)
        return s;
    const char *bin_dir = job_text(job, "bin_dir");
    r->options = (struct restore_options){
        .repo = job->repo,
        .instance = job->instance,
        .plugin = job->plugin,
        .host = job->host,
        .plan = &r->plan,
        .moving = moves_on(&r->target, job_text(job, "to")) ? job_text(job, "to") : NULL,
        .into = job_text(job, "into"),
        .tablespaces_into = job_text(job, "tablespaces_into"),
        .tablespace_map = n > 0 ? r->spaces : NULL,
        .bin_dir = bin_dir != NULL ? bin_dir : job->settings.bin_dir,
        .os_user = os_user(job),
        .listen = job_text(job, "listen"),
        .init_file = job_text(job, "run"),
        .port = (uint32_t)job_number(job, "port", 0),
        .no_start = job_flag(job, "no_start"),
        .jobs = (unsigned)job_number(job, "jobs", job->settings.restore_jobs),
        .fetch_program = r->fetch_program,
        .log_get_command = r->log_get_command,
        .cancel = job->cancel,
        .progress = job_progress,
        .progress_ctx = job,
    };
    return TIDE_OK;
}

/* A document that tells of the problems is the answer; what they would have led to is the exit code. */
static tide_status finish_plan(struct restoring *r, struct tide_err *err)
{
    const struct tide_finding_list *l = &r->report.findings;

    r->job->data = restore_doc_plan(&r->facts);
    for (size_t i = 0; i < l->n; i++) {
        if (l->items[i].severity < 2)
            continue;
        bool space = l->items[i].code != NULL && strcmp(l->items[i].code, "restore.space") == 0;
        tide_status s = tide_fail(err, space ? TIDE_FULL : TIDE_INVALID, "%s", l->items[i].message);
        return l->items[i].fix == NULL ? s : tide_hint(err, s, "%s", l->items[i].fix);
    }
    return TIDE_OK;
}

tide_status job_restore(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(restoring_clear) struct restoring r = {.job = job};

    tide_status s = job_open(job, err);
    if (s == TIDE_OK && (job->plugin->caps & TIDE_CAP_RECOVER) == 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "engine \"%s\" cannot be restored by this version",
                         job->plugin->name);
    if (s == TIDE_OK)
        s = make_plan(&r, err);
    if (s == TIDE_OK)
        s = set_options(&r, err);
    if (s != TIDE_OK)
        return s;
    r.facts = (struct restore_facts){.job = job,
                                     .requested = job_text(job, "to"),
                                     .target = &r.target,
                                     .plan = &r.plan,
                                     .options = &r.options,
                                     .report = &r.report};
    job->until_us = r.plan.target_us;
    if (job_flag(job, "plan")) {
        s = restore_preflight(&r.options, &r.report, err);
        return s == TIDE_OK ? finish_plan(&r, err) : s;
    }
    tell(job, restore_doc_target(&r.facts));
    s = restore_run(&r.options, &r.report, err);
    if (s == TIDE_OK)
        job->data = restore_doc_result(&r.facts);
    return s;
}
