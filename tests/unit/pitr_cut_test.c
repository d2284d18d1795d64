/* cut.c: where a target lies in the log, against a look at every commit. */

#include "pitr/cut.h"

#include "tests/support/history.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define S  INT64_C(1000000)
#define T0 FAKE_T0

struct fixture {
    struct history *h;
    struct lineage_set lineages;
    struct lineage_step path[LINEAGE_PATH_MAX];
    size_t n_path;
    struct cut_options o;
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->h = history_new(7);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    lineage_set_clear(&f->lineages);
    history_free(f->h);
    free(f);
    return 0;
}

/* Options for the way to a lineage, from its beginning. */
static void look_at(struct fixture *f, const struct history_lineage *l)
{
    struct tide_err err = TIDE_ERR_INIT;

    lineage_set_clear(&f->lineages);
    ok(lineage_load(f->h->w->t->repo, "shop", &f->lineages, &err), &err);
    ok(lineage_path(&f->lineages, l->number, f->path, &f->n_path, &err), &err);
    f->o = (struct cut_options){.repo = f->h->w->t->repo,
                                .instance = "shop",
                                .plugin = &fake_plugin,
                                .host = &f->h->w->host.host,
                                .lineages = &f->lineages,
                                .path = f->path,
                                .n_path = f->n_path,
                                .from = {0, FAKE_BASE}};
}

static struct cut find(struct fixture *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct cut c;

    ok(cut_find(&f->o, &c, &err), &err);
    return c;
}

static void between(const struct cut *c, const struct fake_commit_record *before,
                    const struct fake_commit_record *after)
{
    assert_int_equal(c->included.start.lo, before == NULL ? 0 : before->start.lo);
    assert_int_equal(c->included.end.lo, before == NULL ? 0 : before->end.lo);
    assert_true(c->included.time_us == (before == NULL ? TIDE_TIME_NONE : before->time_us));
    assert_int_equal(c->excluded.start.lo, after == NULL ? 0 : after->start.lo);
    assert_true(c->excluded.time_us == (after == NULL ? TIDE_TIME_NONE : after->time_us));
}

/* Ten commits a second apart in a few objects. */
static struct history_lineage *ten(struct fixture *f)
{
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});

    for (int i = 0; i < 10; i++)
        history_commit(f->h, T0 + i * S);
    history_store(f->h, l, l->start, l->end, 3);
    look_at(f, l);
    return l;
}

static void a_time_cuts_before_the_first_later_commit(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = ten(f);

    f->o.rule = CUT_TIME;
    for (int i = 0; i < 10; i++) {
        struct cut c;
        f->o.time_us = T0 + i * S;
        c = find(f);
        between(&c, &l->commits[i], i == 9 ? NULL : &l->commits[i + 1]);
        f->o.time_us += S / 2; /* in between nothing happens */
        c = find(f);
        between(&c, &l->commits[i], i == 9 ? NULL : &l->commits[i + 1]);
        f->o.time_us = T0 + i * S - 1;
        c = find(f);
        between(&c, i == 0 ? NULL : &l->commits[i - 1], &l->commits[i]);
        f->o.exclusive = true;
        f->o.time_us = T0 + i * S;
        c = find(f);
        between(&c, i == 0 ? NULL : &l->commits[i - 1], &l->commits[i]);
        f->o.exclusive = false;
    }
}

/* Stamps may step back a little: it is the longest prefix, never a filter. */
static void a_later_commit_ends_the_prefix_whatever_follows(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});
    static const int stamps[] = {0, 10, 5, 11, 4, 12};

    for (size_t i = 0; i < 6; i++)
        history_commit(f->h, T0 + stamps[i] * S);
    history_store(f->h, l, l->start, l->end, 1);
    look_at(f, l);
    f->o.rule = CUT_TIME;
    f->o.time_us = T0 + 6 * S;
    struct cut c = find(f);
    between(&c, &l->commits[0], &l->commits[1]);
    f->o.time_us = T0 + 10 * S;
    c = find(f);
    between(&c, &l->commits[2], &l->commits[3]);
}

static void positions_cut_at_record_ends(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = ten(f);
    struct cut c;

    f->o.rule = CUT_POSITION;
    f->o.position = l->commits[4].end;
    c = find(f);
    between(&c, &l->commits[4], &l->commits[5]);
    f->o.position = pos_sub(l->commits[4].end, 1);
    c = find(f);
    between(&c, &l->commits[3], &l->commits[4]);
    f->o.position = l->commits[4].end;
    f->o.exclusive = true;
    c = find(f);
    between(&c, &l->commits[3], &l->commits[4]);
    f->o.position = pos_add(l->end, 1000);
    c = find(f);
    between(&c, &l->commits[9], NULL);
    assert_true(pos_equal(c.covered, l->end));
}

static void restore_points_cut_where_they_lie(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});
    struct cut c;

    for (int i = 0; i < 10; i++) {
        if (i == 4)
            (void)history_record(f->h, TIDE_EVENT_RESTORE_POINT, "upgrade");
        history_commit(f->h, T0 + i * S);
    }
    history_store(f->h, l, l->start, l->end, 2);
    look_at(f, l);
    f->o.rule = CUT_NAME;
    f->o.name = "upgrade";
    c = find(f);
    assert_true(c.found);
    between(&c, &l->commits[3], &l->commits[4]);
    f->o.name = "upgrad";
    c = find(f);
    assert_false(c.found);
}

static void a_gap_ends_what_is_covered(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = ten(f);
    struct cut c;
    size_t middle = 0;

    for (size_t i = 1; i < f->h->n_objects; i++)
        if (pos_in(l->commits[5].start, f->h->objects[i].start, f->h->objects[i].end))
            middle = i;
    struct tide_pos hole = f->h->objects[middle].start;
    history_lose(f->h, middle);
    f->o.rule = CUT_TIME;
    f->o.time_us = T0 + 100 * S;
    c = find(f);
    assert_true(pos_equal(c.covered, hole));
    assert_true(tide_pos_is_none(c.excluded.start));
    assert_true(pos_before(c.included.end, pos_add(hole, 1)));
}

/* The object that holds the fork has commits of the abandoned tail only, whose stamps say that nothing in it is
 * later. */
static void the_abandoned_tail_hides_no_commit_before_the_fork(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});
    struct cut c;

    for (int i = 0; i < 6; i++)
        history_commit(f->h, T0 + i * S);
    struct tide_pos fork = history_record(f->h, FAKE_DATA, "between");
    for (int i = 6; i < 9; i++)
        history_commit(f->h, T0 + i * S);
    (void)fake_world_store(f->h->w, 1, 1, l->start, l->commits[5].end);
    (void)fake_world_store(f->h->w, 1, 1, l->commits[5].end, l->end);
    struct history_lineage *child = history_fork(f->h, l, fork);
    (void)history_record(f->h, FAKE_DATA, "nothing");
    history_store(f->h, child, child->start, child->end, 2);
    look_at(f, child);
    f->o.rule = CUT_NOTHING;
    c = find(f);
    between(&c, &l->commits[5], NULL);
    f->o.rule = CUT_TIME;
    f->o.time_us = T0 + 20 * S;
    c = find(f);
    between(&c, &l->commits[5], NULL);
    assert_int_equal(c.covered_lineage, child->number);
}

/* Two objects that overlap hold one transaction twice. */
static void a_transaction_met_twice_is_one(void **state)
{
    struct fixture *f = *state;
    struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});
    struct cut c;

    for (int i = 0; i < 6; i++)
        history_commit(f->h, T0 + i * S);
    (void)fake_world_store(f->h->w, 1, 1, l->start, l->commits[3].end);
    (void)fake_world_store(f->h->w, 1, 1, l->commits[1].end, l->end);
    look_at(f, l);
    f->o.rule = CUT_TIME;
    f->o.time_us = T0 + 3 * S;
    c = find(f);
    between(&c, &l->commits[3], &l->commits[4]);
    assert_int_equal(c.objects, 2);
}

/* Listed and gone is no end of the log. */
static void an_object_that_vanishes_is_no_end(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct history_lineage *l = ten(f);
    struct cut c;
    char spec[700], key[REPO_KEY_MAX];

    ok(log_name_key("shop", &f->h->objects[1], key, &err), &err);
    (void)snprintf(spec, sizeof spec, "get~%.200s=missing", strrchr(key, '/') + 1);
    assert_int_equal(setenv("TIDE_FAULTY", spec, 1), 0);
    fake_world_faulty(f->h->w);
    look_at(f, l);
    f->o.repo = f->h->w->repo;
    f->o.rule = CUT_TIME;
    f->o.time_us = f->h->objects[1].min_us - 1; /* so that it has to be read */
    assert_int_equal(cut_find(&f->o, &c, &err), TIDE_CORRUPT);
    assert_int_equal(unsetenv("TIDE_FAULTY"), 0);
}

/* Stored in objects of any size: whether an object is looked into for another reason must make no difference. */
static void a_prepared_transaction_belongs_to_the_prefix(void **state)
{
    for (unsigned size = 1; size <= 12; size++) {
        struct fixture *f = *state;
        struct history_lineage *l = history_fork(f->h, NULL, (struct tide_pos){0});
        struct tide_pos at[10];
        for (int i = 0; i < 10; i++) {
            history_commit(f->h, T0 + i * S);
            at[i] = l->end;
            if (i == 4 || i == 9)
                (void)history_record(f->h, TIDE_EVENT_PREPARE, "doubt");
            if (i == 4 || i == 9)
                at[i] = l->end;
        }
        history_store(f->h, l, l->start, l->end, size);
        look_at(f, l);
        f->o.rule = CUT_TIME;
        for (int i = 0; i < 10; i++) {
            f->o.time_us = T0 + i * S;
            struct cut c = find(f);
            between(&c, &l->commits[i], i == 9 ? NULL : &l->commits[i + 1]);
            assert_int_equal(c.prepared.end.lo, i == 4 || i == 9 ? at[i].lo : 0);
        }
        f->o.rule = CUT_NOTHING;
        struct cut c = find(f);
        between(&c, &l->commits[9], NULL);
        assert_int_equal(c.prepared.end.lo, l->end.lo);
        /* a position between the commit and the first half of the next one */
        f->o.rule = CUT_POSITION;
        f->o.position = l->commits[4].end;
        c = find(f);
        between(&c, &l->commits[4], &l->commits[5]);
        assert_int_equal(c.prepared.end.lo, 0);
        f->o.position = at[4];
        c = find(f);
        assert_int_equal(c.prepared.end.lo, at[4].lo);
        (void)tear_down(state);
        (void)set_up(state);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_time_cuts_before_the_first_later_commit),
        TEST(a_prepared_transaction_belongs_to_the_prefix),
        TEST(a_later_commit_ends_the_prefix_whatever_follows),
        TEST(positions_cut_at_record_ends),
        TEST(restore_points_cut_where_they_lie),
        TEST(a_gap_ends_what_is_covered),
        TEST(the_abandoned_tail_hides_no_commit_before_the_fork),
        TEST(a_transaction_met_twice_is_one),
        TEST(an_object_that_vanishes_is_no_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
