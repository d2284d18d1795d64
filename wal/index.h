#ifndef TIDE_WAL_INDEX_H
#define TIDE_WAL_INDEX_H

/*
 * What log of a lineage is stored, told from object names alone.  Readers
 * prefer the highest level; requests are bounded by one list page for each
 * 1,000 objects between `from` and where the walk stops, and a few more.
 */

#include "orchestrator/repository/lineage.h"
#include "orchestrator/repository/logobject.h"

struct log_walk;

/* from none: at the first object of the lineage. */
tide_status log_walk_open(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos from,
                          struct log_walk **out, struct tide_err *err) TIDE_MUST_CHECK;
void log_walk_close(struct log_walk *w);
/* The object that contains (or, at the start, begins) the walk's position; the walk moves to its end.  NOT_FOUND:
 * nothing stored there: the end of the log, or a gap. */
tide_status log_walk_next(struct log_walk *w, struct log_name *out, struct tide_err *err) TIDE_MUST_CHECK;
struct tide_pos log_walk_position(const struct log_walk *w);
/* After NOT_FOUND: moves to the next stored object.  NOT_FOUND: there is none. */
tide_status log_walk_skip_gap(struct log_walk *w, struct tide_pos *resumed, struct tide_err *err) TIDE_MUST_CHECK;

/* How far [from, ...) is stored without a gap in this lineage, at most to `to` (none: no bound). */
tide_status log_coverage(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos from,
                         struct tide_pos to, struct tide_pos *covered_to, struct tide_err *err) TIDE_MUST_CHECK;
/* The newest stored object of a lineage, wherever gaps are.  NOT_FOUND. */
tide_status log_newest(struct repo *r, const char *instance, uint32_t lineage, struct log_name *out,
                       struct tide_err *err) TIDE_MUST_CHECK;

#endif
