// LDFLAGS: -Wl,--wrap=open -Wl,--wrap=read -Wl,--wrap=pread -Wl,--wrap=write -Wl,--wrap=pwrite -Wl,--wrap=fsync
// LDFLAGS: -Wl,--wrap=close -Wl,--wrap=fchmod -Wl,--wrap=rename -Wl,--wrap=unlink

#include "orchestrator/base/file.h"
#include "orchestrator/base/cleanup.h"
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

static char dir[] = "/tmp/tide-file-XXXXXX";

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
    static char path[TIDE_PATH_MAX];
    assert_int_equal(tide_path_join(path, dir, name, NULL), TIDE_OK);
    return path;
}

static void paths_join_with_one_slash(void **state)
{
    (void)state;
    char out[TIDE_PATH_MAX];
    assert_int_equal(tide_path_join(out, "a", "b", NULL), TIDE_OK);
    assert_string_equal(out, "a/b");
    assert_int_equal(tide_path_join(out, "/", "b", NULL), TIDE_OK);
    assert_string_equal(out, "/b");
    char longer[TIDE_PATH_MAX];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_path_join(out, longer, "b", &err), TIDE_INVALID);
}

static void short_transfers_and_interruptions_are_continued(void **state)
{
    (void)state;
    TIDE_AUTO(tide_closep) int fd = open(in_dir("short"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    char got[27] = "";
    size_t n = 0;
    for (unsigned call = 1; call <= 3; call++) {
        fault_short(3);
        fault_arm(call, EINTR, false);
        assert_int_equal(tide_pwrite_all(fd, "abcdefghijklmnopqrstuvwxyz", 26, 5, "short", NULL), TIDE_OK);
        assert_true(fault_disarm());
        fault_arm(call, EINTR, false);
        assert_int_equal(tide_pread_upto(fd, got, 26, 5, &n, "short", NULL), TIDE_OK);
        assert_true(fault_disarm());
        assert_int_equal(n, 26);
        assert_memory_equal(got, "abcdefghijklmnopqrstuvwxyz", 26);

        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        fault_arm(call, EINTR, false);
        assert_int_equal(tide_write_all(fd, "0123456789", 10, "short", NULL), TIDE_OK);
        assert_true(fault_disarm());
        assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
        fault_arm(call, EINTR, false);
        assert_int_equal(tide_read_upto(fd, got, 10, &n, "short", NULL), TIDE_OK);
        assert_true(fault_disarm());
        assert_memory_equal(got, "0123456789", 10);
        fault_short(0);
    }
}

static void the_end_of_the_file_gives_less(void **state)
{
    (void)state;
    TIDE_AUTO(tide_closep) int fd = open(in_dir("end"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    char got[10];
    size_t n = 99;
    assert_int_equal(tide_write_all(fd, "abc", 3, "end", NULL), TIDE_OK);
    assert_int_equal(tide_pread_upto(fd, got, sizeof(got), 1, &n, "end", NULL), TIDE_OK);
    assert_int_equal(n, 2);
    assert_int_equal(tide_pread_upto(fd, got, sizeof(got), 100, &n, "end", NULL), TIDE_OK);
    assert_int_equal(n, 0);
    assert_int_equal(tide_read_upto(fd, got, sizeof(got), &n, "end", NULL), TIDE_OK);
    assert_int_equal(n, 0);
}

static void failures_name_the_file_and_the_reason(void **state)
{
    (void)state;
    TIDE_AUTO(tide_closep) int fd = open(in_dir("fails"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct tide_err err = TIDE_ERR_INIT;
    char got[4];
    size_t n;
    fault_arm(1, ENOSPC, true);
    assert_int_equal(tide_write_all(fd, "abc", 3, "f", &err), TIDE_FULL);
    assert_string_equal(err.msg, "could not write \"f\": No space left on device");
    assert_int_equal(tide_pwrite_all(fd, "abc", 3, 0, "f", &err), TIDE_FULL);
    fault_arm(1, EIO, true);
    assert_int_equal(tide_read_upto(fd, got, 4, &n, "f", &err), TIDE_IO);
    assert_int_equal(tide_pread_upto(fd, got, 4, 0, &n, "f", &err), TIDE_IO);
    (void)fault_disarm();
}

static void offsets_beyond_what_files_have_are_refused(void **state)
{
    (void)state;
    char byte = 0;
    size_t n;
    assert_int_equal(tide_pwrite_all(-1, &byte, 1, UINT64_MAX, "f", NULL), TIDE_INVALID);
    assert_int_equal(tide_pread_upto(-1, &byte, 1, (uint64_t)INT64_MAX + 1, &n, "f", NULL), TIDE_INVALID);
    assert_int_equal(tide_pwrite_all(-1, &byte, 1, INT64_MAX, "f", NULL), TIDE_INVALID);
}

static void a_file_is_read_in_full_or_not_at_all(void **state)
{
    (void)state;
    char big[40000];
    memset(big, 'x', sizeof(big));
    assert_int_equal(tide_file_replace(in_dir("big"), big, sizeof(big), 0600, NULL), TIDE_OK);
    TIDE_AUTO(tide_buf_clear) struct tide_buf all = TIDE_BUF_INIT(sizeof(big));
    assert_int_equal(tide_file_read(in_dir("big"), &all, NULL), TIDE_OK);
    assert_int_equal(all.len, sizeof(big));
    assert_memory_equal(all.data, big, sizeof(big));
    TIDE_AUTO(tide_buf_clear) struct tide_buf small = TIDE_BUF_INIT(sizeof(big) - 1);
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_file_read(in_dir("big"), &small, &err), TIDE_INVALID);
    assert_int_equal(tide_file_read(in_dir("none"), &small, &err), TIDE_NOT_FOUND);
    TIDE_AUTO(tide_buf_clear) struct tide_buf proc = TIDE_BUF_INIT(100000);
    assert_int_equal(tide_file_read("/proc/self/status", &proc, NULL), TIDE_OK);
    assert_true(proc.len > 0);
}

static void replacing_sets_exactly_the_mode(void **state)
{
    (void)state;
    mode_t old = umask(077);
    assert_int_equal(tide_file_replace(in_dir("mode"), "x", 1, 0644, NULL), TIDE_OK);
    (void)umask(old);
    struct stat st;
    assert_int_equal(stat(in_dir("mode"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
}

static size_t count_entries(const char *path)
{
    char command[TIDE_PATH_MAX + 64];
    (void)snprintf(command, sizeof(command), "ls -A '%s' | wc -l", path);
    FILE *f = popen(command, "r");
    unsigned long n = 0;
    assert_int_equal(fscanf(f, "%lu", &n), 1);
    (void)pclose(f);
    return n;
}

static bool holds(const char *path, const char *text)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1000);
    assert_int_equal(tide_file_read(path, &b, NULL), TIDE_OK);
    return strcmp(tide_buf_cstr(&b), text) == 0;
}

/* Fails each call in turn, once and for good. */
static void replace_with_failures(bool for_good)
{
    char path[TIDE_PATH_MAX];
    assert_int_equal(tide_mkdirs(in_dir("replace"), 0700, NULL), TIDE_OK);
    assert_int_equal(tide_path_join(path, in_dir("replace"), "manifest", NULL), TIDE_OK);
    unsigned n = 0, harmless = 0;
    for (bool fired = true; fired;) {
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(tide_file_replace(path, "old", 3, 0600, NULL), TIDE_OK);
        fault_arm(++n, EDQUOT, for_good);
        tide_status s = tide_file_replace(path, "newer", 5, 0600, &err);
        fired = fault_disarm();
        assert_true(s == (fired ? TIDE_FULL : TIDE_OK) || s == TIDE_OK);
        harmless += fired && s == TIDE_OK;
        assert_true(holds(path, "old") || holds(path, "newer"));
        if (s == TIDE_OK)
            assert_true(holds(path, "newer"));
        /* The temporary file is gone, unless removing it was made to fail. */
        if (!for_good)
            assert_int_equal(count_entries(in_dir("replace")), 1);
    }
    /* open, fchmod, write, fsync, close, rename; open and fsync of the directory.  Only closing that may fail. */
    assert_int_equal(n, 10);
    assert_int_equal(harmless, 1);
    assert_int_equal(tide_remove_tree(in_dir("replace"), NULL), TIDE_OK);
}

static void a_replaced_file_is_old_or_new_when_one_call_fails(void **state)
{
    (void)state;
    replace_with_failures(false);
}

static void a_replaced_file_is_old_or_new_when_all_calls_fail(void **state)
{
    (void)state;
    replace_with_failures(true);
}

static void replacing_into_a_missing_directory_fails(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_file_replace(in_dir("no/such"), "x", 1, 0600, &err), TIDE_NOT_FOUND);
    char longer[TIDE_PATH_MAX];
    memset(longer, 'x', sizeof(longer) - 1);
    longer[sizeof(longer) - 1] = '\0';
    assert_int_equal(tide_file_replace(longer, "x", 1, 0600, &err), TIDE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paths_join_with_one_slash),
        cmocka_unit_test(short_transfers_and_interruptions_are_continued),
        cmocka_unit_test(the_end_of_the_file_gives_less),
        cmocka_unit_test(failures_name_the_file_and_the_reason),
        cmocka_unit_test(offsets_beyond_what_files_have_are_refused),
        cmocka_unit_test(a_file_is_read_in_full_or_not_at_all),
        cmocka_unit_test(replacing_sets_exactly_the_mode),
        cmocka_unit_test(a_replaced_file_is_old_or_new_when_one_call_fails),
        cmocka_unit_test(a_replaced_file_is_old_or_new_when_all_calls_fail),
        cmocka_unit_test(replacing_into_a_missing_directory_fails),
    };
    return cmocka_run_group_tests_name("base_file", tests, make_dir, remove_dir);
}
