#include "wal/ship_internal.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/backup.h"
#include "wal/backoff.h"
#include "wal/merge.h"
#include "wal/pos.h"

#define LOOK_US  TIDE_SECOND_US
#define MERGE_US (15 * TIDE_SECOND_US)
#define SWEEP_US (10 * 60 * TIDE_SECOND_US)
/* Who lists an object that was merged away lists again: merged log needs no grace as long as a deleted backup's. */
#define GRACE_MAX_US (60 * 60 * TIDE_SECOND_US)
#define NOTICE_US    (30 * TIDE_SECOND_US)

tide_status ship_lease_take(struct ship *s, struct tide_err *err)
{
    struct backoff b = {.seed = (uint64_t)tide_now_us()};
    /* Long enough to see a dead holder's time run out. */
    struct lease_options o = {.instance = s->o->instance,
                              .job = "ship",
                              .lease_us = s->o->lease_us,
                              .wait_us = s->o->lease_us + s->o->lease_us / 4};

    while (!ship_stopping(s)) {
        struct lease *l = NULL;
        tide_err_clear(err);
        tide_status st = lease_take(s->o->repo, &o, &l, err);
        if (st == TIDE_OK) {
            ship_lock(s);
            s->lease = l;
            ship_problem(s, s->lease_problem, "wal.ship.lease", NULL);
            ship_unlock(s);
            return TIDE_OK;
        }
        if (st == TIDE_BUSY || st == TIDE_CANCELLED || st == TIDE_DENIED || st == TIDE_INVALID)
            return st;
        ship_lock(s);
        ship_problem(s, s->lease_problem, "wal.ship.no_lease", err->msg);
        ship_unlock(s);
        (void)ship_pause(s, backoff_next(&b));
    }
    return tide_fail(err, TIDE_CANCELLED, "stopped");
}

/*
 * A lease runs out when the repository is away for long.  Nothing is correct because of it, so storing goes on; but
 * when somebody else has taken it meanwhile, there are two of us, and we are the one to go.
 */
static void look_after_lease(struct ship *s)
{
    struct tide_err err = TIDE_ERR_INIT;

    ship_lock(s);
    struct lease *l = s->lease;
    ship_unlock(s);
    if (l == NULL || lease_is_held(l))
        return;
    TIDE_LOG(TIDE_LOG_WARN, "wal.ship.lease_lost", TIDE_STR("instance", s->o->instance));
    ship_lock(s);
    s->lease = NULL;
    ship_unlock(s);
    lease_release(l);
    tide_status st = ship_lease_take(s, &err);
    if (st != TIDE_OK && st != TIDE_CANCELLED)
        ship_fatal(s, st, &err);
}

struct keeping {
    struct ship *ship;
    struct merge_cursor cursor;
    int64_t next_merge, next_sweep, next_notice;
    uint64_t merged_at; /* state.objects when merging last looked */
};

static void merge(struct keeping *k)
{
    struct ship *s = k->ship;
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t merged = 0;

    ship_lock(s);
    uint32_t lineage = s->state.lineage;
    uint64_t objects = s->state.objects;
    ship_unlock(s);
    if (lineage == 0 || (k->cursor.lineage == lineage && objects == k->merged_at))
        return;
    struct merge_options o = {.repo = s->o->repo,
                              .instance = s->o->instance,
                              .lineage = lineage,
                              .grace_us = s->o->merge_grace_us < GRACE_MAX_US ? s->o->merge_grace_us : GRACE_MAX_US,
                              .cancel = s->stop};
    tide_status st = merge_pass(&o, &k->cursor, &merged, &err);
    if (st == TIDE_OK) {
        k->merged_at = objects;
    } else if (st == TIDE_CORRUPT) {
        ship_lock(s);
        ship_problem(s, s->notice, "wal.ship.merge", err.msg);
        ship_unlock(s);
    } else if (st != TIDE_CANCELLED) {
        TIDE_LOG(TIDE_LOG_DEBUG, "wal.ship.not_merged", TIDE_STR("reason", err.msg));
    }
}

static void sweep(struct keeping *k)
{
    struct ship *s = k->ship;
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t deleted = 0;
    tide_status st = tombstone_sweep(s->o->repo, s->o->instance, MERGE_REASON, &deleted, &err);

    if (st != TIDE_OK && st != TIDE_CANCELLED)
        TIDE_LOG(TIDE_LOG_DEBUG, "wal.ship.not_swept", TIDE_STR("reason", err.msg));
    if (deleted > 0)
        TIDE_LOG(TIDE_LOG_INFO, "wal.ship.swept", TIDE_STR("instance", s->o->instance), TIDE_U64("objects", deleted));
}

/* A gap is no trouble any more once a backup begins behind it. */
static void look_at_gap(struct keeping *k)
{
    struct ship *s = k->ship;
    struct tide_err err = TIDE_ERR_INIT;
    struct backup_list list = {0};
    bool mended = false;

    ship_lock(s);
    uint32_t lineage = s->gap_lineage;
    struct tide_pos to = s->gap_to;
    ship_unlock(s);
    if (lineage == 0 || backup_list_load(s->o->repo, s->o->instance, &list, &err) != TIDE_OK)
        return;
    for (size_t i = 0; i < list.n; i++)
        mended = mended || list.items[i].lineage > lineage ||
                 (list.items[i].lineage == lineage && !pos_before(list.items[i].start, to));
    backup_list_clear(&list);
    if (!mended)
        return;
    ship_lock(s);
    s->gap_lineage = 0;
    ship_problem(s, s->notice, "wal.ship.gap_mended", NULL);
    ship_unlock(s);
}

void *ship_keeper_main(void *arg)
{
    struct ship *s = arg;
    struct keeping k = {
        .ship = s, .next_merge = tide_monotonic_us() + MERGE_US, .next_sweep = tide_monotonic_us() + MERGE_US};

    while (ship_pause(s, LOOK_US)) {
        int64_t now = tide_monotonic_us();
        if (s->o->no_lease)
            continue; /* whoever holds it merges */
        look_after_lease(s);
        if (ship_stopping(s))
            break;
        if (now >= k.next_notice) {
            look_at_gap(&k);
            k.next_notice = tide_monotonic_us() + NOTICE_US;
        }
        if (now >= k.next_merge) {
            merge(&k);
            k.next_merge = tide_monotonic_us() + MERGE_US;
        }
        if (now >= k.next_sweep) {
            sweep(&k);
            k.next_sweep = tide_monotonic_us() + SWEEP_US;
        }
    }
    return NULL;
}
