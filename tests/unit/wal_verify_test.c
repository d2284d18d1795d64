/* verify.c through wal/window.h: every stored range FOUND, MISSING or CORRUPT, and the way to it is neither. */

#include "orchestrator/base/clock.h"
#include "tests/support/fake_world.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include "wal/window.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define START ((struct tide_pos){0, FAKE_BASE})
#define N     12

struct fixture {
    struct fake_world *w;
    struct lineage_set set;
    struct log_name names[N];
    struct tide_pos end;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos from = START;

    assert_non_null(f);
    f->w = fake_world_new();
    fake_world_lineage(f->w, 0, START, 1);
    assert_int_equal(lineage_load(f->w->t->repo, "shop", &f->set, &err), TIDE_OK);
    for (unsigned i = 0; i < N; i++) {
        for (unsigned k = 0; k < 6; k++)
            f->end = fake_commit(f->w->server, FAKE_T0 + (i * 10 + k) * TIDE_SECOND_US, 100);
        f->names[i] = fake_world_store(f->w, 1, 1, from, f->end);
        from = f->end;
    }
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    lineage_set_clear(&f->set);
    fake_world_free(f->w);
    free(f);
    return 0;
}

struct ranges {
    struct log_range items[32];
    char keys[32][REPO_KEY_MAX];
    size_t n;
};

static tide_status take(void *ctx, const struct log_range *range, struct tide_err *err)
{
    struct ranges *r = ctx;
    (void)err;
    assert_true(r->n < 32);
    (void)snprintf(r->keys[r->n], REPO_KEY_MAX, "%s", range->key == NULL ? "" : range->key);
    assert_int_equal(range->state == LOG_CORRUPT, range->key != NULL);
    assert_int_equal(range->state == LOG_FOUND, range->why == NULL);
    r->items[r->n++] = *range;
    return TIDE_OK;
}

static struct ranges verify(struct fixture *f, struct tide_pos from, struct tide_pos to, unsigned percent, bool deep)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct ranges r = {0};
    tide_status s = log_verify(f->w->t->repo, "shop", &f->set.items[0], from, to, percent, deep ? &fake_plugin : NULL,
                               deep ? &f->w->host.host : NULL, take, &r, &err);
    if (s != TIDE_OK)
        fail_msg("%s", err.msg);
    return r;
}

static void key_of(struct fixture *f, unsigned i, char key[REPO_KEY_MAX])
{
    struct tide_err err = TIDE_ERR_INIT;
    (void)f;
    assert_int_equal(log_name_key("shop", &f->names[i], key, &err), TIDE_OK);
}

static void lose(struct fixture *f, unsigned i)
{
    struct tide_err err = TIDE_ERR_INIT;
    char key[REPO_KEY_MAX];
    key_of(f, i, key);
    assert_int_equal(store_delete(repo_store(f->w->t->repo), key, &err), TIDE_OK);
}

static void damage(struct fixture *f, unsigned i)
{
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    char key[REPO_KEY_MAX];
    key_of(f, i, key);
    test_raw_read(f->w->t, key, &raw);
    raw.data[raw.len - 10] ^= 1;
    test_raw_write(f->w->t, key, raw.data, raw.len);
    tide_buf_clear(&raw);
}

static void whole_log_is_one_range(void **state)
{
    struct fixture *f = *state;
    for (int deep = 0; deep < 2; deep++) {
        struct ranges r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, deep);
        assert_int_equal(r.n, 1);
        assert_int_equal(r.items[0].state, LOG_FOUND);
        assert_true(pos_equal(r.items[0].from, START) && pos_equal(r.items[0].to, f->end));
        assert_int_equal(r.items[0].from_us, FAKE_T0);
        assert_int_equal(r.items[0].to_us, FAKE_T0 + ((N - 1) * 10 + 5) * TIDE_SECOND_US);
    }
    struct ranges r = verify(f, pos_add(START, 100), pos_sub(f->end, 100), 100, true);
    assert_int_equal(r.n, 1);
    assert_true(pos_equal(r.items[0].from, pos_add(START, 100)) && pos_equal(r.items[0].to, pos_sub(f->end, 100)));
}

static void what_is_missing_is_told_with_the_times_around_it(void **state)
{
    struct fixture *f = *state;
    lose(f, 3);
    lose(f, 4);
    struct ranges r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, true);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.items[1].state, LOG_MISSING);
    assert_true(pos_equal(r.items[1].from, f->names[3].start) && pos_equal(r.items[1].to, f->names[4].end));
    assert_int_equal(r.items[1].from_us, f->names[2].max_us);
    assert_int_equal(r.items[1].to_us, f->names[5].min_us);
    lose(f, N - 1);
    r = verify(f, f->names[5].start, f->end, 100, false);
    assert_int_equal(r.n, 2);
    assert_int_equal(r.items[1].state, LOG_MISSING);
    assert_true(pos_equal(r.items[1].from, f->names[N - 1].start) && pos_equal(r.items[1].to, f->end));
}

static void damage_is_told_with_its_object(void **state)
{
    struct fixture *f = *state;
    char key[REPO_KEY_MAX];
    damage(f, 6);
    for (int deep = 0; deep < 2; deep++) {
        struct ranges r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, deep);
        assert_int_equal(r.n, 3);
        assert_int_equal(r.items[1].state, LOG_CORRUPT);
        key_of(f, 6, key);
        assert_string_equal(r.keys[1], key);
        assert_true(pos_equal(r.items[1].from, f->names[6].start) && pos_equal(r.items[1].to, f->names[6].end));
        assert_int_equal(r.items[1].from_us, f->names[5].max_us);
    }
}

/* An object that is sound as an object, but whose records are not. */
static void put_altered(struct fixture *f, struct tide_pos from, struct tide_pos to)
{
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = (size_t)pos_distance(from, to);
    uint8_t *bytes = malloc(len);
    struct log_info i = {
        .name = {.lineage = 1, .start = from, .end = to, .min_us = TIDE_TIME_NONE, .max_us = TIDE_TIME_NONE},
        .bytes = len,
        .first_record = from,
        .n_extents = 1,
        .extents = {{.start = from, .end = to, .len = (uint32_t)len}}};
    assert_non_null(bytes);
    fake_read(f->w->server, 1, from, to, bytes);
    bytes[len - 30] ^= 1;
    assert_int_equal(log_object_put(f->w->t->repo, "shop", &i, bytes, NULL, 0, &err), TIDE_OK);
    free(bytes);
}

static void a_deep_look_checks_the_records_own_checksums(void **state)
{
    struct fixture *f = *state;
    lose(f, 2);
    put_altered(f, f->names[2].start, f->names[2].end);
    struct ranges r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, false);
    assert_int_equal(r.n, 1);
    r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, true);
    assert_int_equal(r.n, 3);
    assert_int_equal(r.items[1].state, LOG_CORRUPT);
}

static void objects_that_overlap_have_to_agree(void **state)
{
    struct fixture *f = *state;
    size_t n;
    const struct fake_commit_record *all = fake_commits(f->w->server, &n);
    /* begins inside of object 3, goes over 4, ends inside of 5: the walk goes through it */
    fake_world_store(f->w, 1, 1, all[3 * 6 + 3].end, all[5 * 6 + 1].end);
    lose(f, 4);
    struct ranges r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, false);
    assert_int_equal(r.n, 1);
    lose(f, 8);
    put_altered(f, all[7 * 6 + 3].end, all[9 * 6 + 1].end);
    r = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 100, false);
    assert_true(r.n >= 2);
    size_t corrupt = 0;
    for (size_t i = 0; i < r.n; i++)
        corrupt += r.items[i].state == LOG_CORRUPT;
    assert_true(corrupt >= 1);
}

static void a_sample_reads_a_part(void **state)
{
    struct fixture *f = *state;
    for (unsigned i = 0; i < N; i++)
        damage(f, i);
    struct ranges none = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 0, true);
    assert_int_equal(none.n, 1);
    assert_int_equal(none.items[0].state, LOG_FOUND);
    struct ranges half = verify(f, TIDE_POS_NONE, TIDE_POS_NONE, 50, true);
    assert_true(half.n > 1);
}

static void an_unreachable_store_is_no_verdict(void **state)
{
    struct fixture *f = *state;
    for (unsigned n = 1; n < 200; n++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct ranges r = {0};
        char url[256];
        struct repo *repo = NULL;
        (void)snprintf(url, sizeof url, "faulty+%s?fault=any@%u+=unavailable", f->w->t->url, n);
        struct repo_options o = f->w->t->options;
        o.url = url;
        tide_status s = repo_open(&o, &repo, &err);
        if (s == TIDE_OK)
            s = log_verify(repo, "shop", &f->set.items[0], TIDE_POS_NONE, TIDE_POS_NONE, 100, NULL, NULL, take, &r,
                           &err);
        repo_close(repo);
        for (size_t i = 0; i < r.n; i++)
            assert_int_equal(r.items[i].state, LOG_FOUND);
        if (s == TIDE_OK)
            return;
        assert_int_equal(s, TIDE_UNAVAILABLE);
    }
    fail_msg("it never succeeded");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_log_is_one_range, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_missing_is_told_with_the_times_around_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_told_with_its_object, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_deep_look_checks_the_records_own_checksums, set_up, tear_down),
        cmocka_unit_test_setup_teardown(objects_that_overlap_have_to_agree, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sample_reads_a_part, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unreachable_store_is_no_verdict, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
