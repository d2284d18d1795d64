/* sorter.c: sorting in memory, with spilled runs, and with more runs than are merged at once. */

#include "orchestrator/repository/sorter.h"

#include "orchestrator/base/bytes.h"

#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#define SMALL (256u << 10)

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* n records with scattered keys, each with its number as value; all must come back once, in order. */
static void sort_many(uint64_t n, size_t value_len, unsigned least_spills)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct sorter *s = NULL;
    struct sorter_record r;
    uint8_t key[8], last[8] = {0}, value[256] = {0};
    uint64_t sum = 0, seen = 0;
    ok(sorter_new(SMALL, "/tmp", &s, &err), &err);
    for (uint64_t i = 0; i < n; i++) {
        tide_put_be64(key, mix(i));
        tide_put_be64(value, i);
        ok(sorter_add(s, key, sizeof key, value, value_len, &err), &err);
    }
    assert_true(sorter_spills(s) >= least_spills);
    for (unsigned round = 0; round < 2; round++) {
        seen = sum = 0;
        memset(last, 0, sizeof last);
        ok(sorter_rewind(s, &err), &err);
        for (;;) {
            tide_status st = sorter_next(s, &r, &err);
            if (st == TIDE_NOT_FOUND)
                break;
            ok(st, &err);
            assert_int_equal(r.key_len, 8);
            assert_int_equal(r.value_len, value_len);
            assert_true(memcmp(last, r.key, 8) < 0 || seen == 0);
            assert_true(tide_get_be64(r.key) == mix(tide_get_be64(r.value)));
            memcpy(last, r.key, 8);
            sum += tide_get_be64(r.value);
            seen++;
        }
        assert_true(seen == n);
        assert_true(sum == n * (n - 1) / 2);
    }
    sorter_free(s);
}

static void few_records_stay_in_memory(void **state)
{
    (void)state;
    sort_many(1000, 8, 0);
}

static void spilled_records_are_merged(void **state)
{
    (void)state;
    sort_many(50000, 40, 3);
}

static void more_runs_than_are_merged_at_once_are_merged_in_turn(void **state)
{
    (void)state;
    sort_many(120000, 200, 65);
}

static void nothing_sorts_to_nothing(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct sorter *s = NULL;
    struct sorter_record r;
    ok(sorter_new(SMALL, NULL, &s, &err), &err);
    ok(sorter_rewind(s, &err), &err);
    assert_int_equal(sorter_next(s, &r, &err), TIDE_NOT_FOUND);
    assert_int_equal(sorter_next(s, &r, &err), TIDE_NOT_FOUND);
    sorter_free(s);
}

static void a_prefix_sorts_before_what_continues_it(void **state)
{
    (void)state;
    static const char *const keys[] = {"ab", "a", "b", "aa", "abc"};
    static const char *const sorted[] = {"a", "aa", "ab", "abc", "b"};
    struct tide_err err = TIDE_ERR_INIT;
    struct sorter *s = NULL;
    struct sorter_record r;
    ok(sorter_new(SMALL, NULL, &s, &err), &err);
    for (size_t i = 0; i < 5; i++)
        ok(sorter_add(s, keys[i], strlen(keys[i]), NULL, 0, &err), &err);
    ok(sorter_rewind(s, &err), &err);
    for (size_t i = 0; i < 5; i++) {
        ok(sorter_next(s, &r, &err), &err);
        assert_int_equal(r.key_len, strlen(sorted[i]));
        assert_memory_equal(r.key, sorted[i], r.key_len);
        assert_int_equal(r.value_len, 0);
    }
    sorter_free(s);
}

static void largest_records_fit_and_larger_ones_are_refused(void **state)
{
    (void)state;
    static uint8_t big[SORTER_VALUE_MAX + 1];
    struct tide_err err = TIDE_ERR_INIT;
    struct sorter *s = NULL;
    struct sorter_record r;
    ok(sorter_new(SMALL, NULL, &s, &err), &err);
    for (unsigned i = 0; i < 20; i++) {
        big[0] = (uint8_t)i;
        ok(sorter_add(s, big, SORTER_KEY_MAX, big, SORTER_VALUE_MAX, &err), &err);
    }
    assert_int_equal(sorter_add(s, big, SORTER_KEY_MAX + 1, NULL, 0, &err), TIDE_INVALID);
    assert_int_equal(sorter_add(s, big, 1, big, SORTER_VALUE_MAX + 1, &err), TIDE_INVALID);
    ok(sorter_rewind(s, &err), &err);
    for (unsigned i = 0; i < 20; i++) {
        ok(sorter_next(s, &r, &err), &err);
        assert_int_equal(r.key[0], i);
        assert_int_equal(r.value[0], i);
    }
    sorter_free(s);
}

static void missing_directory_is_reported(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    int fd = -1;
    assert_int_equal(sorter_temporary("/nonexistent/folder", &fd, &err), TIDE_NOT_FOUND);
    assert_non_null(strstr(err.msg, "/nonexistent/folder"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(few_records_stay_in_memory),
        cmocka_unit_test(spilled_records_are_merged),
        cmocka_unit_test(more_runs_than_are_merged_at_once_are_merged_in_turn),
        cmocka_unit_test(nothing_sorts_to_nothing),
        cmocka_unit_test(a_prefix_sorts_before_what_continues_it),
        cmocka_unit_test(largest_records_fit_and_larger_ones_are_refused),
        cmocka_unit_test(missing_directory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
