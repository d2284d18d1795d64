/* lineage.c, lineage_branch.c: the tree of histories, and reserved branch numbers. */

#include "orchestrator/repository/lineage.h"
#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"

#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static int set_up(void **state)
{
    *state = test_repo_new(true);
    return 0;
}

static int tear_down(void **state)
{
    test_repo_free(*state);
    return 0;
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static uint32_t create(struct repo *r, uint32_t parent, uint64_t branch, uint64_t start, uint64_t fork)
{
    struct tide_err err = TIDE_ERR_INIT;
    char evidence[] = "system=1\ntimeline=2\n";
    struct lineage l = {.parent = parent,
                        .branch = branch,
                        .start = {0, start},
                        .fork = {0, fork},
                        .created_us = 5,
                        .engine = "postgresql",
                        .evidence = evidence};
    ok(lineage_create(r, "shop", &l, &err), &err);
    return l.number;
}

static void lineages_are_numbered_and_come_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    ok(lineage_load(t->repo, "shop", &set, &err), &err);
    assert_int_equal(set.n, 0);
    assert_int_equal(create(t->repo, 0, 1, 16, 0), 1);
    assert_int_equal(create(t->repo, 1, UINT64_MAX, 100, 120), 2);
    ok(lineage_load(t->repo, "shop", &set, &err), &err);
    assert_int_equal(set.n, 2);
    assert_int_equal(set.items[1].number, 2);
    assert_int_equal(set.items[1].parent, 1);
    assert_true(set.items[1].branch == UINT64_MAX);
    assert_int_equal(set.items[1].start.lo, 100);
    assert_int_equal(set.items[1].fork.lo, 120);
    assert_int_equal(set.items[1].created_us, 5);
    assert_string_equal(set.items[1].engine, "postgresql");
    assert_string_equal(set.items[1].evidence, "system=1\ntimeline=2\n");
    assert_ptr_equal(lineage_find(&set, 2), &set.items[1]);
    assert_null(lineage_find(&set, 3));
}

static void child_needs_a_parent_and_a_fork(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct lineage l = {.parent = 1, .fork = {0, 5}};
    assert_int_equal(lineage_create(t->repo, "shop", &l, &err), TIDE_INVALID); /* it would be 1 itself */
    (void)create(t->repo, 0, 1, 16, 0);
    l.fork.lo = 0;
    assert_int_equal(lineage_create(t->repo, "shop", &l, &err), TIDE_INVALID);
    assert_int_equal(lineage_create(t->repo, "../shop", &l, &err), TIDE_INVALID);
}

static void damaged_lineage_fails_the_load(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    (void)create(t->repo, 0, 1, 16, 0);
    (void)create(t->repo, 1, 2, 100, 120);
    test_raw_read(t, "instances/shop/lineages/00000002", &raw);
    raw.data[raw.len - 1] ^= 1;
    test_raw_write(t, "instances/shop/lineages/00000002", raw.data, raw.len);
    assert_int_equal(lineage_load(t->repo, "shop", &set, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, "00000002"));
    assert_int_equal(set.n, 0);
}

static void path_leads_from_the_oldest_ancestor(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct lineage_step path[LINEAGE_PATH_MAX];
    size_t n = 0;
    (void)create(t->repo, 0, 1, 16, 0);    /* 1 */
    (void)create(t->repo, 1, 2, 96, 120);  /* 2 */
    (void)create(t->repo, 1, 3, 80, 90);   /* 3: beside 2 */
    (void)create(t->repo, 2, 4, 196, 200); /* 4 */
    (void)create(t->repo, 2, 5, 96, 110);  /* 5: left 2 before 2 left 1 */
    ok(lineage_load(t->repo, "shop", &set, &err), &err);

    ok(lineage_path(&set, 4, path, &n, &err), &err);
    assert_int_equal(n, 3);
    static const struct lineage_step want[] = {
        {1, {0, 16}, {0, 120}}, {2, {0, 120}, {0, 200}}, {4, {0, 200}, {0, 0}}};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(path[i].lineage, want[i].lineage);
        assert_int_equal(path[i].start.lo, want[i].start.lo);
        assert_int_equal(path[i].end.lo, want[i].end.lo);
    }

    ok(lineage_path(&set, 1, path, &n, &err), &err);
    assert_int_equal(n, 1);
    assert_true(tide_pos_is_none(path[0].end));

    ok(lineage_path(&set, 5, path, &n, &err), &err);
    assert_int_equal(n, 2);
    assert_int_equal(path[0].lineage, 1);
    assert_int_equal(path[0].end.lo, 110);
    assert_int_equal(path[1].start.lo, 110);

    assert_int_equal(lineage_path(&set, 9, path, &n, &err), TIDE_NOT_FOUND);
    set.items[0].number = 77; /* the ancestor is gone */
    assert_int_equal(lineage_path(&set, 4, path, &n, &err), TIDE_CORRUPT);
}

static void branches_are_greater_than_all_known_ones(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t branch = 0;
    bool reserved = true;
    json_t *what = json_pack("{s:s}", "into", "/srv/clone");
    ok(lineage_branch_is_reserved(t->repo, "shop", 1, &reserved, &err), &err);
    assert_false(reserved);
    ok(lineage_reserve_branch(t->repo, "shop", 0, what, &branch, &err), &err);
    assert_int_equal(branch, 1);
    ok(lineage_reserve_branch(t->repo, "shop", 5, what, &branch, &err), &err);
    assert_int_equal(branch, 6);
    ok(lineage_reserve_branch(t->repo, "shop", 5, NULL, &branch, &err), &err);
    assert_int_equal(branch, 7);
    (void)create(t->repo, 0, 0x20, 16, 0);
    ok(lineage_reserve_branch(t->repo, "shop", 1, what, &branch, &err), &err);
    assert_int_equal(branch, 0x21);
    ok(lineage_branch_is_reserved(t->repo, "shop", 0x21, &reserved, &err), &err);
    assert_true(reserved);
    ok(lineage_branch_is_reserved(t->repo, "shop", 0x20, &reserved, &err), &err);
    assert_false(reserved);
    assert_int_equal(lineage_reserve_branch(t->repo, "shop", UINT64_MAX, what, &branch, &err), TIDE_UNSUPPORTED);
    json_decref(what);
}

static void *reserve_ten(void *arg)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t sum = 0, branch = 0;
    for (int i = 0; i < 10; i++) {
        if (lineage_reserve_branch(arg, "shop", 0, NULL, &branch, &err) != TIDE_OK)
            return NULL;
        sum += UINT64_C(1) << branch;
    }
    return (void *)(uintptr_t)sum;
}

static void racing_reservations_never_share_a_number(void **state)
{
    struct test_repo *t = *state;
    pthread_t threads[3];
    uint64_t all = 0;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reserve_ten, t->repo), 0);
    for (int i = 0; i < 3; i++) {
        void *bits = NULL;
        assert_int_equal(pthread_join(threads[i], &bits), 0);
        assert_int_equal(all & (uint64_t)(uintptr_t)bits, 0);
        all |= (uint64_t)(uintptr_t)bits;
    }
    assert_int_equal(all, 0x7ffffffe); /* 1 to 30 */
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(lineages_are_numbered_and_come_back),      T(child_needs_a_parent_and_a_fork),
        T(damaged_lineage_fails_the_load),           T(path_leads_from_the_oldest_ancestor),
        T(branches_are_greater_than_all_known_ones), T(racing_reservations_never_share_a_number),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
