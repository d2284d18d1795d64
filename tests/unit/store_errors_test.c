// LDFLAGS: -Wl,--wrap=open -Wl,--wrap=openat -Wl,--wrap=write -Wl,--wrap=fsync -Wl,--wrap=fchmod -Wl,--wrap=pread
// LDFLAGS: -Wl,--wrap=calloc -Wl,--wrap=opendir -Wl,--wrap=read -Wl,--wrap=renameat2 -Wl,--wrap=linkat
/* store_posix*.c when the system fails it: every call that can fail does, once and for good. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "tests/support/fault.h"

#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real_renameat2(int old_dir, const char *old_name, int new_dir, const char *new_name, unsigned flags);
int __wrap_renameat2(int old_dir, const char *old_name, int new_dir, const char *new_name, unsigned flags);
int __real_linkat(int old_dir, const char *old_name, int new_dir, const char *new_name, int flags);
int __wrap_linkat(int old_dir, const char *old_name, int new_dir, const char *new_name, int flags);

static char dir[64], url[96];
static int rename_errno;       /* what a file system without RENAME_NOREPLACE says; 0: it has it */
static bool link_answers_late; /* the link is made, and EEXIST comes back: a request that was sent again */

int __wrap_renameat2(int old_dir, const char *old_name, int new_dir, const char *new_name, unsigned flags)
{
    if (rename_errno == 0)
        return __real_renameat2(old_dir, old_name, new_dir, new_name, flags);
    errno = rename_errno;
    return -1;
}

int __wrap_linkat(int old_dir, const char *old_name, int new_dir, const char *new_name, int flags)
{
    int rc = __real_linkat(old_dir, old_name, new_dir, new_name, flags);
    if (rc != 0 || !link_answers_late)
        return rc;
    errno = EEXIST;
    return -1;
}

static int set_up(void **state)
{
    struct tide_store *s = NULL;
    rename_errno = 0;
    link_answers_late = false;
    strcpy(dir, "/tmp/tide-errors-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return 1;
    (void)snprintf(url, sizeof url, "file://%s", dir);
    if (store_open(&(struct store_options){.url = url, .create = true}, &s, NULL) != TIDE_OK)
        return 1;
    *state = s;
    return store_put(s, "tidemark.json", "{}", 2, NULL) != TIDE_OK;
}

static int tear_down(void **state)
{
    store_close(*state);
    return tide_remove_tree(dir, NULL) != TIDE_OK;
}

static void assert_no_file_in_tmp(void)
{
    char path[96];
    bool empty = false;
    (void)snprintf(path, sizeof path, "%s/.tmp", dir);
    assert_int_equal(tide_dir_is_empty(path, &empty, NULL), TIDE_OK);
    assert_true(empty);
}

static void assert_holds(struct tide_store *s, const char *key, const char *text)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1000);
    assert_int_equal(store_get_all(s, key, &b, NULL), TIDE_OK);
    assert_string_equal(tide_buf_cstr(&b), text);
}

/* A new store each time, so that no folder is known to be on disk. */
static void fail_every_call_of_put(int errnum, tide_status want, bool for_good)
{
    bool seen = false;
    for (unsigned n = 1, fired = 1; fired; n++) {
        struct tide_store *s = NULL;
        struct tide_err err = TIDE_ERR_INIT;
        char key[64];
        assert_int_equal(store_open(&(struct store_options){.url = url}, &s, NULL), TIDE_OK);
        (void)snprintf(key, sizeof key, "%d/%d/%u/object", errnum, for_good, n);
        fault_arm(n, errnum, for_good);
        tide_status st = store_put(s, key, "whole", 5, &err);
        fired = fault_disarm();
        assert_int_equal(st == TIDE_OK, !fired); /* no failure is passed over */
        if (st == TIDE_OK || store_head(s, key, NULL, NULL, NULL) == TIDE_OK)
            assert_holds(s, key, "whole"); /* never half; there and not acknowledged is possible */
        if (st != TIDE_OK)
            assert_string_not_equal(err.msg, "");
        seen = seen || st == want;
        assert_int_equal(store_delete(s, key, NULL), TIDE_OK);
        if (!for_good) /* else the store could not look after itself */
            assert_no_file_in_tmp();
        assert_true(n < 200);
        store_close(s);
    }
    assert_true(seen);
}

static void a_put_that_fails_anywhere_is_whole_or_absent(void **state)
{
    (void)state;
    fail_every_call_of_put(EIO, TIDE_IO, false);
    fail_every_call_of_put(ENOSPC, TIDE_FULL, false);
    fail_every_call_of_put(ESTALE, TIDE_UNAVAILABLE, false);
    fail_every_call_of_put(EACCES, TIDE_DENIED, true);
}

static void a_get_that_fails_is_never_absent(void **state)
{
    struct tide_store *s = *state;
    assert_int_equal(store_put(s, "a/b", "whole", 5, NULL), TIDE_OK);
    for (unsigned n = 1, fired = 1; fired; n++) {
        char data[6] = "";
        size_t got = 0;
        fault_arm(n, EIO, false);
        tide_status st = store_get(s, "a/b", 0, data, 5, &got, NULL);
        fired = fault_disarm();
        assert_int_equal(st, fired ? TIDE_IO : TIDE_OK);
    }
}

static tide_status count(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)e, (void)err;
    ++*(unsigned *)ctx;
    return TIDE_OK;
}

static void a_listing_that_fails_is_never_short(void **state)
{
    struct tide_store *s = *state;
    assert_int_equal(store_put(s, "a/b", "", 0, NULL), TIDE_OK);
    assert_int_equal(store_put(s, "a/c/d", "", 0, NULL), TIDE_OK);
    for (unsigned n = 1, fired = 1; fired; n++) {
        unsigned keys = 0;
        fault_arm(n, EIO, false);
        tide_status st = store_list(s, "a/", NULL, 0, count, &keys, NULL);
        fired = fault_disarm();
        assert_int_equal(st, fired ? TIDE_IO : TIDE_OK);
        assert_true(fired || keys == 2);
    }
    for (unsigned n = 1, fired = 1; fired; n++) {
        unsigned names = 0;
        fault_arm(n, EIO, false);
        tide_status st = store_list_folder(s, "a/", count, &names, NULL);
        fired = fault_disarm();
        assert_int_equal(st, fired ? TIDE_IO : TIDE_OK);
        assert_true(fired || names == 2);
    }
}

static void short_transfers_are_carried_on(void **state)
{
    struct tide_store *s = *state;
    fault_short(3);
    assert_int_equal(store_put(s, "a", "0123456789", 10, NULL), TIDE_OK);
    assert_holds(s, "a", "0123456789");
    fault_short(0);
}

static void without_renameat2_a_link_creates_only(void **state)
{
    struct tide_store *s = *state;
    rename_errno = EINVAL;
    assert_int_equal(store_put(s, "a/b", "first", 5, NULL), TIDE_OK);
    assert_int_equal(store_put(s, "a/b", "second", 6, NULL), TIDE_EXISTS);
    assert_holds(s, "a/b", "first");
    assert_no_file_in_tmp();
}

static void a_link_made_with_its_answer_lost_is_ours(void **state)
{
    struct tide_store *s = *state;
    rename_errno = EINVAL;
    link_answers_late = true;
    assert_int_equal(store_put(s, "a/b", "first", 5, NULL), TIDE_OK);
    assert_int_equal(store_put(s, "a/b", "second", 6, NULL), TIDE_EXISTS);
    assert_holds(s, "a/b", "first");
    assert_no_file_in_tmp();
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_put_that_fails_anywhere_is_whole_or_absent), TEST(a_get_that_fails_is_never_absent),
        TEST(a_listing_that_fails_is_never_short),          TEST(short_transfers_are_carried_on),
        TEST(without_renameat2_a_link_creates_only),        TEST(a_link_made_with_its_answer_lost_is_ours),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
