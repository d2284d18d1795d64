#include "orchestrator/config/config_internal.h"

#include <ctype.h>
#include <string.h>

/*
 * Our own reader rather than libinih's: that one cuts a section's name at 49 and a line at 198 bytes without a word,
 * which turns a long connection string into another one.
 *
 *     ; or # begins a comment line; in a line, a blank and ; do
 *     [kind name]
 *     key = value
 */

static char *trim(char *s)
{
    while (isspace((unsigned char)*s))
        s++;
    size_t len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1]))
        s[--len] = '\0';
    return s;
}

static void cut_comment(char *s)
{
    for (char *p = s; (p = strchr(p, ';')) != NULL; p++) {
        if (p > s && isspace((unsigned char)p[-1])) {
            *p = '\0';
            return;
        }
    }
}

static tide_status parse_section(char *s, const struct ini_handler *h, int line, struct tide_err *err)
{
    char *end = strchr(s, ']');
    if (end == NULL)
        return tide_fail(err, TIDE_INVALID, "the section's name has no closing bracket");
    *end = '\0';
    if (*trim(end + 1) != '\0')
        return tide_fail(err, TIDE_INVALID, "there is something behind the section's closing bracket");
    char *kind = trim(s + 1);
    char *name = kind + strcspn(kind, " \t");
    if (*name != '\0')
        *name++ = '\0';
    return h->section(h->ctx, kind, trim(name), line, err);
}

static tide_status parse_entry(char *s, const struct ini_handler *h, int line, struct tide_err *err)
{
    char *equals = strchr(s, '=');
    if (equals == NULL)
        return tide_fail(err, TIDE_INVALID, "this is neither [section] nor key = value");
    *equals = '\0';
    char *key = trim(s), *value = trim(equals + 1);
    if (*key == '\0' || key[strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_")] != '\0')
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no key: lower-case letters, digits and _ are", key);
    if (*value == '\0')
        return tide_fail(err, TIDE_INVALID, "\"%s\" has no value; leave the key out for its default", key);
    return h->entry(h->ctx, key, value, line, err);
}

static tide_status parse_line(char *s, const struct ini_handler *h, int line, struct tide_err *err)
{
    s = trim(s);
    if (*s == '\0' || *s == ';' || *s == '#')
        return TIDE_OK;
    cut_comment(s);
    s = trim(s);
    return *s == '[' ? parse_section(s, h, line, err) : parse_entry(s, h, line, err);
}

tide_status ini_parse_text(char *text, size_t len, const char *file, const struct ini_handler *h,
                           struct tide_err *err)
{
    char *p = text, *end = text + len;
    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    for (int line = 1; p < end; line++) {
        char *newline = memchr(p, '\n', (size_t)(end - p));
        char *stop = newline != NULL ? newline : end; /* text has a NUL behind it */
        *stop = '\0';
        tide_status s;
        if (strlen(p) != (size_t)(stop - p))
            s = tide_fail(err, TIDE_INVALID, "a zero byte: this is no text file");
        else if ((size_t)(stop - p) > CONFIG_LINE_MAX)
            s = tide_fail(err, TIDE_INVALID, "the line is longer than %d bytes", CONFIG_LINE_MAX);
        else
            s = parse_line(p, h, line, err);
        if (s != TIDE_OK)
            return config_at(err, s, file, line);
        p = stop + 1;
    }
    return TIDE_OK;
}
