/* fetch_server.c, fetch_file.c: the recovering server gets the file that it asked for, whatever was prepared. */

#include "pitr/fetch_server.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "tests/support/fake_world.h"

#include <dirent.h>
#include <setjmp.h>
#include <cmocka.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define SEGMENTS 30u

struct serving {
    struct fake_world *w;
    struct lineage_set lineages;
    struct plan plan;
    char directory[128];
    struct fetch_server *fetch;
};

static struct tide_pos segment(unsigned n)
{
    return (struct tide_pos){0, FAKE_BASE + (uint64_t)n * FAKE_SEGMENT};
}

static int set_up(void **state)
{
    struct serving *f = calloc(1, sizeof *f);
    struct fake_world *w = f->w = fake_world_new();
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_pos from = segment(0), end = from;

    assert_int_equal(fake_world_lineage(w, 0, from, 1), 1);
    for (int64_t i = 0; tide_pos_cmp(end, segment(SEGMENTS)) < 0; i++)
        end = fake_commit(w->server, FAKE_T0 + i * 1000, 700);
    (void)fake_world_store(w, 1, 1, from, end);
    assert_int_equal(lineage_load(w->t->repo, "shop", &f->lineages, &err), TIDE_OK);
    f->plan = (struct plan){.lineage = 1,
                            .path = {{.lineage = 1, .start = from}},
                            .n_path = 1,
                            .evidence = fake_evidence(w->server, 1),
                            .branch = 1,
                            .log_from = from,
                            .log_to = end};
    (void)snprintf(f->directory, sizeof f->directory, "%s/data", w->t->dir);
    assert_int_equal(tide_mkdirs(f->directory, 0700, &err), TIDE_OK);
    assert_int_equal(fetch_server_start(&(struct fetch_server_options){.repo = w->t->repo,
                                                                       .instance = "shop",
                                                                       .plugin = &fake_plugin,
                                                                       .host = &w->host.host,
                                                                       .plan = &f->plan,
                                                                       .lineages = &f->lineages,
                                                                       .data_directory = f->directory,
                                                                       .new_branch = 2,
                                                                       .uid = -1,
                                                                       .gid = -1},
                                        &f->fetch, &err),
                     TIDE_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct serving *f = *state;
    fetch_server_stop(f->fetch);
    plan_clear(&f->plan);
    lineage_set_clear(&f->lineages);
    fake_world_free(f->w);
    free(f);
    return 0;
}

static void ask(const struct serving *f, const char *name, char reply[256])
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    struct tide_err err = TIDE_ERR_INIT;
    char line[64];
    size_t got = 0;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(snprintf(addr.sun_path, sizeof addr.sun_path, "%.90s/" FETCH_SOCKET, f->directory) > 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    (void)snprintf(line, sizeof line, "%s\n", name);
    assert_int_equal(tide_write_all(fd, line, strlen(line), "socket", &err), TIDE_OK);
    assert_int_equal(tide_read_upto(fd, (uint8_t *)reply, 255, &got, "socket", &err), TIDE_OK);
    reply[got] = '\0';
    (void)close(fd);
}

static void gets_segment(const struct serving *f, unsigned n)
{
    static uint8_t want[FAKE_SEGMENT], have[FAKE_SEGMENT + 1];
    char name[32], reply[256], path[512];
    size_t got = 0;

    fake_segment_name(1, segment(n), name);
    ask(f, name, reply);
    if (strncmp(reply, "ok ", 3) != 0)
        fail_msg("segment %u: %s", n, reply);
    reply[strcspn(reply, "\n")] = '\0';
    (void)snprintf(path, sizeof path, "%s/%s", f->directory, reply + 3);
    FILE *file = fopen(path, "rbe");
    assert_non_null(file);
    got = fread(have, 1, sizeof have, file);
    (void)fclose(file);
    assert_int_equal(got, FAKE_SEGMENT);
    fake_read(f->w->server, 1, segment(n), segment(n + 1), want);
    if (memcmp(have, want, FAKE_SEGMENT) != 0)
        fail_msg("segment %u was asked for, and another one came", n);
    (void)unlink(path);
}

static void segments_come_in_the_order_in_which_they_are_asked_for(void **state)
{
    for (unsigned n = 0; n < SEGMENTS; n++)
        gets_segment(*state, n);
}

/* A server reads its checkpoint first, and then goes back to where redo begins. */
static void a_step_back_gets_its_own_segment(void **state)
{
    gets_segment(*state, 15);
    for (unsigned n = 3; n < SEGMENTS; n++)
        gets_segment(*state, n);
}

static void jumps_get_their_own_segments(void **state)
{
    unsigned seed = 7;

    for (int i = 0; i < 200; i++)
        gets_segment(*state, (unsigned)rand_r(&seed) % SEGMENTS);
}

static void what_lies_behind_the_plan_is_absent(void **state)
{
    char name[32], reply[256];

    fake_segment_name(1, segment(SEGMENTS + 2), name);
    ask(*state, name, reply);
    assert_string_equal(reply, "absent\n");
}

static void on_signal(int sig)
{
    (void)sig;
}

/* A signal that any thread may get must not leave one waiting for a server that does not ask any more. */
static void an_interrupted_wait_ends_all_the_same(void **state)
{
    struct sigaction sa = {.sa_handler = on_signal}, before;
    DIR *d = opendir("/proc/self/task");

    gets_segment(*state, 0);
    tide_sleep_us(50000);
    assert_non_null(d);
    assert_int_equal(sigaction(SIGUSR1, &sa, &before), 0);
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        long tid = strtol(e->d_name, NULL, 10);
        if (tid > 0 && tid != (long)getpid())
            assert_int_equal(syscall(SYS_tgkill, getpid(), tid, SIGUSR1), 0);
    }
    (void)closedir(d);
    tide_sleep_us(50000);
    assert_int_equal(sigaction(SIGUSR1, &before, NULL), 0);
    (void)alarm(20);
    fetch_server_stop(TIDE_TAKE(((struct serving *)*state)->fetch));
    (void)alarm(0);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(segments_come_in_the_order_in_which_they_are_asked_for),
        T(a_step_back_gets_its_own_segment),
        T(jumps_get_their_own_segments),
        T(an_interrupted_wait_ends_all_the_same),
        T(what_lies_behind_the_plan_is_absent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
