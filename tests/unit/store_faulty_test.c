/* store_faulty.c and store_fault_spec.c: a store fails exactly as it is told. */

#include "orchestrator/store/store.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[64];

static struct tide_store *open_with(const char *rules, struct tide_cancel *cancel)
{
    char url[400];
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_store *s = NULL;
    (void)snprintf(url, sizeof url, "faulty+file://%s%s%s", dir, *rules ? "?fault=" : "", rules);
    if (store_open(&(struct store_options){.url = url, .cancel = cancel, .create = true}, &s, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return s;
}

static tide_status put(struct tide_store *s, const char *key)
{
    return store_put(s, key, "0123456789", 10, NULL);
}

static tide_status get(struct tide_store *s, const char *key, char out[11], size_t *got)
{
    memset(out, 0, 11);
    return store_get(s, key, 0, out, 10, got, NULL);
}

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/tide-faulty-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unsetenv("TIDE_FAULTY");
    return tide_remove_tree(dir, NULL) != TIDE_OK;
}

static void without_rules_it_is_the_store_behind_it(void **state)
{
    (void)state;
    char data[11];
    size_t got;
    struct tide_store *s = open_with("", NULL);
    assert_int_equal(put(s, "a/b"), TIDE_OK);
    assert_int_equal(put(s, "a/b"), TIDE_EXISTS);
    assert_int_equal(get(s, "a/b", data, &got), TIDE_OK);
    assert_string_equal(data, "0123456789");
    assert_true(store_features(s) & STORE_FEATURE_CONDITIONAL_CREATE);
    store_close(s);
}

static void only_the_nth_put_fails_and_stores_nothing(void **state)
{
    (void)state;
    struct tide_store *s = open_with("put@2=full", NULL);
    assert_int_equal(put(s, "a"), TIDE_OK);
    assert_int_equal(put(s, "b"), TIDE_FULL);
    assert_int_equal(store_head(s, "b", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(put(s, "b"), TIDE_OK);
    store_close(s);
}

static void from_the_nth_on_all_fail(void **state)
{
    (void)state;
    struct tide_store *s = open_with("put@2+=io", NULL);
    assert_int_equal(put(s, "a"), TIDE_OK);
    assert_int_equal(put(s, "b"), TIDE_IO);
    assert_int_equal(put(s, "c"), TIDE_IO);
    store_close(s);
}

static void a_lost_answer_means_stored_all_the_same(void **state)
{
    (void)state;
    struct tide_store *s = open_with("put@1=lost", NULL);
    assert_int_equal(put(s, "a"), TIDE_UNAVAILABLE);
    assert_int_equal(put(s, "a"), TIDE_EXISTS);
    store_close(s);
}

static void a_rule_counts_only_keys_that_hold_its_text(void **state)
{
    (void)state;
    struct tide_store *s = open_with("put@2~/packs/=unavailable;delete=denied;head~x=missing", NULL);
    assert_int_equal(put(s, "i/packs/1"), TIDE_OK);
    assert_int_equal(put(s, "i/log/1"), TIDE_OK);
    assert_int_equal(put(s, "i/packs/2"), TIDE_UNAVAILABLE);
    assert_int_equal(store_delete(s, "i/log/1", NULL), TIDE_DENIED);
    assert_int_equal(put(s, "x"), TIDE_OK);
    assert_int_equal(store_head(s, "x", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_head(s, "i/log/1", NULL, NULL, NULL), TIDE_OK);
    store_close(s);
}

static void a_large_put_fails_at_its_commit_and_leaves_nothing(void **state)
{
    (void)state;
    struct store_writer *w = NULL;
    struct tide_store *s = open_with("put@1=io;put@2=lost", NULL);
    assert_int_equal(store_put_begin(s, "p", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_write(w, "x", 1, NULL), TIDE_OK);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_IO);
    assert_int_equal(store_head(s, "p", NULL, NULL, NULL), TIDE_NOT_FOUND);
    assert_int_equal(store_put_begin(s, "p", &w, NULL), TIDE_OK);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_head(s, "p", NULL, NULL, NULL), TIDE_OK);
    assert_int_equal(store_put_begin(s, "q", &w, NULL), TIDE_OK);
    store_writer_abort(w);
    store_close(s);
}

static void a_corrupt_get_differs_in_one_byte(void **state)
{
    (void)state;
    char data[11];
    size_t got;
    struct tide_store *s = open_with("get@1=corrupt;get@2=corrupt:3;get@3=corrupt:99;get@4=short", NULL);
    assert_int_equal(put(s, "a"), TIDE_OK);
    assert_int_equal(get(s, "a", data, &got), TIDE_OK);
    assert_memory_equal(data, "01234\x15\x36\x37\x38\x39", 10);
    assert_int_equal(get(s, "a", data, &got), TIDE_OK);
    assert_memory_equal(data, "012\x13\x34", 5);
    assert_int_equal(get(s, "a", data, &got), TIDE_OK);
    assert_string_equal(data, "0123456789");
    assert_int_equal(get(s, "a", data, &got), TIDE_OK);
    assert_int_equal(got, 5);
    assert_int_equal(get(s, "a", data, &got), TIDE_OK);
    assert_int_equal(got, 10);
    store_close(s);
}

static tide_status nothing(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)ctx, (void)e, (void)err;
    return TIDE_OK;
}

static void everything_fails_while_the_control_file_is_there(void **state)
{
    (void)state;
    char rules[200], file[100], data[11];
    size_t got;
    int64_t now;
    struct store_writer *w = NULL;
    (void)snprintf(file, sizeof file, "%s/down", dir);
    (void)snprintf(rules, sizeof rules, "down=%s", file);
    struct tide_store *s = open_with(rules, NULL);
    assert_int_equal(put(s, "a"), TIDE_OK);
    assert_int_equal(store_put_begin(s, "p", &w, NULL), TIDE_OK);
    assert_int_equal(tide_file_replace(file, "", 0, 0600, NULL), TIDE_OK);
    assert_int_equal(put(s, "b"), TIDE_UNAVAILABLE);
    assert_int_equal(get(s, "a", data, &got), TIDE_UNAVAILABLE);
    assert_int_equal(store_list(s, "", NULL, 0, nothing, NULL, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_list_folder(s, "", nothing, NULL, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_now(s, &now, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_writer_write(w, "x", 1, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(store_writer_commit(w, NULL), TIDE_UNAVAILABLE);
    assert_int_equal(tide_file_replace(file, "full\n", 5, 0600, NULL), TIDE_OK);
    assert_int_equal(put(s, "b"), TIDE_FULL);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(put(s, "b"), TIDE_OK);
    store_close(s);
}

static void rules_come_from_the_environment_too(void **state)
{
    (void)state;
    assert_int_equal(setenv("TIDE_FAULTY", "put@1=io", 1), 0);
    struct tide_store *s = open_with("put@2=full", NULL);
    assert_int_equal(put(s, "a"), TIDE_IO);
    assert_int_equal(put(s, "a"), TIDE_FULL);
    assert_int_equal(put(s, "a"), TIDE_OK);
    store_close(s);
}

static void the_environment_does_nothing_to_a_plain_store(void **state)
{
    (void)state;
    char url[100];
    struct tide_store *s = NULL;
    assert_int_equal(setenv("TIDE_FAULTY", "any=io", 1), 0);
    (void)snprintf(url, sizeof url, "file://%s", dir);
    assert_int_equal(store_open(&(struct store_options){.url = url, .create = true}, &s, NULL), TIDE_OK);
    assert_int_equal(put(s, "a"), TIDE_OK);
    store_close(s);
}

static void *set_soon(void *cancel)
{
    tide_sleep_us(50000);
    tide_cancel_set(cancel);
    return NULL;
}

static void a_slow_call_takes_its_time_and_can_be_cancelled(void **state)
{
    (void)state;
    struct tide_cancel *cancel = NULL;
    pthread_t thread;
    assert_int_equal(tide_cancel_new(&cancel, NULL), TIDE_OK);
    struct tide_store *s = open_with("put@1=slow:30ms;put@2=slow:1h;put@1=full", cancel);
    int64_t begin = tide_monotonic_us();
    assert_int_equal(put(s, "a"), TIDE_FULL);
    assert_true(tide_monotonic_us() - begin >= 30000);
    assert_int_equal(pthread_create(&thread, NULL, set_soon, cancel), 0);
    assert_int_equal(put(s, "a"), TIDE_CANCELLED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    store_close(s);
    tide_cancel_free(cancel);
}

static void rules_that_say_nothing_are_invalid(void **state)
{
    (void)state;
    static const char *const bad[] = {"put",      "put=",          "pat=io",       "put@0=io", "put@x=io", "put~=io",
                                      "put=slow", "put=slow:fast", "get=corrupt:", "put=io:3", "put=maybe"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char url[200];
        struct tide_store *s = NULL;
        (void)snprintf(url, sizeof url, "faulty+file://%s?fault=%s", dir, bad[i]);
        assert_int_equal(store_open(&(struct store_options){.url = url, .create = true}, &s, NULL), TIDE_INVALID);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_rules_it_is_the_store_behind_it),
        TEST(only_the_nth_put_fails_and_stores_nothing),
        TEST(from_the_nth_on_all_fail),
        TEST(a_lost_answer_means_stored_all_the_same),
        TEST(a_rule_counts_only_keys_that_hold_its_text),
        TEST(a_large_put_fails_at_its_commit_and_leaves_nothing),
        TEST(a_corrupt_get_differs_in_one_byte),
        TEST(everything_fails_while_the_control_file_is_there),
        TEST(rules_come_from_the_environment_too),
        TEST(the_environment_does_nothing_to_a_plain_store),
        TEST(a_slow_call_takes_its_time_and_can_be_cancelled),
        TEST(rules_that_say_nothing_are_invalid),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
