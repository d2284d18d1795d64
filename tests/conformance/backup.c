#include "tests/conformance/conformance.h"

#include "orchestrator/base/clock.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#define FAILURES     10u /* points at which the sink fails, spread over its calls */
#define CANCEL_LIMIT (30 * TIDE_SECOND_US)

/* Where a backup goes: nowhere, but every promise is watched. */
struct trap {
    struct fake_host *host;
    pthread_mutex_t lock;
    unsigned calls, started, drains, files;
    unsigned fail_at, cancel_at; /* 0: never */
    bool failed;                 /* the sink has failed */
    bool called_after;           /* and was called again */
    bool before_start;           /* files came before started() */
    bool undrained;              /* handed over since the last drain */
    bool bad_name, bad_file;
    struct tide_pos start;
};

static bool name_is_good(const char *name)
{
    if (name == NULL || name[0] == '\0' || name[0] == '/' || name[strlen(name) - 1] == '/')
        return false;
    for (const char *part = name; *part != '\0';) {
        size_t len = strcspn(part, "/");
        if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
            return false;
        part += len + (part[len] == '/');
    }
    return true;
}

/* Every call of the sink comes through here. */
static int visit(struct trap *t, struct tide_err *err)
{
    pthread_mutex_lock(&t->lock);
    t->calls++;
    if (t->failed)
        t->called_after = true;
    bool fail = t->fail_at != 0 && t->calls == t->fail_at;
    if (fail)
        t->failed = true;
    if (t->cancel_at != 0 && t->calls == t->cancel_at)
        tide_cancel_set(t->host->cancel);
    pthread_mutex_unlock(&t->lock);
    return fail ? (int)tide_fail(err, TIDE_FULL, "the sink is full, said the test") : TIDE_OK;
}

static void look_at(struct trap *t, const struct tide_file *f)
{
    t->files++;
    t->before_start |= t->started == 0;
    t->bad_name |= !name_is_good(f->name);
    t->bad_file |= f->struct_size < sizeof *f || f->kind < TIDE_FILE_REGULAR || f->kind > TIDE_FILE_SYMLINK ||
                   (f->mode & ~07777u) != 0 || (f->kind == TIDE_FILE_SYMLINK && f->link == NULL);
}

static int trap_file(void *ctx, const struct tide_file *f, struct tide_err *err)
{
    struct trap *t = ctx;

    look_at(t, f);
    t->undrained = true;
    t->bad_file |= f->kind == TIDE_FILE_REGULAR && f->source == NULL;
    return visit(t, err);
}

static int trap_drain(void *ctx, struct tide_err *err)
{
    struct trap *t = ctx;

    t->drains++;
    t->undrained = false;
    return visit(t, err);
}

static int trap_data(void *ctx, const struct tide_file *f, const void *data, size_t len, struct tide_err *err)
{
    struct trap *t = ctx;

    look_at(t, f);
    t->bad_file |= len > 0 && data == NULL;
    return visit(t, err);
}

static int trap_piece(void *ctx, const char *name, uint64_t offset, const void *data, size_t len,
                      struct tide_err *err)
{
    struct trap *t = ctx;

    (void)offset;
    t->bad_name |= !name_is_good(name);
    t->bad_file |= len > 0 && data == NULL;
    return visit(t, err);
}

static int trap_piece_end(void *ctx, const struct tide_file *f, struct tide_err *err)
{
    struct trap *t = ctx;

    look_at(t, f);
    return visit(t, err);
}

static int trap_snapshot(void *ctx, int action, char *path, size_t path_size, struct tide_err *err)
{
    struct trap *t = ctx;

    (void)action;
    if (path_size > 0)
        path[0] = '\0';
    return visit(t, err);
}

static int trap_started(void *ctx, struct tide_pos start, uint64_t branch, int64_t clock_us, struct tide_err *err)
{
    struct trap *t = ctx;

    (void)branch;
    (void)clock_us;
    t->started++;
    t->start = start;
    return visit(t, err);
}

static int run_backup(const struct subject *s, struct trap *t, struct tide_backup_result *result,
                      struct tide_err *err)
{
    const struct tide_backup_params params = {.struct_size = sizeof params, .fast = 1, .label = "conformance"};
    const struct tide_backup_sink sink = {.struct_size = sizeof sink,
                                          .ctx = t,
                                          .file = trap_file,
                                          .drain = trap_drain,
                                          .data = trap_data,
                                          .piece = trap_piece,
                                          .piece_end = trap_piece_end,
                                          .snapshot = trap_snapshot,
                                          .started = trap_started};
    void *inst = NULL;

    *result = (struct tide_backup_result){.struct_size = sizeof *result};
    int status = s->plugin->open(&t->host->table, &inst, err);
    if (status == TIDE_OK)
        status = s->plugin->backup(inst, &params, &sink, result, err);
    if (status == TIDE_OK)
        tap_check(result->evidence != NULL && result->server_version != NULL && result->metadata != NULL &&
                      result->metadata[0] == '{' && result->method != NULL,
                  "its result has evidence, version, metadata and method");
    s->plugin->close(inst);
    return status;
}

static unsigned check_whole(const struct subject *s)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_backup_result result;
    struct fake_host h;

    if (!fake_host_init(&h, s->settings))
        return 0;
    struct trap t = {.host = &h, .lock = PTHREAD_MUTEX_INITIALIZER};
    int status = run_backup(s, &t, &result, &err);
    if (!tap_check(status == TIDE_OK, "a backup is taken"))
        tap_diag("%s", err.msg);
    tap_check(t.started == 1 && !t.before_start, "it says once, and first, where it starts");
    tap_check(t.files > 0 && !t.bad_name && !t.bad_file, "its %u files have good names and kinds", t.files);
    tap_check(!t.undrained || t.drains == 0, "what was handed over by path is drained");
    bool ends = tide_pos_cmp(result.start, t.start) <= 0 && tide_pos_cmp(t.start, result.stop) <= 0 &&
                tide_pos_cmp(result.stop, result.start) >= 0 && result.stop_us >= result.start_us;
    if (!tap_check(ends, "it ends where it can be consistent"))
        tap_diag("started at %llX, from %llX at %lld to %llX at %lld", (unsigned long long)t.start.lo,
                 (unsigned long long)result.start.lo, (long long)result.start_us, (unsigned long long)result.stop.lo,
                 (long long)result.stop_us);
    tap_check(!h.bad_error && !h.bad_progress, "errors and progress are well-formed");
    fake_host_clear(&h);
    return t.calls;
}

static void check_failing_sink(const struct subject *s, unsigned calls)
{
    bool passed_on = true, nothing_after = true;

    for (unsigned i = 0; i < FAILURES && i < calls; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_backup_result result;
        struct fake_host h;
        if (!fake_host_init(&h, s->settings))
            return;
        struct trap t = {.host = &h, .lock = PTHREAD_MUTEX_INITIALIZER};
        t.fail_at = 1 + (calls <= FAILURES ? i : (unsigned)((uint64_t)i * (calls - 1) / (FAILURES - 1)));
        int status = run_backup(s, &t, &result, &err);
        if (t.failed && (status != TIDE_FULL || strcmp(err.msg, "the sink is full, said the test") != 0)) {
            tap_diag("failing call %u of %u: status %d, \"%s\"", t.fail_at, calls, status, err.msg);
            passed_on = false;
        }
        if (t.called_after) {
            tap_diag("failing call %u of %u: the sink was called again", t.fail_at, calls);
            nothing_after = false;
        }
        fake_host_clear(&h);
    }
    tap_check(passed_on, "what a sink says is passed on untouched, at every call");
    tap_check(nothing_after, "a sink that failed is left alone");
}

static void check_cancelled(const struct subject *s, unsigned calls)
{
    const unsigned points[] = {0, 1, calls / 2};
    bool ended = true, soon = true;

    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_backup_result result;
        struct fake_host h;
        if (!fake_host_init(&h, s->settings))
            return;
        struct trap t = {.host = &h, .lock = PTHREAD_MUTEX_INITIALIZER, .cancel_at = points[i]};
        if (points[i] == 0)
            tide_cancel_set(h.cancel);
        int64_t begun = tide_monotonic_us();
        int status = run_backup(s, &t, &result, &err);
        soon &= tide_monotonic_us() - begun < CANCEL_LIMIT;
        if (status != TIDE_CANCELLED) {
            tap_diag("cancelled at call %u: status %d, \"%s\"", points[i], status, err.msg);
            ended = false;
        }
        fake_host_clear(&h);
    }
    tap_check(ended, "a cancelled backup says that it was cancelled");
    tap_check(soon, "and it ends soon");
}

void check_backup(const struct subject *s)
{
    if (!s->has_server || s->plugin->backup == NULL) {
        tap_skip(s->has_server ? "no such capability" : "no options were given", "backups");
        return;
    }
    unsigned calls = check_whole(s);
    check_failing_sink(s, calls);
    check_cancelled(s, calls);
}
