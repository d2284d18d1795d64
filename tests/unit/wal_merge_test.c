/* merge.c and merge_make.c through wal/merge.h and wal_merge: what is merged stays what it was. */

#include "wal/merge.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "tests/support/fake_world.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START ((struct tide_pos){0, FAKE_BASE})

static int set_up(void **state)
{
    struct fake_world *w = fake_world_new();
    *state = w;
    assert_int_equal(fake_world_lineage(w, 0, START, 1), 1);
    return 0;
}

static int tear_down(void **state)
{
    fake_world_free(*state);
    return 0;
}

static struct log_piece *piece_of(struct fake_world *w, struct tide_pos from, struct tide_pos to, unsigned level)
{
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = (size_t)pos_distance(from, to);
    char *evidence = fake_evidence(w->server, 1);
    uint8_t *bytes = malloc(len);
    struct collector *c = NULL;
    struct collector_options o = {.plugin = &fake_plugin,
                                  .host = &w->host.host,
                                  .evidence = evidence,
                                  .lineage = 1,
                                  .object_bytes = 64 << 20,
                                  .start = from,
                                  .first_record = pos_equal(from, START) ? TIDE_POS_NONE : from};

    assert_non_null(bytes);
    fake_read(w->server, 1, from, to, bytes);
    assert_int_equal(collector_new(&o, &c, &err), TIDE_OK);
    assert_int_equal(collector_feed(c, from, to, bytes, len, &err), TIDE_OK);
    assert_int_equal(collector_cut(c, COLLECTOR_ALL, &err), TIDE_OK);
    struct log_piece *p = collector_take(c);
    assert_non_null(p);
    p->info.name.level = (uint8_t)level;
    collector_free(c);
    free(bytes);
    free(evidence);
    return p;
}

static void store(struct fake_world *w, struct tide_pos from, struct tide_pos to, unsigned level)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_piece *p = piece_of(w, from, to, level);

    assert_int_equal(log_piece_put(w->t->repo, "shop", p, &err), TIDE_OK);
    log_piece_free(p);
}

/* n objects of a few records each, at a level; returns where they end. */
static struct tide_pos store_many(struct fake_world *w, struct tide_pos from, unsigned n, unsigned level,
                                  unsigned seed)
{
    static int64_t us = FAKE_T0;

    for (unsigned i = 0; i < n; i++) {
        struct tide_pos end = from;
        for (unsigned k = 1 + (unsigned)rand_r(&seed) % 4; k > 0; k--) {
            us += rand_r(&seed) % 40 == 0 ? -3 * TIDE_SECOND_US : rand_r(&seed) % 2000;
            if (rand_r(&seed) % 4 == 0)
                end = fake_append(w->server, FAKE_DATA, 0, NULL, (unsigned)rand_r(&seed) % 500,
                                  (unsigned)rand_r(&seed) % 10, (uint32_t)rand_r(&seed) % 50);
            else if (rand_r(&seed) % 20 == 0)
                end = fake_append(w->server, TIDE_EVENT_RESTORE_POINT, us, "point", 5, 0, 0);
            else
                end = fake_commit(w->server, us, (unsigned)rand_r(&seed) % 300);
        }
        store(w, from, end, level);
        from = end;
    }
    return from;
}

static uint64_t merge(struct fake_world *w, tide_status expected)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t merged = 0;

    assert_int_equal(wal_merge(w->t->repo, "shop", 1, 0, NULL, &merged, &err), expected);
    return merged;
}

/* A merged object says what one made of the same bytes at once would say. */
static void check_level(struct fake_world *w, unsigned level)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_walk *walk = NULL;
    struct log_name n;

    assert_int_equal(log_walk_open(w->t->repo, "shop", 1, START, &walk, &err), TIDE_OK);
    while (log_walk_next(walk, &n, &err) == TIDE_OK && n.level == level) {
        struct log_info info = {0};
        struct tide_block_ref *refs = NULL;
        size_t n_refs = 0;
        char key[REPO_KEY_MAX];
        struct log_piece *p = piece_of(w, n.start, n.end, level);
        refset_sort(&p->refs);
        assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
        assert_int_equal(log_object_verify(w->t->repo, key, &info, &err), TIDE_OK);
        assert_int_equal(log_object_refs(w->t->repo, key, &refs, &n_refs, &err), TIDE_OK);
        assert_int_equal(n.min_us, p->info.name.min_us);
        assert_int_equal(n.max_us, p->info.name.max_us);
        /* each border is rounded up to a millisecond by itself */
        assert_true(n.back_ms >= p->info.name.back_ms && n.back_ms <= p->info.name.back_ms + 1);
        assert_int_equal(n.marks, p->info.name.marks);
        assert_int_equal(info.bytes, p->info.bytes);
        assert_int_equal(info.n_commits, p->info.n_commits);
        assert_int_equal(info.n_events, p->info.n_events);
        assert_true(pos_equal(info.first_record, p->info.first_record));
        assert_true(pos_equal(info.last_record_start, p->info.last_record_start));
        assert_true(pos_equal(info.last_commit_start, p->info.last_commit_start));
        assert_int_equal(n_refs, p->refs.n);
        for (size_t i = 0; i < n_refs; i++)
            assert_int_equal(refset_compare(&refs[i], &p->refs.items[i]), 0);
        log_info_clear(&info);
        free(refs);
        log_piece_free(p);
    }
    log_walk_close(walk);
}

static void sixty_four_become_one_that_says_the_same(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = store_many(w, START, 3 * 64 + 10, 0, 1);

    assert_int_equal(merge(w, TIDE_OK), 3);
    assert_int_equal(fake_world_objects(w, 1, 1), 3);
    assert_int_equal(fake_world_objects(w, 1, 0), 10); /* no grace: swept */
    fake_world_check(w, 1, 1, START, end);
    check_level(w, 1);
    assert_int_equal(merge(w, TIDE_OK), 0);
    end = store_many(w, end, 60, 0, 2);
    assert_int_equal(merge(w, TIDE_OK), 1);
    assert_int_equal(fake_world_objects(w, 1, 0), 6);
    fake_world_check(w, 1, 1, START, end);
}

static void levels_build_on_each_other(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = store_many(w, START, 64, 2, 1);

    end = store_many(w, end, 65, 1, 2);
    assert_int_equal(merge(w, TIDE_OK), 2);
    assert_int_equal(fake_world_objects(w, 1, 3), 1);
    assert_int_equal(fake_world_objects(w, 1, 2), 1);
    assert_int_equal(fake_world_objects(w, 1, 1), 1);
    fake_world_check(w, 1, 1, START, end);
    check_level(w, 3);
}

static void with_a_grace_period_the_small_ones_stay(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t merged;
    struct tide_pos end = store_many(w, START, 64, 0, 1);

    assert_int_equal(wal_merge(w->t->repo, "shop", 1, 3600 * TIDE_SECOND_US, NULL, &merged, &err), TIDE_OK);
    assert_int_equal(merged, 1);
    assert_int_equal(fake_world_objects(w, 1, 0), 64);
    fake_world_check(w, 1, 1, START, end);
}

static void nothing_is_merged_across_a_gap(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos before = store_many(w, START, 40, 0, 1);
    struct tide_pos behind = fake_commit(w->server, FAKE_T0, 100);
    struct tide_pos end = store_many(w, behind, 70, 0, 2);

    assert_int_equal(merge(w, TIDE_OK), 1);
    assert_int_equal(fake_world_objects(w, 1, 0), 40 + 6);
    fake_world_check(w, 1, 1, START, before);
    fake_world_check(w, 1, 1, behind, end);
}

static void large_objects_are_bounded_and_left_alone(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos from = START, end = START;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;

    for (unsigned i = 0; i < 12; i++, from = end) {
        end = fake_append(w->server, FAKE_DATA, 0, NULL, 3 << 20, 0, 0);
        store(w, from, end, 0);
    }
    assert_int_equal(merge(w, TIDE_OK), 1); /* ten of them are 32 MiB nearly; the two behind wait for more */
    assert_int_equal(fake_world_objects(w, 1, 0), 2);
    assert_int_equal(log_newest(w->t->repo, "shop", 1, &n, &err), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void objects_of_two_writers_overlap_and_merge(void **state)
{
    struct fake_world *w = *state;
    size_t n;
    struct tide_pos end = store_many(w, START, 64, 0, 1);
    const struct fake_commit_record *all = fake_commits(w->server, &n);

    for (size_t i = 2; i + 5 < n; i += 7)
        store(w, all[i].end, all[i + 3].end, 0);
    assert_true(fake_world_objects(w, 1, 0) > 64);
    merge(w, TIDE_OK);
    assert_int_equal(fake_world_objects(w, 1, 1), 1);
    fake_world_check(w, 1, 1, START, end);
}

static void objects_that_disagree_are_left_alone_and_told(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    size_t n;
    struct tide_pos first = store_many(w, START, 64, 0, 1);
    const struct fake_commit_record *all = fake_commits(w->server, &n);
    struct log_piece *p = piece_of(w, all[5].end, all[9].end, 0);

    p->content[p->info.bytes / 2] ^= 1;
    assert_int_equal(log_piece_put(w->t->repo, "shop", p, &err), TIDE_OK);
    log_piece_free(p);
    struct tide_pos end = store_many(w, first, 70, 0, 2);
    size_t before = fake_world_objects(w, 1, 0);
    assert_int_equal(merge(w, TIDE_CORRUPT), 1);
    assert_true(fake_world_objects(w, 1, 0) >= before - 70);
    fake_world_check(w, 1, 1, first, end);
}

/* A large object is there when the merger starts; the small ones go only where it repeats them. */
static void small_ones_go_only_where_the_large_one_repeats_them(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos end = store_many(w, START, 10, 0, 1);
    struct log_piece *large = piece_of(w, START, end, 1);

    large->content[large->info.bytes / 2] ^= 1;
    assert_int_equal(log_piece_put(w->t->repo, "shop", large, &err), TIDE_OK);
    log_piece_free(large);
    merge(w, TIDE_CORRUPT);
    assert_int_equal(fake_world_objects(w, 1, 0), 10);
}

static void small_ones_that_a_large_one_repeats_go(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = store_many(w, START, 10, 0, 1);

    store(w, START, end, 1);
    merge(w, TIDE_OK);
    assert_int_equal(fake_world_objects(w, 1, 0), 0);
    fake_world_check(w, 1, 1, START, end);
}

static void a_kill_between_the_steps_leaves_all_readable(void **state)
{
    static const char *const specs[] = {"merge-before-put=kill:1", "merge-before-tombstone=kill:1",
                                        "merge-before-put=kill:2", "merge-before-tombstone=kill:2"};
    struct fake_world *w = *state;
    struct tide_pos end = START;

    for (unsigned i = 0; i < 4; i++) {
        end = store_many(w, end, 130, 0, i + 1);
        pid_t child = fork();
        if (child == 0) {
            struct tide_err err = TIDE_ERR_INIT;
            uint64_t merged;
            tide_failpoints_armed = tide_failpoints_load(specs[i]);
            tide_status s = wal_merge(w->t->repo, "shop", 1, 0, NULL, &merged, &err);
            _exit(s == TIDE_OK ? 0 : 1);
        }
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        fake_world_check(w, 1, 1, START, end);
    }
    merge(w, TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
    assert_true(fake_world_objects(w, 1, 0) < 64);
}

static void a_failing_store_leaves_all_readable(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = store_many(w, START, 70, 0, 1);

    for (unsigned n = 1; n < 400; n++) {
        struct tide_err err = TIDE_ERR_INIT;
        char url[256];
        uint64_t merged;
        struct repo *r = NULL;
        (void)snprintf(url, sizeof url, "faulty+%s?fault=any@%u+=unavailable", w->t->url, n);
        struct repo_options o = w->t->options;
        o.url = url;
        tide_status s = repo_open(&o, &r, &err);
        if (s == TIDE_OK)
            s = wal_merge(r, "shop", 1, 3600 * TIDE_SECOND_US, NULL, &merged, &err);
        repo_close(r);
        if (n % 40 == 0)
            fake_world_check(w, 1, 1, START, end);
        if (s == TIDE_OK)
            break;
        assert_int_equal(s, TIDE_UNAVAILABLE);
    }
    fake_world_check(w, 1, 1, START, end);
    assert_int_equal(fake_world_objects(w, 1, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sixty_four_become_one_that_says_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(levels_build_on_each_other, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_a_grace_period_the_small_ones_stay, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_is_merged_across_a_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(large_objects_are_bounded_and_left_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_of_two_writers_overlap_and_merge, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_that_disagree_are_left_alone_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_ones_go_only_where_the_large_one_repeats_them, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_ones_that_a_large_one_repeats_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kill_between_the_steps_leaves_all_readable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failing_store_leaves_all_readable, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
