/* branch.c through wal/branch.h: which stored lineage a server's log continues. */

#include "wal/branch.h"

#include "tests/support/fake_world.h"
#include "wal/collector.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define START ((struct tide_pos){0, FAKE_BASE})

static int set_up(void **state)
{
    *state = fake_world_new();
    return 0;
}

static int tear_down(void **state)
{
    fake_world_free(*state);
    return 0;
}

static tide_status choose(struct fake_world *w, uint64_t branch, bool create, struct branch_choice *out)
{
    struct tide_err err = TIDE_ERR_INIT;
    char *evidence = fake_evidence(w->server, branch);
    struct tide_log_identity id = {
        .struct_size = sizeof id, .evidence = evidence, .branch = branch, .stream_from = START};
    tide_status s = branch_choose(w->t->repo, "shop", &fake_plugin, &w->host.host, &id, create, out, &err);
    free(evidence);
    return s;
}

static struct tide_pos store_some(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from,
                                  unsigned n)
{
    struct tide_pos end = from;
    for (unsigned i = 0; i < n; i++)
        end = fake_commit(w->server, FAKE_T0 + i, 100);
    fake_world_store(w, lineage, branch, from, end);
    return end;
}

static void the_first_lineage_begins_where_the_server_says(void **state)
{
    struct fake_world *w = *state;
    struct branch_choice c;
    struct lineage_set set = {0};
    struct tide_err err = TIDE_ERR_INIT;

    assert_int_equal(choose(w, 1, false, &c), TIDE_NOT_FOUND);
    assert_int_equal(choose(w, 1, true, &c), TIDE_OK);
    assert_true(c.created);
    assert_int_equal(c.lineage, 1);
    assert_true(tide_pos_is_none(c.resume) && tide_pos_is_none(c.prove_from));
    assert_int_equal(lineage_load(w->t->repo, "shop", &set, &err), TIDE_OK);
    assert_true(pos_equal(set.items[0].start, START));
    lineage_set_clear(&set);
    assert_int_equal(choose(w, 1, true, &c), TIDE_OK);
    assert_false(c.created);
    assert_int_equal(c.lineage, 1);
}

static void a_known_branch_is_resumed_behind_its_last_record(void **state)
{
    struct fake_world *w = *state;
    struct branch_choice c;
    size_t n;

    fake_world_lineage(w, 0, START, 1);
    struct tide_pos end = store_some(w, 1, 1, START, 7);
    const struct fake_commit_record *all = fake_commits(w->server, &n);
    assert_int_equal(choose(w, 1, false, &c), TIDE_OK);
    assert_true(pos_equal(c.resume, end));
    assert_true(pos_equal(c.prove_from, all[n - 1].start));
}

static void a_record_that_spans_objects_is_proved_from_its_start(void **state)
{
    struct fake_world *w = *state;
    struct branch_choice c;
    size_t n;

    fake_world_lineage(w, 0, START, 1);
    struct tide_pos first = store_some(w, 1, 1, START, 3);
    struct tide_pos end = fake_commit(w->server, FAKE_T0, 50000);
    const struct fake_commit_record *all = fake_commits(w->server, &n);
    /* in pieces of 11000 bytes, which are smaller than the record */
    struct tide_err err = TIDE_ERR_INIT;
    char *evidence = fake_evidence(w->server, 1);
    uint8_t *bytes = malloc((size_t)pos_distance(first, end));
    struct collector *k = NULL;
    struct collector_options o = {.plugin = &fake_plugin,
                                  .host = &w->host.host,
                                  .evidence = evidence,
                                  .lineage = 1,
                                  .object_bytes = 11000,
                                  .start = first,
                                  .first_record = first};
    fake_read(w->server, 1, first, end, bytes);
    assert_int_equal(collector_new(&o, &k, &err), TIDE_OK);
    for (struct tide_pos at = first; pos_before(at, end);) {
        struct tide_pos to = pos_min(end, pos_add(at, 11000));
        assert_int_equal(collector_feed(k, at, to, bytes + pos_distance(first, at), to.lo - at.lo, &err), TIDE_OK);
        at = to;
    }
    assert_int_equal(collector_cut(k, COLLECTOR_WHOLE, &err), TIDE_OK);
    unsigned pieces = 0;
    for (struct log_piece *p; (p = collector_take(k)) != NULL; log_piece_free(p), pieces++)
        assert_int_equal(log_piece_put(w->t->repo, "shop", p, &err), TIDE_OK);
    assert_true(pieces >= 4);
    collector_free(k);
    free(bytes);
    free(evidence);
    assert_int_equal(choose(w, 1, false, &c), TIDE_OK);
    assert_true(pos_equal(c.resume, end));
    /* the record's start, or just before its page header */
    assert_true(c.prove_from.lo <= all[n - 1].start.lo && all[n - 1].start.lo - c.prove_from.lo <= 8);
}

static void a_promoted_server_gets_a_child_at_the_fork(void **state)
{
    struct fake_world *w = *state;
    struct branch_choice c;
    struct lineage_set set = {0};
    struct tide_err err = TIDE_ERR_INIT;

    fake_world_lineage(w, 0, START, 1);
    struct tide_pos fork = store_some(w, 1, 1, START, 7);
    struct tide_pos beyond = store_some(w, 1, 1, fork, 3);
    fake_promote(w->server, fork);
    assert_int_equal(choose(w, 2, false, &c), TIDE_NOT_FOUND);
    assert_int_equal(choose(w, 2, true, &c), TIDE_OK);
    assert_true(c.created);
    assert_int_equal(c.lineage, 2);
    assert_true(pos_equal(c.orphaned, beyond));
    assert_int_equal(lineage_load(w->t->repo, "shop", &set, &err), TIDE_OK);
    assert_int_equal(set.items[1].parent, 1);
    assert_true(pos_equal(set.items[1].fork, fork) && pos_equal(set.items[1].start, fork));
    lineage_set_clear(&set);
    /* the nearest ancestor is the parent of what comes next */
    struct tide_pos second = store_some(w, 2, 2, fork, 5);
    fake_promote(w->server, second);
    assert_int_equal(choose(w, 3, true, &c), TIDE_OK);
    assert_int_equal(lineage_load(w->t->repo, "shop", &set, &err), TIDE_OK);
    assert_int_equal(set.items[2].parent, 2);
    assert_true(tide_pos_is_none(c.orphaned));
    lineage_set_clear(&set);
}

static void a_stranger_is_refused(void **state)
{
    struct fake_world *w = *state;
    struct branch_choice c;

    fake_world_lineage(w, 0, START, 1);
    struct tide_pos end = store_some(w, 1, 1, START, 7);
    struct fake_server *other = fake_server_new(99), *own = w->server;
    w->server = other;
    assert_int_equal(choose(w, 1, true, &c), TIDE_REFUSED);
    w->server = own;
    fake_server_free(other);
    /* another promotion of the same parent is no stranger, but no continuation of the first one either */
    fake_promote(w->server, end);
    assert_int_equal(choose(w, 2, true, &c), TIDE_OK);
    assert_int_equal(c.lineage, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_first_lineage_begins_where_the_server_says, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_known_branch_is_resumed_behind_its_last_record, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_that_spans_objects_is_proved_from_its_start, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_promoted_server_gets_a_child_at_the_fork, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stranger_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
