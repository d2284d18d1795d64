// OBJECTS: plugins/postgresql/inspect.c
#include "plugins/postgresql/pg_backup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define PAGE 8192u

/* Block 1 of pg_type's free space map in a fresh PostgreSQL 15 cluster with checksums: all bytes that are not 0. */
static const struct {
    uint16_t at;
    uint8_t byte;
} real_page[] = {
    {4, 0x70},  {5, 0x50},  {6, 0x4d},   {7, 0x01},   {8, 0xd4},   {9, 0x74},    {12, 0x18},   {15, 0x20},
    {17, 0x20}, {18, 0x04}, {19, 0x20},  {28, 0xca},  {29, 0xca},  {31, 0xca},   {35, 0xca},   {43, 0xca},
    {59, 0xca}, {91, 0xca}, {155, 0xca}, {283, 0xca}, {539, 0xca}, {1051, 0xca}, {2075, 0xca}, {4123, 0xca},
};
#define REAL_LSN UINT64_C(0x14d5070)

static uint8_t block[4 * PAGE];

/* Pages 0, 2 and 3 of the block are new; page 1 is real. */
static void put_real_page(void)
{
    memset(block, 0, sizeof block);
    for (size_t i = 0; i < sizeof real_page / sizeof real_page[0]; i++)
        block[PAGE + real_page[i].at] = real_page[i].byte;
}

static struct tide_block_verdict judge(uint64_t backup_start, uint64_t first)
{
    struct tide_block_view view = {
        .struct_size = sizeof view,
        .name = "base/1/1247_fsm",
        .inspect_number = first,
        .data = block,
        .len = sizeof block,
        .backup_start = {.hi = 0, .lo = backup_start},
    };
    struct tide_block_verdict verdict = {.struct_size = sizeof verdict};

    pg_inspect(&view, &verdict);
    return verdict;
}

static void a_real_page_is_fine_and_its_stamp_is_told(void **state)
{
    (void)state;
    put_real_page();
    struct tide_block_verdict v = judge(UINT64_C(0x2000000), 0);
    assert_int_equal(v.verdict, TIDE_BLOCK_FINE);
    assert_int_equal(v.n_bad, 0);
    assert_int_equal(v.page_size, PAGE);
    assert_true(v.max_page_pos.lo == REAL_LSN);
}

static void one_flipped_bit_anywhere_is_found(void **state)
{
    (void)state;
    static const uint16_t places[] = {12, 27, 127, 128, 4123, 8191};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        put_real_page();
        block[PAGE + places[i]] ^= 0x08;
        struct tide_block_verdict v = judge(UINT64_C(0x2000000), 0);
        assert_int_equal(v.verdict, TIDE_BLOCK_TORN);
        assert_int_equal(v.n_bad, 1);
        assert_int_equal(v.bad_pages[0], 1);
    }
}

static void a_page_in_the_wrong_place_is_found(void **state)
{
    (void)state;
    put_real_page();
    assert_int_equal(judge(UINT64_C(0x2000000), 131072).verdict, TIDE_BLOCK_TORN);
}

static void a_page_newer_than_the_backup_is_left_to_the_log(void **state)
{
    (void)state;
    put_real_page();
    block[PAGE + 4123] ^= 0x08;
    assert_int_equal(judge(REAL_LSN - 1, 0).verdict, TIDE_BLOCK_FINE);
    assert_int_equal(judge(REAL_LSN, 0).verdict, TIDE_BLOCK_TORN);
}

static void a_new_stamp_in_a_senseless_header_proves_nothing(void **state)
{
    (void)state;
    put_real_page();
    memset(block + PAGE, 0xff, 24);
    assert_int_equal(judge(UINT64_C(0x100), 0).verdict, TIDE_BLOCK_TORN);
}

static void content_behind_an_empty_header_is_damage(void **state)
{
    (void)state;
    put_real_page();
    block[2 * PAGE + 5000] = 1;
    struct tide_block_verdict v = judge(UINT64_C(0x2000000), 0);
    assert_int_equal(v.n_bad, 1);
    assert_int_equal(v.bad_pages[0], 2);
}

static void a_part_of_a_page_at_the_end_is_not_judged(void **state)
{
    (void)state;
    put_real_page();
    struct tide_block_view view = {.struct_size = sizeof view, .data = block, .len = PAGE + 100};
    struct tide_block_verdict v = {.struct_size = sizeof v};
    pg_inspect(&view, &v);
    assert_int_equal(v.verdict, TIDE_BLOCK_FINE);
    assert_true(v.max_page_pos.lo == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_real_page_is_fine_and_its_stamp_is_told),
        cmocka_unit_test(one_flipped_bit_anywhere_is_found),
        cmocka_unit_test(a_page_in_the_wrong_place_is_found),
        cmocka_unit_test(a_page_newer_than_the_backup_is_left_to_the_log),
        cmocka_unit_test(a_new_stamp_in_a_senseless_header_proves_nothing),
        cmocka_unit_test(content_behind_an_empty_header_is_damage),
        cmocka_unit_test(a_part_of_a_page_at_the_end_is_not_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
