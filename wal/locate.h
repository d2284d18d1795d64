#ifndef TIDE_WAL_LOCATE_H
#define TIDE_WAL_LOCATE_H

/* Where records lie in stored log, as the objects' descriptions tell. */

#include "wal/index.h"

/* The object that contains pos.  NOT_FOUND. */
tide_status log_object_at(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                          struct log_name *out, struct tide_err *err) TIDE_MUST_CHECK;
/* Its description; an object that was merged away meanwhile is looked for again. */
tide_status log_info_at(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                        struct log_info *out, struct tide_err *err) TIDE_MUST_CHECK;

/*
 * A place from which a scanner has to be fed to see every record that ends behind pos: the start of the last record
 * that is known to begin before pos.  *record says whether a record begins exactly there; else it is the beginning of
 * the stored log before pos.  NOT_FOUND: nothing is stored before pos.
 */
tide_status log_scan_start(struct repo *r, const char *instance, uint32_t lineage, struct tide_pos pos,
                           struct tide_pos *start, bool *record, struct tide_err *err) TIDE_MUST_CHECK;

#endif
