#include "wal/branch_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/log.h"
#include "wal/locate.h"
#include "wal/pos.h"
#include <string.h>

static bool is_skipped(const struct branch_search *q, uint32_t lineage)
{
    for (size_t i = 0; i < q->n_skip; i++)
        if (q->skip[i] == lineage)
            return true;
    return false;
}

tide_status branch_stored_end(struct repo *r, const char *instance, const struct lineage *l, struct tide_pos *end,
                              bool *empty, struct tide_err *err)
{
    struct log_name newest;
    tide_status s = log_newest(r, instance, l->number, &newest, err);

    *empty = s == TIDE_NOT_FOUND;
    *end = *empty ? l->start : newest.end;
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    return s;
}

tide_status branch_find(const struct branch_search *q, struct branch_kin *out, struct tide_err *err)
{
    bool found = false;

    if (q->set->n == 0)
        return tide_fail(err, TIDE_NOT_FOUND, "no log of \"%s\" is stored yet", q->instance);
    for (size_t i = q->set->n; i-- > 0;) {
        const struct lineage *l = &q->set->items[i];
        struct tide_log_kinship kin = {.struct_size = sizeof kin};
        struct branch_kin candidate = {.lineage = l};
        if (is_skipped(q, l->number))
            continue;
        tide_status s = branch_stored_end(q->repo, q->instance, l, &candidate.end, &candidate.empty, err);
        if (s == TIDE_OK)
            s = (tide_status)q->plugin->log_relate(q->host, l->evidence, candidate.end, q->evidence, &kin, err);
        if (s != TIDE_OK)
            return tide_wrap(err, s, "comparing the server's log with lineage %u of \"%s\"", l->number, q->instance);
        if (kin.relation == TIDE_LOG_SAME) {
            *out = candidate;
            return TIDE_OK;
        }
        candidate.child = true;
        candidate.fork = kin.fork;
        /* Every ancestor says "child"; the nearest was left last. */
        if (kin.relation == TIDE_LOG_CHILD && (!found || pos_before(out->fork, kin.fork))) {
            *out = candidate;
            found = true;
        }
    }
    if (found)
        return TIDE_OK;
    (void)tide_fail(err, TIDE_REFUSED, "the server is no child of what is stored for \"%s\"", q->instance);
    return tide_hint(err, TIDE_REFUSED,
                     "Nothing was written.  Protect this server under an instance name of its own, or point the "
                     "configuration at the right one.");
}

tide_status branch_create(struct repo *r, const char *instance, const struct lineage_set *seen,
                          const struct tide_plugin *plugin, const struct lineage *parent, struct tide_pos start,
                          uint64_t branch, const char *evidence, uint32_t *number, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) char *copy = strdup(evidence);
    struct lineage l = {.number = seen->n == 0 ? 1 : seen->items[seen->n - 1].number + 1,
                        .parent = parent == NULL ? 0 : parent->number,
                        .branch = branch,
                        .start = start,
                        .fork = parent == NULL ? TIDE_POS_NONE : start,
                        .created_us = tide_now_us(),
                        .evidence = copy};

    if (copy == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory making a lineage");
    (void)snprintf(l.engine, sizeof l.engine, "%s", plugin->name);
    tide_status s = instance_ensure(r, instance, plugin->name, err);
    if (s == TIDE_OK)
        s = lineage_create(r, instance, &l, err);
    if (s == TIDE_EXISTS) /* a shipper and a backup that begin together: what the other made may be this very one */
        return tide_fail(err, TIDE_AGAIN, "a lineage of \"%s\" was made by somebody else meanwhile", instance);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "making a lineage of \"%s\"", instance);
    *number = l.number;
    TIDE_LOG(TIDE_LOG_INFO, "wal.lineage.created", TIDE_STR("instance", instance), TIDE_U64("lineage", l.number),
             TIDE_U64("parent", l.parent), TIDE_U64("branch", branch));
    return TIDE_OK;
}

/* Where to go on with a lineage, and from where the server has to resend. */
static tide_status choose_same(struct repo *r, const char *instance, const struct branch_kin *kin,
                               struct branch_choice *out, struct tide_err *err)
{
    bool record;

    out->lineage = kin->lineage->number;
    if (kin->empty)
        return TIDE_OK;
    out->resume = kin->end;
    return log_scan_start(r, instance, kin->lineage->number, kin->end, &out->prove_from, &record, err);
}

static tide_status choose(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                          const struct tide_host *host, const struct tide_log_identity *id, bool create,
                          struct branch_choice *out, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct branch_kin kin;
    tide_status s = lineage_load(r, instance, &set, err);

    memset(out, 0, sizeof *out);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = TIDE_OK;
    }
    if (s != TIDE_OK)
        return s;
    struct branch_search q = {
        .repo = r, .instance = instance, .plugin = plugin, .host = host, .set = &set, .evidence = id->evidence};
    s = branch_find(&q, &kin, err);
    if (s == TIDE_OK && !kin.child)
        return choose_same(r, instance, &kin, out, err);
    if (s != TIDE_OK && s != TIDE_NOT_FOUND)
        return s;
    bool child = s == TIDE_OK;
    if (!create)
        return tide_fail(err, TIDE_NOT_FOUND, "the server's branch of the log is not stored for \"%s\" yet",
                         instance);
    tide_err_clear(err);
    if (child && !kin.empty && pos_before(kin.fork, kin.end))
        out->orphaned = kin.end;
    out->created = true;
    return branch_create(r, instance, &set, plugin, child ? kin.lineage : NULL, child ? kin.fork : id->stream_from,
                         id->branch, id->evidence, &out->lineage, err);
}

tide_status branch_choose(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                          const struct tide_host *host, const struct tide_log_identity *id, bool create,
                          struct branch_choice *out, struct tide_err *err)
{
    tide_status s = TIDE_AGAIN;

    for (unsigned i = 0; s == TIDE_AGAIN && i < 8; i++)
        s = choose(r, instance, plugin, host, id, create, out, err);
    return s;
}
