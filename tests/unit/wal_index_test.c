/* index.c and newest.c through wal/index.h: walks over names against a map that knows every position. */

#include "wal/index.h"

#include "tests/support/repository.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIT  (UINT64_C(1) << 20)
#define UNITS 600u

struct world {
    struct test_repo *t;
    struct log_name names[4096];
    size_t n;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->t = test_repo_new(false);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    test_repo_free(w->t);
    free(w);
    return 0;
}

static struct tide_pos at(uint64_t lo)
{
    return (struct tide_pos){0, lo};
}

/* Only names count for a walk. */
static void put(struct world *w, unsigned level, uint64_t start, uint64_t end)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n = {.lineage = 3,
                         .level = (uint8_t)level,
                         .start = at(start),
                         .end = at(end),
                         .min_us = TIDE_TIME_NONE,
                         .max_us = TIDE_TIME_NONE};
    char key[REPO_KEY_MAX];
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
    tide_status s = store_put(repo_store(w->t->repo), key, "x", 1, &err);
    if (s == TIDE_EXISTS)
        return;
    assert_int_equal(s, TIDE_OK);
    assert_true(w->n < sizeof w->names / sizeof w->names[0]);
    w->names[w->n++] = n;
}

static const struct log_name *holder(const struct world *w, uint64_t lo)
{
    const struct log_name *best = NULL;
    for (size_t i = 0; i < w->n; i++)
        if (pos_in(at(lo), w->names[i].start, w->names[i].end) && (best == NULL || w->names[i].level > best->level))
            best = &w->names[i];
    return best;
}

static uint64_t covered_from(const struct world *w, uint64_t lo)
{
    for (const struct log_name *h; (h = holder(w, lo)) != NULL;)
        lo = h->end.lo;
    return lo;
}

static uint64_t next_start(const struct world *w, uint64_t lo)
{
    uint64_t next = UINT64_MAX;
    for (size_t i = 0; i < w->n; i++)
        if (w->names[i].start.lo > lo && w->names[i].start.lo < next)
            next = w->names[i].start.lo;
    return next;
}

static void walk_against_map(struct world *w, uint64_t from)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_walk *walk = NULL;
    struct log_name n;
    uint64_t pos = from;

    assert_int_equal(log_walk_open(w->t->repo, "shop", 3, at(from), &walk, &err), TIDE_OK);
    for (;;) {
        const struct log_name *h = holder(w, pos);
        tide_status s = log_walk_next(walk, &n, &err);
        assert_int_equal(s, h == NULL ? TIDE_NOT_FOUND : TIDE_OK);
        if (s == TIDE_OK) {
            assert_true(pos_in(at(pos), n.start, n.end));
            assert_int_equal(n.level, h->level); /* the highest level is preferred */
            pos = n.end.lo;
            assert_int_equal(log_walk_position(walk).lo, pos);
            continue;
        }
        struct tide_pos resumed;
        uint64_t next = next_start(w, pos);
        s = log_walk_skip_gap(walk, &resumed, &err);
        assert_int_equal(s, next == UINT64_MAX ? TIDE_NOT_FOUND : TIDE_OK);
        if (s != TIDE_OK)
            break;
        assert_int_equal(resumed.lo, next);
        pos = next;
    }
    log_walk_close(walk);
}

static void random_objects_are_walked_as_a_map_says(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;

    for (unsigned seed = 1; seed <= 12; seed++) {
        unsigned r = seed;
        struct tide_err removed = TIDE_ERR_INIT;
        for (size_t i = 0; i < w->n; i++) {
            char key[REPO_KEY_MAX];
            assert_int_equal(log_name_key("shop", &w->names[i], key, &removed), TIDE_OK);
            assert_int_equal(store_delete(repo_store(w->t->repo), key, &removed), TIDE_OK);
        }
        w->n = 0;
        for (int i = 0; i < 60; i++) {
            uint64_t start = 1 + (uint64_t)rand_r(&r) % UNITS, len = 1 + (uint64_t)rand_r(&r) % (i % 7 == 0 ? 64 : 8);
            uint64_t end = start + len;
            if (seed % 3 == 0 && i > 0 && rand_r(&r) % 3 > 0) { /* chains of small ones */
                start = w->names[w->n - 1].end.lo / UNIT;
                end = start + 1 + (uint64_t)rand_r(&r) % 3;
            }
            put(w, (unsigned)rand_r(&r) % 4, start * UNIT, end * UNIT);
        }
        for (int i = 0; i < 25; i++) {
            uint64_t from = (1 + (uint64_t)rand_r(&r) % UNITS) * UNIT + (uint64_t)rand_r(&r) % 3;
            struct tide_pos covered;
            assert_int_equal(log_coverage(w->t->repo, "shop", 3, at(from), TIDE_POS_NONE, &covered, &err), TIDE_OK);
            assert_int_equal(covered.lo, covered_from(w, from));
            uint64_t to = from + (uint64_t)rand_r(&r) % (100 * UNIT);
            assert_int_equal(log_coverage(w->t->repo, "shop", 3, at(from), at(to), &covered, &err), TIDE_OK);
            assert_int_equal(covered.lo, covered_from(w, from) < to ? covered_from(w, from) : to);
            walk_against_map(w, from);
        }
    }
}

static void a_walk_from_nowhere_begins_with_the_first_object(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_walk *walk = NULL;
    struct log_name n;

    assert_int_equal(log_walk_open(w->t->repo, "shop", 3, TIDE_POS_NONE, &walk, &err), TIDE_OK);
    assert_int_equal(log_walk_next(walk, &n, &err), TIDE_NOT_FOUND);
    log_walk_close(walk);
    put(w, 0, 500, 600);
    put(w, 2, 400, 500);
    assert_int_equal(log_walk_open(w->t->repo, "shop", 3, TIDE_POS_NONE, &walk, &err), TIDE_OK);
    assert_int_equal(log_walk_next(walk, &n, &err), TIDE_OK);
    assert_int_equal(n.start.lo, 400);
    assert_int_equal(log_walk_next(walk, &n, &err), TIDE_OK);
    assert_int_equal(n.end.lo, 600);
    assert_int_equal(log_walk_next(walk, &n, &err), TIDE_NOT_FOUND);
    log_walk_close(walk);
}

static void a_long_history_takes_a_page_for_each_thousand_objects(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos covered;
    struct log_name newest;

    for (unsigned i = 0; i < 3500; i++)
        put(w, 0, 1000 + i * 100, 1100 + i * 100);
    uint64_t before = store_counters(repo_store(w->t->repo)).lists;
    assert_int_equal(log_coverage(w->t->repo, "shop", 3, at(1000), TIDE_POS_NONE, &covered, &err), TIDE_OK);
    assert_int_equal(covered.lo, 1000 + 3500 * 100);
    assert_true(store_counters(repo_store(w->t->repo)).lists - before <= 4 + 8);
    before = store_counters(repo_store(w->t->repo)).lists;
    assert_int_equal(log_newest(w->t->repo, "shop", 3, &newest, &err), TIDE_OK);
    assert_int_equal(newest.end.lo, 1000 + 3500 * 100);
    assert_true(store_counters(repo_store(w->t->repo)).lists - before <= 30);
}

static void what_a_higher_level_covers_is_not_listed_below(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos covered;
    uint64_t step = UNIT / 8, end = UNIT;

    for (unsigned i = 0; i < 3000; i++, end += step)
        put(w, 0, end, end + step);
    for (uint64_t p = UNIT; p < end - 2 * UNIT; p += UNIT * 30)
        put(w, 1, p, p + UNIT * 30 < end - UNIT ? p + UNIT * 30 : end - UNIT);
    uint64_t before = store_counters(repo_store(w->t->repo)).lists;
    assert_int_equal(log_coverage(w->t->repo, "shop", 3, at(UNIT), TIDE_POS_NONE, &covered, &err), TIDE_OK);
    assert_int_equal(covered.lo, end);
    assert_true(store_counters(repo_store(w->t->repo)).lists - before <= 10);
}

static void the_newest_object_is_the_one_that_ends_last(void **state)
{
    struct world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;
    unsigned r = 5;

    assert_int_equal(log_newest(w->t->repo, "shop", 3, &n, &err), TIDE_NOT_FOUND);
    uint64_t end = 0, pos = UNIT;
    for (unsigned i = 0; i < 2500; i++) {
        uint64_t len = 1 + (uint64_t)rand_r(&r) % 5000;
        if (rand_r(&r) % 500 == 0)
            pos += (uint64_t)rand_r(&r) % (UINT64_C(1) << 40);
        put(w, 0, pos, pos + len);
        pos += len;
        end = pos;
        if (i % 250 == 0 || i == 1000 || i == 999) {
            assert_int_equal(log_newest(w->t->repo, "shop", 3, &n, &err), TIDE_OK);
            assert_int_equal(n.end.lo, end);
        }
    }
    put(w, 1, end - 4000, end);
    assert_int_equal(log_newest(w->t->repo, "shop", 3, &n, &err), TIDE_OK);
    assert_int_equal(n.level, 1);
    put(w, 0, end - 100, end + 1);
    assert_int_equal(log_newest(w->t->repo, "shop", 3, &n, &err), TIDE_OK);
    assert_int_equal(n.end.lo, end + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_objects_are_walked_as_a_map_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_walk_from_nowhere_begins_with_the_first_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_history_takes_a_page_for_each_thousand_objects, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_higher_level_covers_is_not_listed_below, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_object_is_the_one_that_ends_last, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
