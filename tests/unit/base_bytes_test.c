#include "orchestrator/base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void numbers_come_back_as_they_went(void **state)
{
    (void)state;
    uint8_t raw[8];
    tide_put_be16(raw, 0xfedc);
    assert_int_equal(tide_get_be16(raw), 0xfedc);
    tide_put_be32(raw, 0xfedcba98u);
    assert_int_equal(tide_get_be32(raw), 0xfedcba98u);
    tide_put_be64(raw, UINT64_C(0xfedcba9876543210));
    assert_true(tide_get_be64(raw) == UINT64_C(0xfedcba9876543210));
    assert_int_equal(raw[0], 0xfe);
    assert_int_equal(raw[7], 0x10);
}

static void hex_is_lower_case_and_reversible(void **state)
{
    (void)state;
    static const uint8_t raw[] = {0x00, 0x9f, 0xab, 0xff};
    char text[9];
    uint8_t back[4];
    tide_hex(raw, sizeof(raw), text);
    assert_string_equal(text, "009fabff");
    assert_true(tide_unhex(text, back, sizeof(back)));
    assert_memory_equal(raw, back, sizeof(raw));
    assert_true(tide_unhex("009FABFF", back, sizeof(back)));
    assert_memory_equal(raw, back, sizeof(raw));
    tide_hex(raw, 0, text);
    assert_string_equal(text, "");
}

static void what_is_not_exactly_hex_is_refused(void **state)
{
    (void)state;
    uint8_t out[2];
    static const char *const bad[] = {"",     "0",    "012",  "01234", "012g", "g123",
                                      "01 2", "0x12", "/123", ":123",  "@123", "`123"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(tide_unhex(bad[i], out, sizeof(out)));
}

static void fixed_width_hex_numbers_are_read(void **state)
{
    (void)state;
    uint64_t v = 7;
    assert_true(tide_parse_hex64("00000000000000ff-rest", 16, &v));
    assert_true(v == 255);
    assert_true(tide_parse_hex64("FFFFFFFFFFFFFFFF", 16, &v));
    assert_true(v == UINT64_MAX);
    assert_true(tide_parse_hex64("a", 1, &v));
    assert_true(v == 10);
    assert_false(tide_parse_hex64("12", 3, &v));
    assert_false(tide_parse_hex64("12345678123456781", 17, &v));
    assert_false(tide_parse_hex64("1", 0, &v));
    assert_false(tide_parse_hex64("+1", 2, &v));
    assert_true(v == 10);
}

static void a_cursor_reads_in_order(void **state)
{
    (void)state;
    static const uint8_t raw[] = {1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4, 'a', 'b'};
    struct tide_cursor c = tide_cursor_of(raw, sizeof(raw));
    assert_int_equal(tide_read_u8(&c), 1);
    assert_int_equal(tide_read_be16(&c), 2);
    assert_int_equal(tide_read_be32(&c), 3);
    assert_int_equal(tide_read_be64(&c), 4);
    const uint8_t *p = tide_read_bytes(&c, 2);
    assert_memory_equal(p, "ab", 2);
    assert_int_equal(c.left, 0);
    assert_non_null(tide_read_bytes(&c, 0));
    assert_false(c.bad);
}

static void running_off_the_end_stays_bad(void **state)
{
    (void)state;
    static const uint8_t raw[] = {1, 2, 3};
    struct tide_cursor c = tide_cursor_of(raw, sizeof(raw));
    assert_int_equal(tide_read_be32(&c), 0);
    assert_true(c.bad);
    /* There would be a byte, but what it means is lost. */
    assert_int_equal(tide_read_u8(&c), 0);
    assert_null(tide_read_bytes(&c, 0));
    struct tide_cursor huge = tide_cursor_of(raw, sizeof(raw));
    assert_null(tide_read_bytes(&huge, SIZE_MAX));
    assert_true(huge.bad);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_come_back_as_they_went),
        cmocka_unit_test(hex_is_lower_case_and_reversible),
        cmocka_unit_test(what_is_not_exactly_hex_is_refused),
        cmocka_unit_test(fixed_width_hex_numbers_are_read),
        cmocka_unit_test(a_cursor_reads_in_order),
        cmocka_unit_test(running_off_the_end_stays_bad),
    };
    return cmocka_run_group_tests_name("base_bytes", tests, NULL, NULL);
}
