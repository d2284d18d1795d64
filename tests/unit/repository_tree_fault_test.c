// LDFLAGS: -Wl,--wrap=open,--wrap=openat,--wrap=read,--wrap=pread,--wrap=write,--wrap=pwrite
// LDFLAGS: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=pthread_create
// LDFLAGS: -Wl,--wrap=fsync,--wrap=fchmod,--wrap=rename,--wrap=mkdir
/* Writing and reading trees when the 1st, 2nd, 3rd ... system call or allocation fails: an error with a text, no
 * leak, and never a backup or a restore that is called good and is not. */

#include "tests/support/fault.h"
#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/pack.h"

#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct test_repo *t;
    char source[128], target[128];
    struct backup good;
    char pack[REPO_KEY_MAX]; /* that it is in */
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static tide_status back_up(const struct fixture *f, const struct backup *parent, const char *id, struct backup *out,
                           struct tide_err *err)
{
    const struct trees_backup o = {.repo = f->t->repo,
                                   .instance = "shop",
                                   .dir = f->source,
                                   .parent = parent,
                                   .jobs = 1,
                                   .id = id,
                                   .no_commit = true};
    return trees_run(&o, out, err);
}

static int set_up(void **state)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct trees_random r = {.state = 1};
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(true);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    ok(tide_mkdirs(f->source, 0700, &err), &err);
    trees_file(f->source, "large", 1200000, false, &r);
    trees_file(f->source, "small", 5000, false, &r);
    trees_file(f->source, "empty", 0, false, &r);
    ok(back_up(f, NULL, "good", &f->good, &err), &err);
    assert_int_equal(f->good.totals.packs, 1);
    pack_key("shop", f->good.files.pack, f->pack);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    backup_clear(&f->good);
    test_repo_free(f->t);
    free(f);
    return 0;
}

static tide_status delete_other(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    const struct fixture *f = ctx;
    return strcmp(e->key, f->pack) == 0 ? TIDE_OK : store_delete(repo_store(f->t->repo), e->key, err);
}

/* Else each round would have more packs to list than the one before, and the rounds would never end. */
static void delete_packs(struct fixture *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    ok(store_list(repo_store(f->t->repo), "instances/shop/packs/", NULL, 0, delete_other, f, &err), &err);
}

static void check(tide_status s, const struct tide_err *err, unsigned n)
{
    if (s != TIDE_OK && err->msg[0] == '\0')
        fail_msg("call %u: %s without a text", n, tide_status_name(s));
}

static unsigned failing_backups(struct fixture *f, const struct backup *parent, int errnum)
{
    unsigned n = 0, failed = 0;
    for (bool fired = true; fired;) {
        struct tide_err err = TIDE_ERR_INIT;
        struct backup b = {.lineage = 0};
        char id[32];
        (void)snprintf(id, sizeof id, "%s-%d-%u", parent == NULL ? "first" : "second", errnum, n);
        fault_arm(++n, errnum, false);
        tide_status s = back_up(f, parent, id, &b, &err);
        fired = fault_disarm();
        check(s, &err, n);
        if (s == TIDE_OK) {
            assert_true(b.totals.bytes == f->good.totals.bytes);
            assert_true(b.totals.files == f->good.totals.files);
            struct tide_err why = TIDE_ERR_INIT;
            struct tree_reader *t = NULL;
            ok(tree_reader_open(f->t->repo, "shop", &b, 1, &t, &why), &why);
            ok(tree_verify(t, 100, NULL, NULL, NULL, &why), &why);
            tree_reader_close(t);
        } else {
            assert_true(fired);
            failed++;
        }
        backup_clear(&b);
        delete_packs(f);
    }
    return failed;
}

static void a_backup_fails_cleanly_wherever_it_fails(void **state)
{
    assert_true(failing_backups(*state, NULL, ENOMEM) > 50);
}

static void a_backup_with_a_parent_fails_cleanly_wherever_it_fails(void **state)
{
    struct fixture *f = *state;
    assert_true(failing_backups(f, &f->good, EIO) > 50);
}

static void a_restore_fails_cleanly_wherever_it_fails(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0, failed = 0;
    for (bool fired = true; fired;) {
        struct tide_err err = TIDE_ERR_INIT;
        fault_arm(++n, EIO, false);
        tide_status s = trees_extract(f->t->repo, "shop", &f->good, f->target, n % 2 == 0, &err);
        fired = fault_disarm();
        check(s, &err, n);
        failed += s != TIDE_OK;
        if (s == TIDE_OK)
            assert_int_equal(trees_differences(f->source, f->target), 0);
        else
            assert_true(fired);
    }
    assert_true(failed > 20);
}

static void verifying_fails_cleanly_wherever_it_fails(void **state)
{
    struct fixture *f = *state;
    unsigned n = 0, failed = 0;
    for (bool fired = true; fired;) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tree_reader *t = NULL;
        fault_arm(++n, EIO, false);
        tide_status s = tree_reader_open(f->t->repo, "shop", &f->good, 1, &t, &err);
        if (s == TIDE_OK)
            s = tree_verify(t, 100, NULL, NULL, NULL, &err);
        fired = fault_disarm();
        tree_reader_close(t);
        check(s, &err, n);
        assert_true(s == TIDE_OK || fired);
        failed += s != TIDE_OK;
    }
    assert_true(failed > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_fails_cleanly_wherever_it_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_with_a_parent_fails_cleanly_wherever_it_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restore_fails_cleanly_wherever_it_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verifying_fails_cleanly_wherever_it_fails, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
