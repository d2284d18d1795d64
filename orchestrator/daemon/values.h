#ifndef TIDE_DAEMON_VALUES_H
#define TIDE_DAEMON_VALUES_H

/* Values of the documents that others build on.  Each gives a new reference, never NULL but when out of memory. */

#include "orchestrator/base/err.h"
#include <jansson.h>

/* RFC 3339, UTC, microseconds; null for TIDE_TIME_NONE. */
json_t *value_time(int64_t us);
/* Any bytes: what is no UTF-8 becomes '?'; null for NULL and "". */
json_t *value_string(const char *text);
/* A position in the engine's words, else in hexadecimal; null for none.  plugin may be NULL. */
json_t *value_position(const struct tide_plugin *plugin, struct tide_pos pos);
/* Seconds with milliseconds. */
json_t *value_seconds(int64_t us);

#endif
