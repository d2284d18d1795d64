/* store_posix_root.c through store.h: which directory it is, whose, and what when it is full or gone. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/store_dir.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>
#include <unistd.h>

static void a_directory_that_vanished_is_unavailable_not_empty(void **state)
{
    struct store_dir *f = *state;
    char away[96], c;
    size_t got;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t now;
    store_dir_put(f->store, "tidemark.json", "{\"id\":1}");
    (void)snprintf(away, sizeof away, "%s/away", f->dir);
    assert_int_equal(rename(f->root, away), 0);
    assert_int_equal(store_get(f->store, "tidemark.json", 0, &c, 1, &got, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "is not there"));
    assert_int_equal(store_put(f->store, "a", "x", 1, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_list(f->store, "", NULL, 0, NULL, NULL, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_delete(f->store, "a", NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_now(f->store, &now, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(access(f->root, F_OK), -1);

    /* An empty directory in its place, as under a mount point: absence there proves nothing. */
    assert_int_equal(mkdir(f->root, 0700), 0);
    assert_int_equal(store_get(f->store, "tidemark.json", 0, &c, 1, &got, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "is not the one that was opened (unmounted?)"));
    assert_int_equal(store_put(f->store, "a", "x", 1, NULL), TIDE_UNAVAILABLE);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);

    assert_int_equal(rmdir(f->root), 0);
    assert_int_equal(rename(away, f->root), 0);
    store_dir_put(f->store, "a", "x");
}

static void a_write_begun_before_the_directory_vanished_fails_at_commit(void **state)
{
    struct store_dir *f = *state;
    char away[96];
    store_dir_put(f->store, "tidemark.json", "{\"id\":1}");
    (void)snprintf(away, sizeof away, "%s/away", f->dir);
    struct store_writer *w = NULL;
    assert_int_equal(store_put_begin(f->store, "packs/1", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "data", 4, NULL), TIDE_OK);
    assert_int_equal(rename(f->root, away), 0);
    assert_int_equal(mkdir(f->root, 0700), 0);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_UNAVAILABLE);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);
}

static void the_same_repository_in_another_directory_is_taken_back(void **state)
{
    struct store_dir *f = *state;
    char command[1200];
    store_dir_put(f->store, "tidemark.json", "{\"id\":1}");
    store_dir_put(f->store, "a/b", "x");
    (void)snprintf(command, sizeof command, "cp -a %s %s/copy && rm -r %s && mv %s/copy %s", f->root, f->dir, f->root,
                   f->dir, f->root);
    assert_int_equal(system(command), 0);
    store_dir_assert_holds(f->store, "a/b", "x");
    store_dir_put(f->store, "a/c", "y");
    (void)snprintf(command, sizeof command,
                   "cp -a %s %s/copy && echo other >%s/copy/tidemark.json && rm -r %s && mv %s/copy %s", f->root,
                   f->dir, f->dir, f->root, f->dir, f->root);
    assert_int_equal(system(command), 0);
    assert_int_equal(store_put(f->store, "a/d", "z", 1, NULL), TIDE_UNAVAILABLE);
}

static void without_a_descriptor_only_init_writes(void **state)
{
    struct store_dir *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t now = 0;
    struct tide_store *s = store_dir_open(f->url, false);
    assert_int_equal(store_put(s, "a", "x", 1, &err), TIDE_UNAVAILABLE);
    assert_non_null(strstr(err.msg, "holds no repository"));
    assert_int_equal(store_now(s, &now, NULL), TIDE_OK);
    assert_true(llabs(now - tide_now_us()) < 60 * TIDE_SECOND_US);
    bool empty = false;
    assert_int_equal(tide_dir_is_empty(f->root, &empty, NULL), TIDE_OK);
    assert_true(empty);
    store_dir_put(f->store, "tidemark.json", "{}"); /* init, by another process */
    store_dir_put(s, "a", "x");
    store_close(s);
}

static void opening_makes_the_root_only_when_told(void **state)
{
    struct store_dir *f = *state;
    char url[160];
    struct tide_store *s = NULL;
    struct tide_err err = TIDE_ERR_INIT;
    (void)snprintf(url, sizeof url, "file://%s/none/repo", f->dir);
    assert_int_equal(store_open(&(struct store_options){.url = url}, &s, &err), TIDE_UNAVAILABLE);
    assert_int_equal(access(url + 7, F_OK), -1);
    s = store_dir_open(url, true);
    store_dir_put(s, "a", "x");
    store_close(s);
}

static void an_url_that_is_no_directory_is_invalid(void **state)
{
    struct store_dir *f = *state;
    char url[160], name[100];
    struct tide_store *s = NULL;
    static const char *const bad[] = {"/srv/backups", "file:/srv",        "file://host/srv", "file://relative",
                                      "ftp://x/y",    "file:///srv/x%zz", "file:///srv?x",   "file:///srv/%00"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(store_open(&(struct store_options){.url = bad[i]}, &s, NULL), TIDE_INVALID);
    (void)snprintf(name, sizeof name, "%s/plain", f->dir);
    assert_int_equal(tide_file_replace(name, "x", 1, 0600, NULL), TIDE_OK);
    (void)snprintf(url, sizeof url, "file://%s", name);
    assert_int_equal(store_open(&(struct store_options){.url = url}, &s, NULL), TIDE_INVALID);
    (void)snprintf(url, sizeof url, "file://%s/a%%20b/", f->dir);
    s = store_dir_open(url, true);
    (void)snprintf(name, sizeof name, "%s/a b", f->dir);
    assert_int_equal(access(name, F_OK), 0);
    store_close(s);
}

static void objects_are_as_open_as_the_directory_but_not_to_everybody(void **state)
{
    struct store_dir *f = *state;
    char path[160];
    struct stat sb;
    assert_int_equal(chmod(f->root, 0775), 0);
    struct tide_store *s = store_dir_open(f->url, true);
    mode_t before = umask(0077);
    store_dir_put(s, "folder/object", "x");
    (void)umask(before);
    store_close(s);
    (void)snprintf(path, sizeof path, "%s/folder", f->root);
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0770);
    strcat(path, "/object");
    assert_int_equal(stat(path, &sb), 0);
    assert_int_equal(sb.st_mode & 07777, 0660);
}

static void what_root_writes_belongs_to_the_owner_of_the_directory(void **state)
{
    struct store_dir *f = *state;
    char path[160];
    struct stat sb;
    if (geteuid() != 0)
        skip();
    assert_int_equal(chown(f->root, 12345, 23456), 0);
    struct tide_store *s = store_dir_open(f->url, true);
    store_dir_put(s, "folder/object", "x");
    store_close(s);
    static const char *const made[] = {"folder", "folder/object", ".tmp"};
    for (size_t i = 0; i < 3; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", f->root, made[i]);
        assert_int_equal(stat(path, &sb), 0);
        assert_int_equal(sb.st_uid, 12345);
        assert_int_equal(sb.st_gid, 23456);
    }
}

static void stale_temporary_files_go_at_open_young_ones_stay(void **state)
{
    struct store_dir *f = *state;
    char old_file[160], young[160];
    store_dir_put(f->store, "tidemark.json", "{}");
    (void)snprintf(old_file, sizeof old_file, "%s/.tmp/1-old", f->root);
    (void)snprintf(young, sizeof young, "%s/.tmp/2-young", f->root);
    assert_int_equal(tide_file_replace(old_file, "x", 1, 0600, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(young, "x", 1, 0600, NULL), TIDE_OK);
    struct timespec two_days_ago = {.tv_sec = time(NULL) - 2 * 86400};
    assert_int_equal(utimensat(AT_FDCWD, old_file, (struct timespec[]){two_days_ago, two_days_ago}, 0), 0);
    store_close(store_dir_open(f->url, false));
    assert_int_equal(access(old_file, F_OK), -1);
    assert_int_equal(access(young, F_OK), 0);
}

static void a_full_disk_is_full_and_leaves_nothing(void **state)
{
    struct store_dir *f = *state;
    char root[96], url[120];
    (void)snprintf(root, sizeof root, "%s/small", f->dir);
    (void)snprintf(url, sizeof url, "file://%s", root);
    assert_int_equal(mkdir(root, 0700), 0);
    if (mount("tmpfs", root, "tmpfs", 0, "size=1m") != 0)
        skip();
    struct tide_store *s = store_dir_open(url, true);
    TIDE_AUTO(tide_freep) char *data = calloc(1, 2 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    tide_status full = store_put(s, "packs/1", data, 2 << 20, &err);
    tide_status absent = store_head(s, "packs/1", NULL, NULL, NULL);
    tide_status later = store_put(s, "packs/2", data, 512 << 10, NULL);
    store_close(s);
    /* Nothing is held open between two calls, so the administrator can always unmount. */
    int unmounted = umount(root);
    assert_int_equal(unmounted, 0);
    assert_int_equal(full, TIDE_FULL);
    assert_non_null(strstr(err.msg, "No space left on device"));
    assert_int_equal(absent, TIDE_NOT_FOUND);
    assert_int_equal(later, TIDE_OK);
}

static void an_unmounted_directory_is_noticed_and_a_mounted_one_again_used(void **state)
{
    struct store_dir *f = *state;
    char root[96], url[120], image[96], command[600];
    (void)snprintf(root, sizeof root, "%s/mnt", f->dir);
    (void)snprintf(image, sizeof image, "%s/img", f->dir);
    (void)snprintf(url, sizeof url, "file://%s", root);
    assert_int_equal(mkdir(root, 0700), 0);
    (void)snprintf(command, sizeof command,
                   "truncate -s 8M %s && mkfs.ext4 -q -F %s >/dev/null 2>&1 && mount -o loop %s %s 2>/dev/null",
                   image, image, image, root);
    if (geteuid() != 0 || system(command) != 0)
        skip();
    struct tide_store *s = store_dir_open(url, true);
    tide_status first = store_put(s, "tidemark.json", "{\"id\":7}", 8, NULL);
    struct store_writer *w = NULL;
    int unmounted = umount(root);
    tide_status gone = store_put(s, "a", "x", 1, NULL);
    tide_status begin = store_put_begin(s, "b", &w, NULL);
    bool empty = false;
    tide_status looked = tide_dir_is_empty(root, &empty, NULL);
    (void)snprintf(command, sizeof command, "mount -o loop %s %s", image, root);
    int mounted = system(command);
    tide_status back = store_put(s, "a", "x", 1, NULL);
    store_close(s);
    (void)umount(root);
    assert_int_equal(first, TIDE_OK);
    assert_int_equal(unmounted, 0);
    assert_int_equal(gone, TIDE_UNAVAILABLE);
    assert_int_equal(begin, TIDE_UNAVAILABLE);
    assert_int_equal(looked, TIDE_OK);
    assert_true(empty);
    assert_int_equal(mounted, 0);
    assert_int_equal(back, TIDE_OK);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, store_dir_set_up, store_dir_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_directory_that_vanished_is_unavailable_not_empty),
        TEST(a_write_begun_before_the_directory_vanished_fails_at_commit),
        TEST(the_same_repository_in_another_directory_is_taken_back),
        TEST(without_a_descriptor_only_init_writes),
        TEST(opening_makes_the_root_only_when_told),
        TEST(an_url_that_is_no_directory_is_invalid),
        TEST(objects_are_as_open_as_the_directory_but_not_to_everybody),
        TEST(what_root_writes_belongs_to_the_owner_of_the_directory),
        TEST(stale_temporary_files_go_at_open_young_ones_stay),
        TEST(a_full_disk_is_full_and_leaves_nothing),
        TEST(an_unmounted_directory_is_noticed_and_a_mounted_one_again_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
