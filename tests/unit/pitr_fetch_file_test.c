/* fetch_file.c: one log file for a recovering server; absence only where it is proved. */

#include "pitr/fetch_server.h"

#include "tests/support/history.h"
#include "wal/pos.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define S  INT64_C(1000000)
#define T0 FAKE_T0

/* Lineage 1 over more than three segments, a fork in the second one, lineage 2 from there. */
struct fixture {
    struct history *h;
    const struct history_lineage *parent, *child;
    struct lineage_set lineages;
    struct lineage_step path[LINEAGE_PATH_MAX];
    size_t n_path;
    struct log_source *source;
    struct fetch_file_options o;
    char path_to[256];
    struct tide_err err;
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static struct tide_pos segment(uint64_t n)
{
    return (struct tide_pos){0, FAKE_BASE + n * FAKE_SEGMENT};
}

static void grow(struct history *h, const struct history_lineage *l, struct tide_pos to)
{
    for (int i = 0; pos_before(l->end, to); i++)
        history_commit(h, T0 + i * S);
}

static void open_source(struct fixture *f)
{
    log_source_free(f->source);
    ok(log_source_new(f->h->w->repo, "shop", f->path, f->n_path, &f->source, &f->err), &f->err);
    f->o.repo = f->h->w->repo;
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct history *h = f->h = history_new(5);

    struct history_lineage *l = history_fork(h, NULL, (struct tide_pos){0});
    grow(h, l, pos_add(segment(3), 500));
    history_store(h, l, l->start, l->end, 4);
    size_t at = 0;
    while (pos_before(l->commits[at].end, pos_add(segment(1), 3000)))
        at++;
    struct history_lineage *c = history_fork(h, l, l->commits[at].end);
    grow(h, c, pos_add(segment(3), 2000));
    history_store(h, c, c->start, c->end, 4);
    f->parent = l;
    f->child = c;
    ok(lineage_load(h->w->t->repo, "shop", &f->lineages, &f->err), &f->err);
    ok(lineage_path(&f->lineages, c->number, f->path, &f->n_path, &f->err), &f->err);
    f->o = (struct fetch_file_options){.instance = "shop",
                                       .plugin = &fake_plugin,
                                       .host = &h->w->host.host,
                                       .lineages = &f->lineages,
                                       .path = f->path,
                                       .n_path = f->n_path};
    (void)snprintf(f->path_to, sizeof f->path_to, "%s/got", h->w->t->dir);
    open_source(f);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    log_source_free(f->source);
    lineage_set_clear(&f->lineages);
    history_free(f->h);
    free(f);
    return 0;
}

static tide_status fetch(struct fixture *f, uint64_t branch, uint64_t n)
{
    struct tide_log_file file = {.struct_size = sizeof file,
                                 .kind = TIDE_LOG_FILE_SEGMENT,
                                 .branch = branch,
                                 .start = segment(n),
                                 .end = segment(n + 1)};

    tide_err_clear(&f->err);
    (void)unlink(f->path_to);
    return fetch_file(&f->o, f->source, &file, f->path_to, &f->err);
}

static bool is_there(const struct fixture *f)
{
    return access(f->path_to, F_OK) == 0;
}

/* The file is a branch's bytes up to `to`, and zeros behind. */
static void holds(const struct fixture *f, uint64_t branch, uint64_t n, struct tide_pos to)
{
    uint8_t got[FAKE_SEGMENT], want[FAKE_SEGMENT] = {0};
    FILE *in = fopen(f->path_to, "rb");

    assert_non_null(in);
    assert_int_equal(fread(got, 1, sizeof got, in), sizeof got);
    assert_int_equal(fgetc(in), EOF);
    assert_int_equal(fclose(in), 0);
    fake_read(f->h->w->server, branch, segment(n), pos_min(to, segment(n + 1)), want);
    assert_memory_equal(got, want, sizeof got);
}

static void lose_at(struct fixture *f, uint32_t lineage, struct tide_pos pos)
{
    for (size_t i = 0; i < f->h->n_objects; i++)
        while (i < f->h->n_objects && f->h->objects[i].lineage == lineage &&
               pos_in(pos, f->h->objects[i].start, f->h->objects[i].end))
            history_lose(f->h, i);
    open_source(f);
}

static void files_are_the_servers_own(void **state)
{
    struct fixture *f = *state;

    ok(fetch(f, 1, 0), &f->err);
    holds(f, 1, 0, segment(1));
    ok(fetch(f, 2, 2), &f->err);
    holds(f, 2, 2, segment(3));
}

static void a_file_with_a_fork_is_stitched(void **state)
{
    struct fixture *f = *state;

    ok(fetch(f, 2, 1), &f->err);
    holds(f, 2, 1, segment(2));                       /* the branch's bytes before the fork are its parent's */
    assert_int_equal(fetch(f, 1, 1), TIDE_NOT_FOUND); /* the server has to take the child's */
    assert_int_equal(fetch(f, 2, 0), TIDE_NOT_FOUND);
    assert_int_equal(fetch(f, 3, 2), TIDE_NOT_FOUND);
}

static void an_unfinished_file_is_absent_or_padded(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(fetch(f, 2, 3), TIDE_NOT_FOUND);
    assert_false(is_there(f));
    assert_int_equal(fetch(f, 2, 4), TIDE_NOT_FOUND);
    f->o.padded_from = f->child->end;
    ok(fetch(f, 2, 3), &f->err);
    holds(f, 2, 3, f->child->end);
    assert_int_equal(fetch(f, 2, 4), TIDE_NOT_FOUND);
}

static void log_behind_the_target_is_not_given(void **state)
{
    struct fixture *f = *state;
    struct tide_pos target = f->child->commits[4].end;
    uint64_t n = (target.lo - FAKE_BASE) / FAKE_SEGMENT;

    f->o.padded_from = target;
    ok(fetch(f, 2, n), &f->err);
    holds(f, 2, n, target);
    assert_int_equal(fetch(f, 2, n + 1), TIDE_NOT_FOUND);
}

static void a_hole_is_no_absence(void **state)
{
    struct fixture *f = *state;
    struct tide_pos hole = pos_add(segment(2), 3000);

    lose_at(f, 2, hole);
    assert_int_equal(fetch(f, 2, 2), TIDE_CORRUPT);
    assert_false(is_there(f));
    /* what ends before the hole is not troubled by it */
    f->o.padded_from = pos_add(segment(2), 100);
    lose_at(f, 2, pos_add(segment(3), 100));
    ok(fetch(f, 2, 2), &f->err);
    holds(f, 2, 2, f->o.padded_from);
}

/* A plan proved that it was there: that it is gone at the end of the log is no proof of absence. */
static void planned_log_that_is_gone_is_no_absence(void **state)
{
    struct fixture *f = *state;

    f->o.padded_from = f->child->end;
    for (unsigned i = 0; i < 20; i++)
        lose_at(f, 2, pos_sub(f->child->end, 1 + i * 100));
    assert_int_equal(fetch(f, 2, 3), TIDE_CORRUPT);
    assert_false(is_there(f));
    f->o.padded_from = (struct tide_pos){0};
    assert_int_equal(fetch(f, 2, 3), TIDE_NOT_FOUND);
}

static void damage_is_no_absence(void **state)
{
    struct fixture *f = *state;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    char key[REPO_KEY_MAX];

    for (size_t i = 0; i < f->h->n_objects; i++)
        if (f->h->objects[i].lineage == 1 && pos_in(segment(0), f->h->objects[i].start, f->h->objects[i].end))
            ok(log_name_key("shop", &f->h->objects[i], key, &f->err), &f->err);
    test_raw_read(f->h->w->t, key, &raw);
    raw.data[raw.len / 2] ^= 1;
    test_raw_write(f->h->w->t, key, raw.data, raw.len);
    tide_buf_clear(&raw);
    assert_int_equal(fetch(f, 1, 0), TIDE_CORRUPT);
    assert_false(is_there(f));
}

static void an_unreachable_repository_is_no_absence(void **state)
{
    struct fixture *f = *state;

    fake_world_faulty(f->h->w);
    open_source(f);
    fake_world_down(f->h->w, "unavailable");
    assert_int_equal(fetch(f, 1, 0), TIDE_UNAVAILABLE);
    assert_int_equal(fetch(f, 2, 4), TIDE_UNAVAILABLE); /* nothing is there, but who knows */
    fake_world_down(f->h->w, "denied");
    assert_int_equal(fetch(f, 2, 4), TIDE_DENIED);
}

static void a_missing_directory_is_no_absence(void **state)
{
    struct fixture *f = *state;

    (void)snprintf(f->path_to, sizeof f->path_to, "%s/none/got", f->h->w->t->dir);
    assert_int_equal(fetch(f, 1, 0), TIDE_IO);
}

static void reserved_branches_have_a_history_file(void **state)
{
    struct fixture *f = *state;
    struct tide_log_file file = {.struct_size = sizeof file, .kind = TIDE_LOG_FILE_HISTORY, .branch = 3};

    assert_int_equal(fetch_file(&f->o, f->source, &file, f->path_to, &f->err), TIDE_NOT_FOUND);
    f->o.new_branch = 5;
    ok(fetch_file(&f->o, f->source, &file, f->path_to, &f->err), &f->err);
    assert_true(is_there(f));
    file.branch = 5; /* the restored server's own */
    assert_int_equal(fetch_file(&f->o, f->source, &file, f->path_to, &f->err), TIDE_NOT_FOUND);
}

static void other_files_are_never_stored(void **state)
{
    struct fixture *f = *state;
    struct tide_log_file file = {.struct_size = sizeof file, .kind = TIDE_LOG_FILE_OTHER};

    assert_int_equal(fetch_file(&f->o, f->source, &file, f->path_to, &f->err), TIDE_NOT_FOUND);
    file = (struct tide_log_file){.struct_size = sizeof file,
                                  .kind = TIDE_LOG_FILE_SEGMENT,
                                  .branch = 1,
                                  .start = segment(0),
                                  .end = segment(1),
                                  .partial = 1};
    assert_int_equal(fetch_file(&f->o, f->source, &file, f->path_to, &f->err), TIDE_NOT_FOUND);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(files_are_the_servers_own),
        TEST(a_file_with_a_fork_is_stitched),
        TEST(an_unfinished_file_is_absent_or_padded),
        TEST(log_behind_the_target_is_not_given),
        TEST(a_hole_is_no_absence),
        TEST(planned_log_that_is_gone_is_no_absence),
        TEST(damage_is_no_absence),
        TEST(an_unreachable_repository_is_no_absence),
        TEST(a_missing_directory_is_no_absence),
        TEST(reserved_branches_have_a_history_file),
        TEST(other_files_are_never_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
