#ifndef TIDE_WAL_COVER_H
#define TIDE_WAL_COVER_H

/* What of a lineage is stored without a gap, from names alone, and the times that go with it. */

#include "wal/window.h"

/* Log without a gap. */
struct cover_segment {
    struct tide_pos from, to;
    int64_t first_us;           /* the earliest commit of the first object with commits */
    int64_t latest_us;          /* the newest time that is sure: where stamps stepped back, the one after the step */
    struct tide_pos latest_end; /* of the object that latest_us is from */
    int64_t max_us;             /* the newest stamp so far, its parents' before it as well */
};

struct cover {
    struct cover_segment *items; /* owned */
    size_t n, cap;
};

struct ambiguity_list {
    struct ambiguous_range *items; /* owned */
    size_t n, cap;
};

void cover_clear(struct cover *c);
/* Walks from `from` to the end of the lineage.  max_us: the newest stamp before `from`, in its parents; or none. */
tide_status cover_walk(const struct window_options *o, uint32_t lineage, struct tide_pos from, int64_t max_us,
                       struct cover *out, struct ambiguity_list *ambiguous, struct tide_err *err) TIDE_MUST_CHECK;
/* Joins with the range before when they touch. */
tide_status ambiguity_add(struct ambiguity_list *l, const struct ambiguous_range *r,
                          struct tide_err *err) TIDE_MUST_CHECK;
/* The segment that holds all of [from, to), or NULL. */
const struct cover_segment *cover_find(const struct cover *c, struct tide_pos from, struct tide_pos to);

#endif
