/* backup.c, backup_list.c, intent.c, pin.c: the commit object and what lies around it. */

#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/backup.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    *state = test_repo_new(true);
    return 0;
}

static int set_up_plain(void **state)
{
    *state = test_repo_new(false);
    return 0;
}

static int tear_down(void **state)
{
    test_repo_free(*state);
    return 0;
}

static void fill_ref(struct pack_ref *r, unsigned x)
{
    memset(r->pack, (int)x, sizeof r->pack);
    memset(r->hash, (int)x + 1, sizeof r->hash);
    r->frame = (struct frame_ref){.number = x, .stored = UINT32_MAX - x, .offset = UINT64_C(1) << 40};
}

static struct backup make_backup(const char *id)
{
    struct backup b = {.from_standby = true,
                       .log_alone = true,
                       .lineage = 3,
                       .branch = UINT64_MAX,
                       .start = {.hi = 1, .lo = UINT64_MAX},
                       .stop = {.hi = UINT64_MAX, .lo = 2},
                       .started_us = 10,
                       .finished_us = 20,
                       .server_start_us = 30,
                       .server_stop_us = -40,
                       .totals = {1, 2, 3, 4, 5, 6, 7},
                       .hash_epoch = 1};
    (void)snprintf(b.id, sizeof b.id, "%s", id);
    (void)snprintf(b.parent, sizeof b.parent, "the parent");
    (void)snprintf(b.method, sizeof b.method, "files");
    (void)snprintf(b.server_version, sizeof b.server_version, "15.20 \"quoted\" \xc3\xa4");
    fill_ref(&b.files, 1);
    fill_ref(&b.packs, 7);
    b.metadata = strdup("{\"settings\":{}}");
    b.damage = strdup("[{\"file\":\"a\",\"page\":1}]");
    return b;
}

static void a_backup_comes_back(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = make_backup("20261122T101530Z-00000001"), back = {.lineage = 0};
    ok(backup_commit(t->repo, "shop", &b, &err), &err);
    ok(backup_load(t->repo, "shop", b.id, &back, &err), &err);
    assert_string_equal(back.id, b.id);
    assert_string_equal(back.parent, b.parent);
    assert_string_equal(back.method, b.method);
    assert_string_equal(back.server_version, b.server_version);
    assert_true(back.from_standby && !back.kept && back.log_alone);
    assert_int_equal(back.lineage, 3);
    assert_true(back.branch == UINT64_MAX);
    assert_int_equal(tide_pos_cmp(back.start, b.start), 0);
    assert_int_equal(tide_pos_cmp(back.stop, b.stop), 0);
    assert_true(back.started_us == 10 && back.finished_us == 20 && back.server_start_us == 30);
    assert_true(back.server_stop_us == -40);
    assert_memory_equal(&back.totals, &b.totals, sizeof b.totals);
    assert_int_equal(back.hash_epoch, 1);
    assert_memory_equal(back.files.pack, b.files.pack, sizeof b.files.pack);
    assert_memory_equal(back.packs.hash, b.packs.hash, sizeof b.packs.hash);
    assert_int_equal(back.files.frame.stored, b.files.frame.stored);
    assert_true(back.packs.frame.offset == b.packs.frame.offset);
    assert_string_equal(back.metadata, b.metadata);
    assert_null(back.notes);
    assert_string_equal(back.damage, b.damage);
}

static void a_backup_is_committed_once(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = make_backup("20261122T101530Z-00000001");
    ok(backup_commit(t->repo, "shop", &b, &err), &err);
    assert_int_equal(backup_commit(t->repo, "shop", &b, &err), TIDE_EXISTS);
}

static void wrong_ids_are_refused(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct backup back;
    assert_int_equal(backup_load(t->repo, "shop", "", &back, &err), TIDE_INVALID);
    assert_int_equal(backup_load(t->repo, "shop", "../../x", &back, &err), TIDE_INVALID);
    assert_int_equal(backup_load(t->repo, "Shop", "a", &back, &err), TIDE_INVALID);
    assert_int_equal(backup_load(t->repo, "shop", "absent", &back, &err), TIDE_NOT_FOUND);
}

static void a_list_is_in_order_and_leaves_damaged_ones_out(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct backup_list l;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    static const char *const ids[] = {"20261123T000000Z-1", "20261122T000000Z-2", "20261124T000000Z-0"};
    ok(backup_list_load(t->repo, "shop", &l, &err), &err);
    assert_int_equal(l.n, 0);
    backup_list_clear(&l);
    for (unsigned i = 0; i < 3; i++) {
        struct backup b = make_backup(ids[i]);
        ok(backup_commit(t->repo, "shop", &b, &err), &err);
        backup_clear(&b);
    }
    ok(backup_list_load(t->repo, "shop", &l, &err), &err);
    assert_int_equal(l.n, 3);
    assert_string_equal(l.items[0].id, ids[1]);
    assert_string_equal(l.items[1].id, ids[0]);
    assert_string_equal(l.items[2].id, ids[2]);
    backup_list_clear(&l);

    /* one byte of each kind: header, payload; and one object that is another's copy */
    test_raw_read(t, "instances/shop/backups/20261123T000000Z-1", &raw);
    raw.data[raw.len - 3] ^= 1;
    test_raw_write(t, "instances/shop/backups/20261123T000000Z-1", raw.data, raw.len);
    raw.data[raw.len - 3] ^= 1;
    test_raw_write(t, "instances/shop/backups/20261125T000000Z-1", raw.data, raw.len);
    ok(backup_list_load(t->repo, "shop", &l, &err), &err);
    assert_int_equal(l.n, 2);
    assert_int_equal(l.n_bad, 2);
    assert_string_equal(l.bad[0], "instances/shop/backups/20261123T000000Z-1");
    assert_string_equal(l.bad[1], "instances/shop/backups/20261125T000000Z-1");
    backup_list_clear(&l);
    tide_buf_clear(&raw);
}

static void every_flipped_byte_of_a_commit_object_is_found(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    TIDE_AUTO(backup_clear) struct backup b = make_backup("one");
    ok(backup_commit(t->repo, "shop", &b, &err), &err);
    test_raw_read(t, "instances/shop/backups/one", &raw);
    for (size_t i = 0; i < raw.len; i += 1 + i % 5) {
        struct backup back = {.lineage = 0};
        raw.data[i] ^= 0x20;
        test_raw_write(t, "instances/shop/backups/one", raw.data, raw.len);
        raw.data[i] ^= 0x20;
        tide_status s = backup_load(t->repo, "shop", "one", &back, &err);
        if (s != TIDE_CORRUPT && s != TIDE_UNSUPPORTED && s != TIDE_DENIED)
            fail_msg("byte %zu: %s", i, tide_status_name(s));
        assert_non_null(strstr(err.msg, "instances/shop/backups/one"));
    }
    tide_buf_clear(&raw);
}

static void pins_count_and_the_highest_wins(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct backup_list l;
    bool kept = true;
    static const char *const ids[] = {"a", "b", "c"};
    for (unsigned i = 0; i < 3; i++) {
        struct backup b = make_backup(ids[i]);
        b.kept = i == 1;
        ok(backup_commit(t->repo, "shop", &b, &err), &err);
        backup_clear(&b);
    }
    ok(backup_is_pinned(t->repo, "shop", "a", &kept, &err), &err);
    assert_false(kept);
    ok(backup_is_pinned(t->repo, "shop", "b", &kept, &err), &err);
    assert_true(kept);
    ok(backup_pin(t->repo, "shop", "a", true, &err), &err);
    ok(backup_pin(t->repo, "shop", "b", false, &err), &err);
    for (unsigned i = 0; i < 11; i++)
        ok(backup_pin(t->repo, "shop", "c", i % 2 == 0, &err), &err);
    ok(backup_is_pinned(t->repo, "shop", "b", &kept, &err), &err);
    assert_false(kept);
    ok(backup_list_load(t->repo, "shop", &l, &err), &err);
    assert_true(l.items[0].kept);
    assert_false(l.items[1].kept);
    assert_true(l.items[2].kept);
    backup_list_clear(&l);
    assert_int_equal(backup_pin(t->repo, "shop", "absent", true, &err), TIDE_NOT_FOUND);
    assert_int_equal(backup_is_pinned(t->repo, "shop", "absent", &kept, &err), TIDE_NOT_FOUND);
}

struct intents {
    unsigned n;
    char ids[4][BACKUP_ID_MAX], parents[4][BACKUP_ID_MAX];
};

static tide_status see_intent(void *ctx, const struct intent *i, struct tide_err *err)
{
    struct intents *x = ctx;
    (void)err;
    assert_true(x->n < 4);
    assert_true(i->started_us == (int64_t)x->n + 7);
    (void)snprintf(x->parents[x->n], BACKUP_ID_MAX, "%s", i->parent);
    (void)snprintf(x->ids[x->n++], BACKUP_ID_MAX, "%s", i->id);
    return TIDE_OK;
}

static void intents_are_listed(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct intents x = {.n = 0};
    ok(intent_list(t->repo, "shop", see_intent, &x, &err), &err);
    assert_int_equal(x.n, 0);
    ok(intent_put(t->repo, "shop", &(struct intent){.id = "b", .parent = "a", .started_us = 7}, &err), &err);
    ok(intent_put(t->repo, "shop", &(struct intent){.id = "c", .started_us = 8}, &err), &err);
    assert_int_equal(intent_put(t->repo, "shop", &(struct intent){.id = "c"}, &err), TIDE_EXISTS);
    ok(intent_list(t->repo, "shop", see_intent, &x, &err), &err);
    assert_int_equal(x.n, 2);
    assert_string_equal(x.ids[0], "b");
    assert_string_equal(x.parents[0], "a");
    assert_string_equal(x.ids[1], "c");
    assert_string_equal(x.parents[1], "");
}

static void ids_sort_by_time_and_differ(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char a[BACKUP_ID_MAX], b[BACKUP_ID_MAX], c[BACKUP_ID_MAX];
    int64_t at = INT64_C(1795601730000000); /* 2026-11-25T10:15:30Z */
    ok(backup_new_id(at, a, &err), &err);
    ok(backup_new_id(at, b, &err), &err);
    ok(backup_new_id(at + TIDE_SECOND_US, c, &err), &err);
    assert_int_equal(strncmp(a, "20261125T101530Z-", 17), 0);
    assert_int_equal(strlen(a), 25);
    assert_string_not_equal(a, b);
    assert_true(strcmp(a, c) < 0 && strcmp(b, c) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_backup_comes_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_is_committed_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_ids_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_list_is_in_order_and_leaves_damaged_ones_out, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_of_a_commit_object_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_flipped_byte_of_a_commit_object_is_found, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(pins_count_and_the_highest_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(intents_are_listed, set_up, tear_down),
        cmocka_unit_test(ids_sort_by_time_and_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
