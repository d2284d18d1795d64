#ifndef TIDE_WAL_PUT_H
#define TIDE_WAL_PUT_H

/* What `log put` of a file and of a directory share. */

#include "wal/branch_internal.h"
#include "wal/collector.h"
#include "wal/ship.h"

/* Which lineage takes a file of this evidence; made when it is none yet and the file may begin one. */
tide_status put_lineage(const struct wal_put_options *o, const struct tide_log_identity *id, struct tide_pos start,
                        struct lineage_set *set, const struct lineage **out, struct tide_err *err) TIDE_MUST_CHECK;

/* Log files of one branch in order, read one after the other as one run of bytes. */
struct put_reader {
    const char *const *paths;
    const struct tide_log_file *files; /* joined: each begins where the one before ends */
    size_t n;
};

/*
 * Stores what is missing of the files' range.  complete: the engine has finished the last file, so that what follows
 * its last record begins one that goes on; else the log ends with the last whole record.  CORRUPT: what is stored
 * already differs.  *added counts bytes; *end is where the stored log ends within the files.
 */
tide_status put_range(const struct wal_put_options *o, const struct lineage *l, const struct put_reader *in,
                      bool complete, uint64_t *added, struct tide_pos *end, struct tide_err *err) TIDE_MUST_CHECK;

#endif
