/* ship_control.c, ship_client.c, ship_state.c, control_path.c: asking a live shipper. */

#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/fake_world.h"
#include "wal/control_path.h"
#include "wal/pos.h"
#include "wal/ship_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define LONG_INTERVAL (60 * TIDE_SECOND_US)

static int set_up(void **state)
{
    struct fake_world *w = fake_world_new();

    w->o.control_path = w->control;
    w->o.ship_interval_us = LONG_INTERVAL;
    w->o.heartbeat_interval_us = LONG_INTERVAL;
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    fake_world_free(*state);
    return 0;
}

static struct tide_pos commits(struct fake_world *w, unsigned n)
{
    struct tide_pos end = fake_end(w->server);
    for (unsigned i = 0; i < n; i++)
        end = fake_commit(w->server, FAKE_T0 + i, 50);
    return end;
}

static tide_status flush(const char *path, struct wal_ship_state *st)
{
    struct tide_err err = TIDE_ERR_INIT;
    return wal_ship_flush(path, 10 * TIDE_SECOND_US, st, &err);
}

static void nobody_listens_before_and_after(void **state)
{
    struct fake_world *w = *state;
    struct wal_ship_state st;

    assert_int_equal(flush(w->control, &st), TIDE_NOT_FOUND);
    fake_world_start_streaming(w);
    assert_int_equal(flush(w->control, NULL), TIDE_OK);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    assert_int_equal(flush(w->control, &st), TIDE_NOT_FOUND);
    assert_int_equal(access(w->control, F_OK), -1);
}

static void a_flush_closes_the_object_and_beats(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct wal_ship_state st;
    struct tide_pos pos;
    struct stat meta;
    int64_t clock;

    fake_world_start_streaming(w);
    for (unsigned i = 0; i < 3; i++) {
        struct tide_pos end = commits(w, 10);
        int64_t now = tide_now_us();
        assert_int_equal(flush(w->control, &st), TIDE_OK);
        assert_false(pos_before(st.durable, end));
        assert_true(st.restorable_us >= now);
        assert_int_equal(st.lineage, 1);
        assert_int_equal(heartbeat_newest(w->t->repo, "shop", 1, &clock, &pos, &err), TIDE_OK);
        assert_true(clock >= now);
    }
    assert_int_equal(fake_world_objects(w, 1, 0), 3);
    assert_int_equal(stat(w->control, &meta), 0);
    assert_int_equal(meta.st_mode & 0777, 0600);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void a_path_longer_than_an_address_works(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[512], folder[400];
    struct wal_ship_state st;

    (void)snprintf(folder, sizeof folder, "%s/%0150d", w->t->dir, 0);
    assert_int_equal(tide_mkdirs(folder, 0700, &err), TIDE_OK);
    (void)snprintf(path, sizeof path, "%s/control", folder);
    w->o.control_path = path;
    fake_world_start_streaming(w);
    assert_int_equal(flush(path, &st), TIDE_OK);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
    assert_int_equal(access(path, F_OK), -1);
}

static void what_a_killed_shipper_left_is_taken_over(void **state)
{
    struct fake_world *w = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct control_path p;
    struct wal_ship_state st;

    assert_int_equal(control_path_make(w->control, &p, &err), TIDE_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&p.address, sizeof p.address), 0);
    assert_int_equal(close(fd), 0);
    control_path_clear(&p);
    assert_int_equal(flush(w->control, &st), TIDE_NOT_FOUND);
    fake_world_start_streaming(w);
    assert_int_equal(flush(w->control, &st), TIDE_OK);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void a_second_shipper_at_the_same_socket_is_busy(void **state)
{
    struct fake_world *w = *state, second = *w;

    fake_world_start_streaming(w);
    assert_int_equal(flush(w->control, NULL), TIDE_OK);
    second.o.report = NULL;
    fake_world_start(&second);
    assert_int_equal(fake_world_join(&second), TIDE_BUSY);
    assert_int_equal(flush(w->control, NULL), TIDE_OK);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static int raw_client(struct fake_world *w, const char *text)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct control_path p;

    assert_int_equal(control_path_make(w->control, &p, &err), TIDE_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&p.address, sizeof p.address), 0);
    control_path_clear(&p);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    return fd;
}

static void clients_that_misbehave_hold_nobody_up(void **state)
{
    struct fake_world *w = *state;
    struct wal_ship_state st;
    char garbage[300];

    memset(garbage, 'x', sizeof garbage - 1);
    garbage[sizeof garbage - 1] = '\0';
    fake_world_start_streaming(w);
    assert_int_equal(flush(w->control, NULL), TIDE_OK);
    int silent = raw_client(w, ""), loud = raw_client(w, garbage), gone = raw_client(w, "flush\n");
    assert_int_equal(close(gone), 0);
    assert_int_equal(flush(w->control, &st), TIDE_OK);
    assert_int_equal(close(silent), 0);
    assert_int_equal(close(loud), 0);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void without_a_repository_the_answer_comes_all_the_same(void **state)
{
    struct fake_world *w = *state;
    struct wal_ship_state st = {0};

    fake_world_faulty(w);
    fake_world_start_streaming(w);
    struct tide_pos end = commits(w, 5);
    assert_int_equal(flush(w->control, &st), TIDE_OK);
    fake_world_down(w, "unavailable");
    commits(w, 5);
    int64_t before = tide_monotonic_us();
    assert_int_equal(flush(w->control, &st), TIDE_OK);
    assert_true(tide_monotonic_us() - before < 8 * TIDE_SECOND_US);
    assert_true(pos_equal(st.durable, end));
    assert_true(st.problem[0] != '\0');
    assert_true(st.unshipped_bytes > 0);
    fake_world_down(w, NULL);
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void a_state_comes_back_as_it_was_sent(void **state)
{
    (void)state;
    struct wal_ship_state a = {.lineage = 7,
                               .received = {1, 2},
                               .durable = {3, UINT64_MAX},
                               .confirmed = {0, 5},
                               .restorable_us = TIDE_TIME_NONE,
                               .server_clock_us = FAKE_T0,
                               .unshipped_bytes = 11,
                               .held_back_bytes = 12,
                               .spooled_bytes = 13,
                               .objects = 14,
                               .bytes = 15,
                               .commits = 16,
                               .reconnects = 17,
                               .skew_us = -18,
                               .standby = true,
                               .problem = "it \"stands\" still"},
                          b;
    json_t *doc = ship_state_json(&a);

    assert_true(ship_state_parse(doc, &b));
    assert_true(pos_equal(a.received, b.received) && pos_equal(a.durable, b.durable));
    assert_true(pos_equal(a.confirmed, b.confirmed));
    assert_int_equal(b.lineage, 7);
    assert_int_equal(b.restorable_us, TIDE_TIME_NONE);
    assert_int_equal(b.server_clock_us, FAKE_T0);
    assert_int_equal(b.unshipped_bytes, 11);
    assert_int_equal(b.held_back_bytes, 12);
    assert_int_equal(b.spooled_bytes, 13);
    assert_int_equal(b.objects, 14);
    assert_int_equal(b.bytes, 15);
    assert_int_equal(b.commits, 16);
    assert_int_equal(b.reconnects, 17);
    assert_int_equal(b.skew_us, -18);
    assert_true(b.standby);
    assert_string_equal(b.problem, a.problem);
    assert_int_equal(json_object_del(doc, "durable"), 0);
    assert_false(ship_state_parse(doc, &b));
    json_decref(doc);
    assert_false(ship_state_parse(NULL, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nobody_listens_before_and_after, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flush_closes_the_object_and_beats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_path_longer_than_an_address_works, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_killed_shipper_left_is_taken_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_second_shipper_at_the_same_socket_is_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(clients_that_misbehave_hold_nobody_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(without_a_repository_the_answer_comes_all_the_same, set_up, tear_down),
        cmocka_unit_test(a_state_comes_back_as_it_was_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
