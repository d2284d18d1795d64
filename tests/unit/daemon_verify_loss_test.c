#include "orchestrator/daemon/verify_loss.h"

#include "orchestrator/base/clock.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Two lineages: 1 with backups a (positions 100-110, serves from second 10) and b (200-210, second 20) and c
 * (300-310, second 30); 2 forked from 1 at 250, without a backup of its own. */
struct scene {
    struct lineage lineages[2];
    struct backup backups[3];
    struct restore_window windows[2];
    struct verify_facts facts;
    json_t *lost;
};

static struct tide_pos at(uint64_t lo)
{
    return (struct tide_pos){.lo = lo};
}

static int setup(void **state)
{
    static struct scene s;

    s = (struct scene){
        .lineages = {{.number = 1, .start = at(50)}, {.number = 2, .parent = 1, .start = at(250), .fork = at(250)}},
        .backups =
            {
                {.id = "a", .lineage = 1, .start = at(100), .stop = at(110), .server_stop_us = 10 * TIDE_SECOND_US},
                {.id = "b", .lineage = 1, .start = at(200), .stop = at(210), .server_stop_us = 20 * TIDE_SECOND_US},
                {.id = "c", .lineage = 1, .start = at(300), .stop = at(310), .server_stop_us = 30 * TIDE_SECOND_US},
            },
        .windows = {{.lineage = 1,
                     .earliest_us = 10 * TIDE_SECOND_US,
                     .latest_us = 40 * TIDE_SECOND_US,
                     .first_backup = "a"}},
    };
    s.facts = (struct verify_facts){.lineages = {.items = s.lineages, .n = 2},
                                    .backups = {.items = s.backups, .n = 3},
                                    .windows = {.windows = s.windows, .n = 1},
                                    .backup_is_bad = calloc(4, sizeof(bool))};
    s.lost = json_array();
    *state = &s;
    return 0;
}

static int teardown(void **state)
{
    const struct scene *s = *state;
    free(s->facts.backup_is_bad);
    free(s->facts.log);
    json_decref(s->lost);
    return 0;
}

static void expect(const struct scene *s, size_t i, const char *from, const char *to)
{
    const json_t *one = json_array_get(s->lost, i), *end = json_object_get(one, "to");
    assert_string_equal(json_string_value(json_object_get(one, "from")), from);
    if (to == NULL)
        assert_true(json_is_null(end));
    else
        assert_string_equal(json_string_value(end), to);
}

static void bad_backup_in_the_middle_costs_nothing(void **state)
{
    struct scene *s = *state;
    verify_lose_backup(&s->facts, "b");
    verify_losses(&s->facts, s->lost);
    assert_int_equal(json_array_size(s->lost), 0);
}

static void bad_first_backup_costs_the_time_to_the_next_good_one(void **state)
{
    struct scene *s = *state;
    verify_lose_backup(&s->facts, "a");
    verify_lose_backup(&s->facts, "b");
    verify_losses(&s->facts, s->lost);
    assert_int_equal(json_array_size(s->lost), 1);
    expect(s, 0, "1970-01-01T00:00:10.000000Z", "1970-01-01T00:00:30.000000Z");
}

static void when_all_are_bad_the_whole_window_is_lost(void **state)
{
    struct scene *s = *state;
    verify_lose_backup(&s->facts, "a");
    verify_lose_backup(&s->facts, "b");
    verify_lose_backup(&s->facts, "c");
    verify_losses(&s->facts, s->lost);
    assert_int_equal(json_array_size(s->lost), 1);
    expect(s, 0, "1970-01-01T00:00:10.000000Z", "1970-01-01T00:00:40.000000Z");
}

static void bad_log_costs_the_time_to_the_next_backup_behind_it(void **state)
{
    struct scene *s = *state;
    verify_lose_log(
        &s->facts,
        &(struct log_range){
            .lineage = 1, .state = LOG_CORRUPT, .from = at(150), .to = at(160), .from_us = 15 * TIDE_SECOND_US});
    verify_losses(&s->facts, s->lost);
    assert_int_equal(json_array_size(s->lost), 1);
    expect(s, 0, "1970-01-01T00:00:15.000000Z", "1970-01-01T00:00:20.000000Z");
}

static void bad_log_behind_the_last_backup_costs_the_rest(void **state)
{
    struct scene *s = *state;
    verify_lose_log(
        &s->facts,
        &(struct log_range){.lineage = 1, .state = LOG_MISSING, .from = at(350), .from_us = 35 * TIDE_SECOND_US});
    verify_losses(&s->facts, s->lost);
    assert_int_equal(json_array_size(s->lost), 1);
    expect(s, 0, "1970-01-01T00:00:35.000000Z", NULL);
}

static void log_matters_from_the_first_backup_on(void **state)
{
    const struct scene *s = *state;
    struct tide_pos from = {0};
    assert_true(verify_log_from(&s->facts, &s->lineages[0], &from));
    assert_int_equal(from.lo, 100);
}

static void log_of_a_child_matters_from_its_beginning(void **state)
{
    const struct scene *s = *state;
    struct tide_pos from = {0};
    assert_true(verify_log_from(&s->facts, &s->lineages[1], &from));
    assert_int_equal(from.lo, 250);
}

static void log_that_no_backup_needs_does_not_matter(void **state)
{
    struct scene *s = *state;
    struct tide_pos from = {0};
    s->facts.backups.n = 0;
    assert_false(verify_log_from(&s->facts, &s->lineages[0], &from));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(bad_backup_in_the_middle_costs_nothing),
        TEST(bad_first_backup_costs_the_time_to_the_next_good_one),
        TEST(when_all_are_bad_the_whole_window_is_lost),
        TEST(bad_log_costs_the_time_to_the_next_backup_behind_it),
        TEST(bad_log_behind_the_last_backup_costs_the_rest),
        TEST(log_matters_from_the_first_backup_on),
        TEST(log_of_a_child_matters_from_its_beginning),
        TEST(log_that_no_backup_needs_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
