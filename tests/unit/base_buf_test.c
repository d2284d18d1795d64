// LDFLAGS: -Wl,--wrap=realloc

#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"
#include "tests/support/fault.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void appended_parts_join(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1000);
    tide_buf_str(&b, "ab");
    tide_buf_append(&b, "cd", 2);
    tide_buf_printf(&b, "%d-%s", 42, "x");
    assert_string_equal(tide_buf_cstr(&b), "abcd42-x");
    assert_int_equal(b.len, 8);
    assert_int_equal(tide_buf_check(&b, "text", NULL), TIDE_OK);
}

static void an_empty_buffer_is_an_empty_string(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(10);
    assert_string_equal(tide_buf_cstr(&b), "");
    tide_buf_append(&b, NULL, 0);
    assert_string_equal(tide_buf_cstr(&b), "");
    tide_buf_reset(&b);
    assert_int_equal(b.len, 0);
}

static void integers_are_big_endian(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(64);
    tide_buf_u8(&b, 0xfe);
    tide_buf_be16(&b, 0x0102);
    tide_buf_be32(&b, 0x03040506);
    tide_buf_be64(&b, UINT64_C(0x0708090a0b0c0d0e));
    static const uint8_t want[] = {0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14};
    assert_int_equal(b.len, sizeof(want));
    assert_memory_equal(b.data, want, sizeof(want));
}

static void exactly_the_bound_fits_and_one_more_does_not(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(4);
    tide_buf_str(&b, "abcd");
    assert_false(b.failed);
    tide_buf_u8(&b, 'e');
    assert_true(b.failed);
    assert_string_equal(tide_buf_cstr(&b), "abcd");
    struct tide_err err = TIDE_ERR_INIT;
    assert_int_equal(tide_buf_check(&b, "reply", &err), TIDE_INVALID);
    assert_string_equal(err.msg, "reply is larger than 4 bytes");
}

static void after_a_failure_nothing_is_appended(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(4);
    tide_buf_str(&b, "abcde");
    tide_buf_str(&b, "x");
    tide_buf_printf(&b, "%d", 1);
    assert_int_equal(b.len, 0);
    tide_buf_reset(&b);
    tide_buf_str(&b, "x");
    assert_false(b.failed);
    assert_string_equal(tide_buf_cstr(&b), "x");
}

static void printf_past_the_bound_fails(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(4);
    tide_buf_printf(&b, "%s", "abcde");
    assert_true(b.failed);
    assert_int_equal(b.len, 0);
}

static void absurd_sizes_do_not_wrap_around(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(SIZE_MAX);
    tide_buf_str(&b, "abc");
    assert_false(tide_buf_reserve(&b, SIZE_MAX - 3));
    assert_true(b.failed);
    assert_int_equal(b.len, 3);
}

static void it_grows_past_its_first_allocation(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(100000);
    for (int i = 0; i < 100000; i++)
        tide_buf_u8(&b, (uint8_t)i);
    assert_false(b.failed);
    assert_int_equal(b.len, 100000);
    assert_int_equal(b.data[99999], 99999 & 255);
    assert_int_equal(b.data[b.len], 0);
    assert_true(b.cap <= 100001);
}

static void running_out_of_memory_is_told_apart_from_the_bound(void **state)
{
    (void)state;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1000);
    struct tide_err err = TIDE_ERR_INIT;
    tide_buf_str(&b, "kept");
    fault_arm(1, ENOMEM, true);
    assert_false(tide_buf_reserve(&b, 500));
    assert_true(fault_disarm());
    assert_int_equal(tide_buf_check(&b, "reply", &err), TIDE_NO_MEMORY);
    assert_string_equal(err.msg, "out of memory building reply");
    assert_string_equal(tide_buf_cstr(&b), "kept");
    tide_buf_reset(&b);
    assert_int_equal(tide_buf_check(&b, "reply", NULL), TIDE_OK);
}

static void clearing_keeps_the_bound(void **state)
{
    (void)state;
    struct tide_buf b = TIDE_BUF_INIT(4);
    tide_buf_str(&b, "abc");
    tide_buf_clear(&b);
    assert_null(b.data);
    assert_int_equal(b.max, 4);
    tide_buf_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_parts_join),
        cmocka_unit_test(an_empty_buffer_is_an_empty_string),
        cmocka_unit_test(integers_are_big_endian),
        cmocka_unit_test(exactly_the_bound_fits_and_one_more_does_not),
        cmocka_unit_test(after_a_failure_nothing_is_appended),
        cmocka_unit_test(printf_past_the_bound_fails),
        cmocka_unit_test(absurd_sizes_do_not_wrap_around),
        cmocka_unit_test(it_grows_past_its_first_allocation),
        cmocka_unit_test(running_out_of_memory_is_told_apart_from_the_bound),
        cmocka_unit_test(clearing_keeps_the_bound),
    };
    return cmocka_run_group_tests_name("base_buf", tests, NULL, NULL);
}
