#ifndef TIDE_PLUGIN_PG_SETTINGS_LIST_H
#define TIDE_PLUGIN_PG_SETTINGS_LIST_H

/* Which of the source's settings a restored server takes over. */

#include <stdbool.h>
#include <stddef.h>

/* Recovery refuses to go on where one of these is lower than it was at the source. */
#define PG_N_INSISTED 5
extern const char *const pg_settings_insisted[PG_N_INSISTED];

bool pg_setting_is_allowed(const char *name);
/* shared_preload_libraries without those that would act on the world outside; the caller's to free(), NULL when out
 * of memory. */
char *pg_settings_quiet_libraries(const char *list);
/* A value of key=value lines (NULL: none); the last line counts.  False when it is not there. */
bool pg_settings_value(const char *lines, const char *key, char *value, size_t size);

#endif
