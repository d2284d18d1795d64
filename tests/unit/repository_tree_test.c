/* tree_*.c: trees of files written into packs and read back. */

#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct test_repo *t;
    char source[128], target[128];
};

static int set_up(void **state, bool encrypted)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(encrypted);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    *state = f;
    return 0;
}

static int set_up_plain(void **state)
{
    return set_up(state, false);
}

static int set_up_sealed(void **state)
{
    return set_up(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    test_repo_free(f->t);
    free(f);
    return 0;
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static void random_tree_comes_back(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    trees_make(f->source, 60, 1);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &b, &err), &err);
    ok(trees_extract(f->t->repo, "shop", &b, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
    assert_int_equal(b.totals.files, 60);
    assert_true(b.totals.new_bytes >= b.totals.stored_bytes);
}

static void unchanged_tree_stores_almost_nothing(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup a = {.lineage = 0}, b = {.lineage = 0};
    trees_make(f->source, 400, 2);
    struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &a, &err), &err);
    o.parent = &a;
    ok(trees_run(&o, &b, &err), &err);
    assert_true(b.totals.new_bytes * 100 < a.totals.new_bytes * 3);
    assert_int_equal(b.totals.bytes, a.totals.bytes);
    ok(trees_extract(f->t->repo, "shop", &b, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_tree_comes_back, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(random_tree_comes_back, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(unchanged_tree_stores_almost_nothing, set_up_plain, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
