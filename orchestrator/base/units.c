#include "orchestrator/base/clock.h"

#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t size;
};

static const struct unit duration_units[] = {
    {"us", 1},
    {"ms", 1000},
    {"s", 1000000},
    {"min", UINT64_C(60) * 1000000},
    {"m", UINT64_C(60) * 1000000},
    {"h", UINT64_C(3600) * 1000000},
    {"d", UINT64_C(86400) * 1000000},
    {"w", UINT64_C(7) * 86400 * 1000000},
};

/* kB is 1000 and KiB 1024; a bare letter is binary, as MySQL's options and dd have it. */
static const struct unit size_units[] = {
    {"", 1},
    {"B", 1},
    {"K", UINT64_C(1) << 10},
    {"KiB", UINT64_C(1) << 10},
    {"kB", 1000},
    {"M", UINT64_C(1) << 20},
    {"MiB", UINT64_C(1) << 20},
    {"MB", 1000000},
    {"G", UINT64_C(1) << 30},
    {"GiB", UINT64_C(1) << 30},
    {"GB", UINT64_C(1000000000)},
    {"T", UINT64_C(1) << 40},
    {"TiB", UINT64_C(1) << 40},
    {"TB", UINT64_C(1000000000000)},
    {"P", UINT64_C(1) << 50},
    {"PiB", UINT64_C(1) << 50},
    {"PB", UINT64_C(1000000000000000)},
};

/* Digits at *p, at least one; false past UINT64_MAX too. */
static bool take_digits(const char **p, uint64_t *v)
{
    const char *s = *p;
    uint64_t sum = 0;
    for (; *s >= '0' && *s <= '9'; s++) {
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*s - '0'), &sum))
            return false;
    }
    if (s == *p)
        return false;
    *p = s;
    *v = sum;
    return true;
}

static size_t letters(const char *p)
{
    size_t n = 0;
    while ((p[n] >= 'a' && p[n] <= 'z') || (p[n] >= 'A' && p[n] <= 'Z'))
        n++;
    return n;
}

static const struct unit *find_duration_unit(const char *name, size_t len)
{
    for (size_t i = 0; i < sizeof(duration_units) / sizeof(duration_units[0]); i++) {
        if (strlen(duration_units[i].name) == len && memcmp(duration_units[i].name, name, len) == 0)
            return &duration_units[i];
    }
    return NULL;
}

static tide_status bad_duration(const char *text, struct tide_err *err)
{
    (void)tide_fail(err, TIDE_INVALID, "\"%.64s\" is not a duration", text);
    return tide_hint(err, TIDE_INVALID,
                     "write whole numbers, each with its unit us, ms, s, m, h, d or w, the largest "
                     "first: \"2s\", \"1h30m\", \"35d\"");
}

tide_status tide_duration_parse(const char *text, int64_t *us, struct tide_err *err)
{
    const char *p = text;
    uint64_t sum = 0, last = UINT64_MAX;
    do {
        uint64_t number = 0, part = 0;
        if (!take_digits(&p, &number))
            return bad_duration(text, err);
        size_t len = letters(p);
        const struct unit *u = find_duration_unit(p, len);
        /* Units that do not fall are a slip of the finger: "1s2h". */
        if (u == NULL || u->size >= last)
            return bad_duration(text, err);
        if (__builtin_mul_overflow(number, u->size, &part) || __builtin_add_overflow(sum, part, &sum) ||
            sum > INT64_MAX)
            return tide_fail(err, TIDE_INVALID, "duration \"%.64s\" is too long", text);
        last = u->size;
        p += len;
    } while (*p != '\0');
    *us = (int64_t)sum;
    return TIDE_OK;
}

static tide_status bad_size(const char *text, struct tide_err *err)
{
    (void)tide_fail(err, TIDE_INVALID, "\"%.64s\" is not a size", text);
    return tide_hint(err, TIDE_INVALID,
                     "write a whole number of bytes, or with a unit: \"64kB\", \"16MiB\", \"10GiB\"");
}

tide_status tide_size_parse(const char *text, uint64_t *bytes, struct tide_err *err)
{
    const char *p = text;
    uint64_t number = 0;
    if (!take_digits(&p, &number))
        return bad_size(text, err);
    for (size_t i = 0; i < sizeof(size_units) / sizeof(size_units[0]); i++) {
        if (strcasecmp(size_units[i].name, p) != 0)
            continue;
        uint64_t product = 0;
        if (__builtin_mul_overflow(number, size_units[i].size, &product))
            return tide_fail(err, TIDE_INVALID, "size \"%.64s\" is too large", text);
        *bytes = product;
        return TIDE_OK;
    }
    return bad_size(text, err);
}

void tide_size_format(uint64_t bytes, char *out, size_t size)
{
    static const char *const names[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        (void)snprintf(out, size, "%llu B", (unsigned long long)bytes);
        return;
    }
    double v = (double)bytes / 1024;
    size_t i = 0;
    /* 1023.96 would be printed as 1024.0. */
    for (; v >= 1023.95 && i + 1 < sizeof(names) / sizeof(names[0]); i++)
        v /= 1024;
    (void)snprintf(out, size, "%.1f %s", v, names[i]);
}

void tide_duration_format(int64_t us, char *out, size_t size)
{
    const char *sign = us < 0 ? "-" : "";
    uint64_t v = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    unsigned long long s = v / 1000000;
    if (v < 1000)
        (void)snprintf(out, size, "%s%llu us", sign, (unsigned long long)v);
    else if (v < 1000000)
        (void)snprintf(out, size, "%s%llu ms", sign, (unsigned long long)v / 1000);
    else if (s < 60)
        (void)snprintf(out, size, "%s%llu.%llu s", sign, s, (unsigned long long)(v / 100000 % 10));
    else if (s < 3600)
        (void)snprintf(out, size, "%s%llu min %02llu s", sign, s / 60, s % 60);
    else if (s < 86400)
        (void)snprintf(out, size, "%s%llu h %02llu min", sign, s / 3600, s / 60 % 60);
    else
        (void)snprintf(out, size, "%s%llu d %02llu h", sign, s / 86400, s / 3600 % 24);
}
