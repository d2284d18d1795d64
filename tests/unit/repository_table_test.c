/* table_*.c: sorted tables in packs. */

#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/table_node.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE "shop"

struct fixture {
    struct test_repo *t;
    struct pack_counters counters;
    struct pack_writer *pack;
    struct pack_source *source;
    struct pack_reader *reader;
};

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
    const struct pack_writer_options o = {.repo = f->t->repo,
                                          .instance = INSTANCE,
                                          .backup = "b",
                                          .hash_epoch = repo_epoch(f->t->repo),
                                          .counters = &f->counters};
    ok(pack_writer_new(&o, &f->pack, &err), &err);
    ok(pack_source_new(f->t->repo, INSTANCE, o.hash_epoch, &f->source, &err), &err);
    ok(pack_reader_new(f->source, &f->reader, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pack_writer_free(f->pack);
    pack_reader_free(f->reader);
    pack_source_free(f->source);
    test_repo_free(f->t);
    free(f);
    return 0;
}

/* Record i: key "key 00000007", value i and some bytes that depend on it. */
static size_t key_of(uint64_t i, char key[32])
{
    return (size_t)snprintf(key, 32, "key %08llu", (unsigned long long)i);
}

static size_t value_of(uint64_t i, unsigned salt, uint8_t value[128])
{
    memset(value, (int)(i * 13 + salt), 128);
    tide_put_be64(value, i);
    return 8 + i % 100;
}

struct make {
    uint64_t n, changed; /* the value of record `changed` is another */
    bool change;
    struct table *old;
    struct pack_usage *usage;
};

static void make_table(struct fixture *f, const struct make *m, struct pack_ref *root)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct table_writer *w = NULL;
    const struct table_writer_options o = {.type = TABLE_FILES,
                                           .pack = f->pack,
                                           .seed = pack_source_seed(f->source),
                                           .old = m->old,
                                           .old_reader = f->reader};
    ok(table_writer_new(&o, &w, &err), &err);
    for (uint64_t i = 0; i < m->n; i++) {
        char key[32];
        uint8_t value[128];
        size_t value_len = value_of(i, m->change && i == m->changed, value);
        ok(table_writer_add(w, key, key_of(2 * i, key), value, value_len, &err), &err);
    }
    ok(table_writer_finish(w, root, m->usage, &err), &err);
    table_writer_free(w);
    ok(pack_writer_flush(f->pack, &err), &err);
    ok(pack_writer_wait(f->pack, &err), &err);
}

static struct table *open_table(struct fixture *f, const struct pack_ref *root, size_t cache)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct table *t = NULL;
    ok(table_open(f->source, root, TABLE_FILES, cache, &t, &err), &err);
    return t;
}

static void check_stream(struct fixture *f, struct table *t, uint64_t from, uint64_t n)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct table_cursor *c = NULL;
    struct table_record r;
    char key[32];
    uint8_t value[128];
    /* odd keys are absent: the cursor stands before the next one */
    size_t len = from == 0 ? 0 : key_of(2 * from - 1, key);
    ok(table_cursor_new(t, f->reader, from == 0 ? NULL : key, len, &c, &err), &err);
    for (uint64_t i = from; i < n; i++) {
        ok(table_cursor_next(c, &r, &err), &err);
        assert_int_equal(r.key_len, key_of(2 * i, key));
        assert_memory_equal(r.key, key, r.key_len);
        assert_int_equal(r.value_len, value_of(i, 0, value));
        assert_memory_equal(r.value, value, r.value_len);
    }
    assert_int_equal(table_cursor_next(c, &r, &err), TIDE_NOT_FOUND);
    table_cursor_free(c);
}

static void tables_of_every_depth_come_back(void **state)
{
    struct fixture *f = *state;
    static const uint64_t sizes[] = {0, 1, 2, 1000, 30000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct pack_ref root;
        make_table(f, &(struct make){.n = sizes[i]}, &root);
        struct table *t = open_table(f, &root, 64 << 10);
        check_stream(f, t, 0, sizes[i]);
        if (sizes[i] > 2) {
            check_stream(f, t, 1, sizes[i]);
            check_stream(f, t, sizes[i] / 2, sizes[i]);
            check_stream(f, t, sizes[i], sizes[i]);
        }
        table_close(t);
    }
}

static void keys_are_found_and_absent_ones_are_not(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf value = TIDE_BUF_INIT(4096);
    struct pack_ref root;
    make_table(f, &(struct make){.n = 20000}, &root);
    struct table *t = open_table(f, &root, 1 << 20);
    for (uint64_t i = 0; i < 20000; i += 7) {
        char key[32];
        uint8_t want[128];
        tide_buf_reset(&value);
        ok(table_get(t, f->reader, key, key_of(2 * i, key), &value, &err), &err);
        assert_int_equal(value.len, value_of(i, 0, want));
        assert_memory_equal(value.data, want, value.len);
        assert_int_equal(table_get(t, f->reader, key, key_of(2 * i + 1, key), &value, &err), TIDE_NOT_FOUND);
    }
    assert_int_equal(table_get(t, f->reader, "a", 1, &value, &err), TIDE_NOT_FOUND);
    assert_int_equal(table_get(t, f->reader, "z", 1, &value, &err), TIDE_NOT_FOUND);
    table_close(t);
}

static uint64_t stored_bytes(const struct fixture *f)
{
    return atomic_load(&f->counters.bytes);
}

static void nodes_that_did_not_change_are_not_stored_again(void **state)
{
    struct fixture *f = *state;
    struct pack_ref first, second, third;
    struct pack_usage usage = {0};
    make_table(f, &(struct make){.n = 60000, .usage = &usage}, &first);
    uint64_t whole = stored_bytes(f);
    assert_int_equal(usage.n, 1);
    assert_true(usage.items[0].bytes < whole && usage.items[0].bytes > whole / 2);
    struct table *t = open_table(f, &first, 1 << 20);
    make_table(f, &(struct make){.n = 60000, .old = t}, &second);
    uint64_t same = stored_bytes(f) - whole;
    assert_true(same < whole / 20);
    make_table(f, &(struct make){.n = 60000, .old = t, .change = true, .changed = 30050}, &third);
    uint64_t one = stored_bytes(f) - whole - same;
    assert_true(one > same && one < whole / 5);
    table_close(t);
    t = open_table(f, &second, 1 << 20);
    check_stream(f, t, 0, 60000);
    table_close(t);
    pack_usage_clear(&usage);
}

struct bad_nodes {
    unsigned n;
};

static void count_bad(void *ctx, const struct pack_ref *ref, const struct tide_err *why)
{
    struct bad_nodes *b = ctx;
    (void)ref;
    assert_int_equal(why->status, TIDE_CORRUPT);
    b->n++;
}

static void a_damaged_node_is_found_and_can_be_stepped_over(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf raw = TIDE_BUF_INIT(64 << 20), value = TIDE_BUF_INIT(4096);
    struct pack_ref root, node;
    char key[REPO_KEY_MAX], first[32];
    make_table(f, &(struct make){.n = 60000}, &root);
    struct table *t = open_table(f, &root, 1 << 20);
    ok(table_node_at(t, f->reader, first, key_of(0, first), &node, &err), &err);
    table_close(t);
    pack_key(INSTANCE, node.pack, key);
    test_raw_read(f->t, key, &raw);
    raw.data[node.frame.offset + node.frame.stored / 2] ^= 1;
    test_raw_write(f->t, key, raw.data, raw.len);

    t = open_table(f, &root, 1 << 20);
    assert_int_equal(table_get(t, f->reader, first, key_of(0, first), &value, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, key));
    struct table_cursor *c = NULL;
    struct table_record r;
    struct bad_nodes bad = {.n = 0};
    uint64_t n = 0;
    ok(table_cursor_new(t, f->reader, NULL, 0, &c, &err), &err);
    assert_int_equal(table_cursor_next(c, &r, &err), TIDE_CORRUPT);
    table_cursor_free(c);
    ok(table_cursor_new(t, f->reader, NULL, 0, &c, &err), &err);
    table_cursor_skip_bad(c, count_bad, &bad);
    for (;;) {
        tide_status s = table_cursor_next(c, &r, &err);
        if (s == TIDE_NOT_FOUND)
            break;
        ok(s, &err);
        n++;
    }
    assert_int_equal(bad.n, 1);
    assert_true(n > 30000 && n < 60000);
    table_cursor_free(c);
    table_close(t);
}

static void a_missing_pack_is_corrupt_and_named(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf value = TIDE_BUF_INIT(4096);
    struct pack_ref root;
    char key[REPO_KEY_MAX];
    make_table(f, &(struct make){.n = 10}, &root);
    pack_key(INSTANCE, root.pack, key);
    ok(store_delete(repo_store(f->t->repo), key, &err), &err);
    struct table *t = open_table(f, &root, 1 << 20);
    assert_int_equal(table_get(t, f->reader, "key", 3, &value, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, key));
    table_close(t);
}

static void a_table_of_another_type_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf value = TIDE_BUF_INIT(4096);
    struct pack_ref root;
    struct table *t = NULL;
    make_table(f, &(struct make){.n = 10}, &root);
    ok(table_open(f->source, &root, TABLE_PACKS, 1 << 20, &t, &err), &err);
    assert_int_equal(table_get(t, f->reader, "key", 3, &value, &err), TIDE_CORRUPT);
    table_close(t);
}

static void a_node_is_read_only_as_it_was_referred_to(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf value = TIDE_BUF_INIT(4096);
    struct pack_ref a, b;
    make_table(f, &(struct make){.n = 10}, &a);
    make_table(f, &(struct make){.n = 11}, &b);
    memcpy(b.hash, a.hash, sizeof b.hash);
    struct table *t = open_table(f, &b, 1 << 20);
    assert_int_equal(table_get(t, f->reader, "key", 3, &value, &err), TIDE_CORRUPT);
    table_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tables_of_every_depth_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(keys_are_found_and_absent_ones_are_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nodes_that_did_not_change_are_not_stored_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_node_is_found_and_can_be_stepped_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_pack_is_corrupt_and_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_table_of_another_type_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_is_read_only_as_it_was_referred_to, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
