// LDFLAGS: -Wl,--wrap=pread
/* tree_source.c: files that change, shrink, vanish or are damaged while they are read. */

#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB  (UINT64_C(1) << 20)
#define LEAF (64 * MIB)

struct fixture {
    struct test_repo *t;
    char source[128], target[128], file[160];
    struct backup b;
};

/* What the inspector does to the file; it runs in the reader's thread, between two reads. */
static struct {
    char path[160], folder[128];
    atomic_uint calls;
    unsigned at_call;
    int64_t truncate_to; /* -1: unlink; -2: nothing */
    unsigned torn_times; /* so often the first block is torn */
    uint64_t torn_offset;
    uint64_t max_offset;
} hook;

static void inspector(const struct tide_block_view *v, struct tide_block_verdict *verdict)
{
    unsigned call = atomic_fetch_add(&hook.calls, 1);
    verdict->verdict = TIDE_BLOCK_FINE;
    verdict->page_size = 8192;
    if (v->offset > hook.max_offset)
        hook.max_offset = v->offset;
    if (call == hook.at_call && hook.truncate_to >= 0)
        assert_int_equal(truncate(hook.path, (off_t)hook.truncate_to), 0);
    if (call == hook.at_call && hook.truncate_to == -1)
        assert_int_equal(unlink(hook.path), 0);
    if (v->offset == hook.torn_offset && hook.torn_times > 0) {
        if (--hook.torn_times == 0) /* now the server has finished writing */
            trees_write(hook.folder, "file", v->offset, "whole", 5);
        verdict->verdict = TIDE_BLOCK_TORN;
        verdict->n_bad = 2;
        verdict->bad_pages[0] = 1;
        verdict->bad_pages[1] = 15;
    }
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(true);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    (void)snprintf(f->file, sizeof f->file, "%s/file", f->source);
    ok(tide_mkdirs(f->source, 0700, &err), &err);
    memset(&hook, 0, sizeof hook);
    (void)snprintf(hook.path, sizeof hook.path, "%s", f->file);
    (void)snprintf(hook.folder, sizeof hook.folder, "%s", f->source);
    hook.truncate_to = -2;
    hook.torn_offset = UINT64_MAX;
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    backup_clear(&f->b);
    test_repo_free(f->t);
    free(f);
    return 0;
}

static void make_file(struct fixture *f, uint64_t size)
{
    struct trees_random r = {.state = 11};
    trees_file(f->source, "file", size, false, &r);
}

static tide_status back_up(struct fixture *f, uint32_t flags, struct tide_err *err)
{
    backup_clear(&f->b);
    const struct trees_backup o = {.repo = f->t->repo,
                                   .instance = "shop",
                                   .dir = f->source,
                                   .jobs = 1,
                                   .flags = flags | TIDE_FILE_INSPECT,
                                   .inspect = inspector};
    return trees_run(&o, &f->b, err);
}

static uint64_t size_in_backup(struct fixture *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct stat st;
    char path[160];
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, false, &err), &err);
    (void)snprintf(path, sizeof path, "%s/file", f->target);
    assert_int_equal(stat(path, &st), 0);
    return (uint64_t)st.st_size;
}

static void a_file_that_shrinks_is_as_long_as_what_was_read(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, 3 * LEAF);
    hook.at_call = 512; /* the first block of the second leaf */
    hook.truncate_to = (int64_t)(LEAF + 9 * MIB + 5);
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_true(size_in_backup(f) == LEAF + 9 * MIB + 5);
}

static void a_file_may_shrink_to_nothing_behind_a_leaf(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, 2 * LEAF);
    hook.at_call = 511; /* the last block of the first leaf */
    hook.truncate_to = 0;
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_true(size_in_backup(f) == LEAF); /* what was read before */
}

static void a_small_file_may_shrink(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, 1 * MIB);
    /* the chunk is read by then: this file is whole, and smaller only for the next backup */
    hook.truncate_to = 5;
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_true(size_in_backup(f) == 1 * MIB);
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_true(f->b.totals.bytes == 5);
}

static void a_file_that_must_not_shrink_fails_the_backup(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, 2 * LEAF);
    hook.at_call = 10;
    hook.truncate_to = 100;
    assert_int_equal(back_up(f, 0, &err), TIDE_IO);
    assert_non_null(strstr(err.msg, "became shorter"));
    assert_non_null(strstr(err.msg, f->file));
}

static void growth_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, LEAF + MIB);
    hook.at_call = 3;
    hook.truncate_to = 2 * LEAF; /* longer */
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_true(size_in_backup(f) == LEAF + MIB);
    assert_true(hook.max_offset < LEAF + MIB);
}

static void a_file_that_vanishes_is_left_out(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, 3 * LEAF);
    hook.at_call = 100;
    hook.truncate_to = -1;
    ok(back_up(f, TIDE_FILE_MAY_VANISH, &err), &err);
    assert_int_equal(f->b.totals.files, 0);
}

static tide_status hand_over(struct fixture *f, const struct tide_file *file, struct tide_err *err)
{
    struct tree_writer *w = NULL;
    const struct tree_writer_options o = {.repo = f->t->repo, .instance = "shop", .id = "one", .jobs = 2};
    tide_status s = tree_writer_new(&o, &w, err);
    if (s == TIDE_OK)
        s = tree_writer_file(w, file, err);
    if (s == TIDE_OK)
        s = tree_writer_drain(w, err);
    if (s == TIDE_OK)
        s = tree_writer_finish(w, &f->b, err);
    tree_writer_free(w);
    return s;
}

static void a_file_that_is_gone_fails_only_without_the_flag(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {100, MIB, 2 * LEAF};
    for (size_t i = 0; i < 3; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_file file = {
            .kind = TIDE_FILE_REGULAR, .name = "gone", .source = f->file, .size = sizes[i], .flags = 0};
        assert_int_equal(hand_over(f, &file, &err), TIDE_NOT_FOUND);
        assert_non_null(strstr(err.msg, f->file));
        file.flags = TIDE_FILE_MAY_VANISH;
        ok(hand_over(f, &file, &err), &err);
        assert_int_equal(f->b.totals.files, 0);
        file.flags = TIDE_FILE_MAY_VANISH | TIDE_FILE_STABLE;
        ok(hand_over(f, &file, &err), &err);
        assert_int_equal(f->b.totals.files, 0);
    }
}

static void assert_content_is_the_same(struct fixture *f)
{
    struct timespec times[2] = {{0}};
    char path[160];
    /* the test itself wrote to the source; its time does not matter */
    (void)snprintf(path, sizeof path, "%s/file", f->target);
    assert_int_equal(utimensat(AT_FDCWD, f->file, times, 0), 0);
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

static void a_torn_block_is_read_again(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, MIB);
    hook.torn_offset = 5 * TREE_BLOCK;
    hook.torn_times = 3;
    ok(back_up(f, 0, &err), &err);
    assert_null(f->b.damage);
    assert_int_equal(f->b.totals.damaged_pages, 0);
    assert_int_equal(hook.torn_times, 0);
    assert_true(size_in_backup(f) == MIB);
    assert_content_is_the_same(f);
}

static void a_block_that_stays_torn_is_stored_and_reported(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_file(f, LEAF + MIB);
    hook.torn_offset = LEAF + 2 * TREE_BLOCK;
    hook.torn_times = 1000;
    ok(back_up(f, 0, &err), &err);
    assert_int_equal(f->b.totals.damaged_pages, 2);
    assert_string_equal(f->b.damage, "[{\"file\":\"file\",\"page\":8225},{\"file\":\"file\",\"page\":8239}]");
    assert_true(hook.torn_times < 1000 - 10);
    assert_true(size_in_backup(f) == LEAF + MIB);
    assert_int_equal(trees_differences(f->source, f->target), 0);
    struct backup back = {.lineage = 0};
    ok(backup_load(f->t->repo, "shop", f->b.id, &back, &err), &err);
    assert_string_equal(back.damage, f->b.damage);
    backup_clear(&back);
}

/* The file changes with each of the first reads: its first byte is the number of the read. */
static unsigned unstable_reads, reads;
ssize_t __real_pread(int fd, void *data, size_t len, off_t offset);
ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset);

ssize_t __wrap_pread(int fd, void *data, size_t len, off_t offset)
{
    ssize_t n = __real_pread(fd, data, len, offset);
    if (n > 0 && reads < unstable_reads)
        *(uint8_t *)data = (uint8_t)++reads;
    return n;
}

static tide_status see_stable(void *ctx, uint64_t offset, const void *data, size_t len, struct tide_err *err)
{
    (void)ctx;
    (void)offset;
    (void)err;
    assert_int_equal(len, 6);
    assert_memory_equal(data, "stable", 6);
    return TIDE_OK;
}

static tide_status back_up_unstable(struct fixture *f, unsigned changes, struct tide_err *err)
{
    const struct tide_file file = {
        .kind = TIDE_FILE_REGULAR, .name = "file", .source = f->file, .size = 6, .flags = TIDE_FILE_STABLE};
    trees_write(f->source, "file", 0, "stable", 6);
    reads = 0;
    unstable_reads = changes;
    tide_status s = hand_over(f, &file, err);
    unstable_reads = 0;
    return s;
}

static void a_stable_file_is_read_until_it_stands_still(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_reader *t = NULL;
    ok(back_up_unstable(f, 7, &err), &err);
    assert_int_equal(reads, 7);
    ok(tree_reader_open(f->t->repo, "shop", &f->b, 1, &t, &err), &err);
    ok(tree_reader_cat(t, "file", see_stable, NULL, &err), &err);
    tree_reader_close(t);
    assert_int_equal(back_up_unstable(f, 1000, &err), TIDE_AGAIN);
    assert_non_null(strstr(err.msg, f->file));
}

static void cancelling_ends_the_backup(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_writer *w = NULL;
    struct tide_cancel *cancel = NULL;
    make_file(f, MIB);
    ok(tide_cancel_new(&cancel, &err), &err);
    const struct tree_writer_options o = {
        .repo = f->t->repo, .instance = "shop", .id = "one", .jobs = 2, .cancel = cancel};
    const struct tide_file file = {.kind = TIDE_FILE_REGULAR, .name = "file", .source = f->file, .size = MIB};
    ok(tree_writer_new(&o, &w, &err), &err);
    ok(tree_writer_file(w, &file, &err), &err);
    tide_cancel_set(cancel);
    assert_int_equal(tree_writer_file(w, &file, &err), TIDE_CANCELLED);
    assert_int_equal(tree_writer_finish(w, &f->b, &err), TIDE_CANCELLED);
    tree_writer_free(w);
    tide_cancel_free(cancel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_that_shrinks_is_as_long_as_what_was_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_may_shrink_to_nothing_behind_a_leaf, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_small_file_may_shrink, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_must_not_shrink_fails_the_backup, set_up, tear_down),
        cmocka_unit_test_setup_teardown(growth_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_vanishes_is_left_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_is_gone_fails_only_without_the_flag, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_block_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_block_that_stays_torn_is_stored_and_reported, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stable_file_is_read_until_it_stands_still, set_up, tear_down),
        cmocka_unit_test_setup_teardown(cancelling_ends_the_backup, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
