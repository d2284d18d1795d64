#include "orchestrator/base/log.h"
#include "orchestrator/base/clock.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* PIPE_BUF: one write of this much reaches a pipe in one piece, so lines of several processes do not mix. */
#define LINE_MAX_BYTES 4096

/* Set up once, before there are threads. */
static struct {
    enum tide_log_level threshold;
    enum tide_log_format format;
    char job[64];
} logger = {.threshold = TIDE_LOG_INFO, .format = TIDE_LOG_TEXT};

struct line {
    char data[LINE_MAX_BYTES];
    size_t len;
    size_t limit; /* what append may fill; the rest closes the line */
};

void tide_log_init(enum tide_log_level threshold, enum tide_log_format format, const char *job)
{
    logger.threshold = threshold;
    logger.format = format;
    (void)snprintf(logger.job, sizeof(logger.job), "%s", job == NULL ? "" : job);
}

static bool append(struct line *l, const char *text, size_t len)
{
    if (len > l->limit - l->len)
        return false;
    memcpy(l->data + l->len, text, len);
    l->len += len;
    return true;
}

static bool append_str(struct line *l, const char *text)
{
    return append(l, text, strlen(text));
}

/* Bytes of the valid UTF-8 character at p (NUL-terminated), or 0. */
static size_t utf8_length(const unsigned char *p)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : 0;
    if (p[0] >= 0xf0 && p[0] < 0xf5)
        n = 4;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    /* Overlong forms, surrogates, and what is above U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

/* One character of a value as it stands in the line; *used is what it took from the value. */
static size_t escape(const unsigned char *p, char out[12], size_t *used)
{
    bool json = logger.format == TIDE_LOG_JSON;
    size_t n = utf8_length(p);
    *used = n == 0 ? 1 : n;
    if (p[0] == '"' || p[0] == '\\')
        return (size_t)snprintf(out, 12, "\\%c", p[0]);
    if (p[0] == '\n')
        return (size_t)snprintf(out, 12, "\\n");
    if (p[0] < 0x20 || p[0] == 0x7f)
        return (size_t)snprintf(out, 12, json ? "\\u%04x" : "\\x%02x", p[0]);
    if (n == 0)
        return json ? (size_t)snprintf(out, 12, "\\ufffd") : (size_t)snprintf(out, 12, "\\x%02x", p[0]);
    memcpy(out, p, n);
    return n;
}

/* Quoted and escaped; what does not fit is cut, and the quote always closes. */
static void append_quoted(struct line *l, const char *text)
{
    const size_t tail = 4; /* ..." */
    const unsigned char *p = (const unsigned char *)text;
    if (l->limit - l->len < 1 + tail)
        return;
    (void)append(l, "\"", 1);
    while (*p != '\0') {
        char out[12];
        size_t used = 1, n = escape(p, out, &used);
        if (l->limit - l->len < n + tail) {
            (void)append(l, "...", 3);
            break;
        }
        (void)append(l, out, n);
        p += used;
    }
    (void)append(l, "\"", 1);
}

static void append_field(struct line *l, const struct tide_log_field *f)
{
    bool json = logger.format == TIDE_LOG_JSON;
    char number[24];
    (void)snprintf(number, sizeof(number), "%llu", (unsigned long long)f->u64);
    size_t before = strlen(f->name) + 6;
    /* Enough room for the name and a value worth reading, or not at all. */
    if (l->limit - l->len < before + sizeof(number))
        return;
    (void)append_str(l, json ? ",\"" : " ");
    (void)append_str(l, f->name);
    (void)append_str(l, json ? "\":" : "=");
    if (f->str != NULL)
        append_quoted(l, f->str);
    else
        (void)append_str(l, number);
}

static const char *level_name(enum tide_log_level level)
{
    bool json = logger.format == TIDE_LOG_JSON;
    switch (level) {
    case TIDE_LOG_ERROR:
        return json ? "error" : "ERROR";
    case TIDE_LOG_WARN:
        return json ? "warn" : "WARN ";
    case TIDE_LOG_INFO:
        return json ? "info" : "INFO ";
    case TIDE_LOG_DEBUG:
        break;
    }
    return json ? "debug" : "DEBUG";
}

static void begin_line(struct line *l, enum tide_log_level level, const char *event)
{
    bool json = logger.format == TIDE_LOG_JSON;
    char now[TIDE_TIME_TEXT];
    tide_time_format(tide_now_us(), now);
    (void)append_str(l, json ? "{\"time\":\"" : "");
    (void)append_str(l, now);
    (void)append_str(l, json ? "\",\"level\":\"" : " ");
    (void)append_str(l, level_name(level));
    (void)append_str(l, json ? "\",\"event\":" : " ");
    if (json)
        append_quoted(l, event);
    else
        (void)append_str(l, event);
}

static void end_line(struct line *l)
{
    bool json = logger.format == TIDE_LOG_JSON;
    l->limit = sizeof(l->data) - 2;
    if (logger.job[0] != '\0') {
        (void)append_str(l, json ? ",\"job\":" : " job=");
        if (json)
            append_quoted(l, logger.job);
        else
            (void)append_str(l, logger.job);
    }
    l->limit = sizeof(l->data);
    (void)append_str(l, json ? "}\n" : "\n");
}

void tide_log_event(enum tide_log_level level, const char *event, const struct tide_log_field *fields, size_t n)
{
    if (level > logger.threshold)
        return;
    int saved = errno;
    struct line l;
    l.len = 0;
    l.limit = sizeof(l.data) - 8 * sizeof(logger.job); /* the job and the end always fit */
    begin_line(&l, level, event);
    for (size_t i = 1; i < n; i++)
        append_field(&l, &fields[i]);
    end_line(&l);

    /* One write a line, and no lock: a full pipe loses a line, it must not stop a shipper. */
    ssize_t rc;
    do {
        rc = write(STDERR_FILENO, l.data, l.len);
    } while (rc < 0 && errno == EINTR);
    errno = saved;
}
