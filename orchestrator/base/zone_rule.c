#include "orchestrator/base/zone_rule.h"
#include "orchestrator/base/calendar.h"

#include <stddef.h>

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "CET" or "<+0330>" */
static bool skip_name(const char **p)
{
    const char *s = *p;
    size_t n = 0;
    if (*s == '<') {
        for (s++; is_alpha(*s) || is_digit(*s) || *s == '+' || *s == '-'; s++)
            n++;
        if (*s++ != '>')
            return false;
    } else {
        for (; is_alpha(*s); s++)
            n++;
    }
    *p = s;
    return n >= 3;
}

static bool take_number(const char **p, int max, int *v)
{
    const char *s = *p;
    int sum = 0;
    if (!is_digit(*s))
        return false;
    for (; is_digit(*s); s++) {
        sum = sum * 10 + (*s - '0');
        if (sum > max)
            return false;
    }
    *p = s;
    *v = sum;
    return true;
}

/* [+-]h[h[h]][:mm[:ss]]; hours up to 167, as RFC 8536 extends it. */
static bool take_time(const char **p, int32_t *seconds)
{
    int sign = 1, h = 0, m = 0, s = 0;
    if (**p == '+' || **p == '-')
        sign = *(*p)++ == '-' ? -1 : 1;
    if (!take_number(p, 167, &h))
        return false;
    if (**p == ':') {
        (*p)++;
        if (!take_number(p, 59, &m))
            return false;
        if (**p == ':') {
            (*p)++;
            if (!take_number(p, 59, &s))
                return false;
        }
    }
    *seconds = sign * (h * 3600 + m * 60 + s);
    return true;
}

static bool take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* ",M3.5.0/2" */
static bool take_day(const char **p, struct tide_zone_day *d)
{
    *d = (struct tide_zone_day){.kind = 'n', .time = 7200};
    if (!take_char(p, ','))
        return false;
    if (take_char(p, 'M')) {
        d->kind = 'M';
        if (!take_number(p, 12, &d->month) || d->month < 1 || !take_char(p, '.') || !take_number(p, 5, &d->week) ||
            d->week < 1 || !take_char(p, '.') || !take_number(p, 6, &d->day))
            return false;
    } else if (take_char(p, 'J')) {
        d->kind = 'J';
        if (!take_number(p, 365, &d->day) || d->day < 1)
            return false;
    } else if (!take_number(p, 365, &d->day)) {
        return false;
    }
    return !take_char(p, '/') || take_time(p, &d->time);
}

bool tide_zone_rule_parse(const char *text, struct tide_zone_rule *rule)
{
    struct tide_zone_rule r = {0};
    const char *p = text;
    int32_t west = 0;
    if (!skip_name(&p) || !take_time(&p, &west))
        return false;
    r.std = -west; /* POSIX counts west as positive */
    r.dst = r.std + 3600;
    if (*p != '\0') {
        r.has_dst = true;
        if (!skip_name(&p))
            return false;
        if (*p != ',') {
            if (!take_time(&p, &west))
                return false;
            r.dst = -west;
        }
        if (!take_day(&p, &r.start) || !take_day(&p, &r.end) || *p != '\0')
            return false;
    }
    *rule = r;
    return true;
}

/* Local midnight of the day on which the clocks change, plus the time of day. */
static int64_t change_in_year(const struct tide_zone_day *d, int64_t year)
{
    int64_t day;
    if (d->kind == 'M') {
        int64_t first = tide_days_from_civil(year, d->month, 1);
        /* 1970-01-01 was a Thursday (4). */
        int64_t weekday = (first + 4) - tide_floor_div(first + 4, 7) * 7;
        int64_t ahead = d->day - weekday;
        if (ahead < 0)
            ahead += 7;
        ahead += (d->week - 1) * 7;
        if (ahead >= tide_days_in_month(year, d->month))
            ahead -= 7;
        day = first + ahead;
    } else if (d->kind == 'J') {
        int64_t skip_leap_day = tide_is_leap_year(year) && d->day >= 60;
        day = tide_days_from_civil(year, 1, 1) + d->day - 1 + skip_leap_day;
    } else {
        day = tide_days_from_civil(year, 1, 1) + d->day;
    }
    return day * 86400 + d->time;
}

int32_t tide_zone_rule_offset_at(const struct tide_zone_rule *rule, int64_t at)
{
    if (!rule->has_dst)
        return rule->std;
    int64_t year = tide_civil_of_seconds(at + rule->std).year;
    int64_t start = change_in_year(&rule->start, year) - rule->std;
    int64_t end = change_in_year(&rule->end, year) - rule->dst;
    /* In the south the summer goes over the turn of the year. */
    bool in_dst = start < end ? at >= start && at < end : at >= start || at < end;
    return in_dst ? rule->dst : rule->std;
}
