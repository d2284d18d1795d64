/*
 * Random histories through all of wal/: a server that writes, is cut off and promoted, a shipper that comes and goes,
 * files put beside it, objects lost and merged.  At the end every byte and every commit of every branch is there
 * once.
 */

#include "orchestrator/base/clock.h"
#include "tests/support/fake_world.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include "wal/window.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define START ((struct tide_pos){0, FAKE_BASE})

struct history {
    struct fake_world *w;
    unsigned seed;
    int64_t us;
    uint32_t lineage; /* that the current branch is stored in */
};

static unsigned chance(struct history *h, unsigned n)
{
    return (unsigned)rand_r(&h->seed) % n;
}

static struct tide_pos write_some(struct history *h, unsigned n)
{
    struct fake_server *s = h->w->server;
    struct tide_pos end = fake_end(s);

    for (unsigned i = 0; i < n; i++) {
        unsigned what = chance(h, 12);
        h->us += chance(h, 3000);
        if (what == 0)
            end = fake_append(s, FAKE_SWITCH, 0, NULL, 4, 0, 0);
        else if (what < 4)
            end = fake_append(s, FAKE_DATA, 0, NULL, chance(h, 20) == 0 ? 15000 : chance(h, 400), chance(h, 5), i);
        else
            end = fake_commit(s, h->us, chance(h, 300));
    }
    return end;
}

static void ship_up_to_now(struct history *h)
{
    struct fake_world *w = h->w;

    fake_world_start_streaming(w);
    for (unsigned i = chance(h, 4); i > 0; i--) {
        write_some(h, 10);
        if (chance(h, 2) == 0)
            fake_kick(w->server);
    }
    fake_world_wait_stored(w, h->lineage, write_some(h, 2));
    assert_int_equal(fake_world_stop(w), TIDE_OK);
}

static void promote(struct history *h)
{
    struct fake_world *w = h->w;
    size_t n;
    const struct fake_commit_record *all = fake_commits(w->server, &n);
    struct tide_pos fork = fake_end(w->server);

    /* at a commit shortly before the end, of this branch */
    if (chance(h, 2) == 0 && n > 3 && all[n - 3].branch == fake_branch(w->server))
        fork = all[n - 3].end;
    fake_promote(w->server, fork);
    h->lineage++;
    ship_up_to_now(h);
}

static void put_segments(struct history *h)
{
    struct fake_world *w = h->w;
    struct tide_pos end = write_some(h, 20);

    for (unsigned back = 3; back > 0; back--) {
        struct tide_err err = TIDE_ERR_INIT;
        struct tide_pos at = pos_sub(end, (uint64_t)(back - 1) * FAKE_SEGMENT);
        char path[256], name[32];
        if (pos_before(at, START))
            continue;
        fake_segment_name(fake_branch(w->server), at, name);
        (void)snprintf(path, sizeof path, "%s/%s", w->t->dir, name);
        fake_write_segment(w->server, fake_branch(w->server), at, path);
        struct wal_put_options o = {.repo = w->t->repo,
                                    .instance = "shop",
                                    .path = path,
                                    .name = name,
                                    .plugin = &fake_plugin,
                                    .host = &w->host.host,
                                    .object_bytes = 1500};
        if (wal_put_file(&o, &err) != TIDE_OK)
            fail_msg("%s", err.msg);
    }
}

static void lose_one(struct history *h)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct repo *r = h->w->t->repo;
    struct log_name newest, lost;
    struct lineage_set set = {0};
    char key[REPO_KEY_MAX];

    assert_int_equal(lineage_load(r, "shop", &set, &err), TIDE_OK);
    const struct lineage *l = lineage_find(&set, h->lineage);
    if (l != NULL && log_newest(r, "shop", h->lineage, &newest, &err) == TIDE_OK) {
        struct tide_pos at = pos_add(l->start, pos_distance(l->start, newest.end) / 2);
        if (log_object_at(r, "shop", h->lineage, at, &lost, &err) == TIDE_OK && !pos_equal(lost.start, l->start) &&
            !pos_equal(lost.end, newest.end)) {
            assert_int_equal(log_name_key("shop", &lost, key, &err), TIDE_OK);
            assert_int_equal(store_delete(repo_store(r), key, &err), TIDE_OK);
        }
    }
    lineage_set_clear(&set);
}

static void merge(struct history *h)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t merged;
    for (uint32_t l = 1; l <= h->lineage; l++)
        assert_int_equal(wal_merge(h->w->t->repo, "shop", l, 0, NULL, &merged, &err), TIDE_OK);
}

struct seen {
    struct tide_pos from, last;
    size_t commits;
};

static tide_status take_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct seen *s = ctx;
    (void)err;
    if (e->kind == TIDE_EVENT_COMMIT && pos_before(s->last, e->end)) {
        s->last = e->end;
        s->commits++;
    }
    return TIDE_OK;
}

static tide_status only_found(void *ctx, const struct log_range *r, struct tide_err *err)
{
    (void)ctx;
    (void)err;
    if (r->state != LOG_FOUND)
        fail_msg("%s", r->why);
    return TIDE_OK;
}

static void check_lineage(struct history *h, const struct lineage *l)
{
    struct fake_world *w = h->w;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_walk *walk = NULL;
    struct log_name n, newest;
    struct seen seen = {.last = l->start};
    size_t all_n, expected = 0;

    tide_status s = log_newest(w->t->repo, "shop", l->number, &newest, &err);
    if (s == TIDE_NOT_FOUND)
        return;
    assert_int_equal(s, TIDE_OK);
    fake_world_check(w, l->number, l->branch, l->start, newest.end);
    assert_int_equal(log_walk_open(w->t->repo, "shop", l->number, l->start, &walk, &err), TIDE_OK);
    while ((s = log_walk_next(walk, &n, &err)) == TIDE_OK)
        assert_int_equal(log_scan_object(w->t->repo, "shop", &fake_plugin, &w->host.host, l->evidence, &n, take_event,
                                         &seen, &err),
                         TIDE_OK);
    assert_int_equal(s, TIDE_NOT_FOUND);
    log_walk_close(walk);
    const struct fake_commit_record *all = fake_commits(w->server, &all_n);
    for (size_t i = 0; i < all_n; i++)
        expected +=
            all[i].branch == l->branch && pos_before(l->start, all[i].end) && !pos_before(newest.end, all[i].end);
    assert_int_equal(seen.commits, expected);
    assert_int_equal(log_verify(w->t->repo, "shop", l, l->start, TIDE_POS_NONE, 100, &fake_plugin, &w->host.host,
                                only_found, NULL, &err),
                     TIDE_OK);
}

static void random_histories_end_with_everything_stored_once(void **state)
{
    (void)state;
    for (unsigned seed = 1; seed <= 3; seed++) {
        struct history h = {.w = fake_world_new(), .seed = seed * 31, .us = FAKE_T0, .lineage = 1};
        struct tide_err err = TIDE_ERR_INIT;
        struct lineage_set set = {0};

        h.w->o.object_bytes = 1200;
        h.w->o.ship_interval_us = 10000;
        h.w->o.lease_us = 500000;
        ship_up_to_now(&h);
        for (int i = 0; i < 12; i++) {
            switch (chance(&h, 6)) {
            case 0:
                promote(&h);
                break;
            case 1:
                put_segments(&h);
                break;
            case 2:
                lose_one(&h);
                break;
            case 3:
                merge(&h);
                break;
            default:
                write_some(&h, chance(&h, 60));
                ship_up_to_now(&h);
            }
        }
        ship_up_to_now(&h);
        merge(&h);
        assert_int_equal(lineage_load(h.w->t->repo, "shop", &set, &err), TIDE_OK);
        assert_int_equal(set.n, h.lineage);
        for (size_t i = 0; i < set.n; i++)
            check_lineage(&h, &set.items[i]);
        lineage_set_clear(&set);
        fake_world_free(h.w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_end_with_everything_stored_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
