#include "orchestrator/base/clock.h"
#include "orchestrator/base/calendar.h"
#include "orchestrator/base/zone.h"

#include <string.h>
#include <strings.h>

#define TEXT_MAX 128

/* What people write for a zone although it names none: each with the offsets it may mean. */
static const struct {
    const char *name, *offsets;
} abbreviations[] = {
    {"ACDT", "+10:30 (Australia)"},
    {"ACST", "+09:30 (Australia)"},
    {"ADT", "-03:00 (Atlantic)"},
    {"AEDT", "+11:00 (Australia)"},
    {"AEST", "+10:00 (Australia)"},
    {"AKDT", "-08:00 (Alaska)"},
    {"AKST", "-09:00 (Alaska)"},
    {"AST", "-04:00 (Atlantic) or +03:00 (Arabia)"},
    {"AWST", "+08:00 (Australia)"},
    {"BRT", "-03:00 (Brazil)"},
    {"BST", "+01:00 (Britain) or +06:00 (Bangladesh)"},
    {"CAT", "+02:00 (Africa)"},
    {"CDT", "-05:00 (North America) or -04:00 (Cuba)"},
    {"CEST", "+02:00 (Europe)"},
    {"CET", "+01:00 (Europe; +02:00 in summer)"},
    {"CST", "-06:00 (North America), +08:00 (China) or -05:00 (Cuba)"},
    {"EAT", "+03:00 (Africa)"},
    {"EDT", "-04:00 (North America)"},
    {"EEST", "+03:00 (Europe)"},
    {"EET", "+02:00 (Europe; +03:00 in summer)"},
    {"EST", "-05:00 (North America) or +10:00 (Australia)"},
    {"GST", "+04:00 (Gulf) or -02:00 (South Georgia)"},
    {"HKT", "+08:00 (Hong Kong)"},
    {"HST", "-10:00 (Hawaii)"},
    {"IDT", "+03:00 (Israel)"},
    {"IST", "+05:30 (India), +02:00 (Israel) or +01:00 (Ireland)"},
    {"JST", "+09:00 (Japan)"},
    {"KST", "+09:00 (Korea)"},
    {"MDT", "-06:00 (North America)"},
    {"MEST", "+02:00 (Europe)"},
    {"MET", "+01:00 (Europe; +02:00 in summer)"},
    {"MEZ", "+01:00 (Europe)"},
    {"MESZ", "+02:00 (Europe)"},
    {"MSK", "+03:00 (Moscow)"},
    {"MST", "-07:00 (North America) or +08:00 (Malaysia)"},
    {"NDT", "-02:30 (Newfoundland)"},
    {"NST", "-03:30 (Newfoundland)"},
    {"NZDT", "+13:00 (New Zealand)"},
    {"NZST", "+12:00 (New Zealand)"},
    {"PDT", "-07:00 (North America)"},
    {"PKT", "+05:00 (Pakistan)"},
    {"PST", "-08:00 (North America) or +08:00 (Philippines)"},
    {"SAST", "+02:00 (South Africa)"},
    {"SGT", "+08:00 (Singapore)"},
    {"SST", "-11:00 (Samoa) or +08:00 (Singapore)"},
    {"TRT", "+03:00 (Turkey)"},
    {"WAT", "+01:00 (Africa)"},
    {"WEST", "+01:00 (Europe)"},
    {"WET", "+00:00 (Europe; +01:00 in summer)"},
    {"WIB", "+07:00 (Indonesia)"},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Exactly n digits. */
static bool take_digits(const char **p, int n, int *v)
{
    int sum = 0;
    for (int i = 0; i < n; i++) {
        if (!is_digit((*p)[i]))
            return false;
        sum = sum * 10 + ((*p)[i] - '0');
    }
    *p += n;
    *v = sum;
    return true;
}

static bool take_char(const char **p, char c)
{
    if (**p != c)
        return false;
    (*p)++;
    return true;
}

/* One to six decimals behind the point. */
static bool take_fraction(const char **p, int *us)
{
    int digits = 0, sum = 0;
    for (; is_digit(**p); (*p)++) {
        if (++digits > 6)
            return false;
        sum = sum * 10 + (**p - '0');
    }
    if (digits == 0)
        return false;
    for (; digits < 6; digits++)
        sum *= 10;
    *us = sum;
    return true;
}

static tide_status bad_time(const char *text, const char *why, struct tide_err *err)
{
    (void)tide_fail(err, TIDE_INVALID, "\"%s\" is not a time: %s", text, why);
    return tide_hint(err, TIDE_INVALID,
                     "write for example \"2026-11-22 10:15:30+00:00\", \"2026-11-22 10:15:30 "
                     "Europe/Berlin\", \"@1795342530\" or \"15m ago\"");
}

/* "2026-11-22 10:15:30.5" up to the zone.  NULL, or why not. */
static const char *take_date_time(const char **p, struct tide_civil *c, int *us)
{
    int year = 0;
    if (!take_digits(p, 4, &year) || !take_char(p, '-') || !take_digits(p, 2, &c->month) || !take_char(p, '-') ||
        !take_digits(p, 2, &c->day))
        return "the date must be YYYY-MM-DD";
    c->year = year;
    if (year < 1 || c->month < 1 || c->month > 12 || c->day < 1 || c->day > tide_days_in_month(year, c->month))
        return "there is no such day";
    if (**p == '\0')
        return "the time of day is missing";
    if (**p != ' ' && **p != 'T' && **p != 't')
        return "a blank or T must follow the date";
    for ((*p)++; **p == ' '; (*p)++) {
    }
    if (!take_digits(p, 2, &c->hour) || !take_char(p, ':') || !take_digits(p, 2, &c->minute))
        return "the time of day must be HH:MM:SS";
    if (take_char(p, ':')) {
        if (!take_digits(p, 2, &c->second))
            return "the time of day must be HH:MM:SS";
        if (take_char(p, '.') && !take_fraction(p, us))
            return "a second has one to six decimals";
    }
    if (c->second == 60)
        return "leap seconds cannot be addressed, take the second before or after";
    if (c->hour > 23 || c->minute > 59 || c->second > 59)
        return "there is no such time of day";
    return NULL;
}

/* Z, +hh, +hhmm, +hh:mm, all of text. */
static bool parse_offset(const char *text, int32_t *offset)
{
    const char *p = text;
    if ((*p == 'Z' || *p == 'z') && p[1] == '\0') {
        *offset = 0;
        return true;
    }
    if (*p != '+' && *p != '-')
        return false;
    int sign = *p++ == '-' ? -1 : 1, h = 0, m = 0;
    if (!take_digits(&p, 2, &h))
        return false;
    if (*p != '\0') {
        (void)take_char(&p, ':');
        if (!take_digits(&p, 2, &m))
            return false;
    }
    if (*p != '\0' || h > 23 || m > 59)
        return false;
    *offset = sign * (h * 3600 + m * 60);
    return true;
}

static tide_status refuse_abbreviation(const char *zone, struct tide_err *err)
{
    for (size_t i = 0; i < sizeof(abbreviations) / sizeof(abbreviations[0]); i++) {
        if (strcasecmp(zone, abbreviations[i].name) != 0)
            continue;
        (void)tide_fail(err, TIDE_INVALID, "\"%s\" is an abbreviation, not a time zone", zone);
        return tide_hint(err, TIDE_INVALID, "it may mean %s; write the offset, or a zone such as \"Europe/Berlin\"",
                         abbreviations[i].offsets);
    }
    return TIDE_OK;
}

/* Both moments as they would be written, for the hint. */
static tide_status refuse_local(const char *text, const char *zone, const struct tide_local *l, int us,
                                struct tide_err *err)
{
    char first[64], second[64];
    tide_status s = tide_time_format_zone(l->at[0] * TIDE_SECOND_US + us, zone, first, sizeof(first), err);
    if (s == TIDE_OK)
        s = tide_time_format_zone(l->at[1] * TIDE_SECOND_US + us, zone, second, sizeof(second), err);
    if (s != TIDE_OK)
        return s;
    if (l->kind == TIDE_LOCAL_REPEATED)
        (void)tide_fail(err, TIDE_INVALID, "\"%s\" came twice in %s: clocks were put back", text, zone);
    else
        (void)tide_fail(err, TIDE_INVALID, "\"%s\" never was in %s: clocks were put forward", text, zone);
    return tide_hint(err, TIDE_INVALID, "write \"%s\" or \"%s\"", first, second);
}

static tide_status parse_in_zone(const char *text, const char *zone, int64_t local, int micros, int64_t *us,
                                 struct tide_err *err)
{
    tide_status s = refuse_abbreviation(zone, err);
    if (s != TIDE_OK)
        return s;
    struct tide_zone *z = NULL;
    s = tide_zone_load(zone, &z, err);
    if (s != TIDE_OK)
        return s;
    struct tide_local l = tide_zone_from_local(z, local);
    tide_zone_free(z);
    if (l.kind != TIDE_LOCAL_UNIQUE)
        return refuse_local(text, zone, &l, micros, err);
    *us = l.at[0] * TIDE_SECOND_US + micros;
    return TIDE_OK;
}

static tide_status parse_date_time(const char *text, const char *default_zone, int64_t *us, struct tide_err *err)
{
    struct tide_civil c = {0};
    int micros = 0;
    const char *p = text;
    const char *why = take_date_time(&p, &c, &micros);
    if (why != NULL)
        return bad_time(text, why, err);
    int64_t local = tide_seconds_of_civil(&c);

    bool blank = *p == ' ';
    while (*p == ' ')
        p++;
    const char *zone = *p != '\0' ? p : default_zone;
    if (zone == NULL) {
        (void)tide_fail(err, TIDE_INVALID, "\"%s\" has no time zone", text);
        return tide_hint(err, TIDE_INVALID,
                         "write \"%s+00:00\" (or Z) for UTC, or a zone behind it: \"%s Europe/Berlin\"", text, text);
    }
    int32_t offset = 0;
    if (parse_offset(zone, &offset)) {
        *us = (local - offset) * TIDE_SECOND_US + micros;
        return TIDE_OK;
    }
    if (*p == '+' || *p == '-')
        return bad_time(text, "the offset must be +HH:MM or -HH:MM, with nothing behind it", err);
    if (*p != '\0' && !blank)
        return bad_time(text, "a blank must stand before the zone", err);
    return parse_in_zone(text, zone, local, micros, us, err);
}

/* "@1795342530.5" */
static tide_status parse_epoch(const char *text, int64_t *us, struct tide_err *err)
{
    const char *p = text + 1;
    bool negative = take_char(&p, '-');
    int64_t seconds = 0;
    int micros = 0, digits = 0;
    for (; is_digit(*p); p++) {
        /* Year 9999 has twelve digits. */
        if (++digits > 12)
            return bad_time(text, "the number of seconds is too large", err);
        seconds = seconds * 10 + (*p - '0');
    }
    if (digits == 0 || (take_char(&p, '.') && !take_fraction(&p, &micros)) || *p != '\0')
        return bad_time(text, "behind @ come seconds with up to six decimals", err);
    int64_t v = seconds * TIDE_SECOND_US + micros;
    *us = negative ? -v : v;
    return TIDE_OK;
}

/* "15m ago" */
static tide_status parse_ago(const char *text, size_t len, int64_t now_us, int64_t *us, struct tide_err *err)
{
    char number[TEXT_MAX];
    while (len > 0 && text[len - 1] == ' ')
        len--;
    memcpy(number, text, len);
    number[len] = '\0';
    int64_t back = 0, then = 0;
    tide_status s = tide_duration_parse(number, &back, err);
    if (s != TIDE_OK)
        return s;
    if (__builtin_sub_overflow(now_us, back, &then) || then < tide_days_from_civil(1, 1, 1) * 86400 * TIDE_SECOND_US)
        return bad_time(text, "that long ago there was no calendar", err);
    *us = then;
    return TIDE_OK;
}

tide_status tide_time_parse(const char *text, const char *default_zone, int64_t now_us, int64_t *us,
                            struct tide_err *err)
{
    char copy[TEXT_MAX];
    while (*text == ' ')
        text++;
    size_t len = strlen(text);
    while (len > 0 && text[len - 1] == ' ')
        len--;
    if (len == 0 || len >= sizeof(copy))
        return tide_fail(err, TIDE_INVALID, "a time of %zu characters", len);
    memcpy(copy, text, len);
    copy[len] = '\0';

    if (copy[0] == '@')
        return parse_epoch(copy, us, err);
    if (len > 4 && strcmp(copy + len - 4, " ago") == 0)
        return parse_ago(copy, len - 4, now_us, us, err);
    return parse_date_time(copy, default_zone, us, err);
}
