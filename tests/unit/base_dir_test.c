// LDFLAGS: -Wl,--wrap=open -Wl,--wrap=fsync -Wl,--wrap=mkdir

#include "orchestrator/base/file.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/tide-dir-XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL;
}

static int remove_dir(void **state)
{
    (void)state;
    return tide_remove_tree(dir, NULL) != TIDE_OK;
}

static const char *in_dir(const char *name)
{
    static char paths[4][TIDE_PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    assert_int_equal(tide_path_join(path, dir, name, NULL), TIDE_OK);
    return path;
}

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void missing_directories_are_made(void **state)
{
    (void)state;
    assert_int_equal(tide_mkdirs(in_dir("a/b//c/"), 0700, NULL), TIDE_OK);
    assert_true(is_dir(in_dir("a/b/c")));
    assert_int_equal(tide_mkdirs(in_dir("a/b/c"), 0700, NULL), TIDE_OK);
    assert_int_equal(tide_mkdirs("/", 0700, NULL), TIDE_OK);
    assert_int_equal(tide_mkdirs("", 0700, NULL), TIDE_INVALID);
}

static void relative_directories_are_made(void **state)
{
    (void)state;
    char old[TIDE_PATH_MAX];
    assert_non_null(getcwd(old, sizeof(old)));
    assert_int_equal(chdir(dir), 0);
    tide_status s = tide_mkdirs("rel/x", 0700, NULL);
    bool made = is_dir("rel/x");
    assert_int_equal(chdir(old), 0);
    assert_int_equal(s, TIDE_OK);
    assert_true(made);
}

static void a_file_in_the_way_is_an_error(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_file_replace(in_dir("file"), "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_mkdirs(in_dir("file"), 0700, &err), TIDE_IO);
    assert_int_equal(tide_mkdirs(in_dir("file/sub"), 0700, &err), TIDE_IO);
}

static void making_directories_reports_every_failure(void **state)
{
    (void)state;
    unsigned n = 0;
    for (bool fired = true; fired;) {
        assert_int_equal(tide_remove_tree(in_dir("m"), NULL), TIDE_OK);
        fault_arm(++n, EIO, false);
        tide_status s = tide_mkdirs(in_dir("m/n"), 0700, NULL);
        fired = fault_disarm();
        assert_int_equal(s, fired ? TIDE_IO : TIDE_OK);
    }
    /* Two of each: mkdir, and open and fsync of its parent. */
    assert_int_equal(n, 7);
}

static void parents_are_found(void **state)
{
    (void)state;
    assert_int_equal(tide_fsync_parent("/tmp", NULL), TIDE_OK);
    assert_int_equal(tide_fsync_parent("name", NULL), TIDE_OK);
    assert_int_equal(tide_fsync_parent(in_dir("gone/name"), NULL), TIDE_NOT_FOUND);
    assert_int_equal(tide_fsync_dir(in_dir("gone"), NULL), TIDE_NOT_FOUND);
}

static void a_tree_is_removed_without_following_links(void **state)
{
    (void)state;
    assert_int_equal(tide_mkdirs(in_dir("tree/sub/deep"), 0700, NULL), TIDE_OK);
    assert_int_equal(tide_mkdirs(in_dir("kept"), 0700, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(in_dir("kept/file"), "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(in_dir("tree/sub/file"), "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(symlink(in_dir("kept"), in_dir("tree/link")), 0);
    assert_int_equal(symlink("nowhere", in_dir("tree/dangling")), 0);
    assert_int_equal(tide_remove_tree(in_dir("tree"), NULL), TIDE_OK);
    assert_int_equal(access(in_dir("tree"), F_OK), -1);
    assert_int_equal(access(in_dir("kept/file"), F_OK), 0);

    /* The link itself goes, even when named with a slash behind. */
    assert_int_equal(symlink(in_dir("kept"), in_dir("link")), 0);
    assert_int_equal(tide_remove_tree(in_dir("link/"), NULL), TIDE_OK);
    assert_int_equal(access(in_dir("kept/file"), F_OK), 0);
    struct stat st;
    assert_int_equal(lstat(in_dir("link"), &st), -1);
}

static void removing_nothing_or_a_file_is_fine(void **state)
{
    (void)state;
    assert_int_equal(tide_remove_tree(in_dir("absent"), NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(in_dir("single"), "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_remove_tree(in_dir("single"), NULL), TIDE_OK);
    assert_int_equal(access(in_dir("single"), F_OK), -1);
    assert_int_equal(tide_remove_tree("", NULL), TIDE_INVALID);
}

static void emptiness_is_told(void **state)
{
    (void)state;
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(in_dir("absent"), &empty, NULL), TIDE_OK);
    assert_true(empty);
    assert_int_equal(tide_mkdirs(in_dir("e"), 0700, NULL), TIDE_OK);
    empty = false;
    assert_int_equal(tide_dir_is_empty(in_dir("e"), &empty, NULL), TIDE_OK);
    assert_true(empty);
    assert_int_equal(tide_file_replace(in_dir("e/.hidden"), "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_dir_is_empty(in_dir("e"), &empty, NULL), TIDE_OK);
    assert_false(empty);
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_dir_is_empty(in_dir("e/.hidden"), &empty, &err), TIDE_IO);
}

static void free_space_is_a_number(void **state)
{
    (void)state;
    uint64_t bytes = 0;
    assert_int_equal(tide_disk_free(dir, &bytes, NULL), TIDE_OK);
    assert_true(bytes > 0);
    assert_int_equal(tide_disk_free(in_dir("absent"), &bytes, NULL), TIDE_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_directories_are_made),
        cmocka_unit_test(relative_directories_are_made),
        cmocka_unit_test(a_file_in_the_way_is_an_error),
        cmocka_unit_test(making_directories_reports_every_failure),
        cmocka_unit_test(parents_are_found),
        cmocka_unit_test(a_tree_is_removed_without_following_links),
        cmocka_unit_test(removing_nothing_or_a_file_is_fine),
        cmocka_unit_test(emptiness_is_told),
        cmocka_unit_test(free_space_is_a_number),
    };
    return cmocka_run_group_tests_name("base_dir", tests, make_dir, remove_dir);
}
