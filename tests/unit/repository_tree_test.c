/* tree_*.c: trees of files written into packs and read back. */

#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture {
    struct test_repo *t;
    char source[128], target[128];
};

static int set_up(void **state, bool encrypted)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(encrypted);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    *state = f;
    return 0;
}

static int set_up_plain(void **state)
{
    return set_up(state, false);
}

static int set_up_sealed(void **state)
{
    return set_up(state, true);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    test_repo_free(f->t);
    free(f);
    return 0;
}

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static void make_dir(const char *path)
{
    struct tide_err err = TIDE_ERR_INIT;
    ok(tide_mkdirs(path, 0700, &err), &err);
}

static void random_tree_comes_back(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    trees_make(f->source, 60, 1);
    trees_add_large(f->source, 1);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &b, &err), &err);
    ok(trees_extract(f->t->repo, "shop", &b, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
    assert_int_equal(b.totals.files, 63);
    assert_true(b.totals.new_bytes >= b.totals.stored_bytes);
}

static void unchanged_tree_stores_almost_nothing(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup a = {.lineage = 0}, b = {.lineage = 0};
    trees_make(f->source, 400, 2);
    struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &a, &err), &err);
    o.parent = &a;
    ok(trees_run(&o, &b, &err), &err);
    assert_true(b.totals.new_bytes * 100 < a.totals.new_bytes * 3);
    assert_int_equal(b.totals.bytes, a.totals.bytes);
    ok(trees_extract(f->t->repo, "shop", &b, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

static void one_changed_block_is_one_new_block(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct trees_random r = {.state = 77};
    TIDE_AUTO(backup_clear) struct backup a = {.lineage = 0}, b = {.lineage = 0}, c = {.lineage = 0};
    uint8_t noise[8192];
    make_dir(f->source);
    trees_file(f->source, "large", (UINT64_C(80) << 20) + 5, false, &r);
    trees_file(f->source, "small", 5000, false, &r);
    struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &a, &err), &err);
    trees_fill(&r, noise, sizeof noise, true);
    trees_write(f->source, "large", (UINT64_C(70) << 20) + 8192, noise, sizeof noise);
    o.parent = &a;
    ok(trees_run(&o, &b, &err), &err);
    assert_true(b.totals.new_bytes > sizeof noise && b.totals.new_bytes < 2 * TREE_BLOCK);
    /* and against the second one */
    trees_write(f->source, "small", 0, "another beginning", 17);
    o.parent = &b;
    ok(trees_run(&o, &c, &err), &err);
    assert_true(c.totals.new_bytes < 32768);
    ok(trees_extract(f->t->repo, "shop", &c, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
    assert_string_equal(c.parent, b.id);
}

static void files_grow_shrink_come_and_go_between_backups(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct trees_random r = {.state = 4};
    struct backup before = {.lineage = 0}, now = {.lineage = 0};
    static const uint64_t sizes[] = {0, 100, 131072, 131073, 300000, 1u << 20, 5u << 20, (64u << 20) + 1};
    char name[32], path[256], target[160];
    make_dir(f->source);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 12; i++) {
            (void)snprintf(name, sizeof name, "f%u", i);
            (void)snprintf(path, sizeof path, "%s/%s", f->source, name);
            uint64_t what = trees_below(&r, 4), size = sizes[trees_below(&r, 8)];
            if (what == 0)
                (void)unlink(path);
            else if (what == 1 && access(path, F_OK) == 0)
                assert_int_equal(truncate(path, (off_t)size), 0); /* a hole, or an end cut off */
            else if (what == 2)
                trees_file(f->source, name, size, true, &r);
        }
        struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
        o.parent = round == 0 ? NULL : &before;
        ok(trees_run(&o, &now, &err), &err);
        backup_clear(&before);
        before = now;
        (void)snprintf(target, sizeof target, "%s%u", f->target, round);
        ok(trees_extract(f->t->repo, "shop", &now, target, false, &err), &err);
        assert_int_equal(trees_differences(f->source, target), 0);
    }
    backup_clear(&before);
}

struct names {
    char last[128];
    unsigned n, directories, links;
};

static tide_status see_entry(void *ctx, const struct tree_entry *e, struct tide_err *err)
{
    struct names *n = ctx;
    (void)err;
    assert_true(strcmp(n->last, e->name) < 0);
    assert_string_equal(e->owner, "postgres");
    assert_int_equal(e->cookie, n->n);
    (void)snprintf(n->last, sizeof n->last, "%s", e->name);
    n->n++;
    n->directories += e->kind == TIDE_FILE_DIRECTORY;
    n->links += e->kind == TIDE_FILE_SYMLINK;
    if (e->kind == TIDE_FILE_SYMLINK)
        assert_string_equal(e->link, "d0/f00001");
    return TIDE_OK;
}

static tide_status stop_walk(void *ctx, const struct tree_entry *e, struct tide_err *err)
{
    (void)ctx;
    (void)e;
    return tide_fail(err, TIDE_NOT_FOUND, "enough");
}

static void walk_gives_entries_in_order(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    struct tree_reader *t = NULL;
    struct names n = {.n = 0};
    trees_make(f->source, 30, 3);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &b, &err), &err);
    ok(tree_reader_open(f->t->repo, "shop", &b, 1, &t, &err), &err);
    ok(tree_reader_walk(t, see_entry, &n, &err), &err);
    assert_int_equal(n.n, 30 + 6);
    assert_int_equal(n.directories, 5);
    assert_int_equal(n.links, 1);
    assert_int_equal(tree_reader_walk(t, stop_walk, NULL, &err), TIDE_NOT_FOUND);
    tree_reader_close(t);
}

struct content {
    const uint8_t *want;
    uint64_t at;
};

static tide_status see_data(void *ctx, uint64_t offset, const void *data, size_t len, struct tide_err *err)
{
    struct content *c = ctx;
    (void)err;
    assert_true(offset == c->at);
    if (c->want != NULL)
        assert_memory_equal(data, c->want + offset, len);
    c->at += len;
    return TIDE_OK;
}

/* Feeds content through piece() in turn with another file, in pieces of odd sizes. */
static void hand_over_in_pieces(struct tree_writer *w, const uint8_t *data, size_t len, struct trees_random *r)
{
    struct tide_err err = TIDE_ERR_INIT;
    const char *const names[] = {"stream/a", "stream/b"};
    size_t at[2] = {0, 0};
    while (at[0] < len || at[1] < len) {
        unsigned i = (unsigned)trees_below(r, 2);
        size_t some = (size_t)trees_below(r, 300000);
        some = some < len - at[i] ? some : len - at[i];
        ok(tree_writer_piece(w, names[i], at[i], data + at[i], some, &err), &err);
        at[i] += some;
    }
    for (unsigned i = 0; i < 2; i++) {
        const struct tide_file f = {
            .struct_size = sizeof f, .kind = TIDE_FILE_REGULAR, .mode = 0600, .name = names[i], .size = len};
        ok(tree_writer_piece_end(w, &f, &err), &err);
    }
}

static tide_status write_streams(struct fixture *f, const uint8_t *data, size_t len, const struct backup *parent,
                                 struct backup *b, struct tide_err *err)
{
    struct tree_writer *w = NULL;
    struct trees_random r = {.state = 9};
    const struct tree_writer_options o = {
        .repo = f->t->repo, .instance = "shop", .id = parent == NULL ? "one" : "two", .parent = parent, .jobs = 1};
    const struct tide_file small = {
        .struct_size = sizeof small, .kind = TIDE_FILE_REGULAR, .mode = 0600, .name = "backup_label", .size = 11};
    ok(tree_writer_new(&o, &w, err), err);
    hand_over_in_pieces(w, data, len, &r);
    ok(tree_writer_data(w, &small, "hello label", 11, err), err);
    ok(tree_writer_data(w, &(struct tide_file){.kind = TIDE_FILE_REGULAR, .name = "whole"}, data, len, err), err);
    ok(tree_writer_data(w, &(struct tide_file){.kind = TIDE_FILE_REGULAR, .name = "nothing"}, NULL, 0, err), err);
    ok(tree_writer_piece_end(w, &(struct tide_file){.kind = TIDE_FILE_REGULAR, .name = "no piece"}, err), err);
    /* handed over again: the later one wins */
    ok(tree_writer_data(w, &small, "later label", 11, err), err);
    tide_status s = tree_writer_finish(w, b, err);
    tree_writer_free(w);
    return s;
}

static void handed_over_bytes_come_back(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup a = {.lineage = 0}, b = {.lineage = 0};
    struct trees_random r = {.state = 8};
    struct tree_reader *t = NULL;
    size_t len = (66u << 20) + 12345;
    uint8_t *data = malloc(len);
    trees_fill(&r, data, len, false);
    memset(data + (10 << 20), 0, 1 << 20);
    ok(write_streams(f, data, len, NULL, &a, &err), &err);
    assert_int_equal(a.totals.files, 6);
    assert_int_equal(a.totals.bytes, 3 * len + 11);
    ok(write_streams(f, data, len, &a, &b, &err), &err);
    assert_true(b.totals.new_bytes < 2000);
    ok(tree_reader_open(f->t->repo, "shop", &b, 1, &t, &err), &err);
    static const char *const names[] = {"stream/a", "stream/b", "whole"};
    for (unsigned i = 0; i < 3; i++) {
        struct content c = {.want = data};
        ok(tree_reader_cat(t, names[i], see_data, &c, &err), &err);
        assert_true(c.at == len);
    }
    struct content label = {.want = (const uint8_t *)"later label"}, nothing = {.at = 0};
    ok(tree_reader_cat(t, "backup_label", see_data, &label, &err), &err);
    assert_int_equal(label.at, 11);
    ok(tree_reader_cat(t, "nothing", see_data, &nothing, &err), &err);
    ok(tree_reader_cat(t, "no piece", see_data, &nothing, &err), &err);
    assert_int_equal(nothing.at, 0);
    assert_int_equal(tree_reader_cat(t, "absent", see_data, &nothing, &err), TIDE_NOT_FOUND);
    tree_reader_close(t);
    free(data);
}

/* Pages of a KiB; those that begin with '!' are damaged. */
static void exclamation_marks_are_bad(const struct tide_block_view *v, struct tide_block_verdict *verdict)
{
    verdict->page_size = 1024;
    for (uint32_t i = 0; i < v->len / 1024; i++)
        if (v->data[(size_t)i * 1024] == '!')
            verdict->bad_pages[verdict->n_bad++] = i;
    assert_int_equal(v->inspect_number, 77);
    verdict->verdict = verdict->n_bad > 0 ? TIDE_BLOCK_TORN : TIDE_BLOCK_FINE;
}

static void pieces_are_inspected_as_they_come(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_writer *w = NULL;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    static uint8_t data[300000];
    const struct tree_writer_options o = {
        .repo = f->t->repo, .instance = "shop", .id = "one", .jobs = 1, .inspect = exclamation_marks_are_bad};
    const struct tide_file file = {.kind = TIDE_FILE_REGULAR,
                                   .name = "a",
                                   .size = sizeof data,
                                   .flags = TIDE_FILE_INSPECT,
                                   .inspect_number = 77};
    data[5 * 1024] = data[290 * 1024] = '!';
    ok(tree_writer_new(&o, &w, &err), &err);
    ok(tree_writer_piece_begin(w, &file, &err), &err);
    ok(tree_writer_piece(w, "a", 0, data, 100000, &err), &err);
    ok(tree_writer_piece(w, "not announced", 0, data, 100000, &err), &err);
    ok(tree_writer_piece(w, "a", 100000, data + 100000, sizeof data - 100000, &err), &err);
    ok(tree_writer_piece_end(w, &file, &err), &err);
    const struct tide_file other = {.kind = TIDE_FILE_REGULAR, .name = "not announced", .size = 100000};
    ok(tree_writer_piece_end(w, &other, &err), &err);
    ok(tree_writer_finish(w, &b, &err), &err);
    tree_writer_free(w);
    assert_int_equal(b.totals.damaged_pages, 2);
    assert_string_equal(b.damage, "[{\"file\":\"a\",\"page\":5},{\"file\":\"a\",\"page\":290}]");
}

static void wrong_streams_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_writer *w = NULL;
    struct backup b = {.lineage = 0};
    const struct tree_writer_options o = {.repo = f->t->repo, .instance = "shop", .id = "one", .jobs = 1};
    ok(tree_writer_new(&o, &w, &err), &err);
    ok(tree_writer_piece(w, "a", 0, "12345", 5, &err), &err);
    assert_int_equal(tree_writer_piece(w, "a", 4, "5", 1, &err), TIDE_INVALID);
    assert_int_equal(tree_writer_piece(w, "../a", 0, "5", 1, &err), TIDE_INVALID);
    assert_int_equal(tree_writer_finish(w, &b, &err), TIDE_INVALID); /* "a" was not ended */
    const struct tide_file file = {.kind = TIDE_FILE_REGULAR, .name = "a", .size = 6};
    assert_int_equal(tree_writer_piece_end(w, &file, &err), TIDE_INVALID); /* a byte was lost */
    tree_writer_free(w);
}

static void wrong_names_are_refused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_writer *w = NULL;
    static const char *const names[] = {"", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a/."};
    const struct tree_writer_options o = {.repo = f->t->repo, .instance = "shop", .id = "one", .jobs = 1};
    ok(tree_writer_new(&o, &w, &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct tide_file file = {.kind = TIDE_FILE_REGULAR, .name = names[i], .source = "/dev/null"};
        assert_int_equal(tree_writer_file(w, &file, &err), TIDE_INVALID);
    }
    tree_writer_free(w);
}

/* 70 GiB of hole with some blocks: more leaves than one record of the file table names. */
static void a_file_of_many_leaves_comes_back(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup a = {.lineage = 0}, b = {.lineage = 0};
    static const uint64_t places[] = {0, UINT64_C(63) << 30, UINT64_C(64) << 30, (UINT64_C(70) << 30) - 6};
    char path[256];
    make_dir(f->source);
    for (size_t i = 0; i < 4; i++)
        trees_write(f->source, "huge", places[i], "bytes!", 6);
    struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &a, &err), &err);
    assert_true(a.totals.bytes == UINT64_C(70) << 30);
    o.parent = &a;
    ok(trees_run(&o, &b, &err), &err);
    assert_true(b.totals.new_bytes < 3000);
    ok(trees_extract(f->t->repo, "shop", &b, f->target, false, &err), &err);
    struct stat st;
    (void)snprintf(path, sizeof path, "%s/huge", f->target);
    assert_int_equal(stat(path, &st), 0);
    assert_true((uint64_t)st.st_size == UINT64_C(70) << 30);
    assert_true(st.st_blocks * 512 < 4 << 20);
    FILE *file = fopen(path, "r");
    for (size_t i = 0; i < 4; i++) {
        char back[7] = "";
        assert_int_equal(fseeko(file, (off_t)places[i], SEEK_SET), 0);
        assert_int_equal(fread(back, 1, 6, file), 6);
        assert_string_equal(back, "bytes!");
    }
    (void)fclose(file);
}

static tide_status place_elsewhere(void *ctx, const struct tree_entry *e, char path[TIDE_PATH_MAX],
                                   struct tide_err *err)
{
    (void)err;
    *path = '\0';
    if (strncmp(e->name, "d1", 2) == 0) /* skipped */
        return TIDE_OK;
    (void)snprintf(path, TIDE_PATH_MAX, "%s%s/%s", (const char *)ctx, strncmp(e->name, "d2", 2) == 0 ? "-2" : "",
                   e->name);
    return TIDE_OK;
}

static void entries_go_where_they_are_placed(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    struct tree_reader *t = NULL;
    char a[300], c[300];
    trees_make(f->source, 40, 6);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &b, &err), &err);
    ok(tree_reader_open(f->t->repo, "shop", &b, 2, &t, &err), &err);
    static const char *const hold[] = {"d0/f00002", NULL};
    const struct tree_extract_options x = {
        .root = f->target, .place = place_elsewhere, .place_ctx = f->target, .hold = hold, .uid = -1, .gid = -1};
    ok(tree_extract(t, &x, &err), &err);
    tree_reader_close(t);
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(a, sizeof a, "%s/d%u", f->source, i);
        (void)snprintf(c, sizeof c, "%s%s/d%u", f->target, i == 2 ? "-2" : "", i);
        if (i == 1)
            assert_int_equal(access(c, F_OK), -1);
        else
            assert_int_equal(trees_differences(a, c), 0);
    }
}

static tide_status sum_packs(void *ctx, const uint8_t pack[OBJECT_ID_SIZE], uint64_t live, struct tide_err *err)
{
    uint64_t *sum = ctx;
    (void)pack;
    (void)err;
    sum[0] += live;
    sum[1]++;
    return TIDE_OK;
}

static void the_pack_table_names_every_pack(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    struct tree_reader *t = NULL;
    uint64_t sum[2] = {0, 0};
    trees_make(f->source, 40, 6);
    const struct trees_backup o = {.repo = f->t->repo, .instance = "shop", .dir = f->source};
    ok(trees_run(&o, &b, &err), &err);
    ok(tree_reader_open(f->t->repo, "shop", &b, 2, &t, &err), &err);
    ok(tree_reader_packs(t, sum_packs, sum, &err), &err);
    assert_true(sum[0] <= b.totals.stored_bytes && sum[0] > b.totals.stored_bytes * 9 / 10);
    assert_int_equal(sum[1], b.totals.packs);
    assert_int_equal(b.totals.packs, b.totals.new_packs);
    tree_reader_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(random_tree_comes_back, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(random_tree_comes_back, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(unchanged_tree_stores_almost_nothing, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(one_changed_block_is_one_new_block, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(files_grow_shrink_come_and_go_between_backups, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(walk_gives_entries_in_order, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(handed_over_bytes_come_back, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(pieces_are_inspected_as_they_come, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(wrong_streams_are_refused, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(wrong_names_are_refused, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_file_of_many_leaves_comes_back, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(entries_go_where_they_are_placed, set_up_sealed, tear_down),
        cmocka_unit_test_setup_teardown(the_pack_table_names_every_pack, set_up_plain, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
