#include "orchestrator/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void durations_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t us;
    } cases[] = {
        {"2s", 2000000},
        {"100ms", 100000},
        {"7us", 7},
        {"15m", INT64_C(900000000)},
        {"15min", INT64_C(900000000)},
        {"26h", INT64_C(93600000000)},
        {"35d", INT64_C(3024000000000)},
        {"1w", INT64_C(604800000000)},
        {"1h30m", INT64_C(5400000000)},
        {"1d2h3m4s5ms6us", INT64_C(93784005006)},
        {"0s", 0},
        {"9223372036854775807us", INT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int64_t us = -1;
        assert_int_equal(tide_duration_parse(cases[i].text, &us, NULL), TIDE_OK);
        assert_true(us == cases[i].us);
    }
}

static void durations_need_units_in_order(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "2",
        "0",
        "s",
        "-2s",
        "+2s",
        "2 s",
        " 2s",
        "2s ",
        "1.5h",
        "2S",
        "2M",
        "1s2h",
        "1h2h",
        "1h30",
        "2sec",
        "1y",
        "1m1min",
        "0x2s",
        "2s,3ms",
        "9223372036854775808us",
        "99999999999999999999s",
        "20000000w",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        int64_t us = 7;
        struct tide_err err = TIDE_ERR_INIT;
        assert_int_equal(tide_duration_parse(bad[i], &us, &err), TIDE_INVALID);
        assert_true(us == 7);
        assert_string_not_equal(err.msg, "");
    }
    int64_t us;
    struct tide_err err = TIDE_ERR_INIT;
    (void)!tide_duration_parse("30", &us, &err);
    assert_string_equal(err.msg, "\"30\" is not a duration");
    assert_non_null(strstr(err.hint, "each with its unit"));
}

static void sizes_are_read(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"4096", 4096},
        {"0", 0},
        {"5B", 5},
        {"64kB", 64000},
        {"64KiB", 65536},
        {"64k", 65536},
        {"16MiB", UINT64_C(16) << 20},
        {"16mib", UINT64_C(16) << 20},
        {"16M", UINT64_C(16) << 20},
        {"1MB", 1000000},
        {"3GiB", UINT64_C(3) << 30},
        {"3GB", UINT64_C(3000000000)},
        {"2TiB", UINT64_C(2) << 40},
        {"1PiB", UINT64_C(1) << 50},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(tide_size_parse(cases[i].text, &bytes, NULL), TIDE_OK);
        assert_true(bytes == cases[i].bytes);
    }
    static const char *const bad[] = {
        "", "MiB", "-1", "1.5GiB", "1 MiB", "1MiBs", "1X", "18446744073709551616", "99999999PiB"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        uint64_t bytes = 1;
        assert_int_equal(tide_size_parse(bad[i], &bytes, NULL), TIDE_INVALID);
        assert_true(bytes == 1);
    }
}

static const char *size_text(uint64_t bytes)
{
    static char out[32];
    tide_size_format(bytes, out, sizeof(out));
    return out;
}

static void sizes_are_shown_with_one_decimal(void **state)
{
    (void)state;
    assert_string_equal(size_text(0), "0 B");
    assert_string_equal(size_text(1023), "1023 B");
    assert_string_equal(size_text(1024), "1.0 KiB");
    assert_string_equal(size_text(UINT64_C(1288490189)), "1.2 GiB");
    assert_string_equal(size_text((UINT64_C(1) << 20) - 1), "1.0 MiB");
    assert_string_equal(size_text(UINT64_C(1023) << 20), "1023.0 MiB");
    assert_string_equal(size_text(UINT64_MAX), "16.0 EiB");
}

static const char *duration_text(int64_t us)
{
    static char out[32];
    tide_duration_format(us, out, sizeof(out));
    return out;
}

static void durations_are_shown_in_two_units(void **state)
{
    (void)state;
    assert_string_equal(duration_text(0), "0 us");
    assert_string_equal(duration_text(999), "999 us");
    assert_string_equal(duration_text(120000), "120 ms");
    assert_string_equal(duration_text(3450000), "3.4 s");
    assert_string_equal(duration_text(59999999), "59.9 s");
    assert_string_equal(duration_text(INT64_C(125000000)), "2 min 05 s");
    assert_string_equal(duration_text(INT64_C(7500000000)), "2 h 05 min");
    assert_string_equal(duration_text(INT64_C(273600000000)), "3 d 04 h");
    assert_string_equal(duration_text(-3400000), "-3.4 s");
    assert_string_equal(duration_text(INT64_MIN), "-106751991 d 04 h");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(durations_need_units_in_order),
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(sizes_are_shown_with_one_decimal),
        cmocka_unit_test(durations_are_shown_in_two_units),
    };
    return cmocka_run_group_tests_name("base_units", tests, NULL, NULL);
}
