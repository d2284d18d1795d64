#ifndef TIDE_PITR_PLAN_INTERNAL_H
#define TIDE_PITR_PLAN_INTERNAL_H

/* Shared by plan.c (which backup, which lineage, is it proved) and refuse.c (what to say when it is not). */

#include "pitr/crossing.h"
#include "pitr/cut.h"

struct plan_state {
    const struct plan_options *o;
    struct lineage_set lineages;
    struct backup_list backups;
    struct window_set windows;
    uint32_t lineage; /* of the target */
    int64_t time_us;  /* of the target, where it is a time */
};

/* TIDE_OUTSIDE, with the nearest restorable times and, where one is known, the reason (a gap, no backup). */
tide_status plan_refuse_time(const struct plan_state *p, int64_t us, struct tide_err *err);
/* TIDE_OUTSIDE for a time that means more than one position, with the candidates. */
tide_status plan_refuse_ambiguous(const struct plan_state *p, const struct ambiguous_range *a,
                                  const struct crossing_set *candidates, int64_t us, struct tide_err *err);

/* Collects into plan->settings what recovery insists on and the log changed between backup and target. */
tide_status plan_settings(const struct plan_state *p, struct plan *plan, struct tide_err *err) TIDE_MUST_CHECK;

#endif
