/* record.c, and the records that are little more: gaps, heartbeats, tombstones, instances. */

#include "orchestrator/repository/record.h"
#include "orchestrator/repository/lineage.h"
#include "orchestrator/repository/logobject.h"
#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int set_up(void **state)
{
    *state = test_repo_new(true);
    return 0;
}

static int tear_down(void **state)
{
    test_repo_free(*state);
    return 0;
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static void put_number(struct repo *r, const char *folder, uint32_t n)
{
    struct tide_err err = TIDE_ERR_INIT;
    json_t *doc = json_pack("{s:i}", "n", (int)n);
    ok(record_put_numbered(r, folder, n, OBJECT_PIN, doc, &err), &err);
    json_decref(doc);
}

static void highest_number_counts(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint32_t n = 7;
    ok(record_highest(t->repo, "instances/shop/pins/", &n, &err), &err);
    assert_int_equal(n, 0);
    put_number(t->repo, "instances/shop/pins/", 1);
    put_number(t->repo, "instances/shop/pins/", 0x10);
    test_raw_write(t, "instances/shop/pins/zzzzzzzz", "x", 1);
    test_raw_write(t, "instances/shop/pins/00000011/1", "x", 1);
    ok(record_highest(t->repo, "instances/shop/pins/", &n, &err), &err);
    assert_int_equal(n, 0x10);
    json_t *doc = json_object();
    assert_int_equal(record_put_numbered(t->repo, "instances/shop/pins/", 0x10, OBJECT_PIN, doc, &err), TIDE_EXISTS);
    assert_int_equal(record_put_numbered(t->repo, "instances/shop/pins/", 0, OBJECT_PIN, doc, &err), TIDE_INVALID);
    json_decref(doc);
}

static void record_at_another_key_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    json_t *doc = NULL;
    put_number(t->repo, "instances/shop/pins/", 1);
    test_raw_read(t, "instances/shop/pins/00000001", &raw);
    test_raw_write(t, "instances/shop/pins/00000002", raw.data, raw.len);
    assert_int_equal(record_get(t->repo, "instances/shop/pins/00000002", OBJECT_PIN, &doc, &err), TIDE_CORRUPT);
    assert_null(doc);
    ok(record_get(t->repo, "instances/shop/pins/00000001", OBJECT_PIN, &doc, &err), &err);
    json_decref(doc);
}

static void content_that_is_no_json_object_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const char *const bad[] = {"", "[]", "{", "{\"key\":1}", "{\"a\":1}", "{\"key\":\"a\",\"key\":\"a\"}"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        char key[64];
        json_t *doc = NULL;
        (void)snprintf(key, sizeof(key), "instances/shop/a%zu", i);
        struct object_small o = {.key = key, .type = OBJECT_PIN};
        ok(object_put(t->repo, &o, bad[i], strlen(bad[i]), &err), &err);
        assert_int_equal(record_get(t->repo, key, OBJECT_PIN, &doc, &err), TIDE_CORRUPT);
    }
}

static void members_are_checked_and_the_record_is_named(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    json_t *doc = json_pack("{s:s, s:s, s:I, s:s, s:s}", "key", "instances/x/y", "text", "hello", "number",
                            (json_int_t)-5, "pos", "00000000000000010000000000000002", "hex", "ffffffffffffffff");
    const char *text = NULL;
    int64_t i = 0;
    uint32_t u = 0;
    uint64_t h = 0;
    struct tide_pos pos;
    ok(record_str(doc, "text", &text, &err), &err);
    assert_string_equal(text, "hello");
    ok(record_i64(doc, "number", &i, &err), &err);
    assert_int_equal(i, -5);
    ok(record_pos(doc, "pos", &pos, &err), &err);
    assert_true(pos.hi == 1 && pos.lo == 2);
    ok(record_hex64(doc, "hex", &h, &err), &err);
    assert_true(h == UINT64_MAX);
    assert_int_equal(record_u32(doc, "number", &u, &err), TIDE_CORRUPT);
    assert_int_equal(record_str(doc, "number", &text, &err), TIDE_CORRUPT);
    assert_int_equal(record_str(doc, "absent", &text, &err), TIDE_CORRUPT);
    assert_int_equal(record_i64(doc, "text", &i, &err), TIDE_CORRUPT);
    assert_int_equal(record_pos(doc, "text", &pos, &err), TIDE_CORRUPT);
    assert_int_equal(record_hex64(doc, "pos", &h, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, "instances/x/y"));
    json_decref(doc);
}

static void positions_are_32_hex_digits(void **state)
{
    (void)state;
    struct tide_pos p = {.hi = 0xabc, .lo = UINT64_MAX}, back;
    char hex[33];
    record_pos_hex(p, hex);
    assert_string_equal(hex, "0000000000000abcffffffffffffffff");
    assert_true(record_pos_text(hex, &back));
    assert_int_equal(tide_pos_cmp(p, back), 0);
    assert_false(record_pos_text("abc", &back));
    assert_false(record_pos_text("0000000000000abcfffffffffffffffg", &back));
}

/* ---- instances */

static tide_status join_names(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    strcat(ctx, e->key);
    strcat(ctx, " ");
    return TIDE_OK;
}

static void instances_are_known_by_their_objects(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char engine[32], names[200] = "";
    assert_int_equal(instance_engine(t->repo, "shop", engine, &err), TIDE_NOT_FOUND);
    ok(instance_ensure(t->repo, "shop", "postgresql", &err), &err);
    ok(instance_ensure(t->repo, "shop", "postgresql", &err), &err);
    ok(instance_ensure(t->repo, "crm", "mariadb", &err), &err);
    assert_int_equal(instance_ensure(t->repo, "shop", "mysql", &err), TIDE_REFUSED);
    ok(instance_engine(t->repo, "shop", engine, &err), &err);
    assert_string_equal(engine, "postgresql");
    put_number(t->repo, "instances/half/pins/", 1); /* no instance object */
    ok(repo_instances(t->repo, join_names, names, &err), &err);
    assert_string_equal(names, "crm shop ");
}

static void instance_names_are_restricted(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char engine[32];
    static const char *const good[] = {"a", "0", "shop", "a.b_c-d", "a..b"};
    static const char *const bad[] = {
        "",    ".a",  "-a",   "_a",       "A",
        "a/b", "a b", "../x", "\xc3\xa4", "0123456789012345678901234567890123456789012345678901234567890123"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++)
        assert_true(repo_name_is_valid(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_false(repo_name_is_valid(bad[i]));
        assert_int_equal(instance_engine(t->repo, bad[i], engine, &err), TIDE_INVALID);
        assert_int_equal(instance_ensure(t->repo, bad[i], "mysql", &err), TIDE_INVALID);
    }
}

/* ---- heartbeats */

static void newest_heartbeat_is_found_by_one_short_listing(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t clock = 0;
    struct tide_pos pos = {0};
    assert_int_equal(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), TIDE_NOT_FOUND);
    for (uint64_t i = 1; i <= 20; i++)
        ok(heartbeat_put(t->repo, "shop", 1, (int64_t)(i * 7 % 20) * TIDE_SECOND_US + 5, (struct tide_pos){1, i},
                         &err),
           &err);
    ok(heartbeat_put(t->repo, "shop", 1, 19 * TIDE_SECOND_US + 5, (struct tide_pos){1, 17}, &err), &err); /* again */
    ok(heartbeat_put(t->repo, "shop", 2, 99 * TIDE_SECOND_US, (struct tide_pos){9, 9}, &err), &err);
    struct store_counters before = store_counters(repo_store(t->repo));
    ok(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), &err);
    struct store_counters after = store_counters(repo_store(t->repo));
    assert_int_equal(clock, 19 * TIDE_SECOND_US + 5);
    assert_true(pos.hi == 1 && pos.lo == 17);
    assert_int_equal(after.lists - before.lists, 1);
    assert_int_equal(after.gets - before.gets, 1);
}

static void old_heartbeats_are_pruned(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t clock = 0;
    struct tide_pos pos = {0};
    uint64_t before = store_counters(repo_store(t->repo)).deletes;
    for (int64_t i = 1; i <= 10; i++)
        ok(heartbeat_put(t->repo, "shop", 1, i, (struct tide_pos){0, 1}, &err), &err);
    ok(heartbeat_prune(t->repo, "shop", 1, 3, &err), &err);
    assert_int_equal(store_counters(repo_store(t->repo)).deletes - before, 7);
    ok(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), &err);
    assert_int_equal(clock, 10);
    ok(heartbeat_prune(t->repo, "shop", 1, 0, &err), &err);
    assert_int_equal(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), TIDE_NOT_FOUND);
    assert_int_equal(heartbeat_put(t->repo, "shop", 1, TIDE_TIME_NONE, pos, &err), TIDE_INVALID);
}

static void heartbeats_of_a_time_that_has_not_come_are_retracted(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t clock;
    struct tide_pos pos;
    for (int64_t i = 1; i <= 9; i++)
        ok(heartbeat_put(t->repo, "shop", 1, i * TIDE_SECOND_US, (struct tide_pos){0, 1}, &err), &err);
    ok(heartbeat_put(t->repo, "shop", 2, 99 * TIDE_SECOND_US, (struct tide_pos){0, 1}, &err), &err);
    ok(heartbeat_retract(t->repo, "shop", 1, 5 * TIDE_SECOND_US, &err), &err);
    ok(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), &err);
    assert_int_equal(clock, 5 * TIDE_SECOND_US); /* not later than */
    ok(heartbeat_retract(t->repo, "shop", 1, 100 * TIDE_SECOND_US, &err), &err);
    ok(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), &err);
    assert_int_equal(clock, 5 * TIDE_SECOND_US);
    ok(heartbeat_newest(t->repo, "shop", 2, &clock, &pos, &err), &err);
    assert_int_equal(clock, 99 * TIDE_SECOND_US);
    assert_int_equal(heartbeat_retract(t->repo, "shop", 1, 0, &err), TIDE_INVALID);
}

static void heartbeat_under_another_name_is_corrupt(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    int64_t clock = 0;
    struct tide_pos pos = {0};
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(65536);
    ok(heartbeat_put(t->repo, "shop", 1, 5, (struct tide_pos){0, 7}, &err), &err);
    test_raw_read(t, "instances/shop/heartbeats/00000001/fffffffffffffffa-00000000000000000000000000000007", &raw);
    /* The same bytes under a name that claims a later time: it would lengthen the window. */
    test_raw_write(t, "instances/shop/heartbeats/00000001/fffffffffffffff0-00000000000000000000000000000007",
                   raw.data, raw.len);
    assert_int_equal(heartbeat_newest(t->repo, "shop", 1, &clock, &pos, &err), TIDE_CORRUPT);
}

/* ---- gaps */

struct gap_sum {
    unsigned n;
    struct log_gap last;
};

static tide_status count_gap(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    (void)err;
    struct gap_sum *sum = ctx;
    sum->n++;
    sum->last = *g;
    return TIDE_OK;
}

static void gap_is_recorded_once(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_gap g = {.lineage = 3, .from = {0, 100}, .to = {0, 200}, .noticed_us = 17, .reason = "removed"};
    struct gap_sum sum = {0};
    ok(log_gap_list(t->repo, "shop", count_gap, &sum, &err), &err);
    assert_int_equal(sum.n, 0);
    ok(log_gap_record(t->repo, "shop", &g, &err), &err);
    g.noticed_us = 99;
    ok(log_gap_record(t->repo, "shop", &g, &err), &err);
    g.to.lo = 0;
    ok(log_gap_record(t->repo, "shop", &g, &err), &err);
    ok(log_gap_list(t->repo, "shop", count_gap, &sum, &err), &err);
    assert_int_equal(sum.n, 2);
    assert_int_equal(sum.last.lineage, 3);
    assert_int_equal(sum.last.from.lo, 100);
    assert_true(tide_pos_is_none(sum.last.to));
    assert_int_equal(sum.last.noticed_us, 99);
    assert_string_equal(sum.last.reason, "removed");
}

/* ---- tombstones */

static bool is_there(struct test_repo *t, const char *key)
{
    char path[4096];
    test_raw_path(t, key, path);
    return access(path, F_OK) == 0;
}

static void tombstones_wait_for_their_time_and_reason(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *due[] = {"instances/shop/log/a", "instances/shop/log/b"}, *later[] = {"instances/shop/log/c"};
    uint64_t deleted = 9;
    int64_t now = tide_now_us();
    for (int i = 0; i < 2; i++)
        test_raw_write(t, due[i], "x", 1);
    test_raw_write(t, later[0], "x", 1);
    ok(tombstone_put(t->repo, "shop", due, 2, "merged", now - TIDE_SECOND_US, &err), &err);
    ok(tombstone_put(t->repo, "shop", later, 1, "merged", now + 3600 * TIDE_SECOND_US, &err), &err);
    ok(tombstone_sweep(t->repo, "shop", "expired", &deleted, &err), &err);
    assert_int_equal(deleted, 0);
    ok(tombstone_sweep(t->repo, "shop", "merged", &deleted, &err), &err);
    assert_int_equal(deleted, 2);
    assert_false(is_there(t, due[0]) || is_there(t, due[1]));
    assert_true(is_there(t, later[0]));
    ok(tombstone_sweep(t->repo, "shop", NULL, &deleted, &err), &err);
    assert_int_equal(deleted, 0);
}

static void tombstones_bury_only_their_own_instance(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const char *const bad[] = {"instances/crm/log/a", "tidemark.json", "instances/shop2/log/a",
                                      "instances/shop/tombstones/x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(tombstone_put(t->repo, "shop", &bad[i], 1, "merged", 0, &err), TIDE_REFUSED);

    /* Not even when one was put by other means. */
    uint64_t deleted = 0;
    json_t *doc = json_pack("{s:[s], s:s, s:I, s:I}", "keys", "tidemark.json", "reason", "merged", "not_before_us",
                            (json_int_t)0, "created_us", (json_int_t)0);
    ok(record_put(t->repo, "instances/shop/tombstones/0000000000000001-00000001", OBJECT_TOMBSTONE, doc, &err), &err);
    json_decref(doc);
    assert_int_equal(tombstone_sweep(t->repo, "shop", NULL, &deleted, &err), TIDE_CORRUPT);
    assert_true(is_there(t, "tidemark.json"));
}

static void damaged_tombstone_deletes_nothing(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t deleted = 0;
    test_raw_write(t, "instances/shop/tombstones/0000000000000001-00000001", "x", 1);
    assert_int_equal(tombstone_sweep(t->repo, "shop", NULL, &deleted, &err), TIDE_CORRUPT);
    assert_int_equal(deleted, 0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(highest_number_counts),
        T(record_at_another_key_is_corrupt),
        T(content_that_is_no_json_object_is_corrupt),
        cmocka_unit_test(members_are_checked_and_the_record_is_named),
        cmocka_unit_test(positions_are_32_hex_digits),
        T(instances_are_known_by_their_objects),
        T(instance_names_are_restricted),
        T(newest_heartbeat_is_found_by_one_short_listing),
        T(old_heartbeats_are_pruned),
        T(heartbeats_of_a_time_that_has_not_come_are_retracted),
        T(heartbeat_under_another_name_is_corrupt),
        T(gap_is_recorded_once),
        T(tombstones_wait_for_their_time_and_reason),
        T(tombstones_bury_only_their_own_instance),
        T(damaged_tombstone_deletes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
