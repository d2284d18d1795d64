/* window.c, cover.c, window_nearest.c: the restore window against rules applied to every object one by one. */

#include "wal/window.h"

#include "orchestrator/base/clock.h"
#include "tests/support/repository.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define T0  INT64_C(1700000000000000)
#define SEC TIDE_SECOND_US

struct world {
    struct test_repo *t;
    struct lineage lineages[4];
    struct lineage_set set;
    struct backup backups[16];
    struct backup_list list;
    struct window_set out;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->t = test_repo_new(false);
    w->set.items = w->lineages;
    w->list.items = w->backups;
    w->lineages[0] = (struct lineage){.number = 1, .start = {0, 1000}};
    w->set.n = 1;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    window_set_clear(&w->out);
    test_repo_free(w->t);
    free(w);
    return 0;
}

static struct tide_pos at(uint64_t lo)
{
    return (struct tide_pos){0, lo};
}

/* Seconds since T0; NONE when min is negative. */
static void object(struct world *w, uint32_t lineage, uint64_t start, uint64_t end, int min, int max, int back)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n = {.lineage = lineage,
                         .start = at(start),
                         .end = at(end),
                         .min_us = min < 0 ? TIDE_TIME_NONE : T0 + min * SEC,
                         .max_us = min < 0 ? TIDE_TIME_NONE : T0 + max * SEC,
                         .back_ms = (uint32_t)back * 1000};
    char key[REPO_KEY_MAX];
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
    assert_int_equal(store_put(repo_store(w->t->repo), key, "x", 1, &err), TIDE_OK);
}

static void backup(struct world *w, uint32_t lineage, uint64_t start, uint64_t stop, int stop_s)
{
    struct backup *b = &w->backups[w->list.n++];
    *b = (struct backup){
        .lineage = lineage, .start = at(start), .stop = at(stop), .server_stop_us = T0 + stop_s * SEC};
    (void)snprintf(b->id, sizeof b->id, "backup-%zu", w->list.n);
}

static void child(struct world *w, uint32_t parent, uint64_t fork)
{
    struct lineage *l = &w->lineages[w->set.n++];
    *l = (struct lineage){.number = (uint32_t)w->set.n, .parent = parent, .start = at(fork), .fork = at(fork)};
}

static void compute(struct world *w)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct window_options o = {
        .repo = w->t->repo, .instance = "shop", .clock_tolerance_us = SEC, .lineages = &w->set, .backups = &w->list};
    window_set_clear(&w->out);
    assert_int_equal(window_compute(&o, &w->out, &err), TIDE_OK);
}

static void expect(const struct world *w, size_t i, uint32_t lineage, int earliest, int latest)
{
    assert_true(i < w->out.n);
    assert_int_equal(w->out.windows[i].lineage, lineage);
    assert_int_equal(w->out.windows[i].earliest_us, T0 + earliest * SEC);
    assert_int_equal(w->out.windows[i].latest_us, T0 + latest * SEC);
}

static void heartbeat(struct world *w, uint32_t lineage, int s, uint64_t pos)
{
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(heartbeat_put(w->t->repo, "shop", lineage, T0 + s * SEC, at(pos), &err), TIDE_OK);
}

static void without_a_backup_there_is_no_window(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    compute(w);
    assert_int_equal(w->out.n, 0);
    assert_int_equal(w->out.n_gaps, 0);
}

static void it_reaches_from_the_first_consistency_point_to_the_last_commit(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 1, 2000, 3000, 11, 20, 0);
    object(w, 1, 3000, 4000, -1, 0, 0);
    backup(w, 1, 1500, 2500, 15);
    backup(w, 1, 2600, 2700, 18);
    compute(w);
    assert_int_equal(w->out.n, 1);
    expect(w, 0, 1, 15, 20);
    assert_true(w->out.windows[0].live);
    assert_true(pos_equal(w->out.windows[0].from, at(2500)));
    assert_true(pos_equal(w->out.windows[0].to, at(4000)));
    assert_string_equal(w->out.windows[0].first_backup, "backup-1");
}

static void a_backup_alone_can_be_restored_to_its_end(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 2, 0);
    backup(w, 1, 1000, 2000, 5);
    compute(w);
    expect(w, 0, 1, 5, 5);
}

static void a_backup_whose_log_is_not_whole_does_not_serve(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 2, 0);
    object(w, 1, 3000, 4000, 10, 12, 0);
    backup(w, 1, 1500, 2500, 5);
    compute(w);
    assert_int_equal(w->out.n, 0);
    assert_int_equal(w->out.n_gaps, 1);
}

static void a_gap_ends_a_window_and_the_next_backup_begins_another(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 1, 2500, 3000, 20, 30, 0);
    object(w, 1, 3000, 4000, 31, 40, 0);
    backup(w, 1, 1000, 1100, 2);
    backup(w, 1, 3100, 3200, 33);
    heartbeat(w, 1, 50, 4000);
    compute(w);
    assert_int_equal(w->out.n, 2);
    expect(w, 0, 1, 2, 10);
    expect(w, 1, 1, 33, 50);
    assert_false(w->out.windows[0].live);
    assert_true(w->out.windows[1].live);
    assert_int_equal(w->out.n_gaps, 1);
    const struct window_gap *g = &w->out.gaps[0];
    assert_true(pos_equal(g->from, at(2000)) && pos_equal(g->to, at(2500)));
    assert_int_equal(g->from_us, T0 + 10 * SEC);
    assert_int_equal(g->to_us, T0 + 20 * SEC);
    struct log_gap r = {.lineage = 1, .from = at(2000), .to = at(2500), .noticed_us = T0, .reason = "eaten by mice"};
    assert_int_equal(log_gap_record(w->t->repo, "shop", &r, &err), TIDE_OK);
    compute(w);
    assert_int_equal(w->out.n_gaps, 1);
    assert_string_equal(w->out.gaps[0].reason, "eaten by mice");
    /* filled later, by log put */
    object(w, 1, 1900, 2600, 11, 19, 0);
    compute(w);
    assert_int_equal(w->out.n, 1);
    expect(w, 0, 1, 2, 50);
    assert_int_equal(w->out.n_gaps, 0);
}

static void a_heartbeat_counts_only_when_its_position_is_stored(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    backup(w, 1, 1000, 1100, 2);
    heartbeat(w, 1, 50, 2001);
    compute(w);
    expect(w, 0, 1, 2, 10);
    object(w, 1, 2000, 2001, -1, 0, 0);
    compute(w);
    expect(w, 0, 1, 2, 50);
}

static void stamps_that_run_back_make_a_range_ambiguous(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 1, 2000, 3000, 9, 3610, 0); /* one is an hour ahead */
    object(w, 1, 3000, 4000, 11, 20, 0);
    object(w, 1, 4000, 5000, 20, 30, 0);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    expect(w, 0, 1, 2, 30); /* not an hour ahead */
    assert_int_equal(w->out.n_ambiguous, 1);
    assert_int_equal(w->out.ambiguous[0].from_us, T0 + 11 * SEC);
    assert_int_equal(w->out.ambiguous[0].to_us, T0 + 3610 * SEC);
    assert_true(pos_equal(w->out.ambiguous[0].at, at(3000)));
    int64_t before, after;
    window_nearest(&w->out, 0, T0 + 15 * SEC, &before, &after);
    assert_int_equal(before, T0 + 11 * SEC - 1);
    assert_int_equal(after, TIDE_TIME_NONE);
}

static void small_steps_back_are_normal(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 1);
    object(w, 1, 2000, 3000, 9, 20, 1);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    expect(w, 0, 1, 2, 20);
    assert_int_equal(w->out.n_ambiguous, 0);
}

static void a_step_back_inside_of_an_object_is_ambiguous_too(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 100, 50);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    expect(w, 0, 1, 2, 50);
    assert_int_equal(w->out.n_ambiguous, 1);
    assert_int_equal(w->out.ambiguous[0].from_us, T0 + 1 * SEC);
    assert_int_equal(w->out.ambiguous[0].to_us, T0 + 100 * SEC);
}

static void a_heartbeat_behind_a_commit_of_the_future_tells_the_step(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 3600, 0);
    backup(w, 1, 1000, 1100, 2);
    heartbeat(w, 1, 20, 2000);
    compute(w);
    expect(w, 0, 1, 2, 20);
    assert_int_equal(w->out.n_ambiguous, 1);
}

static void a_child_is_reached_through_its_parents_log(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 1, 2000, 3000, 11, 20, 0); /* goes on behind the fork */
    object(w, 2, 2500, 4000, 18, 40, 0);
    object(w, 3, 3500, 5000, -1, 0, 0);
    object(w, 3, 5000, 6000, 50, 60, 0);
    child(w, 1, 2500);
    child(w, 2, 3500);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    assert_int_equal(w->out.n, 3);
    expect(w, 0, 1, 2, 20);
    expect(w, 1, 2, 18, 40);
    expect(w, 2, 3, 50, 60);
    assert_true(w->out.windows[2].live);
    assert_string_equal(w->out.windows[2].first_backup, "backup-1");
}

static void a_child_without_its_parents_log_needs_a_backup_of_its_own(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 2, 2500, 4000, 18, 40, 0);
    child(w, 1, 2500);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    assert_int_equal(w->out.n, 1);
    assert_int_equal(w->out.n_gaps, 1);
    assert_true(pos_equal(w->out.gaps[0].from, at(2000)) && pos_equal(w->out.gaps[0].to, at(2500)));
    backup(w, 2, 2600, 2700, 25);
    compute(w);
    assert_int_equal(w->out.n, 2);
    expect(w, 1, 2, 25, 40);
}

static void a_backup_behind_the_fork_does_not_serve_the_child(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 3000, 1, 20, 0);
    object(w, 2, 2500, 4000, 18, 40, 0);
    child(w, 1, 2500);
    backup(w, 1, 2400, 2600, 15);
    compute(w);
    assert_int_equal(w->out.n, 1);
    expect(w, 0, 1, 15, 20);
}

static void a_child_without_commits_lives_by_its_heartbeat(void **state)
{
    struct world *w = *state;
    object(w, 1, 1000, 2500, 1, 20, 0);
    object(w, 2, 2500, 2600, -1, 0, 0);
    child(w, 1, 2500);
    backup(w, 1, 1000, 1100, 2);
    compute(w);
    assert_int_equal(w->out.n, 1);
    heartbeat(w, 2, 70, 2600);
    compute(w);
    assert_int_equal(w->out.n, 2);
    expect(w, 1, 2, 70, 70);
}

static void the_nearest_times_lie_in_windows(void **state)
{
    struct world *w = *state;
    int64_t before, after;
    object(w, 1, 1000, 2000, 1, 10, 0);
    object(w, 1, 2500, 3000, 20, 30, 0);
    object(w, 1, 3000, 4000, 31, 40, 0);
    backup(w, 1, 1000, 1100, 2);
    backup(w, 1, 3100, 3200, 33);
    compute(w);
    window_nearest(&w->out, 0, T0 + 25 * SEC, &before, &after);
    assert_int_equal(before, T0 + 10 * SEC);
    assert_int_equal(after, T0 + 33 * SEC);
    window_nearest(&w->out, 1, T0, &before, &after);
    assert_int_equal(before, TIDE_TIME_NONE);
    assert_int_equal(after, T0 + 2 * SEC);
    window_nearest(&w->out, 1, T0 + 99 * SEC, &before, &after);
    assert_int_equal(before, T0 + 40 * SEC);
    assert_int_equal(after, TIDE_TIME_NONE);
    window_nearest(&w->out, 1, T0 + 35 * SEC, &before, &after);
    assert_int_equal(before, T0 + 35 * SEC);
    assert_int_equal(after, T0 + 35 * SEC);
    window_nearest(&w->out, 2, T0 + 35 * SEC, &before, &after);
    assert_int_equal(before, TIDE_TIME_NONE);
}

/* ---- random histories */

#define OBJECTS 40

struct model {
    bool there[OBJECTS];
    int min[OBJECTS], max[OBJECTS];
};

/* The last second that backup b can be restored to, in a model without overlaps; -1: it does not serve. */
static int reach(const struct model *m, const struct backup *b, size_t *end)
{
    int last = -1;
    size_t i = (size_t)(b->start.lo / 100);

    for (; i < OBJECTS && m->there[i]; i++)
        last = m->max[i] > last ? m->max[i] : last;
    *end = i;
    if (i * 100 < b->stop.lo)
        return -1;
    int stop = (int)((b->server_stop_us - T0) / SEC);
    return last > stop ? last : stop;
}

static bool in_windows(const struct world *w, int64_t us)
{
    for (size_t i = 0; i < w->out.n; i++)
        if (us >= w->out.windows[i].earliest_us && us <= w->out.windows[i].latest_us)
            return true;
    return false;
}

static void random_histories_are_windowed_second_by_second(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 25; seed++) {
        void *p;
        unsigned r = seed;
        struct model m = {0};
        set_up(&p);
        struct world *w = p;
        w->lineages[0].start = at(0);
        for (int i = 0, s = 10; i < OBJECTS; i++) {
            m.there[i] = i > 0 && rand_r(&r) % 12 > 0;
            m.min[i] = s;
            s += rand_r(&r) % 5;
            m.max[i] = s;
            s += rand_r(&r) % 3;
            bool quiet = rand_r(&r) % 5 == 0;
            if (m.there[i])
                object(w, 1, (uint64_t)i * 100, (uint64_t)i * 100 + 100, quiet ? -1 : m.min[i], m.max[i], 0);
            if (quiet)
                m.max[i] = -1;
        }
        for (int k = 0; k < 4; k++) {
            uint64_t start = 100 + (uint64_t)rand_r(&r) % (OBJECTS * 100 - 500);
            uint64_t stop = start + (uint64_t)rand_r(&r) % 300 + 1;
            backup(w, 1, start, stop, m.min[stop / 100] + 1);
        }
        compute(w);
        for (int s = 0; s < 400; s++) {
            bool served = false;
            for (size_t k = 0; k < w->list.n && !served; k++) {
                size_t end;
                int last = reach(&m, &w->backups[k], &end);
                served = last >= 0 && T0 + s * SEC >= w->backups[k].server_stop_us && s <= last;
            }
            assert_int_equal(in_windows(w, T0 + s * SEC), served);
        }
        tear_down(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_a_backup_there_is_no_window, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_reaches_from_the_first_consistency_point_to_the_last_commit, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_backup_alone_can_be_restored_to_its_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_whose_log_is_not_whole_does_not_serve, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_gap_ends_a_window_and_the_next_backup_begins_another, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_heartbeat_counts_only_when_its_position_is_stored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(stamps_that_run_back_make_a_range_ambiguous, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_steps_back_are_normal, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_step_back_inside_of_an_object_is_ambiguous_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_heartbeat_behind_a_commit_of_the_future_tells_the_step, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_is_reached_through_its_parents_log, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_without_its_parents_log_needs_a_backup_of_its_own, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_behind_the_fork_does_not_serve_the_child, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_child_without_commits_lives_by_its_heartbeat, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_nearest_times_lie_in_windows, set_up, tear_down),
        cmocka_unit_test(random_histories_are_windowed_second_by_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
