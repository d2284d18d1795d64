/* tree_resume.c, tree_reuse.c: what killed backups and damaged parents leave behind, and what may not be reused. */

#include "tests/support/repository.h"
#include "tests/support/trees.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "orchestrator/repository/logobject.h"
#include "orchestrator/repository/pack.h"
#include "orchestrator/repository/relocation.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

struct fixture {
    struct test_repo *t;
    char source[128], target[128];
    struct backup a, b;
    char keys[16][REPO_KEY_MAX];
    unsigned n_keys;
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(true);
    (void)snprintf(f->source, sizeof f->source, "%s/source", f->t->dir);
    (void)snprintf(f->target, sizeof f->target, "%s/target", f->t->dir);
    ok(tide_mkdirs(f->source, 0700, &err), &err);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    backup_clear(&f->a);
    backup_clear(&f->b);
    test_repo_free(f->t);
    free(f);
    return 0;
}

static tide_status note_key(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct fixture *f = ctx;
    (void)err;
    assert_true(f->n_keys < 16);
    (void)snprintf(f->keys[f->n_keys++], REPO_KEY_MAX, "%s", e->key);
    return TIDE_OK;
}

static void list_packs(struct fixture *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    f->n_keys = 0;
    tide_status s = store_list(repo_store(f->t->repo), "instances/shop/packs/", NULL, 0, note_key, f, &err);
    if (s != TIDE_NOT_FOUND)
        ok(s, &err);
}

/* Noise: a pack is full after 48 MiB of it. */
static void make_noise(struct fixture *f, uint64_t mib)
{
    struct trees_random r = {.state = 5};
    uint8_t *data = malloc(MIB);
    char name[32];
    for (uint64_t i = 0; i < mib; i++) {
        trees_fill(&r, data, MIB, true);
        trees_write(f->source, "large", i * MIB, data, MIB);
    }
    for (unsigned i = 0; i < 20; i++) {
        (void)snprintf(name, sizeof name, "small%u", i);
        trees_write(f->source, name, 0, data + 1000 * i, 1000 * i + 1);
    }
    free(data);
}

static tide_status back_up(struct fixture *f, const struct backup *parent, struct backup *out, struct tide_err *err)
{
    backup_clear(out);
    const struct trees_backup o = {
        .repo = f->t->repo, .instance = "shop", .dir = f->source, .parent = parent, .jobs = 1};
    return trees_run(&o, out, err);
}

static void assert_restores(struct fixture *f, const struct backup *b)
{
    struct tide_err err = TIDE_ERR_INIT;
    ok(tide_remove_tree(f->target, &err), &err);
    ok(trees_extract(f->t->repo, "shop", b, f->target, false, &err), &err);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

/* ------------------------------------------------------------------ after a kill */

/* A backup, or the restore of backup b, in a process that dies at a fail point. */
static void back_up_and_die(struct fixture *f, const char *point)
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        /* The points are read from the environment before main: this must be a new program. */
        (void)setenv("TIDE_FAILPOINTS", point, 1);
        (void)setenv("TREE_RESUME_DIR", f->source, 1);
        (void)setenv("TREE_RESUME_URL", f->t->url, 1);
        (void)setenv("TREE_RESUME_TARGET", f->target, 1);
        (void)setenv("TREE_RESUME_ID", f->b.id, 1);
        (void)execl("/proc/self/exe", "repository_tree_resume_test", "--die", (char *)NULL);
        _exit(99);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
}

static int be_the_child(void)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_secret key = TIDE_SECRET_INIT;
    struct repo *r = NULL;
    struct backup b = {.lineage = 0};
    if (tide_secret_set(&key, "0123456789abcdef0123456789ABCDEF", 32, &err) != TIDE_OK)
        return 97;
    const struct repo_options o = {.url = getenv("TREE_RESUME_URL"), .key = &key, .codec = FRAME_ZSTD, .level = 3};
    if (repo_open(&o, &r, &err) != TIDE_OK)
        return 98;
    const struct trees_backup t = {.repo = r, .instance = "shop", .dir = getenv("TREE_RESUME_DIR"), .jobs = 1};
    const char *id = getenv("TREE_RESUME_ID");
    tide_status s = *id == '\0' ? trees_run(&t, &b, &err) : backup_load(r, "shop", id, &b, &err);
    if (s == TIDE_OK && *id != '\0')
        s = trees_extract(r, "shop", &b, getenv("TREE_RESUME_TARGET"), false, &err);
    (void)fprintf(stderr, "not killed: %s %s\n", tide_status_name(s), err.msg);
    return 1;
}

static void a_killed_backup_is_continued(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 130);
    back_up_and_die(f, "pack-before-commit=kill:3");
    list_packs(f);
    assert_int_equal(f->n_keys, 2);
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes < 40 * MIB); /* of 130: two packs of 48 are there */
    assert_true(f->b.totals.stored_bytes > 130 * MIB);
    assert_restores(f, &f->b);
    /* the backup that was finished counts now: nothing is resumed, and without a parent all is stored */
    ok(back_up(f, &f->b, &f->a, &err), &err);
    assert_true(f->a.totals.new_bytes < 100000);
}

static void a_backup_killed_before_its_commit_is_almost_done(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    static const char *const points[] = {"backup-before-tables=kill", "backup-before-commit=kill"};
    make_noise(f, 60);
    for (unsigned i = 0; i < 2; i++) {
        struct backup_list l;
        back_up_and_die(f, points[i]);
        ok(backup_list_load(f->t->repo, "shop", &l, &err), &err);
        assert_int_equal(l.n, 0);
        backup_list_clear(&l);
    }
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes < 20 * MIB);
    assert_restores(f, &f->b);
}

static void changed_blocks_of_a_killed_backup_are_stored_anew(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 60);
    back_up_and_die(f, "backup-before-commit=kill");
    trees_write(f->source, "large", 7 * MIB, "changed", 7);
    trees_write(f->source, "small7", 0, "changed", 7);
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes > TREE_BLOCK && f->b.totals.new_bytes < 20 * MIB);
    assert_restores(f, &f->b);
}

static void old_intents_are_not_resumed(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct intent old = {.started_us = tide_now_us() - INT64_C(8) * 24 * 3600 * TIDE_SECOND_US};
    make_noise(f, 20);
    ok(backup_new_id(old.started_us, old.id, &err), &err);
    ok(intent_put(f->t->repo, "shop", &old, &err), &err);
    const struct trees_backup o = {
        .repo = f->t->repo, .instance = "shop", .dir = f->source, .jobs = 1, .id = old.id, .no_commit = true};
    ok(trees_run(&o, &f->a, &err), &err);
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes > 20 * MIB);
    /* a day younger, and it is */
    struct intent young = {.started_us = old.started_us + INT64_C(2) * 24 * 3600 * TIDE_SECOND_US};
    (void)snprintf(young.id, sizeof young.id, "20261121T000000Z-00000001");
    ok(intent_put(f->t->repo, "shop", &young, &err), &err);
    struct trees_backup p = o;
    p.id = young.id;
    backup_clear(&f->a);
    ok(trees_run(&p, &f->a, &err), &err);
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes < MIB);
    assert_restores(f, &f->b);
}

static void damaged_packs_of_a_killed_backup_do_no_harm(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 60);
    back_up_and_die(f, "backup-before-commit=kill");
    list_packs(f);
    for (unsigned i = 0; i < f->n_keys; i++) {
        struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
        test_raw_read(f->t, f->keys[i], &raw);
        if (i % 2 == 0)
            raw.data[raw.len - 30] ^= 1; /* the index */
        test_raw_write(f->t, f->keys[i], raw.data, i % 2 == 0 ? raw.len : raw.len / 2);
        tide_buf_clear(&raw);
    }
    ok(back_up(f, NULL, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes > 60 * MIB);
    assert_restores(f, &f->b);
}

static void a_killed_restore_is_continued(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 60);
    ok(back_up(f, NULL, &f->b, &err), &err);
    back_up_and_die(f, "extract-mid=kill:12");
    uint64_t before = store_counters(repo_store(f->t->repo)).bytes_in;
    ok(trees_extract(f->t->repo, "shop", &f->b, f->target, true, &err), &err);
    assert_true(store_counters(repo_store(f->t->repo)).bytes_in - before < 40 * MIB);
    assert_int_equal(trees_differences(f->source, f->target), 0);
}

/* ------------------------------------------------------------------ parents */

static void blocks_of_missing_packs_are_stored_again(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 60);
    ok(back_up(f, NULL, &f->a, &err), &err);
    list_packs(f);
    assert_int_equal(f->n_keys, 2);
    for (unsigned i = 0; i < f->n_keys; i++) {
        struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
        test_raw_read(f->t, f->keys[i], &raw);
        ok(store_delete(repo_store(f->t->repo), f->keys[i], &err), &err);
        ok(back_up(f, &f->a, &f->b, &err), &err);
        assert_restores(f, &f->b); /* whole, without the pack */
        assert_true(f->b.totals.new_bytes > MIB);
        test_raw_write(f->t, f->keys[i], raw.data, raw.len);
        tide_buf_clear(&raw);
    }
}

static void a_cut_pack_is_not_relied_on(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 20);
    ok(back_up(f, NULL, &f->a, &err), &err);
    list_packs(f);
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
    test_raw_read(f->t, f->keys[0], &raw);
    test_raw_write(f->t, f->keys[0], raw.data, raw.len / 2);
    tide_buf_clear(&raw);
    ok(back_up(f, &f->a, &f->b, &err), &err);
    assert_restores(f, &f->b);
}

static void packs_with_a_tombstone_are_not_reused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    make_noise(f, 60);
    ok(back_up(f, NULL, &f->a, &err), &err);
    list_packs(f);
    const char *keys[16];
    for (unsigned i = 0; i < f->n_keys; i++)
        keys[i] = f->keys[i];
    ok(tombstone_put(f->t->repo, "shop", keys, f->n_keys, "expired", tide_now_us(), &err), &err);
    ok(back_up(f, &f->a, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes > 60 * MIB);
    for (unsigned i = 0; i < f->n_keys; i++)
        ok(store_delete(repo_store(f->t->repo), f->keys[i], &err), &err);
    assert_restores(f, &f->b);
}

static void a_tombstone_that_comes_while_a_backup_runs_keeps_it_from_committing(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tree_writer *w = NULL;
    make_noise(f, 5);
    ok(back_up(f, NULL, &f->a, &err), &err);
    list_packs(f);
    const struct tree_writer_options o = {
        .repo = f->t->repo, .instance = "shop", .id = "two", .parent = &f->a, .jobs = 1};
    const char *key = f->keys[0];
    ok(tree_writer_new(&o, &w, &err), &err);
    ok(trees_hand_over(w, f->source, 0, &err), &err);
    ok(tombstone_put(f->t->repo, "shop", &key, 1, "expired", tide_now_us(), &err), &err);
    assert_int_equal(tree_writer_finish(w, &f->b, &err), TIDE_AGAIN);
    assert_non_null(strstr(err.msg, key));
    tree_writer_free(w);
}

/* A pack that was repacked is found through its relocation, by the next backup too. */
static void a_repacked_parent_is_reused(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20), new = TIDE_BUF_INIT(64 << 20);
    struct object_reader *o = NULL;
    struct frame_coder *coder = NULL;
    struct object_header h;
    struct frame_ref *refs = NULL;
    char key[REPO_KEY_MAX];
    size_t n = 0;
    make_noise(f, 5);
    ok(back_up(f, NULL, &f->a, &err), &err);
    list_packs(f);
    assert_int_equal(f->n_keys, 1);
    ok(frame_coder_new(FRAME_ZSTD, 1, &coder, &err), &err);
    ok(object_reader_open(f->t->repo, f->keys[0], OBJECT_PACK, &o, &err), &err);
    ok(object_reader_index(o, coder, &refs, &n, &err), &err);
    test_raw_read(f->t, f->keys[0], &raw);
    ok(object_header_new(f->t->repo, OBJECT_PACK, "x", 1, &h, &err), &err);
    object_header_encode(&h, &new);
    for (size_t i = 0; i < n; i++) {
        uint64_t offset = refs[i].offset;
        refs[i].offset = new.len;
        tide_buf_append(&new, raw.data + offset, refs[i].stored);
    }
    pack_key("shop", h.id, key);
    test_raw_write(f->t, key, new.data, new.len);
    struct relocation m = {.header = *object_reader_header(o), .frames = refs, .n = n};
    memcpy(m.pack, h.id, sizeof m.pack);
    ok(relocation_put(f->t->repo, "shop", &m, &err), &err);
    ok(store_delete(repo_store(f->t->repo), f->keys[0], &err), &err);

    assert_restores(f, &f->a);
    ok(back_up(f, &f->a, &f->b, &err), &err);
    assert_true(f->b.totals.new_bytes < 10000);
    assert_restores(f, &f->b);
    free(refs);
    object_reader_close(o);
    frame_coder_free(coder);
    tide_buf_clear(&raw);
    tide_buf_clear(&new);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--die") == 0)
        return be_the_child();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_killed_backup_is_continued, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_backup_killed_before_its_commit_is_almost_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changed_blocks_of_a_killed_backup_are_stored_anew, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_intents_are_not_resumed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damaged_packs_of_a_killed_backup_do_no_harm, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_killed_restore_is_continued, set_up, tear_down),
        cmocka_unit_test_setup_teardown(blocks_of_missing_packs_are_stored_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_pack_is_not_relied_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(packs_with_a_tombstone_are_not_reused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_tombstone_that_comes_while_a_backup_runs_keeps_it_from_committing, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_repacked_parent_is_reused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
