#ifndef TIDE_BASE_ZONE_RULE_H
#define TIDE_BASE_ZONE_RULE_H

/* The footer of a TZif file: a POSIX TZ string that holds for all times after the table
 * ("CET-1CEST,M3.5.0,M10.5.0/3"). */

#include <stdbool.h>
#include <stdint.h>

struct tide_zone_day {
    char kind; /* 'M' month.week.day, 'J' day 1..365 without leap days, 'n' day 0..365 */
    int month, week, day;
    int32_t time; /* seconds after local midnight; may be negative or more than a day */
};

struct tide_zone_rule {
    int32_t std, dst; /* seconds east of UTC */
    bool has_dst;
    struct tide_zone_day start, end;
};

/* False when text is no TZ string in full. */
bool tide_zone_rule_parse(const char *text, struct tide_zone_rule *rule);
int32_t tide_zone_rule_offset_at(const struct tide_zone_rule *rule, int64_t at);

#endif
