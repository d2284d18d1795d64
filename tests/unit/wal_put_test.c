/* put.c, put_range.c, put_directory.c through wal/ship.h: log that comes as files. */

#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/fake_world.h"
#include "wal/pos.h"
#include "wal/ship.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START ((struct tide_pos){0, FAKE_BASE})

struct fixture {
    struct fake_world *w;
    char dir[128];
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct tide_err err = TIDE_ERR_INIT;

    assert_non_null(f);
    f->w = fake_world_new();
    (void)snprintf(f->dir, sizeof f->dir, "%s/wal", f->w->t->dir);
    assert_int_equal(tide_mkdirs(f->dir, 0700, &err), TIDE_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    fake_world_free(f->w);
    free(f);
    return 0;
}

static struct tide_pos segment(uint64_t i)
{
    return pos_add(START, i * FAKE_SEGMENT);
}

static void path_of(struct fixture *f, uint64_t branch, uint64_t i, char path[256], char name[32])
{
    fake_segment_name(branch, segment(i), name);
    (void)snprintf(path, 256, "%s/%s", f->dir, name);
}

static tide_status put_path(struct fixture *f, const char *path, const char *name)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct wal_put_options o = {.repo = f->w->t->repo,
                                .instance = "shop",
                                .path = path,
                                .name = name,
                                .plugin = &fake_plugin,
                                .host = &f->w->host.host,
                                .object_bytes = 3000};
    return wal_put_file(&o, &err);
}

static tide_status put(struct fixture *f, uint64_t branch, uint64_t i)
{
    char path[256], name[32];
    path_of(f, branch, i, path, name);
    fake_write_segment(f->w->server, branch, segment(i), path);
    return put_path(f, path, name);
}

static tide_status put_dir(struct fixture *f, uint64_t *added, struct tide_pos *end)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct wal_put_options o = {.repo = f->w->t->repo,
                                .instance = "shop",
                                .path = f->dir,
                                .plugin = &fake_plugin,
                                .host = &f->w->host.host,
                                .object_bytes = 3000};
    return wal_put_directory(&o, added, end, &err);
}

/* Commits up to and somewhat into the n-th segment. */
static struct tide_pos write_segments(struct fixture *f, uint64_t n, unsigned seed)
{
    struct tide_pos end = fake_end(f->w->server);
    for (unsigned i = 0; pos_before(end, pos_add(segment(n), 500)); i++)
        end = fake_commit(f->w->server, FAKE_T0 + i, (size_t)rand_r(&seed) % 700);
    return end;
}

static size_t stored_commits(struct fixture *f, uint32_t lineage)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_walk *w = NULL;
    struct log_name n;
    size_t commits = 0;

    assert_int_equal(log_walk_open(f->w->t->repo, "shop", lineage, TIDE_POS_NONE, &w, &err), TIDE_OK);
    while (log_walk_next(w, &n, &err) == TIDE_OK) {
        struct log_info info = {0};
        char key[REPO_KEY_MAX];
        assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
        assert_int_equal(log_object_info(f->w->t->repo, key, &info, &err), TIDE_OK);
        commits += info.n_commits;
        log_info_clear(&info);
    }
    log_walk_close(w);
    return commits;
}

static size_t commits_below(struct fixture *f, struct tide_pos pos)
{
    size_t n, below = 0;
    const struct fake_commit_record *all = fake_commits(f->w->server, &n);
    for (size_t i = 0; i < n; i++)
        below += !pos_before(pos, all[i].end);
    return below;
}

static void complete_segments_are_stored_whole_and_again_without_harm(void **state)
{
    struct fixture *f = *state;
    write_segments(f, 4, 1);
    for (int again = 0; again < 2; again++) {
        for (uint64_t i = 0; i < 4; i++)
            assert_int_equal(put(f, 1, i), TIDE_OK);
        fake_world_check(f->w, 1, 1, START, segment(4));
        /* the commit that goes over a border is counted once, too */
        assert_int_equal(stored_commits(f, 1), commits_below(f, segment(4)));
    }
}

static void an_incomplete_segment_gives_its_whole_records(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name newest;
    struct tide_pos end = write_segments(f, 1, 1);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    assert_int_equal(put(f, 1, 1), TIDE_OK);
    assert_int_equal(log_newest(f->w->t->repo, "shop", 1, &newest, &err), TIDE_OK);
    assert_true(pos_equal(newest.end, end));
    end = write_segments(f, 2, 2);
    assert_int_equal(put(f, 1, 1), TIDE_OK);
    fake_world_check(f->w, 1, 1, START, segment(2));
    assert_int_equal(stored_commits(f, 1), commits_below(f, segment(2)));
}

/* A copy that was cut off is not taken for stored: who gave it would delete the rest. */
static void a_file_that_was_cut_off_is_not_taken_for_complete(void **state)
{
    struct fixture *f = *state;
    char path[256], name[32];

    (void)write_segments(f, 2, 5);
    path_of(f, 1, 0, path, name);
    fake_write_segment(f->w->server, 1, segment(0), path);
    assert_int_equal(truncate(path, FAKE_SEGMENT / 2), 0);
    assert_int_equal(put_path(f, path, name), TIDE_CORRUPT);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    fake_world_check(f->w, 1, 1, START, segment(1));
}

static void beside_streamed_log_only_what_is_missing_is_added(void **state)
{
    struct fixture *f = *state;
    struct fake_world *w = f->w;
    fake_world_start_streaming(w);
    struct tide_pos streamed = write_segments(f, 1, 1);
    fake_world_wait_stored(w, 1, streamed);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    size_t before = fake_world_objects(w, 1, 0);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    assert_int_equal(fake_world_objects(w, 1, 0), before);
    struct tide_pos end = write_segments(f, 3, 2);
    for (uint64_t i = 0; i < 3; i++)
        assert_int_equal(put(f, 1, i), TIDE_OK);
    fake_world_check(w, 1, 1, START, segment(3));
    /* and streaming goes on behind them */
    fake_world_start(w);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
    assert_int_equal(stored_commits(f, 1), commits_below(f, end));
}

static void a_hole_in_the_middle_is_filled(void **state)
{
    struct fixture *f = *state;
    write_segments(f, 5, 1);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    assert_int_equal(put(f, 1, 4), TIDE_OK);
    assert_int_equal(put(f, 1, 2), TIDE_OK);
    assert_int_equal(put(f, 1, 1), TIDE_OK);
    assert_int_equal(put(f, 1, 3), TIDE_OK);
    fake_world_check(f->w, 1, 1, START, segment(5));
}

static void other_content_is_corrupt_and_nothing_is_overwritten(void **state)
{
    struct fixture *f = *state;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    char path[256], name[32];
    write_segments(f, 2, 1);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    path_of(f, 1, 0, path, name);
    assert_int_equal(tide_file_read(path, &raw, &err), TIDE_OK);
    raw.data[raw.len / 2] ^= 1;
    assert_int_equal(tide_file_replace(path, raw.data, raw.len, 0600, &err), TIDE_OK);
    assert_int_equal(put_path(f, path, name), TIDE_CORRUPT);
    fake_world_check(f->w, 1, 1, START, segment(1));
    /* damage in what is not stored yet is noticed by its checksums */
    path_of(f, 1, 1, path, name);
    fake_write_segment(f->w->server, 1, segment(1), path);
    tide_buf_reset(&raw);
    assert_int_equal(tide_file_read(path, &raw, &err), TIDE_OK);
    raw.data[raw.len / 2] ^= 1;
    assert_int_equal(tide_file_replace(path, raw.data, raw.len, 0600, &err), TIDE_OK);
    assert_int_equal(put_path(f, path, name), TIDE_CORRUPT);
    tide_buf_clear(&raw);
}

static void notes_of_the_engine_are_taken_and_strange_names_are_not(void **state)
{
    struct fixture *f = *state;
    write_segments(f, 1, 1);
    assert_int_equal(put_path(f, "/nowhere/00000002.history", "00000002.history"), TIDE_OK);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    assert_int_equal(put_path(f, "/nowhere/00000002.history", "00000002.history"), TIDE_OK);
    assert_int_equal(put_path(f, "/nowhere/x", "x"), TIDE_INVALID);
}

static void a_new_branch_becomes_a_child(void **state)
{
    struct fixture *f = *state;
    struct lineage_set set = {0};
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos fork = write_segments(f, 1, 1);
    assert_int_equal(put(f, 1, 0), TIDE_OK);
    assert_int_equal(put(f, 1, 1), TIDE_OK);
    fake_promote(f->w->server, fork);
    write_segments(f, 3, 2);
    assert_int_equal(put(f, 2, 1), TIDE_OK);
    assert_int_equal(put(f, 2, 2), TIDE_OK);
    assert_int_equal(lineage_load(f->w->t->repo, "shop", &set, &err), TIDE_OK);
    assert_int_equal(set.n, 2);
    assert_true(pos_equal(set.items[1].fork, fork));
    lineage_set_clear(&set);
    fake_world_check(f->w, 2, 2, fork, segment(3));
}

static void a_dead_servers_directory_gives_the_last_seconds(void **state)
{
    struct fixture *f = *state;
    struct fake_world *w = f->w;
    uint64_t added = 0;
    struct tide_pos end;
    char path[256], name[32];

    fake_world_start_streaming(w);
    struct tide_pos streamed = write_segments(f, 1, 1);
    fake_world_wait_stored(w, 1, streamed);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct tide_pos last = write_segments(f, 3, 2);
    for (uint64_t i = 0; i < 4; i++) {
        path_of(f, 1, i, path, name);
        fake_write_segment(w->server, 1, segment(i), path);
    }
    fake_write_segment(w->server, 1, segment(4), (path_of(f, 1, 4, path, name), path)); /* empty, for later */
    assert_int_equal(put_dir(f, &added, &end), TIDE_OK);
    assert_true(pos_equal(end, last));
    assert_int_equal(added, pos_distance(streamed, last));
    fake_world_check(w, 1, 1, START, last);
    assert_int_equal(stored_commits(f, 1), commits_below(f, last));
    assert_int_equal(put_dir(f, &added, &end), TIDE_OK);
    assert_int_equal(added, 0);
    assert_true(pos_equal(end, last));
}

static void a_torn_last_record_ends_a_dead_servers_log(void **state)
{
    struct fixture *f = *state;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t added = 0, i = 1;
    struct tide_pos end;
    char path[256], name[32];
    struct tide_pos sound = write_segments(f, 1, 1);
    fake_commit(f->w->server, FAKE_T0, 300);
    path_of(f, 1, 0, path, name);
    fake_write_segment(f->w->server, 1, segment(0), path);
    path_of(f, 1, i, path, name);
    fake_write_segment(f->w->server, 1, segment(i), path);
    assert_int_equal(tide_file_read(path, &raw, &err), TIDE_OK);
    memset(raw.data + pos_distance(segment(i), sound) + 40, 0x55, 20);
    assert_int_equal(tide_file_replace(path, raw.data, raw.len, 0600, &err), TIDE_OK);
    assert_int_equal(put_dir(f, &added, &end), TIDE_OK);
    assert_true(pos_equal(end, sound));
    fake_world_check(f->w, 1, 1, START, sound);
    tide_buf_clear(&raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(complete_segments_are_stored_whole_and_again_without_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_incomplete_segment_gives_its_whole_records, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_that_was_cut_off_is_not_taken_for_complete, set_up, tear_down),
        cmocka_unit_test_setup_teardown(beside_streamed_log_only_what_is_missing_is_added, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hole_in_the_middle_is_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_content_is_corrupt_and_nothing_is_overwritten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(notes_of_the_engine_are_taken_and_strange_names_are_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_branch_becomes_a_child, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dead_servers_directory_gives_the_last_seconds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_torn_last_record_ends_a_dead_servers_log, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
