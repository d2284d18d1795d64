#ifndef TIDE_BASE_ZONE_H
#define TIDE_BASE_ZONE_H

/*
 * A time zone of the system's database, read from its TZif file (RFC 8536).
 * Not through TZ and localtime(): those are global to the process, and mktime()
 * hides that a local time was skipped or came twice.
 */

#include "orchestrator/base/err.h"

struct tide_zone;

/* By its IANA name.  TIDE_INVALID when the name is malformed or unknown here. */
tide_status tide_zone_load(const char *name, struct tide_zone **out, struct tide_err *err) TIDE_MUST_CHECK;
/* The same from a file's bytes.  TIDE_CORRUPT. */
tide_status tide_zone_parse(const void *data, size_t len, struct tide_zone **out,
                            struct tide_err *err) TIDE_MUST_CHECK;
void tide_zone_free(struct tide_zone *z);

/* Seconds east of UTC at a moment (seconds since the epoch). */
int32_t tide_zone_offset_at(const struct tide_zone *z, int64_t at);

enum tide_local_kind { TIDE_LOCAL_UNIQUE, TIDE_LOCAL_REPEATED, TIDE_LOCAL_SKIPPED };

struct tide_local {
    enum tide_local_kind kind;
    int64_t at[2]; /* the moments it may mean, earlier first; [1] unless unique */
};

/* Which moment has this local time, given as seconds as if it were UTC. */
struct tide_local tide_zone_from_local(const struct tide_zone *z, int64_t local);

#endif
