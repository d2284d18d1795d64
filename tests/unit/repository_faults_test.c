/*
 * Every allocation of the repository's ways fails once, and for good: the call fails cleanly, and what was stored is
 * nothing or whole.
 */
// LDFLAGS: -Wl,--wrap=malloc -Wl,--wrap=calloc -Wl,--wrap=realloc

#include "orchestrator/repository/lease.h"
#include "orchestrator/repository/lineage.h"
#include "orchestrator/repository/logobject.h"
#include "tests/support/fault.h"
#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"

#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY "instances/shop/thing"

static int set_up(void **state)
{
    *state = test_repo_new(true);
    return 0;
}

static int tear_down(void **state)
{
    (void)fault_disarm();
    test_repo_free(*state);
    return 0;
}

typedef tide_status scenario_fn(struct test_repo *t, struct tide_err *err);

/* Runs it with the 1st, 2nd, 3rd ... allocation failing, until none fails any more. */
static void exhaust(struct test_repo *t, scenario_fn *run)
{
    for (int for_good = 0; for_good < 2; for_good++) {
        bool fired = true;
        for (unsigned n = 1; fired; n++) {
            struct tide_err err = TIDE_ERR_INIT;
            fault_arm(n, ENOMEM, for_good);
            tide_status s = run(t, &err);
            fired = fault_disarm();
            if (!fired && s != TIDE_OK)
                fail_msg("nothing failed, and yet: %s", err.msg);
            if (fired && for_good && s == TIDE_OK)
                fail_msg("allocation %u failed for good, and the call did not", n);
            if (s != TIDE_OK && err.status != s)
                fail_msg("allocation %u: %s was returned and %s explained (\"%s\")", n, tide_status_name(s),
                         tide_status_name(err.status), err.msg);
            if (s == TIDE_CORRUPT || s == TIDE_NOT_FOUND || s == TIDE_DENIED)
                fail_msg("allocation %u: lack of memory is told as %s: %s", n, tide_status_name(s), err.msg);
            assert_true(n < 2000);
        }
    }
}

static tide_status open_again(struct test_repo *t, struct tide_err *err)
{
    struct repo *r = NULL;
    tide_status s = repo_open(&t->options, &r, err);
    repo_close(r);
    return s;
}

static tide_status put_and_get(struct test_repo *t, struct tide_err *err)
{
    char path[4096];
    struct object_small o = {.key = KEY, .type = OBJECT_INTENT};
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    test_raw_path(t, KEY, path);
    (void)unlink(path);
    tide_status s = object_put(t->repo, &o, "0123456789", 10, err);
    if (s != TIDE_OK)
        return access(path, F_OK) == 0 ? TIDE_INVALID : s;
    return object_get(t->repo, KEY, OBJECT_INTENT, &out, NULL, err);
}

static tide_status write_and_read_large(struct test_repo *t, struct tide_err *err)
{
    char path[4096];
    struct object_small o = {.key = KEY, .type = OBJECT_PACK};
    struct object_writer *w = NULL;
    struct object_reader *reader = NULL;
    struct frame_coder *c = NULL;
    TIDE_AUTO(tide_freep) struct frame_ref *refs = NULL;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    size_t n = 0;
    test_raw_path(t, KEY, path);
    (void)unlink(path);
    tide_status s = frame_coder_new(FRAME_LZ4, 1, &c, err);
    if (s == TIDE_OK)
        s = object_writer_begin(t->repo, &o, NULL, c, &w, err);
    if (s == TIDE_OK) {
        s = object_writer_frame(w, FRAME_DATA, path, sizeof(path), NULL, err);
        if (s == TIDE_OK)
            s = object_writer_commit(w, NULL, err);
        else
            object_writer_abort(w);
    }
    if (s != TIDE_OK && access(path, F_OK) == 0)
        s = TIDE_INVALID;
    if (s == TIDE_OK)
        s = object_reader_open(t->repo, KEY, OBJECT_PACK, &reader, err);
    if (s == TIDE_OK)
        s = object_reader_index(reader, c, &refs, &n, err);
    out.max = sizeof(path);
    if (s == TIDE_OK)
        s = object_reader_frame(reader, c, &refs[0], &out, NULL, err);
    object_reader_close(reader);
    frame_coder_free(c);
    return s;
}

static char log_key[REPO_KEY_MAX];

static tide_status ship_and_read(struct test_repo *t, struct tide_err *err)
{
    char path[4096];
    struct log_info i = {.name = {.lineage = 1, .start = {0, 8}, .end = {0, 16}, .min_us = 5, .max_us = 6},
                         .bytes = 8,
                         .n_commits = 1};
    struct tide_block_ref refs[] = {{1, 2, 3, 4, 5}, {1, 2, 3, 4, 6}};
    struct log_info found = {0};
    TIDE_AUTO(tide_freep) struct tide_block_ref *got = NULL;
    TIDE_AUTO(tide_buf_clear) struct tide_buf out = TIDE_BUF_INIT(1000);
    size_t n = 0;
    tide_status s = log_name_key("shop", &i.name, log_key, err);
    test_raw_path(t, log_key, path);
    (void)unlink(path);
    if (s == TIDE_OK)
        s = log_object_put(t->repo, "shop", &i, "contents", refs, 2, err);
    if (s != TIDE_OK)
        return access(path, F_OK) == 0 ? TIDE_INVALID : s;
    s = log_object_put(t->repo, "shop", &i, "contents", refs, 2, err);
    if (s == TIDE_OK)
        s = log_object_read(t->repo, log_key, &found, &out, err);
    log_info_clear(&found);
    if (s == TIDE_OK)
        s = log_object_refs(t->repo, log_key, &got, &n, err);
    return s;
}

static tide_status make_a_spool(struct test_repo *t, struct tide_err *err)
{
    char dir[200];
    struct repo *spool = NULL;
    (void)snprintf(dir, sizeof(dir), "%s/spool", t->dir);
    tide_status s = repo_open_spool(t->repo, dir, &spool, err);
    repo_close(spool);
    return s;
}

static tide_status load_lineages(struct test_repo *t, struct tide_err *err)
{
    struct lineage_set set = {0};
    tide_status s = lineage_load(t->repo, "shop", &set, err);
    lineage_set_clear(&set);
    return s;
}

static void opening_survives_lack_of_memory(void **state)
{
    exhaust(*state, open_again);
}

static void small_objects_survive_lack_of_memory(void **state)
{
    exhaust(*state, put_and_get);
}

static void large_objects_survive_lack_of_memory(void **state)
{
    exhaust(*state, write_and_read_large);
}

static void log_objects_survive_lack_of_memory(void **state)
{
    exhaust(*state, ship_and_read);
}

static void spools_survive_lack_of_memory(void **state)
{
    exhaust(*state, make_a_spool);
}

static void lineages_survive_lack_of_memory(void **state)
{
    struct test_repo *t = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char evidence[] = "x=1\n";
    for (int i = 0; i < 3; i++) {
        struct lineage l = {.engine = "postgresql", .evidence = evidence};
        assert_int_equal(lineage_create(t->repo, "shop", &l, &err), TIDE_OK);
    }
    exhaust(t, load_lineages);
}

#define T(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(opening_survives_lack_of_memory),      T(small_objects_survive_lack_of_memory),
        T(large_objects_survive_lack_of_memory), T(log_objects_survive_lack_of_memory),
        T(spools_survive_lack_of_memory),        T(lineages_survive_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
