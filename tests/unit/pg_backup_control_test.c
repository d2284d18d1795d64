// OBJECTS: plugins/postgresql/control.c
#include "orchestrator/base/bytes.h"
#include "plugins/postgresql/control.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* The first 292 bytes of pg_control of a fresh PostgreSQL 15 cluster. */
static const char real_hex[] =
    "14919d3dcded026b1405000025770d0c0100000000000000ceed026b00000000b029750100000000b0297501000000000100000001000000"
    "0100000000000000d402000000000000053500000100000000000000cc02000001000000010000000100000000000000ceed026b00000000"
    "00000000000000000000000000000000e8030000000000000000000000000000000000000000000000000000000000000000000000000000"
    "00000000010000000000000064000000080000000a000000000000004000000000000000080000000000000087d632410020000000000200"
    "00200000000000014000000020000000cc070000000800000100000001000000b06bd8bdfb1646575846250c006af1691f78dc3c4efc1dc3"
    "aa49df57093824a848d6dc35";

static uint8_t raw[PG_CONTROL_FILE_SIZE];

static void put_le32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void put_real(void)
{
    memset(raw, 0, sizeof raw);
    assert_true(tide_unhex(real_hex, raw, (sizeof real_hex - 1) / 2));
}

static void a_real_file_is_read(void **state)
{
    (void)state;
    struct pg_control c;
    put_real();
    assert_true(pg_control_parse(raw, sizeof raw, &c));
    assert_true(c.system_identifier == UINT64_C(7710986977769525524));
    assert_int_equal(c.control_version, 1300);
    assert_int_equal(c.catalog_version, 202209061);
    assert_int_equal(c.state, PG_CONTROL_SHUTDOWNED);
    assert_true(c.checkpoint == UINT64_C(0x17529B0));
    assert_true(c.redo == UINT64_C(0x17529B0));
    assert_int_equal(c.timeline, 1);
    assert_true(c.min_recovery_point == 0);
    assert_int_equal(c.max_connections, 100);
    assert_int_equal(c.max_worker_processes, 8);
    assert_int_equal(c.max_wal_senders, 10);
    assert_int_equal(c.max_prepared_transactions, 0);
    assert_int_equal(c.max_locks_per_transaction, 64);
    assert_int_equal(c.block_size, 8192);
    assert_int_equal(c.segment_blocks, 131072);
    assert_int_equal(c.wal_segment_size, 16777216);
    assert_int_equal(c.data_checksum_version, 1);
}

static void half_a_write_is_seen(void **state)
{
    (void)state;
    struct pg_control c;
    for (size_t at = 0; at < 292; at += 13) {
        put_real();
        raw[at] ^= 0x40;
        assert_false(pg_control_parse(raw, sizeof raw, &c));
    }
    put_real();
    assert_false(pg_control_parse(raw, 200, &c));
}

/* 18 put one more byte before the nonce, which moves the sum by four. */
static void the_layout_of_18_is_read(void **state)
{
    (void)state;
    struct pg_control c;
    put_real();
    put_le32(raw + 8, 1800);
    assert_false(pg_control_parse(raw, sizeof raw, &c));
    put_le32(raw + 292, pg_crc32c_of(raw, 292));
    assert_true(pg_control_parse(raw, sizeof raw, &c));
    assert_int_equal(c.control_version, 1800);
}

static void the_point_to_recover_to_is_only_raised(void **state)
{
    (void)state;
    static const uint32_t versions[] = {1300, 1800};
    struct pg_control c;
    for (size_t i = 0; i < 2; i++) {
        put_real();
        put_le32(raw + 8, versions[i]);
        put_le32(raw + (i == 0 ? 288 : 292), pg_crc32c_of(raw, i == 0 ? 288 : 292));
        pg_control_raise_min_recovery_point(raw, UINT64_C(0x1234500000028));
        assert_true(pg_control_parse(raw, sizeof raw, &c));
        assert_true(c.min_recovery_point == UINT64_C(0x1234500000028));
        assert_true(c.checkpoint == UINT64_C(0x17529B0));
        pg_control_raise_min_recovery_point(raw, 5);
        assert_true(pg_control_parse(raw, sizeof raw, &c));
        assert_true(c.min_recovery_point == UINT64_C(0x1234500000028));
    }
}

static void an_unknown_layout_is_refused(void **state)
{
    (void)state;
    struct pg_control c;
    static const uint32_t versions[] = {1201, 1900};
    for (size_t i = 0; i < 2; i++) {
        put_real();
        put_le32(raw + 8, versions[i]);
        put_le32(raw + 288, pg_crc32c_of(raw, 288));
        put_le32(raw + 292, pg_crc32c_of(raw, 292));
        assert_false(pg_control_parse(raw, sizeof raw, &c));
    }
}

static void the_sum_is_the_one_of_rfc_3720(void **state)
{
    (void)state;
    assert_int_equal(pg_crc32c_of("123456789", 9), 0xE3069283u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_file_is_read),
        cmocka_unit_test(half_a_write_is_seen),
        cmocka_unit_test(the_layout_of_18_is_read),
        cmocka_unit_test(the_point_to_recover_to_is_only_raised),
        cmocka_unit_test(an_unknown_layout_is_refused),
        cmocka_unit_test(the_sum_is_the_one_of_rfc_3720),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
