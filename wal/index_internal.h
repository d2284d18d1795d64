#ifndef TIDE_WAL_INDEX_INTERNAL_H
#define TIDE_WAL_INDEX_INTERNAL_H

#include "wal/index.h"

/* The object of one level that ends last.  NOT_FOUND. */
tide_status log_newest_in_level(struct repo *r, const char *instance, uint32_t lineage, unsigned level,
                                struct log_name *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
