#include "pitr/restore_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "pitr/fetch_server.h"

#include <errno.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEFTOVER_PATIENCE_US (10 * TIDE_SECOND_US)

struct run {
    const struct restore_options *o;
    struct restore_report *report;
    struct marker marker;
    struct lineage_set lineages;
    struct placement placement;
    struct tide_buf space_lines;
    struct tree_reader *reader;
    struct fetch_server *fetch;
    char fetch_command[TIDE_PATH_MAX];
    long uid, gid;
};

static void run_clear(struct run *r)
{
    fetch_server_stop(r->fetch);
    tree_reader_close(r->reader);
    placement_clear(&r->placement);
    tide_buf_clear(&r->space_lines);
    lineage_set_clear(&r->lineages);
}

static struct tide_restore_params params_of(const struct run *r)
{
    const struct restore_options *o = r->o;
    const struct plan *p = o->plan;

    return (struct tide_restore_params){.struct_size = sizeof(struct tide_restore_params),
                                        .target_kind = (uint32_t)p->kind,
                                        .data_directory = o->into,
                                        .metadata = p->backup.metadata,
                                        .settings = p->settings,
                                        .evidence = p->evidence,
                                        .server_version = p->backup.server_version,
                                        .bin_dir = r->report->bin_dir[0] != '\0' ? r->report->bin_dir : o->bin_dir,
                                        .os_user = o->os_user,
                                        .listen = o->listen,
                                        .fetch_command = r->fetch_command,
                                        .init_file = o->init_file,
                                        .port = o->port,
                                        .no_start = o->no_start,
                                        .target_start = p->target_start,
                                        .expected_end = p->expected_end,
                                        .backup_start = p->backup.start,
                                        .backup_stop = p->backup.stop,
                                        .branch = p->branch,
                                        .new_branch = r->marker.new_branch,
                                        .target_us = p->target_us,
                                        .tablespaces = tide_buf_cstr(&r->space_lines)};
}

/* ---- looking before writing */

/* The directories that everything goes to, and whether there is room. */
static tide_status check_places(const struct restore_options *o, bool resume, struct restore_report *report,
                                struct tide_err *err)
{
    struct tree_reader *reader = NULL;
    struct placement places;
    tide_status s = tree_reader_open(o->repo, o->instance, &o->plan->backup, 1, &reader, err);

    if (s == TIDE_OK)
        s = placement_load(reader, o, resume, &places, err);
    if (s == TIDE_OK && !resume)
        s = space_check(reader, &places, report, err);
    if (s == TIDE_OK)
        placement_clear(&places);
    tree_reader_close(reader);
    return s;
}

tide_status restore_preflight(const struct restore_options *o, struct restore_report *report, struct tide_err *err)
{
    struct run r = {.o = o, .report = report};
    struct tide_findings sink = finding_list_sink(&report->findings);
    struct marker marker;
    tide_status s;

    if (o->into[0] != '/')
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no absolute path", o->into);
    s = marker_examine(o, &marker, err);
    if (s != TIDE_OK)
        return s;
    struct tide_restore_params params = params_of(&r);
    s = o->plugin->restore_check(o->host, &params, &sink, report->bin_dir, sizeof report->bin_dir, err);
    return s == TIDE_OK ? check_places(o, marker.present, report, err) : s;
}

/* A critical finding becomes the error; no space is a failure, everything else a matter of set-up. */
static tide_status refuse_findings(const struct restore_report *report, struct tide_err *err)
{
    for (size_t i = 0; i < report->findings.n; i++) {
        const struct finding *f = &report->findings.items[i];
        if (f->severity < 2)
            continue;
        tide_status s = strcmp(f->code, "restore.space") == 0       ? TIDE_FULL
                        : strcmp(f->code, "restore.directory") == 0 ? TIDE_DENIED
                                                                    : TIDE_INVALID;
        s = tide_fail(err, s, "%s", f->message);
        return tide_hint(err, s, "%s", f->fix == NULL ? "nothing was written" : f->fix);
    }
    return TIDE_OK;
}

static tide_status find_owner(struct run *r, struct tide_err *err)
{
    struct passwd *pw;

    r->uid = r->gid = -1;
    if (geteuid() != 0 || r->o->os_user == NULL)
        return TIDE_OK;
    errno = 0;
    pw = getpwnam(r->o->os_user);
    if (pw == NULL)
        return tide_fail(err, TIDE_INVALID, "there is no operating system user \"%s\"", r->o->os_user);
    r->uid = (long)pw->pw_uid;
    r->gid = (long)pw->pw_gid;
    return TIDE_OK;
}

/* ---- files */

/* Recovery has written into the files, and left others beside them: only a fresh copy is known to be right. */
static tide_status start_over(struct run *r, struct tide_err *err)
{
    TIDE_LOG(TIDE_LOG_WARN, "restore.again", TIDE_STR("directory", r->o->into),
             TIDE_STR("reason", "an earlier recovery did not finish"));
    tide_status s = leftover_refuse(r->o->into, LEFTOVER_PATIENCE_US, err);
    if (s == TIDE_OK)
        s = marker_clear_directory(r->o, err);
    for (size_t i = 0; s == TIDE_OK && i < r->placement.n; i++)
        s = tide_remove_tree(r->placement.spaces[i].directory, err);
    return s;
}

static tide_status reserve(struct run *r, struct tide_err *err)
{
    json_t *what = json_pack("{s:s,s:s,s:I}", "backup", r->o->plan->backup.id, "directory", r->o->into, "at",
                             (json_int_t)tide_now_us());
    if (what == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    tide_status s =
        lineage_reserve_branch(r->o->repo, r->o->instance, r->o->plan->branch, what, &r->marker.new_branch, err);
    json_decref(what);
    return s;
}

/* The server's user, who is not us when we are root, must be able to get there: only the last one is private. */
static tide_status make_reachable(const char *path, struct tide_err *err)
{
    char parent[TIDE_PATH_MAX];
    tide_status s = TIDE_OK;

    (void)snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash != NULL && slash != parent) {
        *slash = '\0';
        s = tide_mkdirs(parent, 0755, err);
    }
    return s != TIDE_OK ? s : tide_mkdirs(path, 0700, err);
}

static tide_status prepare_directory(struct run *r, struct tide_err *err)
{
    bool resume;
    tide_status s = marker_examine(r->o, &r->marker, err);

    if (s == TIDE_OK)
        s = tree_reader_open(r->o->repo, r->o->instance, &r->o->plan->backup, r->o->jobs, &r->reader, err);
    if (s != TIDE_OK)
        return s;
    resume = r->marker.present;
    s = placement_load(r->reader, r->o, resume, &r->placement, err);
    if (s == TIDE_OK)
        s = placement_lines(&r->placement, &r->space_lines, err);
    if (s == TIDE_OK)
        s = marker_spaces(&r->marker, &r->space_lines, err);
    if (s == TIDE_OK && resume && r->marker.stage == MARKER_RECOVERING)
        s = start_over(r, err);
    if (s == TIDE_OK && r->marker.new_branch == 0)
        s = reserve(r, err);
    for (size_t i = 0; s == TIDE_OK && i < r->placement.n; i++)
        s = make_reachable(r->placement.spaces[i].directory, err);
    if (s == TIDE_OK)
        s = make_reachable(r->o->into, err);
    if (s == TIDE_OK) {
        marker_identity(r->o, r->marker.identity);
        r->marker.stage = MARKER_FILES;
        s = marker_write(r->o, &r->marker, err);
    }
    return s;
}

/* From any thread. */
static void on_bytes(void *ctx, uint64_t done)
{
    const struct run *r = ctx;
    struct tide_progress p = {.struct_size = sizeof p,
                              .phase = "files",
                              .bytes_done = done,
                              .bytes_total = r->o->plan->backup.totals.bytes,
                              .time_us = TIDE_TIME_NONE};

    if (r->o->progress != NULL)
        r->o->progress(r->o->progress_ctx, &p);
}

static tide_status extract(struct run *r, struct tide_err *err)
{
    bool resume = r->marker.present && r->marker.stage == MARKER_FILES;
    tide_status s = tree_extract(r->reader,
                                 &(struct tree_extract_options){.root = r->o->into,
                                                                .place = placement_place,
                                                                .place_ctx = &r->placement,
                                                                .hold = (const char *const *)r->placement.hold,
                                                                .resume = resume,
                                                                .direct = true,
                                                                .uid = r->uid,
                                                                .gid = r->gid,
                                                                .cancel = r->o->cancel,
                                                                .progress = on_bytes,
                                                                .progress_ctx = r},
                                 err);
    if (s == TIDE_OK && r->uid >= 0 && chown(r->o->into, (uid_t)r->uid, (gid_t)r->gid) != 0)
        s = tide_fail_errno(err, errno, "could not give \"%s\" to \"%s\"", r->o->into, r->o->os_user);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "restoring the files of backup \"%s\"", r->o->plan->backup.id);
    TIDE_FAILPOINT("restore-after-files", err);
    return TIDE_OK;
}

/* ---- recovery */

static tide_status start_fetching(struct run *r, struct tide_err *err)
{
    const struct restore_options *o = r->o;

    if (o->no_start) {
        /* other branches' numbers are taken, this one is its own: so the server comes to it */
        (void)snprintf(r->fetch_command, sizeof r->fetch_command, "%.3900s --own-branch %llu", o->log_get_command,
                       (unsigned long long)r->marker.new_branch);
        return TIDE_OK;
    }
    tide_status s = lineage_load(o->repo, o->instance, &r->lineages, err);
    if (s != TIDE_OK)
        return s;
    s = fetch_server_start(&(struct fetch_server_options){.repo = o->repo,
                                                          .instance = o->instance,
                                                          .plugin = o->plugin,
                                                          .host = o->host,
                                                          .plan = o->plan,
                                                          .lineages = &r->lineages,
                                                          .data_directory = o->into,
                                                          .new_branch = r->marker.new_branch,
                                                          .program = o->fetch_program,
                                                          .uid = r->uid,
                                                          .gid = r->gid,
                                                          .cancel = o->cancel},
                           &r->fetch, err);
    if (s == TIDE_OK)
        (void)snprintf(r->fetch_command, sizeof r->fetch_command, "%s", fetch_server_command(r->fetch));
    return s;
}

/* A server that got no log says only that; why it got none is what the operator has to know. */
static tide_status blame_fetch(struct fetch_server *fetch, tide_status s, struct tide_err *err)
{
    char problem[512], server[256];
    tide_status why = fetch_server_problem(fetch, problem, sizeof problem);

    if (why == TIDE_OK || why == TIDE_CANCELLED)
        return s;
    (void)snprintf(server, sizeof server, "%.250s", err == NULL ? "" : err->msg);
    (void)tide_fail(err, why, "the log could not be fetched: %.500s", problem);
    return tide_hint(err, why, "the server was stopped, and its directory does not open; its words: %s", server);
}

static tide_status recover(struct run *r, struct tide_err *err)
{
    const struct restore_options *o = r->o;
    struct tide_restore_params params;

    r->marker.stage = MARKER_RECOVERING;
    tide_status s = marker_write(o, &r->marker, err);
    if (s == TIDE_OK)
        s = start_fetching(r, err);
    if (s != TIDE_OK)
        return s;
    params = params_of(r);
    s = o->plugin->restore_prepare(o->host, &params, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "preparing \"%s\"", o->into);
    TIDE_FAILPOINT("restore-before-recovery", err);
    r->report->instance.struct_size = sizeof r->report->instance;
    s = o->plugin->recover(o->host, &params, &r->report->instance, err);
    return s == TIDE_OK || s == TIDE_CANCELLED || r->fetch == NULL ? s : blame_fetch(r->fetch, s, err);
}

/* The instance runs; from here on its directory is nobody's but its own. */
static tide_status finish(const struct restore_options *o, struct tide_err *err)
{
    TIDE_FAILPOINT("restore-before-end", err);
    return marker_remove(o, err);
}

tide_status restore_run(const struct restore_options *o, struct restore_report *report, struct tide_err *err)
{
    TIDE_AUTO(run_clear) struct run r = {.o = o, .report = report, .space_lines = TIDE_BUF_INIT(1u << 20)};

    report->started_us = tide_now_us();
    tide_status s = restore_preflight(o, report, err);
    if (s == TIDE_OK)
        s = refuse_findings(report, err);
    if (s == TIDE_OK)
        s = find_owner(&r, err);
    if (s == TIDE_OK)
        s = prepare_directory(&r, err);
    if (s == TIDE_OK)
        s = extract(&r, err);
    if (s == TIDE_OK)
        s = recover(&r, err);
    if (s == TIDE_OK)
        s = finish(o, err);
    report->bytes = o->plan->backup.totals.bytes;
    report->finished_us = tide_now_us();
    return s;
}

void restore_report_clear(struct restore_report *r)
{
    finding_list_free(&r->findings);
    memset(r, 0, sizeof *r);
}
