#ifndef TIDE_BASE_CLOCK_H
#define TIDE_BASE_CLOCK_H

/* Time: microseconds since the epoch in UTC (wall), and a monotonic clock for durations. */

#include "orchestrator/base/err.h"

#define TIDE_SECOND_US INT64_C(1000000)

int64_t tide_now_us(void);       /* wall clock */
int64_t tide_monotonic_us(void); /* durations and deadlines */
void tide_sleep_us(int64_t us);

#define TIDE_TIME_TEXT 40
/* "2026-11-22T10:15:30.123456Z"; "-" for TIDE_TIME_NONE. */
void tide_time_format(int64_t us, char out[TIDE_TIME_TEXT]);
/* "2026-11-22 10:15:30.123456+01:00" in the named zone ("Europe/Berlin"; NULL: UTC).  Trailing zero
 * microseconds are left out. */
tide_status tide_time_format_zone(int64_t us, const char *zone, char *out, size_t size,
                                  struct tide_err *err) TIDE_MUST_CHECK;

/*
 * What a person types: RFC 3339 with 'T' or blank and an offset or Z; the same with an IANA zone name
 * behind it ("2026-11-22 10:15:30 Europe/Berlin"); "@epoch" with up to six decimals; "15m ago".  Without a
 * zone only when default_zone is given.  TIDE_INVALID, with both candidates in the hint for a local time
 * that daylight saving skips or repeats, and the offsets an abbreviation (CET, IST) may mean.  now_us
 * anchors "ago".
 */
tide_status tide_time_parse(const char *text, const char *default_zone, int64_t now_us, int64_t *us,
                            struct tide_err *err) TIDE_MUST_CHECK;

/* "2s", "100ms", "15m", "26h", "35d", "1h30m" to microseconds; a number needs a unit. */
tide_status tide_duration_parse(const char *text, int64_t *us, struct tide_err *err) TIDE_MUST_CHECK;
/* "16MiB", "64kB", "4096" (bytes).  kB is 1000, KiB and a bare k 1024; case does not matter. */
tide_status tide_size_parse(const char *text, uint64_t *bytes, struct tide_err *err) TIDE_MUST_CHECK;
/* "1.2 GiB", "3.4 s", "2 h 05 min" for people. */
void tide_size_format(uint64_t bytes, char *out, size_t size);
void tide_duration_format(int64_t us, char *out, size_t size);

#endif
