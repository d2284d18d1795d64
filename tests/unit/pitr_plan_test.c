/* plan.c, refuse.c, settings.c: what is planned against what a look at every commit says. */

#include "pitr/plan.h"

#include "tests/support/history.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define S         INT64_C(1000000)
#define T0        FAKE_T0
#define TOLERANCE S

struct fixture {
    struct history *h;
    struct plan plan;
    struct tide_err err;
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->h = history_new(11);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    plan_clear(&f->plan);
    history_free(f->h);
    free(f);
    return 0;
}

static tide_status plan_from(struct fixture *f, const struct target *t, uint32_t lineage, const char *backup)
{
    plan_clear(&f->plan);
    tide_err_clear(&f->err);
    return plan_build(&(struct plan_options){.repo = f->h->w->t->repo,
                                             .instance = "shop",
                                             .plugin = &fake_plugin,
                                             .host = &f->h->w->host.host,
                                             .target = t,
                                             .lineage = lineage,
                                             .backup_id = backup,
                                             .clock_tolerance_us = TOLERANCE},
                      &f->plan, &f->err);
}

static tide_status plan(struct fixture *f, const struct target *t, uint32_t lineage)
{
    return plan_from(f, t, lineage, NULL);
}

static tide_status plan_time(struct fixture *f, int64_t us, uint32_t lineage)
{
    struct target t = {.kind = TARGET_TIME, .time_us = us, .text = "a time"};

    return plan(f, &t, lineage);
}

/* ---- one after the other */

/* Commits 0..n-1 a second apart, all stored, a backup over commits 2 and 3. */
static struct history_lineage *line(struct fixture *f, int n)
{
    struct history *h = f->h;
    struct history_lineage *l = history_fork(h, NULL, (struct tide_pos){0});

    for (int i = 0; i < n; i++)
        history_commit(h, T0 + i * S);
    history_store(h, l, l->start, l->end, 3);
    (void)history_backup(h, l, l->commits[1].end, l->commits[3].end, T0 + 3 * S + S / 10);
    return l;
}

static void a_time_is_planned_to_its_commit(void **state)
{
    struct fixture *f = *state;
    const struct history_lineage *l = line(f, 10);

    ok(plan_time(f, T0 + 6 * S + S / 2, 0), &f->err);
    assert_int_equal(f->plan.kind, TIDE_TARGET_COMMIT);
    assert_int_equal(f->plan.included.start.lo, l->commits[6].start.lo);
    assert_int_equal(f->plan.excluded.start.lo, l->commits[7].start.lo);
    assert_int_equal(f->plan.expected_end.lo, l->commits[6].end.lo);
    assert_int_equal(f->plan.log_from.lo, l->commits[1].end.lo);
    assert_string_equal(f->plan.backup.id, f->h->backups[0].id);
    assert_true(f->plan.requests > 0 && f->plan.requests < 40);
}

static void before_the_next_commit_the_backup_is_enough(void **state)
{
    struct fixture *f = *state;
    const struct history_lineage *l = line(f, 10);

    ok(plan_time(f, T0 + 3 * S + S / 2, 0), &f->err);
    assert_int_equal(f->plan.kind, TIDE_TARGET_CONSISTENT);
    assert_int_equal(f->plan.expected_end.lo, l->commits[3].end.lo);
    assert_int_equal(f->plan.excluded.start.lo, l->commits[4].start.lo);
}

static void outside_is_refused_with_the_nearest_times(void **state)
{
    struct fixture *f = *state;

    (void)line(f, 10);
    assert_int_equal(plan_time(f, T0 + 2 * S, 0), TIDE_OUTSIDE); /* before the backup is consistent */
    assert_string_equal(f->err.before, "");
    assert_string_equal(f->err.after, "2023-11-14T22:13:23.100000Z");
    assert_int_equal(plan_time(f, T0 + 9 * S + 1, 0), TIDE_OUTSIDE); /* nothing says that it has come */
    assert_string_equal(f->err.before, "2023-11-14T22:13:29.000000Z");
    assert_string_equal(f->err.after, "");
}

static void a_heartbeat_moves_the_end(void **state)
{
    struct fixture *f = *state;
    const struct history_lineage *l = line(f, 10);

    ok(heartbeat_put(f->h->w->t->repo, "shop", 1, T0 + 60 * S, l->end, &f->err), &f->err);
    ok(plan_time(f, T0 + 50 * S, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[9].start.lo);
    assert_true(tide_pos_is_none(f->plan.excluded.start));
    assert_true(f->plan.target_us == T0 + 50 * S);
}

static void without_backup_or_log_nothing_is_planned(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});

    for (int i = 0; i < 5; i++)
        history_commit(f->h, T0 + i * S);
    assert_int_equal(plan_time(f, T0 + 2 * S, 0), TIDE_OUTSIDE);
    assert_non_null(strstr(f->err.hint, "no base backup"));
    (void)history_backup(f->h, l, l->commits[0].end, l->commits[2].end, T0 + 2 * S);
    assert_int_equal(plan_time(f, T0 + 3 * S, 0), TIDE_OUTSIDE); /* the backup's own log is not stored */
    struct target latest = {.kind = TARGET_LATEST, .text = "latest"};
    assert_int_equal(plan(f, &latest, 0), TIDE_OUTSIDE);
}

static void a_gap_is_named(void **state)
{
    struct fixture *f = *state;
    const struct history_lineage *l = line(f, 20);
    size_t hole = 0;

    for (size_t i = 0; i < f->h->n_objects; i++)
        if (pos_in(l->commits[10].start, f->h->objects[i].start, f->h->objects[i].end))
            hole = i;
    history_lose(f->h, hole);
    assert_int_equal(plan_time(f, T0 + 18 * S, 0), TIDE_OUTSIDE);
    assert_string_not_equal(f->err.before, "");
    assert_int_equal(plan_time(f, T0 + 10 * S, 0), TIDE_OUTSIDE);
    assert_non_null(strstr(f->err.msg, "gap"));
    ok(plan_time(f, T0 + 4 * S, 0), &f->err);
    struct target behind = {.kind = TARGET_POSITION, .position = l->commits[15].end, .text = "x"};
    assert_int_equal(plan(f, &behind, 0), TIDE_OUTSIDE);
}

/* Asked for by name, too, a backup holds what was committed before it. */
static void a_backup_that_is_too_young_is_refused(void **state)
{
    struct fixture *f = *state;
    struct history *h = f->h;
    const struct history_lineage *l = line(f, 20);
    const struct backup *young = history_backup(h, l, l->commits[10].end, l->commits[11].end, T0 + 11 * S);
    struct target t = {.kind = TARGET_TIME, .time_us = T0 + 6 * S, .text = "a time"};
    struct plan_options o = {.repo = h->w->t->repo,
                             .instance = "shop",
                             .plugin = &fake_plugin,
                             .host = &h->w->host.host,
                             .target = &t,
                             .backup_id = young->id,
                             .clock_tolerance_us = TOLERANCE};

    assert_int_equal(plan_build(&o, &f->plan, &f->err), TIDE_OUTSIDE);
    t.time_us = T0 + 12 * S;
    ok(plan_build(&o, &f->plan, &f->err), &f->err);
    assert_string_equal(f->plan.backup.id, young->id);
    plan_clear(&f->plan);
    o.backup_id = h->backups[0].id;
    ok(plan_build(&o, &f->plan, &f->err), &f->err);
    assert_string_equal(f->plan.backup.id, h->backups[0].id);
    assert_int_equal(f->plan.included.start.lo, l->commits[12].start.lo);
}

static void backups_positions_and_names_are_targets(void **state)
{
    struct fixture *f = *state;
    struct history *h = f->h;
    struct history_lineage *l = history_fork(h, NULL, (struct tide_pos){0});

    for (int i = 0; i < 12; i++) {
        if (i == 8)
            (void)history_record(h, TIDE_EVENT_RESTORE_POINT, "upgrade");
        history_commit(h, T0 + i * S);
    }
    history_store(h, l, l->start, l->end, 3);
    const struct backup *b = history_backup(h, l, l->commits[1].end, l->commits[3].end, T0 + 3 * S);
    struct target t = {.kind = TARGET_NAME, .text = "upgrade"};
    ok(plan(f, &t, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[7].start.lo);
    t = (struct target){.kind = TARGET_POSITION, .position = l->commits[5].end, .text = "x"};
    ok(plan(f, &t, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[5].start.lo);
    t.position = l->commits[2].end; /* before the backup is consistent */
    assert_int_equal(plan(f, &t, 0), TIDE_OUTSIDE);
    t = (struct target){.kind = TARGET_BACKUP};
    strcpy(t.text, b->id);
    ok(plan(f, &t, 0), &f->err);
    assert_int_equal(f->plan.kind, TIDE_TARGET_CONSISTENT);
    assert_int_equal(f->plan.expected_end.lo, b->stop.lo);
    t = (struct target){.kind = TARGET_LATEST, .text = "latest"};
    ok(plan(f, &t, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[11].start.lo);
}

static void a_clock_that_was_put_back_is_ambiguous(void **state)
{
    struct fixture *f = *state;
    struct history *h = f->h;
    struct history_lineage *l = history_fork(h, NULL, (struct tide_pos){0});

    for (int i = 0; i < 10; i++)
        history_commit(h, T0 + i * S);
    history_commit(h, T0 + 3600 * S); /* stamped an hour ahead */
    for (int i = 11; i < 20; i++)
        history_commit(h, T0 + i * S);
    history_store(h, l, l->start, l->end, 2);
    (void)history_backup(h, l, l->commits[1].end, l->commits[3].end, T0 + 3 * S);
    ok(plan_time(f, T0 + 7 * S, 0), &f->err);
    /* A prefix that ends before the wrong stamp would leave out what was acknowledged by then. */
    assert_int_equal(plan_time(f, T0 + 15 * S, 0), TIDE_OUTSIDE);
    assert_non_null(strstr(f->err.msg, "more than one moment"));
    assert_non_null(strstr(f->err.hint, "lsn:"));
    assert_int_equal(plan_time(f, T0 + 600 * S, 0), TIDE_OUTSIDE);
    ok(heartbeat_put(h->w->t->repo, "shop", 1, T0 + 21 * S, l->end, &f->err), &f->err);
    struct target t = {.kind = TARGET_LATEST, .text = "latest"};
    ok(plan(f, &t, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[19].start.lo);
}

/* A failover to a host whose clock is behind. */
static void a_child_whose_clock_is_behind_is_ambiguous(void **state)
{
    struct fixture *f = *state;
    struct history *h = f->h;
    const struct history_lineage *l = line(f, 40), *child;

    child = history_fork(h, l, l->commits[30].end);
    for (int i = 0; i < 30; i++)
        history_commit(h, T0 + (20 + i) * S);
    history_store(h, child, child->start, child->end, 3);
    assert_int_equal(plan_time(f, T0 + 25 * S, 0), TIDE_OUTSIDE);
    assert_non_null(strstr(f->err.msg, "more than one moment"));
    assert_non_null(strstr(f->err.hint, ";")); /* two candidates */
    ok(plan_time(f, T0 + 25 * S, 1), &f->err);
    assert_int_equal(f->plan.included.start.lo, l->commits[25].start.lo);
    /* behind the parent's last stamp before the fork there is one meaning, whatever the abandoned tail says */
    ok(plan_time(f, T0 + 35 * S, 0), &f->err);
    assert_int_equal(f->plan.included.start.lo, child->commits[15].start.lo);
}

static void settings_that_the_log_demands_come_along(void **state)
{
    struct fixture *f = *state;
    struct history *h = f->h;
    struct history_lineage *l = history_fork(h, NULL, (struct tide_pos){0});

    for (int i = 0; i < 12; i++) {
        if (i == 1 || i == 6 || i == 10)
            (void)history_record(h, TIDE_EVENT_SETTINGS, i == 1 ? "n=1" : i == 6 ? "n=6" : "n=10");
        history_commit(h, T0 + i * S);
    }
    history_store(h, l, l->start, l->end, 3);
    (void)history_backup(h, l, l->commits[1].end, l->commits[3].end, T0 + 3 * S);
    ok(plan_time(f, T0 + 8 * S, 0), &f->err);
    assert_string_equal(f->plan.settings, "n=6\n");
    ok(plan_time(f, T0 + 11 * S, 0), &f->err);
    assert_string_equal(f->plan.settings, "n=6\nn=10\n");
    ok(plan_time(f, T0 + 4 * S, 0), &f->err);
    assert_null(f->plan.settings);
}

/* ---- any history */

struct model {
    struct fake_commit_record commits[HISTORY_COMMITS]; /* on the way to the lineage */
    size_t n;
};

static void grow(struct history *h, int64_t *clock, bool steps)
{
    unsigned n = 10 + history_below(h, 40);

    for (unsigned i = 0; i < n; i++) {
        *clock += history_below(h, 3) == 0 ? 0 : (int64_t)history_below(h, 2000000);
        if (steps && history_below(h, 25) == 0)
            *clock += history_below(h, 2) == 0 ? -30 * S : 30 * S;
        /* among concurrent commits small steps back are normal */
        history_commit(h, *clock - (int64_t)history_below(h, 300000));
        if (history_below(h, 6) == 0)
            (void)history_record(h, FAKE_DATA, "something else");
    }
}

static void back_up(struct history *h, const struct history_lineage *l)
{
    size_t a = history_below(h, (unsigned)l->n_commits - 4), b = a + 1 + history_below(h, 3);
    int64_t after = l->commits[0].time_us;

    for (size_t i = 0; i <= b; i++)
        after = l->commits[i].time_us > after ? l->commits[i].time_us : after;
    (void)history_backup(h, l, l->commits[a].end, l->commits[b].end, after);
}

static void make_history(struct history *h, bool steps, bool lossy)
{
    int64_t clock = T0;
    const struct history_lineage *parent = NULL;

    for (unsigned i = 0, n = 1 + history_below(h, 3); i < n; i++) {
        struct tide_pos fork = {0};
        if (parent != NULL)
            fork = parent->commits[parent->n_commits - 1 - history_below(h, 8)].end;
        struct history_lineage *l = history_fork(h, parent, fork);
        grow(h, &clock, steps);
        history_store(h, l, l->start, l->end, 1 + history_below(h, 4));
        if (i == 0 || history_below(h, 2) == 0)
            back_up(h, l);
        parent = l;
    }
    for (unsigned k = 0; k < 4; k++)
        history_overlap(h, &h->lineages[history_below(h, (unsigned)h->n_lineages)]);
    for (unsigned k = 0; k < 3; k++)
        history_merge(h, &h->lineages[history_below(h, (unsigned)h->n_lineages)], history_below(h, 2) == 0);
    for (unsigned k = 0; lossy && k < 2; k++)
        history_lose(h, history_below(h, (unsigned)h->n_objects));
}

static const struct history_lineage *lineage_of(const struct history *h, uint32_t number)
{
    return &h->lineages[number - 1];
}

/*
 * Nothing that was acknowledged by then is left out, nothing that was committed later is in.  While the clock runs
 * forward but for small steps, a commit was acknowledged no earlier than the newest stamp before it.  Where it was
 * put back (steps), nothing that is left out may be stamped before the time, small steps again excepted.
 */
static void plan_is_right(const struct fixture *f, int64_t us, bool steps)
{
    static struct model m;
    const struct plan *p = &f->plan;
    int64_t newest = INT64_MIN;
    size_t last = SIZE_MAX;

    m.n = history_path_commits(f->h, lineage_of(f->h, p->lineage), m.commits);
    struct tide_pos covered = history_covered(f->h, lineage_of(f->h, p->lineage), p->log_from);
    assert_false(pos_before(covered, p->log_to));
    for (size_t i = 0; i < m.n; i++)
        if (!pos_before(p->log_to, m.commits[i].end))
            last = i;
    for (size_t i = 0; i < m.n; i++) {
        const struct fake_commit_record *c = &m.commits[i];
        if (pos_before(c->start, p->log_from)) {
            if (!steps && c->time_us > us)
                fail_msg("the backup holds commit %zu, stamped %lld us later", i, (long long)(c->time_us - us));
            continue;
        }
        newest = c->time_us > newest ? c->time_us : newest;
        bool in = last != SIZE_MAX && i <= last;
        if (in && c->time_us > us)
            fail_msg("commit %zu is in, stamped %lld us later", i, (long long)(c->time_us - us));
        bool stored = !pos_before(covered, c->end);
        if (!in && (steps ? stored && c->time_us <= us && newest - c->time_us > TOLERANCE : newest < us))
            fail_msg("commit %zu is out, acknowledged %lld us before", i, (long long)(us - newest));
    }
    if (p->kind == TIDE_TARGET_COMMIT)
        assert_int_equal(m.commits[last].start.lo, p->included.start.lo);
}

/* A backup, unbroken log, and the first later commit behind its consistency point: then there must be a plan. */
static bool must_be_planned(const struct fixture *f, const struct history_lineage *l, int64_t us)
{
    static struct model m;
    const struct history *h = f->h;
    bool own = false;

    m.n = history_path_commits(h, l, m.commits);
    for (size_t i = 0; i < m.n; i++) /* a lineage's window begins with its own first commit or backup */
        own |= m.commits[i].branch == l->branch && m.commits[i].time_us + TOLERANCE < us;
    for (size_t k = 0; own && k < h->n_backups; k++) {
        const struct backup *b = &h->backups[k];
        struct tide_pos covered = history_covered(h, l, b->start);
        if (b->lineage != l->number || b->server_stop_us > us || pos_before(covered, b->stop))
            continue;
        for (size_t i = 0; i < m.n; i++) {
            const struct fake_commit_record *c = &m.commits[i];
            if (pos_before(c->start, b->start) || c->time_us <= us)
                continue;
            if (!pos_before(c->start, b->stop) && !pos_before(covered, c->end))
                return true;
            break;
        }
    }
    return false;
}

static void any_history(struct fixture *f, bool steps, bool lossy, unsigned *planned, unsigned *refused)
{
    struct history *h = f->h;

    make_history(h, steps, lossy);
    int64_t first = T0 - 5 * S, span = 0;
    for (size_t i = 0; i < h->n_lineages; i++)
        for (size_t k = 0; k < h->lineages[i].n_commits; k++)
            if (h->lineages[i].commits[k].time_us - first > span)
                span = h->lineages[i].commits[k].time_us - first;
    for (unsigned i = 0; i < 40; i++) {
        const struct history_lineage *l = &h->lineages[history_below(h, (unsigned)h->n_lineages)];
        uint32_t asked = history_below(h, 2) == 0 ? l->number : 0;
        int64_t us = first + (int64_t)history_below(h, (unsigned)(span / 1000) + 3000) * 1000;
        if (history_below(h, 3) == 0) /* a commit's own microsecond */
            us = l->commits[history_below(h, (unsigned)l->n_commits)].time_us;
        const char *backup =
            history_below(h, 4) == 0 ? h->backups[history_below(h, (unsigned)h->n_backups)].id : NULL;
        struct target t = {.kind = TARGET_TIME, .time_us = us, .text = "a time"};
        tide_status s = plan_from(f, &t, asked, backup);
        if (s == TIDE_OK) {
            plan_is_right(f, us, steps);
            (*planned)++;
            continue;
        }
        if (s != TIDE_OUTSIDE)
            ok(s, &f->err);
        if (!steps && asked != 0 && backup == NULL && must_be_planned(f, l, us))
            fail_msg("%lld us after T0 on lineage %u is refused: %s", (long long)(us - T0), asked, f->err.msg);
        (*refused)++;
    }
}

static void rounds(unsigned from, unsigned n, bool steps, bool lossy)
{
    unsigned planned = 0, refused = 0;

    for (unsigned seed = from; seed < from + n; seed++) {
        struct fixture f = {.h = history_new(seed)};
        any_history(&f, steps, lossy, &planned, &refused);
        plan_clear(&f.plan);
        history_free(f.h);
    }
    print_message("%u planned, %u refused\n", planned, refused);
    assert_true(planned > 25 && refused > 25);
}

static void any_forked_and_merged_history(void **state)
{
    (void)state;
    rounds(100, 7, false, false);
}

static void any_history_with_gaps(void **state)
{
    (void)state;
    rounds(200, 7, false, true);
}

static void any_history_whose_clock_was_put_back(void **state)
{
    (void)state;
    rounds(300, 7, true, false);
    rounds(400, 4, true, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_time_is_planned_to_its_commit),           TEST(before_the_next_commit_the_backup_is_enough),
        TEST(outside_is_refused_with_the_nearest_times), TEST(a_heartbeat_moves_the_end),
        TEST(without_backup_or_log_nothing_is_planned),  TEST(a_gap_is_named),
        TEST(a_backup_that_is_too_young_is_refused),     TEST(backups_positions_and_names_are_targets),
        TEST(a_clock_that_was_put_back_is_ambiguous),    TEST(a_child_whose_clock_is_behind_is_ambiguous),
        TEST(settings_that_the_log_demands_come_along),  cmocka_unit_test(any_forked_and_merged_history),
        cmocka_unit_test(any_history_with_gaps),         cmocka_unit_test(any_history_whose_clock_was_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
