#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_format.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX (1u << 20)

/* The value of key in text: its start and length, or NULL. */
static const char *find(const char *text, const char *key, size_t *len)
{
    size_t key_len = strlen(key);

    while (*text != '\0') {
        size_t line = strcspn(text, "\n");

        if (line > key_len && text[key_len] == '=' && strncmp(text, key, key_len) == 0) {
            *len = line - key_len - 1;
            return text + key_len + 1;
        }
        text += line;
        if (*text == '\n')
            text++;
    }
    return NULL;
}

static bool number(const char *text, const char *key, uint64_t max, uint64_t *out)
{
    size_t len;
    const char *value = find(text, key, &len);
    char buf[24], *end;

    if (value == NULL || len == 0 || len >= sizeof buf)
        return false;
    memcpy(buf, value, len);
    buf[len] = '\0';
    errno = 0;
    unsigned long long n = strtoull(buf, &end, 10);
    if (!isdigit((unsigned char)buf[0]) || *end != '\0' || errno != 0 || n > max)
        return false;
    *out = n;
    return true;
}

static char *unescape(const char *value, size_t len)
{
    char *out = malloc(len + 1);
    size_t n = 0;

    for (size_t i = 0; out != NULL && i < len; i++) {
        char c = value[i];

        if (c == '\\' && i + 1 < len) {
            c = value[++i];
            c = c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
        }
        out[n++] = c;
    }
    if (out != NULL)
        out[n] = '\0';
    return out;
}

const char *evidence_history_parse(const char *history, struct evidence_branch **branches, size_t *n)
{
    size_t cap = 1;

    *branches = NULL;
    *n = 0;
    for (const char *p = history; *p != '\0'; p++)
        cap += *p == '\n';
    if (cap > EVIDENCE_MAX_BRANCHES)
        return "the history has too many lines";
    *branches = calloc(cap, sizeof **branches);
    if (*branches == NULL)
        return "out of memory";
    for (const char *p = history; *p != '\0';) {
        size_t line = strcspn(p, "\n");
        const char *end = p + line;

        while (p < end && isspace((unsigned char)*p))
            p++;
        if (p < end && *p != '#') {
            unsigned timeline, hi, lo;
            char text[64];
            size_t len = (size_t)(end - p) < sizeof text ? (size_t)(end - p) : sizeof text - 1;

            memcpy(text, p, len);
            text[len] = '\0';
            if (sscanf(text, "%u %X/%X", &timeline, &hi, &lo) != 3 ||
                (*n > 0 && timeline <= (*branches)[*n - 1].timeline))
                return "a line of the history does not make sense";
            (*branches)[(*n)++] = (struct evidence_branch){timeline, (uint64_t)hi << 32 | lo};
        }
        p = *end == '\n' ? end + 1 : end;
    }
    return NULL;
}

const char *evidence_parse(const char *text, struct evidence *out)
{
    uint64_t size, timeline, major;
    size_t len = 0;

    memset(out, 0, sizeof *out);
    if (text == NULL)
        return "there is none";
    if (!number(text, "system_identifier", UINT64_MAX, &out->system_identifier))
        return "system_identifier is missing";
    if (!number(text, "segment_size", UINT32_MAX, &size) || !wal_segment_size_valid(size))
        return "segment_size is missing or wrong";
    if (!number(text, "timeline", UINT32_MAX, &timeline) || timeline == 0)
        return "timeline is missing or wrong";
    if (!number(text, "major", 1000, &major))
        return "major is missing";
    out->segment_size = (uint32_t)size;
    out->timeline = (uint32_t)timeline;
    out->major = (int)major;
    const char *history = find(text, "history", &len);
    if (len > HISTORY_MAX)
        return "the history is too long";
    out->history = unescape(history != NULL ? history : "", history != NULL ? len : 0);
    if (out->history == NULL)
        return "out of memory";
    return evidence_history_parse(out->history, &out->branches, &out->n_branches);
}

void evidence_clear(struct evidence *e)
{
    free(e->history);
    free(e->branches);
    memset(e, 0, sizeof *e);
}

char *evidence_format(const struct evidence *e)
{
    const char *history = e->history != NULL ? e->history : "";
    size_t size = 256 + 2 * strlen(history);
    char *text = malloc(size);

    if (text == NULL)
        return NULL;
    int head =
        snprintf(text, size,
                 "system_identifier=%" PRIu64 "\nmajor=%d\nsegment_size=%" PRIu32 "\ntimeline=%" PRIu32 "\nhistory=",
                 e->system_identifier, e->major, e->segment_size, e->timeline);
    char *p = text + head;
    for (; *history != '\0'; history++) {
        char c = *history, escaped = c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : c == '\\' ? '\\' : '\0';

        if (escaped != '\0')
            *p++ = '\\';
        *p++ = escaped != '\0' ? escaped : c;
    }
    *p++ = '\n';
    *p = '\0';
    return text;
}
