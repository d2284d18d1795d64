/* collector.c, piece.c and refset.c: random logs in random slices against what the server knows it wrote. */

#include "wal/collector.h"

#include "orchestrator/base/clock.h"
#include "tests/support/fake_engine.h"
#include "wal/pos.h"

#include <jansson.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define T0    INT64_C(1700000000000000)
#define START ((struct tide_pos){0, FAKE_BASE})

struct world {
    struct fake_server *server;
    struct fake_host host;
    char *evidence;
    struct tide_pos end;
    uint8_t *log; /* from START on */
};

static struct world *world_new(unsigned seed, unsigned n, size_t largest)
{
    struct world *w = calloc(1, sizeof *w);
    unsigned r = seed;
    int64_t us = T0;

    assert_non_null(w);
    w->server = fake_server_new(1);
    fake_host_init(&w->host, w->server);
    w->evidence = fake_evidence(w->server, 1);
    for (unsigned i = 0; i < n; i++) {
        us += rand_r(&r) % 50 == 0 ? -2 * TIDE_SECOND_US : rand_r(&r) % 5000 - 500;
        unsigned what = (unsigned)rand_r(&r) % 20;
        size_t size = (size_t)rand_r(&r) % (rand_r(&r) % 10 == 0 ? largest : 150);
        if (what < 4)
            fake_append(w->server, FAKE_DATA, 0, NULL, size, (unsigned)rand_r(&r) % 20, (uint32_t)rand_r(&r) % 100);
        else if (what == 4)
            fake_append(w->server, FAKE_SWITCH, 0, NULL, 4, 0, 0);
        else if (what == 5)
            fake_append(w->server, TIDE_EVENT_RESTORE_POINT, us, "before \xff the drop", 17, 0, 0);
        else
            fake_commit(w->server, us, size);
    }
    w->end = fake_end(w->server);
    w->log = malloc((size_t)pos_distance(START, w->end));
    assert_non_null(w->log);
    fake_read(w->server, 1, START, w->end, w->log);
    return w;
}

static void world_free(struct world *w)
{
    fake_server_free(w->server);
    free(w->evidence);
    free(w->log);
    free(w);
}

static struct collector *collector(struct world *w, struct tide_pos start, struct tide_pos scan_from, bool record,
                                   uint64_t size)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct collector *c = NULL;
    struct collector_options o = {.plugin = &fake_plugin,
                                  .host = &w->host.host,
                                  .evidence = w->evidence,
                                  .lineage = 1,
                                  .object_bytes = size,
                                  .start = start,
                                  .scan_from = scan_from,
                                  .first_record = record ? scan_from : TIDE_POS_NONE};
    assert_int_equal(collector_new(&o, &c, &err), TIDE_OK);
    return c;
}

/* What a piece says against the server's own notes. */
static void check_piece(struct world *w, const struct log_piece *p)
{
    const struct log_info *i = &p->info;
    uint64_t commits = 0;
    int64_t min = TIDE_TIME_NONE, max = TIDE_TIME_NONE, back = 0;
    struct tide_pos last = TIDE_POS_NONE;
    size_t n;
    const struct fake_commit_record *all = fake_commits(w->server, &n);

    for (size_t k = 0; k < n; k++) {
        if (!pos_before(i->name.start, all[k].end) || pos_before(i->name.end, all[k].end))
            continue;
        commits++;
        last = all[k].start;
        if (max != TIDE_TIME_NONE && max - all[k].time_us > back)
            back = max - all[k].time_us;
        min = min == TIDE_TIME_NONE || all[k].time_us < min ? all[k].time_us : min;
        max = max == TIDE_TIME_NONE || all[k].time_us > max ? all[k].time_us : max;
    }
    assert_int_equal(i->n_commits, commits);
    assert_int_equal(i->name.min_us, min);
    assert_int_equal(i->name.max_us, max);
    assert_int_equal(i->name.back_ms, (back + 999) / 1000);
    assert_true(pos_equal(i->last_commit_start, last));
    assert_memory_equal(p->content, w->log + (i->name.start.lo - FAKE_BASE), i->bytes);
    assert_int_equal(i->bytes, pos_distance(i->name.start, i->name.end));
    assert_int_equal((i->name.marks & LOG_MARK_RESTORE_POINT) != 0, i->n_events > 0);
    if (i->n_events > 0) {
        json_t *events = json_loads(i->events_json, 0, NULL);
        assert_int_equal(json_array_size(events), i->n_events);
        json_decref(events);
    }
}

struct seen {
    struct tide_pos from; /* events behind it are counted */
    size_t commits;
};

static int count_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct seen *s = ctx;
    (void)err;
    if (e->kind == TIDE_EVENT_COMMIT && pos_before(s->from, e->end))
        s->commits++;
    return TIDE_OK;
}

/* first_record must be a place from which a scanner reads everything that begins at or behind it. */
static void check_first_record(struct world *w, const struct log_piece *p)
{
    struct tide_pos first = p->info.first_record;
    struct tide_log_scan_params params = {
        .struct_size = sizeof params, .evidence = w->evidence, .start = p->info.name.start, .first_record = first};
    struct seen seen = {.from = TIDE_POS_NONE};
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = &seen, .event = count_event};
    struct tide_log_mark mark = {.struct_size = sizeof mark};
    struct tide_err err = TIDE_ERR_INIT;
    size_t n, expected = 0;
    void *scan = NULL;

    const struct fake_commit_record *all = fake_commits(w->server, &n);
    for (size_t k = 0; k < n; k++)
        if (!pos_before(all[k].start, p->info.name.start) && !pos_before(p->info.name.end, all[k].end))
            expected++;
    if (tide_pos_is_none(first)) {
        assert_int_equal(expected, 0);
        return;
    }
    assert_int_equal(fake_plugin.log_scan_open(&w->host.host, &params, &scan, &err), TIDE_OK);
    assert_int_equal(fake_plugin.log_scan_feed(scan, p->content, p->info.bytes, &sink, &mark, &err), TIDE_OK);
    fake_plugin.log_scan_close(scan);
    assert_int_equal(seen.commits, expected);
}

struct run {
    struct tide_pos at, last_record;
    size_t pieces, in_record; /* in_record: cut inside of a record */
};

static void take_all(struct world *w, struct collector *c, struct run *run)
{
    for (struct log_piece *p; (p = collector_take(c)) != NULL; log_piece_free(p)) {
        assert_true(pos_equal(p->info.name.start, run->at));
        check_piece(w, p);
        check_first_record(w, p);
        run->at = p->info.name.end;
        run->pieces++;
        if (!tide_pos_is_none(p->info.last_record_start))
            run->last_record = p->info.last_record_start;
        else
            run->in_record++;
    }
}

static void feed(struct world *w, struct collector *c, struct tide_pos to, unsigned *r, size_t slice, unsigned cuts,
                 struct run *run)
{
    struct tide_err err = TIDE_ERR_INIT;

    while (pos_before(collector_end(c), to)) {
        struct tide_pos at = collector_end(c), end = pos_add(at, 1 + (uint64_t)rand_r(r) % slice);
        end = pos_min(end, to);
        assert_int_equal(collector_feed(c, at, end, w->log + (at.lo - FAKE_BASE), end.lo - at.lo, &err), TIDE_OK);
        if (cuts > 0 && (unsigned)rand_r(r) % cuts == 0)
            assert_int_equal(collector_cut(c, COLLECTOR_WHOLE, &err), TIDE_OK);
        take_all(w, c, run);
    }
}

static void pieces_join_and_say_what_they_hold(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 30; seed++) {
        unsigned r = seed;
        struct tide_err err = TIDE_ERR_INIT;
        struct world *w = world_new(seed, 300, 1500);
        struct collector *c = collector(w, START, START, false, 5000);
        struct run run = {.at = START};
        feed(w, c, w->end, &r, seed % 3 == 0 ? 20 : 2000, seed % 5, &run);
        assert_int_equal(collector_cut(c, COLLECTOR_WHOLE, &err), TIDE_OK);
        take_all(w, c, &run);
        assert_true(pos_equal(run.at, w->end)); /* the log ends with a whole record */
        assert_int_equal(collector_bytes(c), 0);
        collector_free(c);
        world_free(w);
    }
}

static void a_later_collector_goes_on_as_if_there_had_been_one(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 30; seed++) {
        unsigned r = seed * 7;
        struct tide_err err = TIDE_ERR_INIT;
        struct world *w = world_new(seed, 200, 1500);
        struct run run = {.at = START};
        while (pos_before(run.at, w->end)) {
            bool first = pos_equal(run.at, START);
            struct tide_pos from = first ? START : run.last_record;
            struct collector *c = collector(w, run.at, from, !first, 3000);
            struct tide_pos to = pos_min(w->end, pos_add(run.at, 500 + (uint64_t)rand_r(&r) % 9000));
            feed(w, c, to, &r, 700, 4, &run);
            assert_int_equal(collector_cut(c, COLLECTOR_WHOLE, &err), TIDE_OK);
            take_all(w, c, &run);
            collector_free(c);
        }
        world_free(w);
    }
}

static void a_record_larger_than_a_piece_is_cut_inside(void **state)
{
    (void)state;
    struct world *w = world_new(3, 5, 10);
    struct tide_err err = TIDE_ERR_INIT;
    unsigned r = 1;

    fake_append(w->server, FAKE_DATA, 0, NULL, 700000, 0, 0);
    fake_commit(w->server, T0, 5);
    fake_commit(w->server, T0 + 1, 900000);
    free(w->log);
    w->end = fake_end(w->server);
    w->log = malloc((size_t)pos_distance(START, w->end));
    fake_read(w->server, 1, START, w->end, w->log);
    struct collector *c = collector(w, START, START, false, 200000);
    struct run run = {.at = START};
    feed(w, c, w->end, &r, 50000, 0, &run);
    assert_int_equal(collector_cut(c, COLLECTOR_ALL, &err), TIDE_OK);
    take_all(w, c, &run);
    assert_true(pos_equal(run.at, w->end));
    assert_true(run.in_record >= 4);
    assert_true(run.pieces >= 7);
    collector_free(c);
    world_free(w);
}

static void damage_ends_what_can_be_cut(void **state)
{
    (void)state;
    struct world *w = world_new(5, 200, 300);
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = (size_t)pos_distance(START, w->end);
    size_t n;
    const struct fake_commit_record *all = fake_commits(w->server, &n);
    struct tide_pos bad = all[n / 2].start;

    w->log[bad.lo + 12 - FAKE_BASE] ^= 1;
    struct collector *c = collector(w, START, START, false, 1 << 20);
    assert_int_equal(collector_feed(c, START, w->end, w->log, len, &err), TIDE_CORRUPT);
    assert_int_equal(collector_cut(c, COLLECTOR_WHOLE, &err), TIDE_OK);
    struct log_piece *p = collector_take(c);
    assert_non_null(p);
    assert_false(pos_before(bad, p->info.name.end));
    assert_true(pos_distance(p->info.name.end, bad) <= 8 + FAKE_SEGMENT);
    log_piece_free(p);
    collector_free(c);
    world_free(w);
}

static void bytes_that_do_not_follow_are_refused(void **state)
{
    (void)state;
    struct world *w = world_new(5, 20, 300);
    struct tide_err err = TIDE_ERR_INIT;
    struct collector *c = collector(w, START, START, false, 1 << 20);

    assert_int_equal(collector_feed(c, START, pos_add(START, 10), w->log, 10, &err), TIDE_OK);
    assert_int_equal(collector_feed(c, pos_add(START, 11), pos_add(START, 20), w->log + 11, 9, &err), TIDE_CORRUPT);
    collector_free(c);
    world_free(w);
}

static void references_are_sorted_and_unique(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct refset s;
    unsigned r = 1;
    bool there[2000] = {false};
    size_t distinct = 0;

    refset_init(&s, 4096);
    for (unsigned i = 0; i < 50000; i++) {
        struct tide_block_ref ref = {.space = 1, .block = (uint32_t)rand_r(&r) % 2000};
        distinct += !there[ref.block];
        there[ref.block] = true;
        assert_int_equal(refset_add(&s, &ref, 1, &err), TIDE_OK);
    }
    refset_sort(&s);
    assert_int_equal(s.n, distinct);
    for (size_t i = 1; i < s.n; i++)
        assert_true(refset_compare(&s.items[i - 1], &s.items[i]) < 0);
    refset_clear(&s);
    refset_init(&s, 2000);
    tide_status st = TIDE_OK;
    for (uint32_t i = 0; st == TIDE_OK && i < 3000; i++)
        st = refset_add(&s, &(struct tide_block_ref){.block = i}, 1, &err);
    assert_int_equal(st, TIDE_FULL);
    assert_true(s.cap <= 2000);
    refset_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pieces_join_and_say_what_they_hold),
        cmocka_unit_test(a_later_collector_goes_on_as_if_there_had_been_one),
        cmocka_unit_test(a_record_larger_than_a_piece_is_cut_inside),
        cmocka_unit_test(damage_ends_what_can_be_cut),
        cmocka_unit_test(bytes_that_do_not_follow_are_refused),
        cmocka_unit_test(references_are_sorted_and_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
