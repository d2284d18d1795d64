/* fetch.c, scan.c, locate.c: bytes and events back from stored log; absence only where it is proved. */

#include "wal/fetch.h"

#include "orchestrator/base/clock.h"
#include "tests/support/fake_world.h"
#include "wal/locate.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START ((struct tide_pos){0, FAKE_BASE})

/* Lineage 1 up to the fork and beyond, lineage 2 from the fork on. */
struct forked {
    struct fake_world *w;
    struct tide_pos fork, orphaned, end;
    struct lineage_step path[2];
};

static struct tide_pos grow(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from, unsigned n,
                            unsigned seed, struct log_name *names)
{
    for (unsigned i = 0; i < n; i++) {
        struct tide_pos end = from;
        for (unsigned k = 0; k < 5; k++)
            end = fake_commit(w->server, FAKE_T0 + (int64_t)(seed * 100 + i * 5 + k) * 1000,
                              (unsigned)rand_r(&seed) % 400);
        struct log_name name = fake_world_store(w, lineage, branch, from, end);
        if (names != NULL)
            names[i] = name;
        from = end;
    }
    return from;
}

static int set_up(void **state)
{
    struct forked *f = calloc(1, sizeof *f);
    struct fake_world *w = f->w = fake_world_new();

    assert_int_equal(fake_world_lineage(w, 0, START, 1), 1);
    f->fork = grow(w, 1, 1, START, 10, 1, NULL);
    f->orphaned = grow(w, 1, 1, f->fork, 3, 2, NULL);
    fake_promote(w->server, f->fork);
    assert_int_equal(fake_world_lineage(w, 1, f->fork, 2), 2);
    f->end = grow(w, 2, 2, f->fork, 10, 3, NULL);
    f->path[0] = (struct lineage_step){.lineage = 1, .start = START, .end = f->fork};
    f->path[1] = (struct lineage_step){.lineage = 2, .start = f->fork};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct forked *f = *state;
    fake_world_free(f->w);
    free(f);
    return 0;
}

static struct log_source *source(struct forked *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_source *s = NULL;
    assert_int_equal(log_source_new(f->w->t->repo, "shop", f->path, 2, &s, &err), TIDE_OK);
    return s;
}

static void bytes_are_stitched_from_parent_and_child(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_source *s = source(f);
    size_t len = (size_t)pos_distance(START, f->end);
    uint8_t *all = malloc(len), *got = malloc(len);
    unsigned r = 1;

    assert_non_null(all);
    assert_non_null(got);
    fake_read(f->w->server, 2, START, f->end, all);
    for (int i = 0; i < 300; i++) {
        size_t from = (size_t)rand_r(&r) % len, n = (size_t)rand_r(&r) % (len - from) + 1;
        struct tide_pos end, to = pos_add(START, from + n);
        if (i == 0) {
            from = 0;
            to = f->end;
            n = len;
        }
        assert_int_equal(log_source_read(s, pos_add(START, from), to, got, &end, &err), TIDE_OK);
        assert_true(pos_equal(end, to));
        assert_memory_equal(got, all + from, n);
    }
    log_source_free(s);
    free(all);
    free(got);
}

/* A server that asks again and again for what comes next must not be told for ever what was true once. */
static void an_old_listing_is_no_proof_of_absence(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_source *s = source(f);
    uint8_t buf[1000];
    struct tide_pos got, end = f->end;

    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(log_source_read(s, end, pos_add(end, 500), buf, &got, &err), TIDE_NOT_FOUND);
        struct tide_pos later = grow(f->w, 2, 2, end, 1, 9 + i, NULL);
        assert_int_equal(log_source_read(s, end, pos_min(later, pos_add(end, 900)), buf, &got, &err), TIDE_OK);
        end = later;
    }
    log_source_free(s);
}

static void the_end_of_log_is_told_and_behind_it_absence(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_source *s = source(f);
    uint8_t buf[1000];
    struct tide_pos got;

    assert_int_equal(log_source_read(s, pos_sub(f->end, 100), pos_add(f->end, 500), buf, &got, &err), TIDE_OK);
    assert_true(pos_equal(got, f->end));
    assert_int_equal(log_source_read(s, f->end, pos_add(f->end, 500), buf, &got, &err), TIDE_NOT_FOUND);
    assert_int_equal(log_source_read(s, pos_add(f->end, 1), pos_add(f->end, 5), buf, &got, &err), TIDE_NOT_FOUND);
    /* what comes later is seen after a refresh */
    struct tide_pos later = grow(f->w, 2, 2, f->end, 1, 9, NULL);
    log_source_refresh(s);
    assert_int_equal(log_source_read(s, f->end, pos_min(later, pos_add(f->end, 900)), buf, &got, &err), TIDE_OK);
    log_source_free(s);
}

static void remove_object(struct forked *f, uint32_t lineage, struct tide_pos at)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;
    char key[REPO_KEY_MAX];

    assert_int_equal(log_object_at(f->w->t->repo, "shop", lineage, at, &n, &err), TIDE_OK);
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
    assert_int_equal(store_delete(repo_store(f->w->t->repo), key, &err), TIDE_OK);
}

static void a_missing_object_is_a_hole_and_not_the_end(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t buf[200];
    struct tide_pos got, middle = pos_add(START, pos_distance(START, f->fork) / 2);

    remove_object(f, 1, middle);
    struct log_source *s = source(f);
    assert_int_equal(log_source_read(s, middle, pos_add(middle, 100), buf, &got, &err), TIDE_CORRUPT);
    log_source_free(s);
    /* the last object before the fork: the child's log is behind the hole */
    struct tide_pos last = pos_sub(f->fork, 50);
    remove_object(f, 1, last);
    s = source(f);
    assert_int_equal(log_source_read(s, last, pos_add(last, 10), buf, &got, &err), TIDE_CORRUPT);
    log_source_free(s);
    /* the child's first: what the parent holds behind the fork is no substitute */
    remove_object(f, 2, f->fork);
    s = source(f);
    assert_int_equal(log_source_read(s, f->fork, pos_add(f->fork, 10), buf, &got, &err), TIDE_CORRUPT);
    log_source_free(s);
}

static void an_object_that_is_listed_and_gone_is_corrupt(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_source *s = source(f);
    uint8_t buf[200];
    struct tide_pos got;

    /* listed: the first read fills the page */
    assert_int_equal(log_source_read(s, START, pos_add(START, 10), buf, &got, &err), TIDE_OK);
    struct log_name n;
    assert_int_equal(log_object_at(f->w->t->repo, "shop", 1, START, &n, &err), TIDE_OK);
    struct log_name next;
    assert_int_equal(log_object_at(f->w->t->repo, "shop", 1, n.end, &next, &err), TIDE_OK);
    remove_object(f, 1, n.end);
    /* gone, and not listed any more: a hole before later log */
    assert_int_equal(log_source_read(s, n.end, pos_add(n.end, 10), buf, &got, &err), TIDE_CORRUPT);
    /* merged meanwhile into another: that one is read */
    struct log_name third;
    assert_int_equal(log_object_at(f->w->t->repo, "shop", 1, next.end, &third, &err), TIDE_OK);
    log_source_refresh(s);
    assert_int_equal(log_source_read(s, next.end, pos_add(next.end, 10), buf, &got, &err), TIDE_OK);
    struct tide_pos fourth = third.end;
    fake_world_store(f->w, 1, 1, third.start, pos_add(fourth, 8));
    remove_object(f, 1, pos_add(fourth, 8));
    assert_int_equal(log_source_read(s, fourth, pos_add(fourth, 8), buf, &got, &err), TIDE_OK);
    log_source_free(s);
}

static void damage_is_never_an_absence(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;
    char key[REPO_KEY_MAX];
    uint8_t buf[200];
    struct tide_pos got;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);

    assert_int_equal(log_object_at(f->w->t->repo, "shop", 2, pos_sub(f->end, 1), &n, &err), TIDE_OK);
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
    test_raw_read(f->w->t, key, &raw);
    raw.data[raw.len / 2] ^= 0x10;
    test_raw_write(f->w->t, key, raw.data, raw.len);
    struct log_source *s = source(f);
    assert_int_equal(log_source_read(s, n.start, pos_add(n.start, 10), buf, &got, &err), TIDE_CORRUPT);
    log_source_free(s);
    tide_buf_clear(&raw);
}

static void an_unreachable_store_is_never_an_absence(void **state)
{
    struct forked *f = *state;
    uint8_t buf[2000];

    for (unsigned n = 1; n < 100; n++) {
        struct tide_err err = TIDE_ERR_INIT;
        char url[256];
        struct repo *r = NULL;
        struct log_source *s = NULL;
        struct tide_pos got = START;
        (void)snprintf(url, sizeof url, "faulty+%s?fault=any@%u+=unavailable", f->w->t->url, n);
        struct repo_options o = f->w->t->options;
        o.url = url;
        tide_status st = repo_open(&o, &r, &err);
        if (st == TIDE_OK)
            st = log_source_new(r, "shop", f->path, 2, &s, &err);
        if (st == TIDE_OK)
            st = log_source_read(s, pos_sub(f->end, 500), pos_add(f->end, 500), buf, &got, &err);
        log_source_free(s);
        repo_close(r);
        if (st == TIDE_OK)
            return;
        assert_int_equal(st, TIDE_UNAVAILABLE);
    }
    fail_msg("it never succeeded");
}

struct seen {
    size_t n;
    struct tide_pos last;
};

static tide_status take_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct seen *s = ctx;
    (void)err;
    if (e->kind == TIDE_EVENT_COMMIT) {
        assert_true(pos_before(s->last, e->end));
        s->last = e->end;
        s->n++;
    }
    return s->n == 1000 ? TIDE_EXISTS : TIDE_OK;
}

/* However the log was cut into objects, each commit is told once, with the object in which it ends. */
static void every_commit_is_told_by_the_object_it_ends_in(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 8; seed++) {
        unsigned r = seed;
        struct fake_world *w = fake_world_new();
        struct tide_err err = TIDE_ERR_INIT;
        struct seen seen = {0};
        size_t n;

        fake_world_lineage(w, 0, START, 1);
        w->o.object_bytes = 3000;
        fake_world_start_streaming(w);
        struct tide_pos end = START;
        for (unsigned i = 0; i < 150; i++) {
            if (rand_r(&r) % 15 == 0)
                fake_append(w->server, FAKE_SWITCH, 0, NULL, 4, 0, 0);
            end = fake_commit(w->server, FAKE_T0 + i, (size_t)rand_r(&r) % (rand_r(&r) % 20 == 0 ? 12000 : 100));
            if (i % 50 == 0)
                fake_kick(w->server);
        }
        fake_world_wait_stored(w, 1, end);
        assert_int_equal(fake_world_stop(w), TIDE_OK);
        struct log_walk *walk = NULL;
        struct log_name name;
        char *evidence = fake_evidence(w->server, 1);
        assert_int_equal(log_walk_open(w->t->repo, "shop", 1, TIDE_POS_NONE, &walk, &err), TIDE_OK);
        while (log_walk_next(walk, &name, &err) == TIDE_OK)
            assert_int_equal(log_scan_object(w->t->repo, "shop", &fake_plugin, &w->host.host, evidence, &name,
                                             take_event, &seen, &err),
                             TIDE_OK);
        (void)fake_commits(w->server, &n);
        assert_int_equal(seen.n, n);
        log_walk_close(walk);
        free(evidence);
        fake_world_free(w);
    }
}

static void a_callback_stops_a_scan_with_its_own_status(void **state)
{
    struct forked *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct seen seen = {.n = 999};
    struct log_name n;
    char *evidence = fake_evidence(f->w->server, 1);

    assert_int_equal(log_object_at(f->w->t->repo, "shop", 1, START, &n, &err), TIDE_OK);
    assert_int_equal(
        log_scan_object(f->w->t->repo, "shop", &fake_plugin, &f->w->host.host, evidence, &n, take_event, &seen, &err),
        TIDE_EXISTS);
    assert_int_equal(seen.n, 1000);
    free(evidence);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_are_stitched_from_parent_and_child, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_end_of_log_is_told_and_behind_it_absence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_old_listing_is_no_proof_of_absence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_object_is_a_hole_and_not_the_end, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_object_that_is_listed_and_gone_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_never_an_absence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unreachable_store_is_never_an_absence, set_up, tear_down),
        cmocka_unit_test(every_commit_is_told_by_the_object_it_ends_in),
        cmocka_unit_test_setup_teardown(a_callback_stops_a_scan_with_its_own_status, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
