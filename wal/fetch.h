#ifndef TIDE_WAL_FETCH_H
#define TIDE_WAL_FETCH_H

/*
 * Bytes of the log back from the repository, along a path of lineages.  A log
 * fetch answers "absent" only when absence is proved; an object that was
 * listed and is gone makes it list again, then fail.
 */

#include "wal/index.h"

struct log_source;

/* path is copied.  A listing is cached: log_source_refresh looks again. */
tide_status log_source_new(struct repo *r, const char *instance, const struct lineage_step *path, size_t n,
                           struct log_source **out, struct tide_err *err) TIDE_MUST_CHECK;
void log_source_free(struct log_source *s);
void log_source_refresh(struct log_source *s);

/*
 * Proved bytes of [from, to) into buf (to.lo - from.lo bytes; one hi), stitched from parent and child at forks.
 * *got is where stored log ends when that is before `to`.  NOT_FOUND: nothing stored at `from` and nothing after it;
 * CORRUPT: a hole before later log, or damage.
 */
tide_status log_source_read(struct log_source *s, struct tide_pos from, struct tide_pos to, uint8_t *buf,
                            struct tide_pos *got, struct tide_err *err) TIDE_MUST_CHECK;

/* Runs the plugin's scanner over stored log of one lineage from `from` (a record start, or first_record known from
 * the object) and hands events on, until fn returns something other than OK (passed on) or `to` is reached. */
typedef tide_status log_event_fn(void *ctx, const struct tide_log_event *e, struct tide_err *err);
tide_status log_scan_object(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                            const struct tide_host *host, const char *evidence, const struct log_name *name,
                            log_event_fn *fn, void *ctx, struct tide_err *err) TIDE_MUST_CHECK;

/* The start of the record that ends exactly at pos.  NOT_FOUND: no record is known to end there. */
tide_status log_record_before(struct repo *r, const char *instance, const struct tide_plugin *plugin,
                              const struct tide_host *host, const struct lineage *l, struct tide_pos pos,
                              struct tide_pos *start, struct tide_err *err) TIDE_MUST_CHECK;

#endif
