#include "orchestrator/base/clock.h"
#include "orchestrator/base/calendar.h"
#include "orchestrator/base/zone.h"

#include <errno.h>
#include <time.h>

static int64_t clock_us(clockid_t clock)
{
    struct timespec t = {0};
    /* Both clocks always exist on Linux. */
    tide_assert(clock_gettime(clock, &t) == 0);
    return (int64_t)t.tv_sec * TIDE_SECOND_US + t.tv_nsec / 1000;
}

int64_t tide_now_us(void)
{
    return clock_us(CLOCK_REALTIME);
}

int64_t tide_monotonic_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

void tide_sleep_us(int64_t us)
{
    if (us <= 0)
        return;
    int64_t until = tide_monotonic_us() + us;
    struct timespec t = {.tv_sec = (time_t)(until / TIDE_SECOND_US),
                         .tv_nsec = (long)(until % TIDE_SECOND_US) * 1000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

/* Not by us - seconds * 1000000: that overflows at the lower end. */
static int micros_of(int64_t us)
{
    int rest = (int)(us % TIDE_SECOND_US);
    return rest < 0 ? rest + (int)TIDE_SECOND_US : rest;
}

void tide_time_format(int64_t us, char out[TIDE_TIME_TEXT])
{
    if (us == TIDE_TIME_NONE) {
        (void)snprintf(out, TIDE_TIME_TEXT, "-");
        return;
    }
    int64_t seconds = tide_floor_div(us, TIDE_SECOND_US);
    struct tide_civil c = tide_civil_of_seconds(seconds);
    (void)snprintf(out, TIDE_TIME_TEXT, "%04lld-%02d-%02dT%02d:%02d:%02d.%06dZ", (long long)c.year, c.month, c.day,
                   c.hour, c.minute, c.second, micros_of(us));
}

/* "+01:00", and "+00:53:28" for the local mean times of the past. */
static void format_offset(int32_t offset, char out[16])
{
    int32_t size = offset < 0 ? -offset : offset;
    int n = snprintf(out, 16, "%c%02d:%02d", offset < 0 ? '-' : '+', size / 3600, size / 60 % 60);
    if (size % 60 != 0)
        (void)snprintf(out + n, 16 - (size_t)n, ":%02d", size % 60);
}

tide_status tide_time_format_zone(int64_t us, const char *zone, char *out, size_t size, struct tide_err *err)
{
    if (us == TIDE_TIME_NONE) {
        (void)snprintf(out, size, "-");
        return TIDE_OK;
    }
    int64_t seconds = tide_floor_div(us, TIDE_SECOND_US);
    int micros = micros_of(us);
    int32_t offset = 0;
    if (zone != NULL) {
        struct tide_zone *z = NULL;
        tide_status s = tide_zone_load(zone, &z, err);
        if (s != TIDE_OK)
            return s;
        offset = tide_zone_offset_at(z, seconds);
        tide_zone_free(z);
    }
    struct tide_civil c = tide_civil_of_seconds(seconds + offset);
    char fraction[8] = "", east[16];
    if (micros != 0)
        (void)snprintf(fraction, sizeof(fraction), ".%06d", micros);
    format_offset(offset, east);
    int n = snprintf(out, size, "%04lld-%02d-%02d %02d:%02d:%02d%s%s", (long long)c.year, c.month, c.day, c.hour,
                     c.minute, c.second, fraction, east);
    if (n < 0 || (size_t)n >= size)
        return tide_fail(err, TIDE_INVALID, "a time does not fit into %zu bytes", size);
    return TIDE_OK;
}
