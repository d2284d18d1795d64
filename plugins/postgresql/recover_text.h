#ifndef TIDE_PLUGIN_PG_RECOVER_TEXT_H
#define TIDE_PLUGIN_PG_RECOVER_TEXT_H

/* What the texts that a recovery leaves mean: the server's log and the history file of its new timeline. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The FATAL and PANIC lines of a log, without what stands before the message, joined by "; ".  What does not fit is
 * left out; NULL is an empty log. */
void pg_log_failures(const char *log, char *buf, size_t size);

/*
 * The highest value that recovery said a setting had at the source:
 * "max_connections = 100 is a lower setting than on the primary server, where
 * its value was 200."  0: it said nothing.
 */
int64_t pg_log_demanded(const char *log, const char *setting);

/* The youngest line of a history file: which timeline was left, and where. */
bool pg_history_last(const char *text, uint32_t *parent, uint64_t *fork);

/* Positions right behind a page's header mean the same as the page's beginning. */
uint64_t pg_lsn_without_header(uint64_t lsn);

#endif
