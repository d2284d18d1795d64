/* marker.c, leftover.c: whose a directory is, and what may be done in it. */

#include "pitr/restore_internal.h"
#include "orchestrator/base/cleanup.h"
#include "tests/support/repository.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct fixture {
    struct test_repo *t;
    struct plan plan;
    struct restore_options o;
    char into[128];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    f->t = test_repo_new(false);
    (void)snprintf(f->into, sizeof f->into, "%s/into", f->t->dir);
    strcpy(f->plan.backup.id, "20261122T101530Z-1f2e3d4c");
    f->plan.lineage = 1;
    f->plan.kind = TIDE_TARGET_COMMIT;
    f->plan.expected_end = (struct tide_pos){0, 0x3000100};
    f->o = (struct restore_options){.repo = f->t->repo, .instance = "shop", .plan = &f->plan, .into = f->into};
    *state = f;
    return 0;
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

static void put(const struct fixture *f, const char *name, const char *text)
{
    char path[512];
    FILE *out;

    (void)snprintf(path, sizeof path, "%s/%s", f->into, name);
    out = fopen(path, "w");
    assert_non_null(out);
    assert_true(fputs(text, out) >= 0);
    assert_int_equal(fclose(out), 0);
}

static bool there(const struct fixture *f, const char *name)
{
    char path[512];

    (void)snprintf(path, sizeof path, "%s/%s", f->into, name);
    return access(path, F_OK) == 0;
}

static void begin(struct fixture *f, enum marker_stage stage)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m = {.stage = stage, .new_branch = 7};

    ok(tide_mkdirs(f->into, 0700, &err), &err);
    marker_identity(&f->o, m.identity);
    ok(marker_write(&f->o, &m, &err), &err);
}

static void absent_and_empty_directories_are_free(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    ok(marker_examine(&f->o, &m, &err), &err);
    assert_false(m.present);
    ok(tide_mkdirs(f->into, 0700, &err), &err);
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_false(m.present);
}

static void a_directory_with_anything_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    ok(tide_mkdirs(f->into, 0700, &err), &err);
    put(f, ".hidden", "x");
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    assert_non_null(strstr(err.msg, f->into));
    assert_non_null(strstr(err.hint, "nothing was written"));
    assert_true(there(f, ".hidden"));
}

static void a_file_is_no_directory(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;
    int fd = open(f->into, O_WRONLY | O_CREAT, 0600);

    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    assert_int_not_equal(marker_examine(&f->o, &m, &err), TIDE_OK);
}

static void the_same_restore_is_gone_on_with(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    begin(f, MARKER_FILES);
    put(f, "PG_VERSION", "15");
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_true(m.present);
    assert_int_equal(m.stage, MARKER_FILES);
    assert_int_equal(m.new_branch, 7);
    begin(f, MARKER_RECOVERING);
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_int_equal(m.stage, MARKER_RECOVERING);
}

static void another_target_backup_or_lineage_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    begin(f, MARKER_FILES);
    f->plan.expected_end.lo++;
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    assert_non_null(strstr(err.msg, "another target"));
    f->plan.expected_end.lo--;
    f->plan.lineage = 2;
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    f->plan.lineage = 1;
    f->plan.backup.id[0] = '1';
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    f->plan.backup.id[0] = '2';
    f->o.instance = "crm";
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    f->o.instance = "shop";
    ok(marker_examine(&f->o, &m, &err), &err);
}

static void a_marker_that_cannot_be_read_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    begin(f, MARKER_FILES);
    put(f, ".tidemark-restore", "{\"restore\":1}");
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    put(f, ".tidemark-restore", "");
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
}

/* Killed between writing the marker and renaming it: nothing else is there, so the directory is still free. */
static void half_a_marker_alone_is_no_content(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    ok(tide_mkdirs(f->into, 0700, &err), &err);
    put(f, ".tidemark-restore.tmp-abcdefgh", "{");
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_false(m.present);
    put(f, "PG_VERSION", "15");
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
}

static void removing_takes_the_halves_too(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    begin(f, MARKER_RECOVERING);
    put(f, ".tidemark-restore.tmp-abcdefgh", "{");
    put(f, "PG_VERSION", "15");
    ok(marker_remove(&f->o, &err), &err);
    assert_false(there(f, ".tidemark-restore"));
    assert_false(there(f, ".tidemark-restore.tmp-abcdefgh"));
    assert_true(there(f, "PG_VERSION"));
    ok(marker_remove(&f->o, &err), &err); /* twice is fine */
}

/* Killed while clearing, the directory has to be known as ours. */
static void clearing_keeps_the_marker(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;
    char below[256];

    begin(f, MARKER_RECOVERING);
    (void)snprintf(below, sizeof below, "%s/base/5", f->into);
    ok(tide_mkdirs(below, 0700, &err), &err);
    put(f, "base/5/1259", "x");
    put(f, "PG_VERSION", "15");
    ok(marker_clear_directory(&f->o, &err), &err);
    assert_false(there(f, "base"));
    assert_false(there(f, "PG_VERSION"));
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_true(m.present);
    assert_int_equal(m.stage, MARKER_RECOVERING);
}

/* A process that sleeps in the directory, as a server would. */
static pid_t work_in(const char *directory, unsigned ms)
{
    int ready[2];
    char byte;

    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        bool fine = chdir(directory) == 0 && write(ready[1], "x", 1) == 1;
        (void)usleep(ms * 1000);
        _exit(fine ? 0 : 1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    (void)close(ready[0]);
    (void)close(ready[1]);
    return pid;
}

static void a_directory_in_which_a_process_works_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char number[32];
    int status;

    ok(leftover_refuse(f->into, 0, &err), &err); /* does not exist */
    ok(tide_mkdirs(f->into, 0700, &err), &err);
    ok(leftover_refuse(f->into, 0, &err), &err);
    pid_t pid = work_in(f->into, 60000);
    assert_int_equal(leftover_refuse(f->into, 0, &err), TIDE_REFUSED);
    (void)snprintf(number, sizeof number, "process %d", (int)pid);
    assert_non_null(strstr(err.msg, number));
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    ok(leftover_refuse(f->into, 0, &err), &err);
}

static void a_process_that_ends_in_time_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

    ok(tide_mkdirs(f->into, 0700, &err), &err);
    assert_int_equal(sigaction(SIGCHLD, &ignore, &before), 0); /* so that nothing is left of it in /proc */
    (void)work_in(f->into, 300);
    ok(leftover_refuse(f->into, 20 * TIDE_SECOND_US, &err), &err);
    assert_int_equal(sigaction(SIGCHLD, &before, NULL), 0);
}

static void a_target_that_moves_on_is_the_same(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct marker m;

    f->o.moving = "latest";
    begin(f, MARKER_FILES);
    f->plan.expected_end.lo += 1000;
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_true(m.present);
    f->o.moving = NULL;
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
    /* the files of another backup are others */
    f->o.moving = "latest";
    strcpy(f->plan.backup.id, "20261123T101530Z-1f2e3d4c");
    assert_int_equal(marker_examine(&f->o, &m, &err), TIDE_REFUSED);
}

/* Their directories are removed, and written into, without a look at what lies there. */
static void only_the_same_tablespaces_are_gone_on_with(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf one = TIDE_BUF_INIT(1000), other = TIDE_BUF_INIT(1000);
    struct marker m = {.stage = MARKER_FILES};

    tide_buf_str(&one, "16400=/srv/a\n");
    tide_buf_str(&other, "16400=/srv/b\n");
    ok(tide_mkdirs(f->into, 0700, &err), &err);
    marker_identity(&f->o, m.identity);
    ok(marker_spaces(&m, &one, &err), &err);
    ok(marker_write(&f->o, &m, &err), &err);
    ok(marker_examine(&f->o, &m, &err), &err);
    assert_true(m.present);
    ok(marker_spaces(&m, &one, &err), &err);
    assert_int_equal(marker_spaces(&m, &other, &err), TIDE_REFUSED);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(absent_and_empty_directories_are_free),
        TEST(only_the_same_tablespaces_are_gone_on_with),
        TEST(a_target_that_moves_on_is_the_same),
        TEST(a_directory_with_anything_is_refused),
        TEST(a_file_is_no_directory),
        TEST(the_same_restore_is_gone_on_with),
        TEST(another_target_backup_or_lineage_is_refused),
        TEST(a_marker_that_cannot_be_read_is_refused),
        TEST(half_a_marker_alone_is_no_content),
        TEST(removing_takes_the_halves_too),
        TEST(clearing_keeps_the_marker),
        TEST(a_directory_in_which_a_process_works_is_refused),
        TEST(a_process_that_ends_in_time_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
