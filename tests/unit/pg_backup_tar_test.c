// OBJECTS: plugins/postgresql/basebackup_tar.c
#include "plugins/postgresql/basebackup_tar.h"
#include "tests/support/plugin_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static uint8_t archive[64 * 1024];
static size_t archive_len;

/* What the parser said, one line each. */
static char said[4096];
static int refuse_with;

static void say(const char *what, const struct pg_tar_entry *e, uint64_t number)
{
    size_t n = strlen(said);
    (void)snprintf(said + n, sizeof said - n, "%s %s %llu\n", what, e->name, (unsigned long long)number);
}

static int on_begin(void *ctx, const struct pg_tar_entry *e, struct tide_err *err)
{
    (void)ctx;
    (void)err;
    say(e->kind == PG_TAR_DIRECTORY ? "dir" : e->kind == PG_TAR_LINK ? "link" : "file", e, e->size);
    return refuse_with;
}

static int on_data(void *ctx, const struct pg_tar_entry *e, uint64_t offset, const void *data, size_t len,
                   struct tide_err *err)
{
    uint64_t *sum = ctx;
    const uint8_t *p = data;
    (void)e;
    (void)err;
    for (size_t i = 0; i < len; i++)
        *sum += (offset + i + 1) * p[i];
    return TIDE_OK;
}

static int on_end(void *ctx, const struct pg_tar_entry *e, struct tide_err *err)
{
    uint64_t *sum = ctx;
    (void)err;
    say("end", e, *sum);
    *sum = 0;
    return TIDE_OK;
}

static void put_sum(uint8_t *h)
{
    unsigned sum = 0;
    memset(h + 148, ' ', 8);
    for (size_t i = 0; i < 512; i++)
        sum += h[i];
    (void)snprintf((char *)h + 148, 8, "%06o", sum);
}

static uint8_t *add_entry(const char *name, char type, const char *link, const char *content)
{
    uint8_t *h = archive + archive_len;
    size_t len = strlen(content);
    memset(h, 0, 512);
    (void)snprintf((char *)h, 100, "%s", name);
    (void)snprintf((char *)h + 100, 8, "%07o", 0600u);
    (void)snprintf((char *)h + 124, 12, "%011o", (unsigned)len);
    (void)snprintf((char *)h + 136, 12, "%011o", 1700000000u);
    h[156] = (uint8_t)type;
    (void)snprintf((char *)h + 157, 100, "%s", link);
    memcpy(h + 257, "ustar\00000", 8);
    put_sum(h);
    archive_len += 512;
    memset(archive + archive_len, 0, 512);
    memcpy(archive + archive_len, content, len);
    archive_len += (len + 511) / 512 * 512;
    return h;
}

static int parse(size_t step, struct tide_err *err)
{
    struct test_host host;
    struct pg_tar tar = {0};
    uint64_t sum = 0;
    const struct pg_tar_events events = {.ctx = &sum, .begin = on_begin, .data = on_data, .end = on_end};

    test_host_init(&host, "shop", NULL);
    said[0] = '\0';
    for (size_t at = 0; at < archive_len; at += step) {
        size_t n = archive_len - at < step ? archive_len - at : step;
        int s = pg_tar_feed(&host.host, &tar, archive + at, n, &events, err);
        if (s != TIDE_OK)
            return s;
    }
    return pg_tar_finish(&host.host, &tar, err);
}

static void fill(void)
{
    archive_len = 0;
    refuse_with = TIDE_OK;
    (void)add_entry("backup_label", '0', "", "START WAL LOCATION: 0/2000028\n");
    (void)add_entry("pg_wal/", '5', "", "");
    (void)add_entry("pg_tblspc/16384/", '2', "/srv/ts", "");
    (void)add_entry("empty", '0', "", "");
    (void)add_entry("base/1/1247", '0', "", "abc");
}

static void archives_are_read_in_pieces_of_any_size(void **state)
{
    (void)state;
    char whole[sizeof said];
    struct tide_err err = TIDE_ERR_INIT;
    fill();
    assert_int_equal(parse(sizeof archive, &err), TIDE_OK);
    memcpy(whole, said, sizeof whole);
    assert_non_null(strstr(whole, "file backup_label 30\n"));
    assert_non_null(strstr(whole, "dir pg_wal 0\n"));
    assert_non_null(strstr(whole, "link pg_tblspc/16384 0\n"));
    assert_non_null(strstr(whole, "file empty 0\nend empty 0\n"));
    assert_non_null(strstr(whole, "end base/1/1247 590\n")); /* 1*97 + 2*98 + 3*99 */
    for (size_t step = 1; step < 1200; step += 37) {
        assert_int_equal(parse(step, &err), TIDE_OK);
        assert_string_equal(said, whole);
    }
}

static void blocks_of_zeros_end_it(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    fill();
    memset(archive + archive_len, 0, 1024);
    archive_len += 1024;
    assert_int_equal(parse(100, &err), TIDE_OK);
}

static void an_archive_cut_short_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    fill();
    archive_len -= 1; /* in the last padding */
    assert_int_equal(parse(100, &err), TIDE_CORRUPT);
    archive_len -= 509;
    assert_int_equal(parse(100, &err), TIDE_CORRUPT);
    archive_len -= 100;
    assert_int_equal(parse(100, &err), TIDE_CORRUPT);
}

static void a_damaged_header_is_corrupt(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    fill();
    archive[3] ^= 1;
    assert_int_equal(parse(512, &err), TIDE_CORRUPT);
}

static void names_that_lead_outside_are_corrupt(void **state)
{
    (void)state;
    static const char *const names[] = {"/etc/passwd", "../x", "base/../../x", "a//b", "base/./x", "/"};
    struct tide_err err = TIDE_ERR_INIT;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        archive_len = 0;
        (void)add_entry(names[i], '0', "", "x");
        assert_int_equal(parse(512, &err), TIDE_CORRUPT);
        assert_string_equal(said, "");
    }
}

static void big_sizes_are_read_in_both_forms(void **state)
{
    (void)state;
    struct pg_tar_entry e;
    archive_len = 0;
    uint8_t *h = add_entry("base/1/16400", '0', "", "");
    memcpy(h + 124, "77777777777", 12);
    put_sum(h);
    assert_null(pg_tar_parse_header(h, &e));
    assert_true(e.size == UINT64_C(077777777777));
    memset(h + 124, 0, 12);
    h[124] = 0x80;
    h[131] = 0x03; /* 3 << 32 */
    put_sum(h);
    assert_null(pg_tar_parse_header(h, &e));
    assert_true(e.size == UINT64_C(3) << 32);
    assert_int_equal(e.mode, 0600);
    assert_true(e.mtime_s == 1700000000);
    memset(h + 125, 0xff, 11);
    put_sum(h);
    assert_non_null(pg_tar_parse_header(h, &e));
}

static void a_receivers_refusal_is_passed_on(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    fill();
    refuse_with = TIDE_FULL;
    assert_int_equal(parse(512, &err), TIDE_FULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(archives_are_read_in_pieces_of_any_size), cmocka_unit_test(blocks_of_zeros_end_it),
        cmocka_unit_test(an_archive_cut_short_is_corrupt),         cmocka_unit_test(a_damaged_header_is_corrupt),
        cmocka_unit_test(names_that_lead_outside_are_corrupt),     cmocka_unit_test(big_sizes_are_read_in_both_forms),
        cmocka_unit_test(a_receivers_refusal_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
