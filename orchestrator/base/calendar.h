#ifndef TIDE_BASE_CALENDAR_H
#define TIDE_BASE_CALENDAR_H

/* The proleptic Gregorian calendar, without libc's: no global zone, no locale, no limits of struct tm. */

#include <stdbool.h>
#include <stdint.h>

struct tide_civil {
    int64_t year;
    int month, day; /* from 1 */
    int hour, minute, second;
};

/* Days from 1970-01-01; month may be 1..12, day any. */
int64_t tide_days_from_civil(int64_t year, int month, int day);
struct tide_civil tide_civil_of_seconds(int64_t seconds);
int64_t tide_seconds_of_civil(const struct tide_civil *c);
bool tide_is_leap_year(int64_t year);
int tide_days_in_month(int64_t year, int month);
/* Rounds down, for negative numbers too. */
int64_t tide_floor_div(int64_t a, int64_t b);

#endif
