#include "wal/ship_target.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/hole.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include <stdlib.h>
#include <string.h>

/* How much of a parent's end the server has to resend before it is believed to be its child. */
#define FORK_PROOF (1u << 20)

void ship_target_clear(struct ship_target *t)
{
    free(t->evidence);
    *t = (struct ship_target){0};
}

static tide_status fill(struct ship_target *t, const struct lineage *l, struct tide_err *err)
{
    t->lineage = l->number;
    t->branch = l->branch;
    t->evidence = strdup(l->evidence);
    return t->evidence == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

/* A child of which nothing is stored: a record of the parent may reach up to the fork. */
static tide_status lead_in(struct ship *s, const struct lineage *l, struct ship_target *t, struct tide_err *err)
{
    t->resume = t->prove_from = l->start;
    if (l->parent == 0)
        return TIDE_OK;
    tide_status st =
        log_scan_start(s->o->repo, s->o->instance, l->parent, l->start, &t->lead_from, &t->lead_record, err);
    if (st == TIDE_OK)
        t->lead_lineage = l->parent;
    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        t->record = true; /* forks are at record starts, unless the server crashed within one */
        st = TIDE_OK;
    }
    return st;
}

/* Goes on with a lineage where its stored log ends. */
static tide_status go_on(struct ship *s, const struct ship_lessons *lessons, const struct lineage *l,
                         struct tide_pos end, bool empty, struct ship_target *t, struct tide_err *err)
{
    tide_status st = fill(t, l, err);

    if (st != TIDE_OK)
        return st;
    if (lessons->moved_lineage == l->number && !pos_before(lessons->moved_to, end)) {
        t->resume = lessons->moved_to;
        t->prove_from = lessons->moved_prove_from;
        return TIDE_OK;
    }
    if (empty)
        return lead_in(s, l, t, err);
    t->resume = end;
    return log_scan_start(s->o->repo, s->o->instance, l->number, end, &t->prove_from, &t->record, err);
}

/* What is confirmed to the server is everything below a position: a hole below it comes first. */
static tide_status hole_first(struct ship *s, const struct lineage_set *set, uint32_t lineage, struct ship_target *t,
                              bool *taken, struct tide_err *err)
{
    struct log_hole hole;
    tide_status st = log_find_hole(s->o->repo, s->o->instance, set, lineage, &hole, err);

    *taken = hole.found;
    if (st != TIDE_OK || !hole.found)
        return st;
    st = fill(t, lineage_find(set, hole.lineage), err);
    if (st != TIDE_OK)
        return st;
    t->resume = hole.from;
    t->fill_to = hole.to;
    return log_scan_start(s->o->repo, s->o->instance, hole.lineage, hole.from, &t->prove_from, &t->record, err);
}

/* The server left l at a fork that we hold: it proves the log before it, and tells what follows. */
static tide_status go_to_fork(struct ship *s, const struct ship_lessons *lessons, const struct branch_kin *kin,
                              struct ship_target *t, struct tide_err *err)
{
    const struct lineage *l = kin->lineage;
    struct log_name name;
    tide_status st = fill(t, l, err);

    if (st != TIDE_OK)
        return st;
    t->end_expected = true;
    t->resume = t->prove_from = kin->fork;
    if (kin->empty || kin->fork.lo == 0 || lessons->unproved_fork == l->number)
        return TIDE_OK;
    st = log_object_at(s->o->repo, s->o->instance, l->number, pos_sub(kin->fork, 1), &name, err);
    if (st == TIDE_OK)
        t->prove_from = pos_max(name.start, pos_sub(kin->fork, FORK_PROOF));
    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    return st;
}

static tide_status first_lineage(struct ship *s, const struct lineage_set *seen, const struct tide_log_identity *id,
                                 struct ship_target *t, struct tide_err *err)
{
    struct lineage l = {.branch = id->branch, .start = id->stream_from};
    tide_status st = branch_create(s->o->repo, s->o->instance, seen, s->o->plugin, NULL, id->stream_from, id->branch,
                                   id->evidence, &l.number, err);

    if (st != TIDE_OK)
        return st;
    l.evidence = strdup(id->evidence);
    st = l.evidence == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : fill(t, &l, err);
    free(l.evidence);
    t->resume = t->prove_from = id->stream_from;
    return st;
}

static tide_status no_kin(const struct ship *s, const struct ship_lessons *lessons, tide_status found,
                          struct tide_err *err)
{
    if (lessons->n_disproved == 0)
        return found;
    (void)tide_fail(err, TIDE_CORRUPT, "what the server resent differs from what is stored for \"%s\" (lineage %u)",
                    s->o->instance, lessons->disproved[0]);
    return tide_hint(err, TIDE_CORRUPT,
                     "Nothing was confirmed to the server.  It is another copy of the same database, or its log was "
                     "changed behind our back: give it an instance name of its own.");
}

/* Nothing is stored of a child yet: its parent's last bytes come first. */
static tide_status parent_first(struct ship *s, const struct ship_lessons *lessons, const struct lineage_set *set,
                                const struct lineage *child, struct ship_target *t, bool *taken, struct tide_err *err)
{
    const struct lineage *parent = child->parent == 0 ? NULL : lineage_find(set, child->parent);
    struct tide_pos end;
    bool empty;

    *taken = false;
    if (parent == NULL || lessons->gave_up == parent->number)
        return TIDE_OK;
    tide_status st = branch_stored_end(s->o->repo, s->o->instance, parent, &end, &empty, err);
    if (st != TIDE_OK || !pos_before(end, child->fork))
        return st;
    *taken = true;
    return go_on(s, lessons, parent, end, empty, t, err);
}

static tide_status choose_stored(struct ship *s, struct ship_lessons *lessons, const struct tide_log_identity *id,
                                 struct ship_target *t, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct branch_kin kin;
    bool taken = false;
    tide_status st = lineage_load(s->o->repo, s->o->instance, &set, err);

    if (st == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        st = TIDE_OK;
    }
    if (st != TIDE_OK)
        return st;
    struct branch_search q = {.repo = s->o->repo,
                              .instance = s->o->instance,
                              .plugin = s->o->plugin,
                              .host = &s->host,
                              .set = &set,
                              .evidence = id->evidence,
                              .skip = lessons->disproved,
                              .n_skip = lessons->n_disproved};
    st = branch_find(&q, &kin, err);
    if (st == TIDE_NOT_FOUND)
        return first_lineage(s, &set, id, t, err);
    if (st == TIDE_REFUSED)
        return no_kin(s, lessons, st, err);
    if (st != TIDE_OK)
        return st;
    if (kin.child && !pos_before(kin.end, kin.fork))
        return go_to_fork(s, lessons, &kin, t, err);
    if (lessons->fill_failures < SHIP_FILL_TRIES)
        st = hole_first(s, &set, kin.lineage->number, t, &taken, err);
    if (st != TIDE_OK || taken)
        return st;
    if (kin.empty)
        st = parent_first(s, lessons, &set, kin.lineage, t, &taken, err);
    return st != TIDE_OK || taken ? st : go_on(s, lessons, kin.lineage, kin.end, kin.empty, t, err);
}

/* The same server as before: what was stored last is still known. */
static tide_status choose_tail(struct ship *s, struct ship_target *t, struct tide_err *err)
{
    struct ship_tail *tail = &s->tail;

    t->lineage = tail->lineage;
    t->resume = tail->end;
    t->prove_from = tail->record;
    t->record = true;
    t->branch = tail->branch;
    t->evidence = strdup(tail->evidence);
    return t->evidence == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : TIDE_OK;
}

tide_status ship_target_choose(struct ship *s, struct ship_lessons *lessons, const struct tide_log_identity *id,
                               struct ship_target *out, struct tide_err *err)
{
    memset(out, 0, sizeof *out);
    ship_lock(s);
    bool known = s->tail.valid && !tide_pos_is_none(s->tail.record) && lessons->moved_lineage == 0 &&
                 strcmp(s->tail.identity, id->evidence) == 0;
    tide_status st = known ? choose_tail(s, out, err) : TIDE_OK;
    ship_unlock(s);
    if (known)
        return st;
    /* What is spooled belongs to the lineage's end as much as what is in the repository. */
    if (s->spool != NULL && !ship_spool_wait_empty(s))
        return tide_fail(err, TIDE_CANCELLED, "stopped");
    return choose_stored(s, lessons, id, out, err);
}

static bool is_disproved(const struct ship_lessons *lessons, uint32_t lineage)
{
    for (size_t i = 0; i < lessons->n_disproved; i++)
        if (lessons->disproved[i] == lineage)
            return true;
    return false;
}

tide_status ship_target_follow(struct ship *s, const struct ship_lessons *lessons, const struct ship_target *t,
                               struct tide_pos fork, uint64_t branch, const char *evidence, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct tide_pos end;
    uint32_t number;
    bool empty;

    if (s->spool != NULL && !ship_spool_wait_empty(s))
        return tide_fail(err, TIDE_CANCELLED, "stopped");
    tide_status st = lineage_load(s->o->repo, s->o->instance, &set, err);
    if (st != TIDE_OK)
        return st;
    for (size_t i = 0; i < set.n; i++) {
        const struct lineage *l = &set.items[i];
        struct tide_log_kinship kin = {.struct_size = sizeof kin};
        if (l->parent != t->lineage || !pos_equal(l->fork, fork) || is_disproved(lessons, l->number))
            continue;
        st = (tide_status)s->o->plugin->log_relate(&s->host, l->evidence, l->start, evidence, &kin, err);
        if (st != TIDE_OK || kin.relation == TIDE_LOG_SAME)
            return st;
    }
    const struct lineage *parent = lineage_find(&set, t->lineage);
    if (parent == NULL)
        return tide_fail(err, TIDE_CORRUPT, "lineage %u of \"%s\" is gone", t->lineage, s->o->instance);
    st = branch_stored_end(s->o->repo, s->o->instance, parent, &end, &empty, err);
    if (st == TIDE_OK && pos_before(fork, end))
        TIDE_LOG(TIDE_LOG_WARN, "wal.lineage.orphaned", TIDE_STR("instance", s->o->instance),
                 TIDE_U64("lineage", t->lineage), TIDE_U64("bytes", pos_distance(fork, end)));
    if (st == TIDE_OK)
        st = branch_create(s->o->repo, s->o->instance, &set, s->o->plugin, parent, fork, branch, evidence, &number,
                           err);
    return st;
}

static tide_status record_gap(struct ship *s, uint32_t lineage, struct tide_pos from, struct tide_pos to,
                              struct tide_err *err)
{
    struct log_gap gap = {.lineage = lineage, .from = from, .to = to, .noticed_us = tide_now_us()};

    (void)snprintf(gap.reason, sizeof gap.reason, "the server removed this log before it was stored");
    /* However often the shipper starts at it, it is noted once. */
    tide_status st = log_gap_record(s->o->repo, s->o->instance, &gap, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "recording a gap in the log of \"%s\"", s->o->instance);
    ship_lock(s);
    s->gap_lineage = lineage;
    s->gap_to = to;
    ship_problem(s, s->notice, "wal.ship.gap",
                 "log was removed on the server before it was stored: take a new base backup");
    ship_unlock(s);
    return TIDE_OK;
}

tide_status ship_target_removed(struct ship *s, struct ship_lessons *lessons, const struct ship_target *t,
                                const struct tide_log_identity *id, struct tide_pos oldest, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    tide_status st = TIDE_OK;

    if (t->end_expected) {
        /* The proof before the fork is a courtesy: evidence has told where it is. */
        if (pos_equal(t->prove_from, t->resume))
            return ship_target_follow(s, lessons, t, t->resume, id->branch, id->evidence, err);
        lessons->unproved_fork = t->lineage;
        return TIDE_OK;
    }
    if (!tide_pos_is_none(t->fill_to))
        return record_gap(s, t->lineage, t->resume, t->fill_to, err);
    if (tide_pos_is_none(oldest))
        oldest = tide_pos_is_none(id->oldest) ? id->stream_from : id->oldest;
    if (!pos_before(t->resume, oldest) && pos_before(t->prove_from, oldest)) {
        /* The last stored record is gone, what follows it is not; what lies between is proved. */
        lessons->moved_prove_from = oldest;
        lessons->moved_to = t->resume;
        lessons->moved_lineage = t->lineage;
        return TIDE_OK;
    }
    if (!pos_before(t->resume, oldest))
        return tide_fail(err, TIDE_AGAIN, "the server says that it lacks log which it lists");
    st = lineage_load(s->o->repo, s->o->instance, &set, err);
    if (st != TIDE_OK)
        return st;
    /* A parent whose end is gone, while its child is known: the gap ends at the fork. */
    for (size_t i = 0; i < set.n; i++) {
        const struct lineage *l = &set.items[i];
        if (l->parent == t->lineage && l->branch == id->branch && pos_before(t->resume, l->fork)) {
            st = record_gap(s, t->lineage, t->resume, l->fork, err);
            lessons->gave_up = t->lineage;
            return st;
        }
    }
    st = record_gap(s, t->lineage, t->resume, oldest, err);
    lessons->moved_lineage = t->lineage;
    lessons->moved_to = lessons->moved_prove_from = oldest;
    return st;
}
