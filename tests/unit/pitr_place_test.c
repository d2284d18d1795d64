/* place.c: where the directories of tablespaces go, and what is written last. */

#include "pitr/restore_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A tree of which only the entries are wanted. */
struct tree_reader {
    const struct tree_entry *entries;
    size_t n;
};

tide_status tree_reader_walk(struct tree_reader *t, tree_entry_fn *fn, void *ctx, struct tide_err *err)
{
    for (size_t i = 0; i < t->n; i++) {
        tide_status s = fn(ctx, &t->entries[i], err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static const struct tree_entry entries[] = {
    {.name = "PG_VERSION", .kind = TIDE_FILE_REGULAR},
    {.name = "global/pg_control", .kind = TIDE_FILE_REGULAR, .flags = TIDE_FILE_STABLE},
    {.name = "pg_tblspc", .kind = TIDE_FILE_DIRECTORY},
    {.name = "pg_tblspc/164", .kind = TIDE_FILE_DIRECTORY, .flags = TIDE_FILE_TABLESPACE, .link = "/mnt/slow"},
    {.name = "pg_tblspc/16400", .kind = TIDE_FILE_DIRECTORY, .flags = TIDE_FILE_TABLESPACE, .link = "/mnt/fast"},
    {.name = "pg_tblspc/16400/PG_15/5/99", .kind = TIDE_FILE_REGULAR},
};
#define METADATA "{\"tablespaces\":[{\"oid\":16400,\"name\":\"fast\"},{\"oid\":\"164\",\"name\":\"slow\"}]}"

struct fixture {
    char dir[64], into[96];
    char metadata[160];
    struct plan plan;
    struct restore_options o;
    struct tree_reader tree;
    struct placement p;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    strcpy(f->dir, "/tmp/tide-place-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->into, sizeof f->into, "%s/into", f->dir);
    strcpy(f->metadata, METADATA);
    f->plan.backup.metadata = f->metadata;
    f->o = (struct restore_options){.plan = &f->plan, .into = f->into};
    f->tree = (struct tree_reader){entries, sizeof entries / sizeof entries[0]};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    placement_clear(&f->p);
    assert_int_equal(tide_remove_tree(f->dir, &err), TIDE_OK);
    free(f);
    return 0;
}

static tide_status load(struct fixture *f, bool resume, struct tide_err *err)
{
    tide_err_clear(err);
    placement_clear(&f->p);
    return placement_load(&f->tree, &f->o, resume, &f->p, err);
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

/* Where the entry goes, its root left out. */
static const char *placed(struct fixture *f, const char *name)
{
    static char path[TIDE_PATH_MAX];
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_entry e = {.name = name};

    ok(placement_place(&f->p, &e, path, &err), &err);
    return strncmp(path, f->dir, strlen(f->dir)) == 0 ? path + strlen(f->dir) : path;
}

static void tablespaces_go_beside_the_directory(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    ok(load(f, false, &err), &err);
    assert_int_equal(f->p.n, 2);
    assert_string_equal(placed(f, "PG_VERSION"), "/into/PG_VERSION");
    assert_string_equal(placed(f, "pg_tblspc"), "/into/pg_tblspc");
    assert_string_equal(placed(f, "pg_tblspc/16400"), "/into.tablespaces/fast");
    assert_string_equal(placed(f, "pg_tblspc/16400/PG_15/5/99"), "/into.tablespaces/fast/PG_15/5/99");
    /* 164 is no prefix of 16400 */
    assert_string_equal(placed(f, "pg_tblspc/164/PG_15"), "/into.tablespaces/slow/PG_15");
    assert_string_equal(placed(f, "pg_tblspc/1640"), "/into/pg_tblspc/1640");
}

static void the_map_wins_by_name_and_by_number(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *map[] = {"fast=/srv/a", "164=/srv/b=c", NULL};

    f->o.tablespace_map = map;
    f->o.tablespaces_into = "/srv/others";
    ok(load(f, false, &err), &err);
    assert_string_equal(placed(f, "pg_tblspc/16400"), "/srv/a");
    assert_string_equal(placed(f, "pg_tblspc/164/x"), "/srv/b=c/x");
}

static void tablespaces_into_takes_the_rest(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *map[] = {"slow=/srv/slow", NULL};

    f->o.tablespace_map = map;
    f->o.tablespaces_into = "/srv/others";
    ok(load(f, false, &err), &err);
    assert_string_equal(placed(f, "pg_tblspc/16400"), "/srv/others/fast");
    assert_string_equal(placed(f, "pg_tblspc/164"), "/srv/slow");
}

static void a_name_that_no_tablespace_has_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *map[] = {"fast=/srv/a", "fas=/srv/b", NULL};

    f->o.tablespace_map = map;
    assert_int_equal(load(f, false, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "\"fas\""));
    assert_int_equal(f->p.n, 0);
}

static void without_metadata_a_tablespace_has_its_number(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    f->plan.backup.metadata = NULL;
    ok(load(f, false, &err), &err);
    assert_string_equal(placed(f, "pg_tblspc/16400"), "/into.tablespaces/16400");
}

static void relative_directories_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *map[] = {"fast=srv/a", NULL}, *empty[] = {"fast=", NULL};

    f->o.tablespace_map = map;
    assert_int_equal(load(f, false, &err), TIDE_INVALID);
    assert_non_null(strstr(err.msg, "\"fast\""));
    assert_int_equal(f->p.n, 0);
    f->o.tablespace_map = empty;
    assert_int_equal(load(f, false, &err), TIDE_INVALID);
}

static void a_full_tablespace_directory_is_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char full[256];

    (void)snprintf(full, sizeof full, "%s.tablespaces/fast/PG_15", f->into);
    ok(tide_mkdirs(full, 0700, &err), &err);
    assert_int_equal(load(f, false, &err), TIDE_REFUSED);
    assert_non_null(strstr(err.msg, "\"fast\""));
    assert_non_null(strstr(err.hint, "--tablespace fast=DIR"));
    ok(load(f, true, &err), &err); /* ours: the marker says so */
}

static void control_files_are_written_last(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    ok(load(f, false, &err), &err);
    assert_int_equal(f->p.n_hold, 1);
    assert_string_equal(f->p.hold[0], "global/pg_control");
    assert_null(f->p.hold[1]);
}

static void the_plugin_gets_numbers_and_directories(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf lines = TIDE_BUF_INIT(4096);
    char want[512];

    ok(load(f, false, &err), &err);
    ok(placement_lines(&f->p, &lines, &err), &err);
    (void)snprintf(want, sizeof want, "164=%s.tablespaces/slow\n16400=%s.tablespaces/fast\n", f->into, f->into);
    assert_string_equal(tide_buf_cstr(&lines), want);
    tide_buf_clear(&lines);
}

static void paths_beyond_the_limit_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[TIDE_PATH_MAX], name[TIDE_PATH_MAX];

    ok(load(f, false, &err), &err);
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    struct tree_entry e = {.name = name};
    assert_int_equal(placement_place(&f->p, &e, path, &err), TIDE_INVALID);
}

/* In one directory the files of the one would replace those of the other. */
static void no_two_share_a_directory(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    const char *same[] = {"fast=/srv/a", "slow=/srv/a/", NULL}, *nested[] = {"fast=/srv/a", "slow=/srv/a/b", NULL};
    const char *beside[] = {"fast=/srv/a", "slow=/srv/ab", NULL};
    char around[128];
    const char *outer[] = {around, NULL};

    (void)snprintf(around, sizeof around, "fast=%s", f->dir);
    f->o.tablespace_map = same;
    assert_int_equal(load(f, false, &err), TIDE_INVALID);
    f->o.tablespace_map = nested;
    assert_int_equal(load(f, true, &err), TIDE_INVALID);
    f->o.tablespace_map = outer;
    assert_int_equal(load(f, false, &err), TIDE_INVALID);
    f->o.tablespace_map = beside;
    ok(load(f, false, &err), &err);
}

static void a_name_leads_nowhere_else(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;

    strcpy(f->metadata, "{\"tablespaces\":[{\"oid\":16400,\"name\":\"../up\"},{\"oid\":164,\"name\":\"..\"}]}");
    ok(load(f, false, &err), &err);
    assert_string_equal(placed(f, "pg_tblspc/16400"), "/into.tablespaces/16400");
    assert_string_equal(placed(f, "pg_tblspc/164"), "/into.tablespaces/164");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(tablespaces_go_beside_the_directory),
        TEST(a_name_leads_nowhere_else),
        TEST(no_two_share_a_directory),
        TEST(the_map_wins_by_name_and_by_number),
        TEST(tablespaces_into_takes_the_rest),
        TEST(a_name_that_no_tablespace_has_is_refused),
        TEST(without_metadata_a_tablespace_has_its_number),
        TEST(relative_directories_are_refused),
        TEST(a_full_tablespace_directory_is_refused),
        TEST(control_files_are_written_last),
        TEST(the_plugin_gets_numbers_and_directories),
        TEST(paths_beyond_the_limit_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
