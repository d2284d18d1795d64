#ifndef TIDE_BASE_LOG_H
#define TIDE_BASE_LOG_H

/*
 * One event, one line on stderr, a stable dotted name that alerts can match,
 * values as fields.  The logger is process-wide, set up once by main.
 *
 *     TIDE_LOG(TIDE_LOG_INFO, "wal.object.stored", TIDE_STR("key", key), TIDE_U64("bytes", n));
 */

#include "orchestrator/base/err.h"

struct tide_log_field {
    const char *name;
    const char *str; /* NULL: number */
    uint64_t u64;
};

/* NULL is shown as an empty string. */
static inline struct tide_log_field tide_log_str(const char *name, const char *value)
{
    return (struct tide_log_field){.name = name, .str = value == NULL ? "" : value};
}

#define TIDE_STR(name_, value_) tide_log_str(name_, value_)
#define TIDE_U64(name_, value_) ((struct tide_log_field){.name = (name_), .u64 = (uint64_t)(value_)})

/* TIDE_LOG with no field at all needs the comma gone, which gcc takes for granted. */
#ifdef __clang__
#pragma clang diagnostic ignored "-Wgnu-zero-variadic-macro-arguments"
#endif

#define TIDE_LOG(level, event, ...)                                                                                  \
    tide_log_event(level, event, (const struct tide_log_field[]){{0}, ##__VA_ARGS__},                                \
                   sizeof((struct tide_log_field[]){{0}, ##__VA_ARGS__}) / sizeof(struct tide_log_field))

enum tide_log_format { TIDE_LOG_TEXT, TIDE_LOG_JSON };

void tide_log_init(enum tide_log_level threshold, enum tide_log_format format, const char *job);
/* fields[0] is a placeholder and skipped.  A line is at most 4096 bytes, so that a pipe takes it whole; values that
 * do not fit are cut and end in "...".  Keeps errno. */
void tide_log_event(enum tide_log_level level, const char *event, const struct tide_log_field *fields, size_t n);

#endif
