/* ship*.c through wal/ship.h: a fake server's log into a repository, whatever happens on the way. */

#include "wal/ship.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/failpoint.h"
#include "tests/support/fake_world.h"
#include "wal/locate.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define START ((struct tide_pos){0, FAKE_BASE})

static int set_up(void **state)
{
    *state = fake_world_new();
    return 0;
}

static int tear_down(void **state)
{
    fake_world_free(*state);
    return 0;
}

static struct tide_pos write_some(struct fake_world *w, unsigned n, unsigned seed)
{
    struct tide_pos end = fake_end(w->server);

    for (unsigned i = 0; i < n; i++) {
        unsigned what = (unsigned)rand_r(&seed) % 10;
        if (what == 0)
            end = fake_append(w->server, FAKE_DATA, 0, NULL, (unsigned)rand_r(&seed) % 3000, 3, i);
        else if (what == 1)
            end = fake_append(w->server, FAKE_SWITCH, 0, NULL, 4, 0, 0);
        else
            end = fake_commit(w->server, FAKE_T0 + (int64_t)i * 1000, (unsigned)rand_r(&seed) % 200);
    }
    return end;
}

static struct lineage_set lineages(struct fake_world *w)
{
    struct lineage_set set = {0};
    struct tide_err err = TIDE_ERR_INIT;

    assert_int_equal(lineage_load(w->t->repo, "shop", &set, &err), TIDE_OK);
    return set;
}

static void what_the_server_writes_is_stored_byte_for_byte(void **state)
{
    struct fake_world *w = *state;

    write_some(w, 50, 1);
    fake_world_start_streaming(w);
    struct tide_pos end = write_some(w, 200, 2);
    fake_world_wait_stored(w, 1, end);
    end = write_some(w, 3, 3);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 1);
    fake_world_check(w, 1, 1, set.items[0].start, end);
    lineage_set_clear(&set);
    assert_true(fake_confirmed(w->server).lo <= end.lo);
    assert_true(fake_confirmed(w->server).lo > FAKE_BASE);
}

static void a_restart_goes_on_where_the_stored_log_ends(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = START;

    for (unsigned i = 0; i < 4; i++) {
        fake_world_start_streaming(w);
        end = write_some(w, 40, i);
        fake_world_wait_stored(w, 1, end);
        assert_int_equal(fake_world_stop(w), TIDE_OK);
        write_some(w, i * 3, 9);
    }
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 1);
    fake_world_check(w, 1, 1, set.items[0].start, end);
    lineage_set_clear(&set);
}

static void a_lost_connection_is_made_again(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = START;

    fake_world_start_streaming(w);
    for (unsigned i = 0; i < 5; i++) {
        end = write_some(w, 30, i);
        fake_kick(w->server);
        end = write_some(w, 30, i + 100);
    }
    fake_set_down(w->server, true);
    tide_sleep_us(100000);
    end = write_some(w, 5, 77);
    fake_set_down(w->server, false);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void a_record_larger_than_an_object_is_cut_and_joined(void **state)
{
    struct fake_world *w = *state;

    w->o.object_bytes = 100000;
    fake_world_start_streaming(w);
    fake_commit(w->server, FAKE_T0, 10);
    fake_append(w->server, FAKE_DATA, 0, NULL, 1000000, 0, 0);
    struct tide_pos end = fake_commit(w->server, FAKE_T0 + 1, 500000);
    fake_world_wait_stored(w, 1, end);
    end = fake_commit(w->server, FAKE_T0 + 2, 500);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    assert_true(fake_world_objects(w, 1, 0) >= 10);
    fake_world_check(w, 1, 1, START, end);
    /* and the next shipper finds the start of the record that it has to ask for */
    fake_world_start_streaming(w);
    end = fake_commit(w->server, FAKE_T0 + 3, 700000);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void a_promotion_opens_a_child_at_the_fork(void **state)
{
    struct fake_world *w = *state;

    fake_world_start_streaming(w);
    struct tide_pos fork = write_some(w, 60, 1);
    fake_world_wait_stored(w, 1, fork);
    struct tide_pos beyond = write_some(w, 10, 2);
    fake_world_wait_stored(w, 1, beyond);
    assert_int_equal(fake_promote(w->server, fork), 2);
    struct tide_pos end = write_some(w, 50, 3);
    fake_world_wait_stored(w, 2, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 2);
    assert_int_equal(set.items[1].parent, 1);
    assert_true(pos_equal(set.items[1].fork, fork));
    fake_world_check(w, 1, 1, START, beyond);
    fake_world_check(w, 2, 2, fork, end);
    lineage_set_clear(&set);
}

static void a_fork_ahead_of_what_is_stored_is_reached_first(void **state)
{
    struct fake_world *w = *state;

    fake_world_start_streaming(w);
    struct tide_pos stored = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, stored);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct tide_pos fork = write_some(w, 30, 2);
    fake_promote(w->server, fork);
    struct tide_pos second = write_some(w, 30, 3);
    fake_promote(w->server, second);
    struct tide_pos end = write_some(w, 30, 4);
    fake_world_start(w);
    fake_world_wait_stored(w, 3, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 3);
    assert_int_equal(set.items[2].parent, 2);
    fake_world_check(w, 1, 1, START, fork);
    fake_world_check(w, 2, 2, fork, second);
    fake_world_check(w, 3, 3, second, end);
    lineage_set_clear(&set);
}

static void a_foreign_server_is_refused(void **state)
{
    struct fake_world *w = *state;

    fake_world_start_streaming(w);
    struct tide_pos end = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    size_t before = fake_world_objects(w, 1, 0);
    fake_server_free(w->server);
    w->server = fake_server_new(815);
    fake_host_init(&w->host, w->server);
    write_some(w, 30, 1);
    fake_world_start(w);
    assert_int_equal(fake_world_join(w), TIDE_REFUSED);
    assert_int_equal(fake_world_objects(w, 1, 0), before);
    assert_true(tide_pos_is_none(fake_confirmed(w->server)));
}

static void a_server_that_resends_other_bytes_is_corrupt_and_told_nothing(void **state)
{
    struct fake_world *w = *state;

    fake_world_start_streaming(w);
    struct tide_pos middle = write_some(w, 30, 1);
    struct tide_pos end = fake_commit(w->server, FAKE_T0, 100);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct tide_pos confirmed = fake_confirmed(w->server);
    fake_diverge(w->server, middle);
    fake_commit(w->server, FAKE_T0, 100);
    write_some(w, 50, 7);
    fake_world_start(w);
    assert_int_equal(fake_world_join(w), TIDE_CORRUPT);
    assert_true(pos_equal(fake_confirmed(w->server), confirmed));
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 1);
    lineage_set_clear(&set);
}

static void a_clone_with_the_same_branch_number_becomes_a_lineage_of_its_own(void **state)
{
    struct fake_world *w = *state;

    fake_world_start_streaming(w);
    struct tide_pos fork = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, fork);
    fake_promote(w->server, fork);
    struct tide_pos end = write_some(w, 30, 2);
    fake_world_wait_stored(w, 2, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_diverge(w->server, fork);
    struct tide_pos other = write_some(w, 60, 3);
    fake_world_start_streaming(w);
    fake_world_wait_stored(w, 3, other);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct lineage_set set = lineages(w);
    assert_int_equal(set.n, 3);
    assert_int_equal(set.items[2].parent, 1);
    assert_true(pos_equal(set.items[2].fork, fork));
    lineage_set_clear(&set);
    fake_world_check(w, 3, 2, fork, other);
}

static tide_status count_gap(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    struct log_gap *out = ctx;

    (void)err;
    assert_true(tide_pos_is_none(out->to));
    *out = *g;
    return TIDE_OK;
}

static void log_that_the_server_removed_is_a_recorded_gap(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_gap gap = {0};

    fake_world_start_streaming(w);
    struct tide_pos stored = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, stored);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    while (fake_end(w->server).lo < stored.lo + 5 * FAKE_SEGMENT)
        write_some(w, 20, 5);
    struct tide_pos oldest = {0, (stored.lo / FAKE_SEGMENT + 3) * FAKE_SEGMENT};
    fake_remove_before(w->server, oldest);
    struct tide_pos end = write_some(w, 20, 6);
    for (int i = 0; i < 2; i++) { /* the second time the gap is known */
        fake_world_start_streaming(w);
        fake_world_wait_stored(w, 1, end);
        assert_int_equal(fake_world_stop(w), TIDE_OK);
        end = write_some(w, 20, 7);
    }
    assert_int_equal(log_gap_list(w->t->repo, "shop", count_gap, &gap, &err), TIDE_OK);
    assert_true(pos_equal(gap.from, stored) && pos_equal(gap.to, oldest));
    fake_world_check(w, 1, 1, START, stored);
    struct log_name newest;
    assert_int_equal(log_newest(w->t->repo, "shop", 1, &newest, &err), TIDE_OK);
    fake_world_check(w, 1, 1, oldest, newest.end);
}

/* Somebody deletes the object that holds pos. */
static void lose(struct fake_world *w, struct tide_pos pos)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;
    char key[REPO_KEY_MAX];

    assert_int_equal(log_object_at(w->t->repo, "shop", 1, pos, &n, &err), TIDE_OK);
    assert_int_equal(log_name_key("shop", &n, key, &err), TIDE_OK);
    assert_int_equal(store_delete(repo_store(w->t->repo), key, &err), TIDE_OK);
}

static void a_hole_that_the_server_can_still_fill_is_filled(void **state)
{
    struct fake_world *w = *state;

    w->o.object_bytes = 2000;
    fake_world_start_streaming(w);
    struct tide_pos first = write_some(w, 30, 1);
    write_some(w, 60, 2);
    struct tide_pos end = write_some(w, 60, 3);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    struct tide_pos later = pos_add(first, pos_distance(first, end) / 2);
    lose(w, first);
    lose(w, later);
    fake_world_start_streaming(w);
    end = write_some(w, 10, 4);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void a_hole_that_nobody_can_fill_is_a_recorded_gap(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_gap gap = {0};

    w->o.object_bytes = 2000;
    fake_world_start_streaming(w);
    struct tide_pos first = write_some(w, 30, 1);
    struct tide_pos end = write_some(w, 90, 3);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    lose(w, first);
    fake_remove_before(w->server, end);
    for (int i = 0; i < 2; i++) {
        fake_world_start_streaming(w);
        end = write_some(w, 10, 4);
        fake_world_wait_stored(w, 1, end);
        assert_int_equal(fake_world_stop(w), TIDE_OK);
    }
    assert_int_equal(log_gap_list(w->t->repo, "shop", count_gap, &gap, &err), TIDE_OK);
    assert_true(pos_in(first, gap.from, gap.to));
    fake_world_check(w, 1, 1, gap.to, end);
}

struct confirmed_wait {
    struct fake_world *w;
    struct tide_pos pos;
};

static bool is_confirmed(void *ctx)
{
    struct confirmed_wait *q = ctx;
    return !pos_before(fake_confirmed(q->w->server), q->pos);
}

static bool has_problem(void *ctx)
{
    struct fake_world *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    bool yes = w->last.problem[0] != '\0';
    (void)pthread_mutex_unlock(&w->lock);
    return yes;
}

static bool has_no_problem(void *ctx)
{
    return !has_problem(ctx);
}

static void an_unreachable_repository_is_waited_for_and_nothing_confirmed(void **state)
{
    struct fake_world *w = *state;
    const char *hows[] = {"unavailable", "full", "io"};

    fake_world_faulty(w);
    fake_world_start_streaming(w);
    struct tide_pos end = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, end);
    for (unsigned i = 0; i < 3; i++) {
        struct confirmed_wait q = {.w = w, .pos = end};
        assert_true(fake_world_wait(is_confirmed, &q));
        fake_world_down(w, hows[i]);
        struct tide_pos later = write_some(w, 30, 2 + i);
        assert_true(fake_world_wait(has_problem, w));
        assert_true(pos_before(fake_confirmed(w->server), later));
        fake_world_down(w, NULL);
        fake_world_wait_stored(w, 1, later);
        assert_true(fake_world_wait(has_no_problem, w));
        end = later;
    }
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void with_a_spool_the_server_is_confirmed_while_the_repository_is_away(void **state)
{
    struct fake_world *w = *state;

    fake_world_faulty(w);
    w->o.spool_directory = w->spool;
    fake_world_start_streaming(w);
    struct tide_pos stored = write_some(w, 30, 1);
    fake_world_wait_stored(w, 1, stored);
    fake_world_down(w, "unavailable");
    struct tide_pos spooled = write_some(w, 40, 2);
    struct confirmed_wait q = {.w = w, .pos = spooled};
    assert_true(fake_world_wait(is_confirmed, &q));
    assert_false(pos_before(fake_confirmed(w->server), spooled));
    /* a new connection goes on from the spool, without the repository */
    fake_kick(w->server);
    struct tide_pos more = write_some(w, 40, 3);
    q.pos = more;
    assert_true(fake_world_wait(is_confirmed, &q));
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_down(w, NULL);
    /* what is left in the spool is drained by the next one */
    fake_world_start_streaming(w);
    struct tide_pos end = write_some(w, 10, 4);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void a_full_spool_stops_confirming(void **state)
{
    struct fake_world *w = *state;

    fake_world_faulty(w);
    w->o.spool_directory = w->spool;
    w->o.spool_limit = 20000;
    fake_world_start_streaming(w);
    struct tide_pos stored = write_some(w, 10, 1);
    fake_world_wait_stored(w, 1, stored);
    fake_world_down(w, "unavailable");
    struct tide_pos end = stored;
    for (unsigned i = 0; i < 20; i++) {
        end = fake_append(w->server, FAKE_DATA, 0, NULL, 5000, 0, 0);
        tide_sleep_us(40000);
    }
    assert_true(fake_world_wait(has_problem, w));
    assert_true(pos_before(fake_confirmed(w->server), end));
    fake_world_down(w, NULL);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    fake_world_check(w, 1, 1, START, end);
}

static void it_stops_when_everything_below_a_position_is_durable(void **state)
{
    struct fake_world *w = *state;

    w->o.ship_interval_us = 60 * TIDE_SECOND_US;
    w->o.until = write_some(w, 50, 1);
    w->o.no_lease = true;
    fake_world_start(w);
    assert_int_equal(fake_world_join(w), TIDE_OK);
    fake_world_wait_stored(w, 1, w->o.until);
    assert_int_equal(fake_world_objects(w, 1, 0), 1);
}

static void when_commits_wait_what_arrived_is_sent_at_once(void **state)
{
    struct fake_world *w = *state;

    fake_set_synchronous(w->server, true);
    w->o.ship_interval_us = 60 * TIDE_SECOND_US;
    fake_world_start_streaming(w);
    for (unsigned i = 0; i < 20; i++) {
        struct confirmed_wait q = {.w = w, .pos = fake_commit(w->server, FAKE_T0 + i, 20)};
        assert_true(fake_world_wait(is_confirmed, &q));
    }
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static bool restorable_after(void *ctx)
{
    struct fake_world *w = ctx;
    (void)pthread_mutex_lock(&w->lock);
    bool yes = w->last.restorable_us >= FAKE_T0 + 500 * TIDE_SECOND_US;
    (void)pthread_mutex_unlock(&w->lock);
    return yes;
}

static void on_an_idle_server_the_restorable_time_moves(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos pos;
    int64_t clock;

    fake_set_clock(w->server, FAKE_T0 + 100 * TIDE_SECOND_US);
    fake_world_start_streaming(w);
    struct tide_pos end = write_some(w, 20, 1);
    fake_world_wait_stored(w, 1, end);
    fake_set_clock(w->server, FAKE_T0 + 500 * TIDE_SECOND_US);
    assert_true(fake_world_wait(restorable_after, w));
    tide_sleep_us(200000);
    assert_int_equal(heartbeat_newest(w->t->repo, "shop", 1, &clock, &pos, &err), TIDE_OK);
    assert_int_equal(clock, FAKE_T0 + 500 * TIDE_SECOND_US);
    assert_true(pos_equal(pos, end));
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void behind_a_standby_there_are_no_heartbeats(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos pos;
    int64_t clock;

    fake_set_standby(w->server, true);
    fake_world_start_streaming(w);
    fake_world_wait_stored(w, 1, write_some(w, 20, 1));
    tide_sleep_us(300000);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    assert_int_equal(heartbeat_newest(w->t->repo, "shop", 1, &clock, &pos, &err), TIDE_NOT_FOUND);
}

static void of_two_shippers_one_says_so(void **state)
{
    struct fake_world *w = *state, second = *w;

    w->o.lease_us = second.o.lease_us = TIDE_SECOND_US;
    second.o.report = NULL;
    fake_world_start_streaming(w);
    fake_world_wait_stored(w, 1, write_some(w, 10, 1));
    fake_world_start(&second);
    assert_int_equal(fake_world_join(&second), TIDE_BUSY);
    fake_world_wait_stored(w, 1, write_some(w, 10, 2));
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

/* A shipper in a child process, beside a server that writes n records; what was confirmed comes through the pipe. */
static pid_t ship_in_child(struct fake_world *w, const char *failpoints, unsigned seed, int *confirmed_fd)
{
    int pipes[2];

    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    if (child == 0) {
        if (failpoints != NULL)
            tide_failpoints_armed = tide_failpoints_load(failpoints);
        (void)alarm(20);
        w->o.object_bytes = 2000;
        w->o.lease_us = TIDE_SECOND_US / 2;
        fake_world_start(w);
        write_some(w, 30, seed);
        for (int k = 0; k < 100; k++) {
            struct tide_pos c = fake_confirmed(w->server);
            if (write(pipes[1], &c, sizeof c) != sizeof c)
                _exit(4);
            tide_sleep_us(5000);
        }
        _exit(0);
    }
    (void)close(pipes[1]);
    *confirmed_fd = pipes[0];
    return child;
}

static struct tide_pos wait_for_child(pid_t child, int fd)
{
    struct tide_pos confirmed = TIDE_POS_NONE, c;
    int status;

    while (read(fd, &c, sizeof c) == sizeof c)
        confirmed = pos_max(confirmed, c);
    (void)close(fd);
    assert_int_equal(waitpid(child, &status, 0), child);
    return confirmed;
}

static void check_below(struct fake_world *w, struct tide_pos end)
{
    struct lineage_set set = lineages(w);

    if (set.n > 0 && pos_before(set.items[0].start, end))
        fake_world_check(w, 1, 1, set.items[0].start, end);
    lineage_set_clear(&set);
}

/* Killed at a fail point, again and again, then going on: nothing that was confirmed may be missing. */
static void a_kill_at_any_fail_point_loses_nothing_confirmed(void **state)
{
    static const char *const points[] = {
        "ship-before-put=kill:", "ship-after-put=kill:", "ship-before-confirm=kill:"};
    struct fake_world *w = *state;
    struct tide_pos end = write_some(w, 20, 1);

    for (unsigned i = 0; i < 9; i++) {
        char spec[64];
        int fd;
        (void)snprintf(spec, sizeof spec, "%s%u", points[i % 3], 1 + i / 3);
        pid_t child = ship_in_child(w, spec, 100 + i, &fd);
        struct tide_pos confirmed = wait_for_child(child, fd);
        /* our server writes the same bytes as the child's did */
        end = write_some(w, 30, 100 + i);
        check_below(w, confirmed);
    }
    w->o.lease_us = TIDE_SECOND_US / 2;
    fake_world_start(w);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    check_below(w, end);
}

static void a_kill_at_any_moment_with_a_spool_loses_nothing_confirmed(void **state)
{
    struct fake_world *w = *state;
    struct tide_pos end = write_some(w, 20, 1), confirmed = TIDE_POS_NONE;
    unsigned r = 4;

    w->o.spool_directory = w->spool;
    for (unsigned i = 0; i < 10; i++) {
        int fd;
        bool point = i % 3 == 0;
        pid_t child = ship_in_child(w, point ? "spool-before-drain-delete=kill:2" : NULL, 100 + i, &fd);
        if (!point) {
            tide_sleep_us(30000 + rand_r(&r) % 150000);
            assert_int_equal(kill(child, SIGKILL), 0);
        }
        confirmed = pos_max(confirmed, wait_for_child(child, fd));
        end = write_some(w, 30, 100 + i);
    }
    assert_false(tide_pos_is_none(confirmed));
    /* The server no longer has what was confirmed: only the spool and the repository do. */
    fake_remove_before(w->server, confirmed);
    w->o.lease_us = TIDE_SECOND_US / 2;
    fake_world_start(w);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    check_below(w, end);
}

static void a_slot_that_is_busy_for_a_moment_is_waited_for(void **state)
{
    struct fake_world *w = *state;

    fake_set_busy(w->server, true);
    fake_world_start(w);
    struct tide_pos end = write_some(w, 10, 1);
    assert_true(fake_world_wait(has_problem, w));
    fake_set_busy(w->server, false);
    fake_world_wait_stored(w, 1, end);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_server_writes_is_stored_byte_for_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_restart_goes_on_where_the_stored_log_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_lost_connection_is_made_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_record_larger_than_an_object_is_cut_and_joined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_promotion_opens_a_child_at_the_fork, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_fork_ahead_of_what_is_stored_is_reached_first, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_foreign_server_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_server_that_resends_other_bytes_is_corrupt_and_told_nothing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_clone_with_the_same_branch_number_becomes_a_lineage_of_its_own, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(log_that_the_server_removed_is_a_recorded_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hole_that_the_server_can_still_fill_is_filled, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_hole_that_nobody_can_fill_is_a_recorded_gap, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_unreachable_repository_is_waited_for_and_nothing_confirmed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(with_a_spool_the_server_is_confirmed_while_the_repository_is_away, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_full_spool_stops_confirming, set_up, tear_down),
        cmocka_unit_test_setup_teardown(it_stops_when_everything_below_a_position_is_durable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(when_commits_wait_what_arrived_is_sent_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(on_an_idle_server_the_restorable_time_moves, set_up, tear_down),
        cmocka_unit_test_setup_teardown(behind_a_standby_there_are_no_heartbeats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(of_two_shippers_one_says_so, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kill_at_any_fail_point_loses_nothing_confirmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_kill_at_any_moment_with_a_spool_loses_nothing_confirmed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_slot_that_is_busy_for_a_moment_is_waited_for, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
