// OBJECTS: plugins/postgresql/history.c plugins/postgresql/evidence.c plugins/postgresql/value.c
#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_pure.h"
#include "tests/support/plugin_host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define SYSTEM UINT64_C(7412345678901234567)

static struct tide_log_kinship relate(const char *stored, const char *current)
{
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_log_kinship k = {.struct_size = sizeof k};

    test_host_init(&host, "shop", NULL);
    assert_int_equal(pg_log_relate(&host.host, stored, pg_pos(0), current, &k, &err), TIDE_OK);
    return k;
}

/* Each in a buffer of its own, so that two can be compared. */
static const char *evidence(int slot, uint64_t system, uint32_t timeline, const char *history)
{
    static char texts[4][2000];
    char escaped[800];
    struct evidence ev = {.system_identifier = system, .major = 15, .segment_size = 16u << 20, .timeline = timeline};

    (void)snprintf(escaped, sizeof escaped, "%s", history);
    ev.history = escaped;
    char *text = evidence_format(&ev);
    assert_non_null(text);
    (void)snprintf(texts[slot], sizeof texts[slot], "%s", text);
    free(text);
    return texts[slot];
}

#define H2 "1\t0/3000148\tno recovery target specified\n"
#define H3 H2 "\n2\t0/5000000\tbefore 2026-01-01 12:00:00+00\n"

static void the_same_branch_is_the_same(void **state)
{
    (void)state;
    assert_int_equal(relate(evidence(0, SYSTEM, 1, ""), evidence(1, SYSTEM, 1, "")).relation, TIDE_LOG_SAME);
    assert_int_equal(relate(evidence(0, SYSTEM, 3, H3), evidence(1, SYSTEM, 3, H3)).relation, TIDE_LOG_SAME);
}

static void a_promoted_server_is_a_child(void **state)
{
    struct tide_log_kinship k;

    (void)state;
    k = relate(evidence(0, SYSTEM, 1, ""), evidence(1, SYSTEM, 2, H2));
    assert_int_equal(k.relation, TIDE_LOG_CHILD);
    assert_int_equal(k.fork.lo, 0x3000148);
    /* Also over a branch that was never seen. */
    k = relate(evidence(0, SYSTEM, 1, ""), evidence(1, SYSTEM, 3, H3));
    assert_int_equal(k.relation, TIDE_LOG_CHILD);
    assert_int_equal(k.fork.lo, 0x3000148);
    k = relate(evidence(0, SYSTEM, 2, H2), evidence(1, SYSTEM, 3, H3));
    assert_int_equal(k.relation, TIDE_LOG_CHILD);
    assert_int_equal(k.fork.lo, 0x5000000);
}

static void a_server_that_was_left_is_an_ancestor(void **state)
{
    struct tide_log_kinship k;

    (void)state;
    k = relate(evidence(0, SYSTEM, 2, H2), evidence(1, SYSTEM, 1, ""));
    assert_int_equal(k.relation, TIDE_LOG_ANCESTOR);
    assert_int_equal(k.fork.lo, 0x3000148);
}

static void clones_with_the_same_number_are_foreign(void **state)
{
    (void)state;
    /* Two restores of one backup: same identifier, timeline 2, another fork. */
    assert_int_equal(
        relate(evidence(0, SYSTEM, 2, H2), evidence(1, SYSTEM, 2, "1\t0/3000200\tno recovery target specified\n"))
            .relation,
        TIDE_LOG_FOREIGN);
    /* The same fork for another reason. */
    assert_int_equal(
        relate(evidence(0, SYSTEM, 2, H2), evidence(1, SYSTEM, 2, "1\t0/3000148\tbefore 2026-01-01 12:00:00+00\n"))
            .relation,
        TIDE_LOG_FOREIGN);
    /* A grandchild by another parent. */
    assert_int_equal(relate(evidence(0, SYSTEM, 2, "1\t0/2000000\tx\n"), evidence(1, SYSTEM, 3, H3)).relation,
                     TIDE_LOG_FOREIGN);
    /* A sibling: both left timeline 1. */
    assert_int_equal(
        relate(evidence(0, SYSTEM, 2, H2), evidence(1, SYSTEM, 3, "1\t0/4000000\tno recovery target specified\n"))
            .relation,
        TIDE_LOG_FOREIGN);
}

static void another_system_is_foreign(void **state)
{
    (void)state;
    assert_int_equal(relate(evidence(0, SYSTEM, 1, ""), evidence(1, SYSTEM + 1, 1, "")).relation, TIDE_LOG_FOREIGN);
    assert_int_equal(relate(evidence(0, SYSTEM, 1, ""), evidence(1, SYSTEM + 1, 2, H2)).relation, TIDE_LOG_FOREIGN);
}

static void evidence_comes_back_as_it_went(void **state)
{
    static const char history[] = "1\t0/3000148\tback\\slash \\n no line\r\n\n2\tA/5000000\tx\n";
    struct evidence ev;

    (void)state;
    assert_null(evidence_parse(evidence(0, UINT64_MAX, 3, history), &ev));
    assert_true(ev.system_identifier == UINT64_MAX);
    assert_int_equal(ev.timeline, 3);
    assert_int_equal(ev.segment_size, 16u << 20);
    assert_int_equal(ev.major, 15);
    assert_string_equal(ev.history, history);
    assert_int_equal(ev.n_branches, 2);
    assert_int_equal(ev.branches[1].timeline, 2);
    assert_true(ev.branches[1].end == UINT64_C(0xa05000000));
    evidence_clear(&ev);
}

static void evidence_that_lacks_something_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "system_identifier=1\n",
        "system_identifier=1\nmajor=15\nsegment_size=16777216\n",
        "system_identifier=1\nmajor=15\nsegment_size=16777216\ntimeline=0\n",
        "system_identifier=1\nmajor=15\nsegment_size=4096\ntimeline=1\n",
        "system_identifier=-1\nmajor=15\nsegment_size=16777216\ntimeline=1\n",
        "system_identifier=99999999999999999999\nmajor=15\nsegment_size=16777216\ntimeline=1\n",
        "system_identifier=1\nmajor=15\nsegment_size=16777216\ntimeline=2\nhistory=nonsense\\n\n",
        "system_identifier=1\nmajor=15\nsegment_size=16777216\ntimeline=3\nhistory=2\\t0/1\\tx\\n1\\t0/2\\tx\\n\n",
    };
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_log_kinship k = {.struct_size = sizeof k};

    (void)state;
    test_host_init(&host, "shop", NULL);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct evidence ev;

        assert_non_null(evidence_parse(bad[i], &ev));
        evidence_clear(&ev);
        assert_int_equal(pg_log_relate(&host.host, bad[i], pg_pos(0), evidence(0, SYSTEM, 1, ""), &k, &err),
                         TIDE_CORRUPT);
    }
}

static void unknown_keys_are_passed_over(void **state)
{
    struct evidence ev;

    (void)state;
    assert_null(evidence_parse("later=1\nxtimeline=9\nsystem_identifier=1\nmajor=15\nsegment_size=16777216\n"
                               "timeline=1\n# words\n",
                               &ev));
    assert_int_equal(ev.timeline, 1);
    assert_string_equal(ev.history, "");
    evidence_clear(&ev);
}

static void comments_in_a_history_are_passed_over(void **state)
{
    struct evidence_branch *b;
    size_t n;

    (void)state;
    assert_null(evidence_history_parse("# by hand\n\n 1\t0/10\tx\n  \n2 0/20", &b, &n));
    assert_int_equal(n, 2);
    assert_int_equal(b[0].end, 0x10);
    assert_int_equal(b[1].end, 0x20);
    free(b);
}

static void positions_are_read_and_written_as_the_engine_does(void **state)
{
    static const char *const bad[] = {"", "/", "0/", "/0", "0/3000028x", "x/1", "123456789/0", "0/123456789", "0"};
    char text[PG_LSN_TEXT_SIZE];
    struct tide_pos pos;

    (void)state;
    assert_int_equal(pg_pos_parse("16/B374D848", &pos), TIDE_OK);
    assert_true(pos.hi == 0 && pos.lo == UINT64_C(0x16b374d848));
    pg_pos_format(pos, text, sizeof text);
    assert_string_equal(text, "16/B374D848");
    assert_int_equal(pg_pos_parse("ffffffff/ffffffff", &pos), TIDE_OK);
    assert_true(pos.lo == UINT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(pg_pos_parse(bad[i], &pos), TIDE_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_branch_is_the_same),
        cmocka_unit_test(a_promoted_server_is_a_child),
        cmocka_unit_test(a_server_that_was_left_is_an_ancestor),
        cmocka_unit_test(clones_with_the_same_number_are_foreign),
        cmocka_unit_test(another_system_is_foreign),
        cmocka_unit_test(evidence_comes_back_as_it_went),
        cmocka_unit_test(evidence_that_lacks_something_is_refused),
        cmocka_unit_test(unknown_keys_are_passed_over),
        cmocka_unit_test(comments_in_a_history_are_passed_over),
        cmocka_unit_test(positions_are_read_and_written_as_the_engine_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
