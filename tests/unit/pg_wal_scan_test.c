// OBJECTS: plugins/postgresql/wal_scan.c plugins/postgresql/wal_page.c plugins/postgresql/wal_record.c
// OBJECTS: plugins/postgresql/wal_event.c plugins/postgresql/wal_layout.c plugins/postgresql/wal_crc.c
// OBJECTS: plugins/postgresql/evidence.c plugins/postgresql/value.c
#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_format.h"
#include "tests/support/plugin_host.h"
#include "tests/support/wal_build.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SEGMENT (1u << 20)
#define START   (UINT64_C(3) << 20)
#define NOON    INT64_C(1767268800000000) /* 2026-01-01 12:00 */

struct seen {
    size_t n;
    struct tide_log_event events[4000];
    size_t n_blocks;
};

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct seen *seen = ctx;

    (void)err;
    assert_true(seen->n < sizeof seen->events / sizeof seen->events[0]);
    seen->events[seen->n] = *e;
    seen->events[seen->n].text = NULL;
    seen->n++;
    return TIDE_OK;
}

static int on_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    struct seen *seen = ctx;

    (void)refs;
    (void)err;
    seen->n_blocks += n;
    return TIDE_OK;
}

/* Scans what was built, or a part of it, in pieces. */
struct scan {
    uint64_t from, first; /* 0: from the start; none */
    size_t piece;         /* 0: all at once */
    const uint8_t *data;  /* NULL: what was built */
    size_t len;
};

static int scan(const struct wal_build *b, const struct scan *how, struct seen *seen, struct tide_log_mark *mark)
{
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    char evidence[300];
    void *s = NULL;
    uint64_t from = how->from != 0 ? how->from : b->start;
    const uint8_t *data = (how->data != NULL ? how->data : b->data) + (from - b->start);
    size_t len = (how->data != NULL ? how->len : b->len) - (size_t)(from - b->start);
    size_t piece = how->piece != 0 ? how->piece : len;
    int rc = TIDE_OK;

    test_host_init(&host, "shop", NULL);
    wal_build_evidence(b, evidence, sizeof evidence);
    memset(seen, 0, sizeof *seen);
    memset(mark, 0, sizeof *mark);
    const struct tide_log_scan_params params = {.struct_size = sizeof params,
                                                .evidence = evidence,
                                                .start = pg_pos(from),
                                                .first_record = pg_pos(how->first)};
    const struct tide_log_scan_sink sink = {
        .struct_size = sizeof sink, .ctx = seen, .event = on_event, .blocks = on_blocks};
    assert_int_equal(pg_log_scan_open(&host.host, &params, &s, &err), TIDE_OK);
    for (size_t at = 0; rc == TIDE_OK && at < len; at += piece)
        rc = pg_log_scan_feed(s, data + at, len - at < piece ? len - at : piece, &sink, mark, &err);
    pg_log_scan_close(s);
    if (rc != TIDE_OK)
        assert_true(err.msg[0] != '\0');
    return rc;
}

static struct seen seen, again;

/* Commits between fillers of many lengths, so that records and their headers meet pages at every offset. */
static void build_mixed(struct wal_build *b, int major)
{
    wal_build_init(b, major, START, SEGMENT);
    for (uint32_t i = 0; i < 400; i++) {
        (void)wal_build_filler(b, 1 + i * 7 % 900);
        if (i % 50 == 0)
            (void)wal_build_filler(b, 30000);
        (void)wal_build_commit(b, 1000 + i, NOON + i);
    }
}

static void records_are_found_whatever_the_pieces(void **state)
{
    static const size_t pieces[] = {1, 3, 7, 8, 24, 100, 8191, 8192, 8193, 65536};

    (void)state;
    for (int major = 14; major <= 18; major++) {
        struct wal_build b;
        struct tide_log_mark all, mark;

        build_mixed(&b, major);
        assert_int_equal(scan(&b, &(struct scan){0}, &seen, &all), TIDE_OK);
        assert_int_equal(seen.n, 400);
        assert_int_equal(all.whole_end.lo, wal_build_end(&b));
        assert_int_equal(all.last_start.lo, b.prev);
        assert_int_equal(all.first_start.lo, START + WAL_LONG_HEADER);
        for (size_t i = 0; i < seen.n; i++) {
            assert_int_equal(seen.events[i].kind, TIDE_EVENT_COMMIT);
            assert_int_equal(seen.events[i].number, 1000 + i);
            assert_int_equal(seen.events[i].time_us, NOON + (int64_t)i);
        }
        for (size_t p = 0; p < sizeof pieces / sizeof pieces[0]; p++) {
            assert_int_equal(scan(&b, &(struct scan){.piece = pieces[p]}, &again, &mark), TIDE_OK);
            assert_int_equal(again.n, seen.n);
            assert_memory_equal(again.events, seen.events, seen.n * sizeof seen.events[0]);
            assert_memory_equal(&mark, &all, sizeof mark);
        }
        wal_build_clear(&b);
    }
}

static void any_page_is_a_place_to_begin(void **state)
{
    struct wal_build b;
    struct tide_log_mark all, mark;

    (void)state;
    build_mixed(&b, 15);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &all), TIDE_OK);
    /* Also a place inside of a page: the next one tells. */
    for (uint64_t from = START; from + 20000 < wal_build_end(&b); from += 4096) {
        assert_int_equal(scan(&b, &(struct scan){.from = from, .piece = 1000}, &again, &mark), TIDE_OK);
        assert_memory_equal(&mark.whole_end, &all.whole_end, sizeof mark.whole_end);
        assert_true(again.n > 0 && mark.first_start.lo >= from);
        assert_memory_equal(again.events, seen.events + (seen.n - again.n), again.n * sizeof seen.events[0]);
        assert_true(again.n == seen.n || seen.events[seen.n - again.n - 1].start.lo < mark.first_start.lo);
    }
    wal_build_clear(&b);
}

static void a_known_record_is_where_scanning_begins(void **state)
{
    struct wal_build b;
    struct tide_log_mark all, mark;

    (void)state;
    build_mixed(&b, 15);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &all), TIDE_OK);
    for (size_t i = 0; i < seen.n; i += 3) {
        uint64_t record = seen.events[i].start.lo;

        /* An object that begins with it, and one that begins in the middle of what is before it. */
        for (uint64_t before = 0; before <= 48 && record - before > START + 100; before += 24) {
            assert_int_equal(
                scan(&b, &(struct scan){.from = record - before, .first = record, .piece = 500}, &again, &mark),
                TIDE_OK);
            assert_int_equal(again.n, seen.n - i);
            assert_int_equal(mark.first_start.lo, record);
            assert_int_equal(mark.whole_end.lo, all.whole_end.lo);
        }
    }
    wal_build_clear(&b);
}

static void the_end_of_a_record_at_a_page_is_a_place_to_cut(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_filler(&b, WAL_PAGE_SIZE - WAL_LONG_HEADER - WAL_RECORD_HEADER - 5);
    assert_int_equal(wal_build_end(&b), START + WAL_PAGE_SIZE);
    uint64_t commit = wal_build_commit(&b, 7, NOON);
    assert_int_equal(commit, START + WAL_PAGE_SIZE + WAL_SHORT_HEADER);
    /* Before and behind the page header it is the same place. */
    assert_int_equal(scan(&b, &(struct scan){.from = START + WAL_PAGE_SIZE, .first = commit}, &seen, &mark), TIDE_OK);
    assert_int_equal(seen.n, 1);
    assert_int_equal(
        scan(&b, &(struct scan){.from = START + WAL_PAGE_SIZE, .first = START + WAL_PAGE_SIZE}, &seen, &mark),
        TIDE_OK);
    assert_int_equal(seen.n, 1);
    assert_int_equal(scan(&b, &(struct scan){.from = commit, .first = commit}, &seen, &mark), TIDE_OK);
    assert_int_equal(seen.n, 1);
    assert_int_equal(wal_normalise(commit, SEGMENT), START + WAL_PAGE_SIZE);
    assert_int_equal(wal_normalise(START + WAL_LONG_HEADER, SEGMENT), START);
    assert_int_equal(wal_normalise(START + WAL_SHORT_HEADER, SEGMENT), START + WAL_SHORT_HEADER);
    wal_build_clear(&b);
}

static void an_incomplete_record_is_no_damage(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    uint64_t first = wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    (void)wal_build_filler(&b, 20000);
    for (size_t len = (size_t)(whole - START); len < b.len; len += 8) {
        assert_int_equal(scan(&b, &(struct scan){.data = b.data, .len = len}, &seen, &mark), TIDE_OK);
        assert_int_equal(mark.whole_end.lo, whole);
        assert_int_equal(mark.last_start.lo, first);
        assert_int_equal(seen.n, 1);
    }
    wal_build_clear(&b);
}

/* Whatever byte is wrong: either it says so, or nothing that matters was in that byte. */
static void no_flipped_byte_changes_what_is_found(void **state)
{
    struct wal_build b;
    struct tide_log_mark all, mark;
    size_t silent = 0;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    for (uint32_t i = 0; i < 40; i++) {
        (void)wal_build_filler(&b, 1 + i * 37 % 700);
        (void)wal_build_commit(&b, 1000 + i, NOON + i);
    }
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &all), TIDE_OK);
    for (size_t at = 0; at < b.len; at++) {
        b.data[at] ^= 0x41;
        int rc = scan(&b, &(struct scan){.piece = 4000}, &again, &mark);
        b.data[at] ^= 0x41;
        assert_true(rc == TIDE_OK || rc == TIDE_CORRUPT || rc == TIDE_UNSUPPORTED);
        if (rc == TIDE_OK && mark.whole_end.lo != all.whole_end.lo) {
            /* A length that is too large, in the last page: as if the rest were still to come. */
            assert_true(at / WAL_PAGE_SIZE == b.len / WAL_PAGE_SIZE && mark.whole_end.lo <= START + at);
        } else if (rc == TIDE_OK) {
            assert_memory_equal(&mark, &all, sizeof mark);
            assert_memory_equal(again.events, seen.events, seen.n * sizeof seen.events[0]);
            silent++;
        } else {
            /* What the mark calls whole lies before the damage. */
            assert_true(mark.whole_end.lo <= START + at);
            assert_memory_equal(again.events, seen.events, again.n * sizeof seen.events[0]);
        }
    }
    /* Timelines, paddings and what a page header holds for nobody; at most one byte in five. */
    assert_true(silent < b.len / 5);
    wal_build_clear(&b);
}

static void zeros_end_the_log(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    wal_build_zeros(&b, (size_t)(START + SEGMENT - whole));
    for (size_t piece = 1; piece < 100000; piece = piece * 5 + 2) {
        assert_int_equal(scan(&b, &(struct scan){.piece = piece}, &seen, &mark), TIDE_OK);
        assert_int_equal(mark.whole_end.lo, whole);
    }
    /* There is nothing behind an end. */
    wal_build_zeros(&b, 1);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    assert_int_equal(mark.whole_end.lo, whole);
    /* What is left of the page was never written: it has to be zero. */
    b.data[whole - START + 100] = 1;
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    assert_int_equal(mark.whole_end.lo, whole);
    wal_build_clear(&b);
}

static void a_hole_is_damage(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    (void)wal_build_filler(&b, 7000);
    for (int i = 0; i < 5; i++)
        (void)wal_build_filler(&b, 2000);
    memset(b.data + (whole - START), 0, (size_t)(START + WAL_PAGE_SIZE - whole));
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    assert_int_equal(mark.whole_end.lo, whole);
    wal_build_clear(&b);
}

static void what_a_recycled_segment_held_before_is_no_log(void **state)
{
    struct wal_build old, b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&old, 15, START - SEGMENT, SEGMENT);
    for (int i = 0; i < 40; i++)
        (void)wal_build_filler(&old, 2000);
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    memcpy(old.data, b.data, b.len);
    memset(old.data + b.len, 0, WAL_PAGE_SIZE - b.len);
    assert_int_equal(scan(&b, &(struct scan){.data = old.data, .len = old.len}, &seen, &mark), TIDE_OK);
    assert_int_equal(mark.whole_end.lo, whole);
    assert_int_equal(seen.n, 1);
    wal_build_clear(&b);

    /* And where a record went on into a page that was never written. */
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    whole = wal_build_end(&b);
    (void)wal_build_filler(&b, 20000);
    memcpy(old.data, b.data, WAL_PAGE_SIZE);
    assert_int_equal(scan(&b, &(struct scan){.data = old.data, .len = old.len}, &seen, &mark), TIDE_OK);
    assert_int_equal(mark.whole_end.lo, whole);
    wal_build_clear(&b);
    wal_build_clear(&old);
}

static void an_unknown_magic_is_unsupported(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 18, START, SEGMENT);
    b.magic = 0xd11e;
    (void)wal_build_commit(&b, 1, NOON);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_UNSUPPORTED);
    assert_int_equal(seen.n, 0);
    wal_build_clear(&b);
    /* That of another major that is known is damage: the evidence says which one it has to be. */
    wal_build_init(&b, 18, START, SEGMENT);
    b.magic = 0xd110;
    (void)wal_build_commit(&b, 1, NOON);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    wal_build_clear(&b);
}

static void evidence_of_an_unknown_major_is_refused(void **state)
{
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    void *s = NULL;
    struct tide_log_scan_params p = {.struct_size = sizeof p};

    (void)state;
    test_host_init(&host, "shop", NULL);
    p.evidence = "system_identifier=1\nmajor=13\nsegment_size=16777216\ntimeline=1\nhistory=\n";
    assert_int_equal(pg_log_scan_open(&host.host, &p, &s, &err), TIDE_UNSUPPORTED);
    p.evidence = "system_identifier=1\nmajor=15\nsegment_size=16777215\ntimeline=1\nhistory=\n";
    assert_int_equal(pg_log_scan_open(&host.host, &p, &s, &err), TIDE_INVALID);
    p.evidence = NULL;
    assert_int_equal(pg_log_scan_open(&host.host, &p, &s, &err), TIDE_INVALID);
    assert_null(s);
}

static void a_segment_of_another_system_is_damage(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    b.data[24] ^= 1;
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    b.data[24] ^= 1;
    b.data[34] ^= 0x30; /* segment size */
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    wal_build_clear(&b);
}

static void a_switch_ends_its_segment(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t at = wal_build_switch(&b);
    assert_int_equal(wal_build_end(&b), START + SEGMENT);
    assert_int_equal(scan(&b, &(struct scan){.piece = 5000}, &seen, &mark), TIDE_OK);
    /* Nothing can follow in this segment: the log may be cut anywhere behind the switch. */
    assert_int_equal(mark.whole_end.lo, START + SEGMENT);
    assert_int_equal(mark.last_start.lo, at);
    assert_int_equal(scan(&b, &(struct scan){.data = b.data, .len = (size_t)(at - START) + 24 + 1000}, &seen, &mark),
                     TIDE_OK);
    assert_int_equal(mark.whole_end.lo, at + 24 + 1000);
    (void)wal_build_commit(&b, 2, NOON + 1);
    assert_int_equal(scan(&b, &(struct scan){.piece = 77}, &seen, &mark), TIDE_OK);
    assert_int_equal(seen.n, 2);
    assert_int_equal(mark.whole_end.lo, wal_build_end(&b));
    wal_build_clear(&b);
}

static void a_record_that_a_crash_broke_is_passed_over(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    uint64_t broken = wal_build_broken(&b, 20000, 1);
    assert_int_equal(broken, whole);
    (void)wal_build_commit(&b, 2, NOON + 1);
    for (size_t piece = 1; piece < 100000; piece = piece * 3 + 1) {
        assert_int_equal(scan(&b, &(struct scan){.piece = piece}, &seen, &mark), TIDE_OK);
        assert_int_equal(seen.n, 2);
        assert_int_equal(mark.whole_end.lo, wal_build_end(&b));
    }
    /* An object may begin with what was broken; its first whole record comes later. */
    assert_int_equal(scan(&b, &(struct scan){.from = whole, .first = whole}, &seen, &mark), TIDE_OK);
    assert_int_equal(seen.n, 1);
    assert_int_equal(mark.first_start.lo, START + WAL_PAGE_SIZE + WAL_SHORT_HEADER);
    wal_build_clear(&b);
}

static void a_broken_record_must_be_announced(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    uint64_t whole = wal_build_end(&b);
    (void)wal_build_broken(&b, 20000, 0);
    (void)wal_build_commit(&b, 2, NOON + 1);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    assert_int_equal(mark.whole_end.lo, whole);
    assert_int_equal(seen.n, 1);
    wal_build_clear(&b);
}

static void a_record_that_does_not_follow_the_last_is_damage(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    (void)wal_build_commit(&b, 2, NOON);
    uint64_t whole = wal_build_end(&b);
    b.prev -= 8;
    (void)wal_build_commit(&b, 3, NOON);
    assert_int_equal(scan(&b, &(struct scan){0}, &seen, &mark), TIDE_CORRUPT);
    assert_int_equal(mark.whole_end.lo, whole);
    assert_int_equal(seen.n, 2);
    wal_build_clear(&b);
}

static void a_huge_record_needs_no_huge_memory(void **state)
{
    struct wal_build b;
    struct tide_log_mark mark;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_filler(&b, 48u << 20);
    (void)wal_build_commit(&b, 5, NOON);
    assert_int_equal(scan(&b, &(struct scan){.piece = 100000}, &seen, &mark), TIDE_OK);
    assert_int_equal(seen.n, 1);
    b.data[b.len / 2] ^= 1;
    assert_int_equal(scan(&b, &(struct scan){.piece = 100000}, &seen, &mark), TIDE_CORRUPT);
    wal_build_clear(&b);
}

static int refuse_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    (void)ctx;
    (void)e;
    return (int)tide_fail(err, TIDE_FULL, "no room");
}

static void the_sinks_refusal_is_passed_on(void **state)
{
    struct wal_build b;
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_log_mark mark;
    char evidence[300];
    void *s;

    (void)state;
    wal_build_init(&b, 15, START, SEGMENT);
    (void)wal_build_commit(&b, 1, NOON);
    test_host_init(&host, "shop", NULL);
    wal_build_evidence(&b, evidence, sizeof evidence);
    const struct tide_log_scan_params params = {
        .struct_size = sizeof params, .evidence = evidence, .start = pg_pos(START)};
    const struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .event = refuse_event};
    assert_int_equal(pg_log_scan_open(&host.host, &params, &s, &err), TIDE_OK);
    assert_int_equal(pg_log_scan_feed(s, b.data, b.len, &sink, &mark, &err), TIDE_FULL);
    assert_string_equal(err.msg, "no room");
    assert_int_equal(pg_log_scan_feed(s, b.data, b.len, &sink, &mark, &err), TIDE_CORRUPT);
    pg_log_scan_close(s);
    pg_log_scan_close(NULL);
    wal_build_clear(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_found_whatever_the_pieces),
        cmocka_unit_test(any_page_is_a_place_to_begin),
        cmocka_unit_test(a_known_record_is_where_scanning_begins),
        cmocka_unit_test(the_end_of_a_record_at_a_page_is_a_place_to_cut),
        cmocka_unit_test(an_incomplete_record_is_no_damage),
        cmocka_unit_test(no_flipped_byte_changes_what_is_found),
        cmocka_unit_test(zeros_end_the_log),
        cmocka_unit_test(a_hole_is_damage),
        cmocka_unit_test(what_a_recycled_segment_held_before_is_no_log),
        cmocka_unit_test(an_unknown_magic_is_unsupported),
        cmocka_unit_test(evidence_of_an_unknown_major_is_refused),
        cmocka_unit_test(a_segment_of_another_system_is_damage),
        cmocka_unit_test(a_switch_ends_its_segment),
        cmocka_unit_test(a_record_that_a_crash_broke_is_passed_over),
        cmocka_unit_test(a_broken_record_must_be_announced),
        cmocka_unit_test(a_record_that_does_not_follow_the_last_is_damage),
        cmocka_unit_test(a_huge_record_needs_no_huge_memory),
        cmocka_unit_test(the_sinks_refusal_is_passed_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
