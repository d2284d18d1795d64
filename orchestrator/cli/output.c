#include "orchestrator/cli/output.h"

#include "orchestrator/base/cleanup.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void out_json(const json_t *doc)
{
    char *text = json_dumps(doc, JSON_INDENT(2) | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12));
    if (text == NULL)
        return;
    (void)puts(text);
    free(text);
}

const char *out_status_code(tide_status s)
{
    static const char *const codes[] = {
        [TIDE_OK] = "ok",
        [TIDE_NOT_FOUND] = "not_found",
        [TIDE_EXISTS] = "exists",
        [TIDE_AGAIN] = "try_again",
        [TIDE_DENIED] = "denied",
        [TIDE_INVALID] = "invalid",
        [TIDE_CORRUPT] = "corrupt",
        [TIDE_UNSUPPORTED] = "unsupported",
        [TIDE_CANCELLED] = "cancelled",
        [TIDE_NO_MEMORY] = "no_memory",
        [TIDE_IO] = "failed",
        [TIDE_BUSY] = "busy",
        [TIDE_REFUSED] = "refused",
        [TIDE_OUTSIDE] = "outside_window",
        [TIDE_UNAVAILABLE] = "repository_unreachable",
        [TIDE_FULL] = "no_space",
    };

    return (size_t)s < sizeof codes / sizeof codes[0] && codes[s] != NULL ? codes[s] : "failed";
}

void out_error(const struct tide_err *err)
{
    (void)fprintf(stderr, "tidemark: %s\n", err->msg[0] == '\0' ? tide_status_name(err->status) : err->msg);
    /* Some hints say the nearest times themselves. */
    bool said =
        err->before[0] != '\0' ? strstr(err->hint, err->before) != NULL : strstr(err->hint, err->after) != NULL;
    if (!said && err->before[0] != '\0')
        (void)fprintf(stderr, "nearest restorable time before: %s\n", err->before);
    if (!said && err->after[0] != '\0')
        (void)fprintf(stderr, "nearest restorable time after:  %s\n", err->after);
    if (err->hint[0] != '\0')
        (void)fprintf(stderr, "hint: %s\n", err->hint);
}

/* Names of files need not be UTF-8; JSON has to be. */
static json_t *text_json(const char *text)
{
    if (text[0] == '\0')
        return json_null();
    json_t *v = json_string(text);
    if (v != NULL)
        return v;
    char *ascii = strdup(text);
    if (ascii == NULL)
        return json_null();
    for (char *c = ascii; *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    v = json_string(ascii);
    free(ascii);
    return v != NULL ? v : json_null();
}

void out_error_json(const struct tide_err *err, int exit_code)
{
    json_t *doc =
        json_pack("{s:i, s:{s:i, s:s, s:o, s:o, s:{s:o, s:o}}}", "schema", 1, "error", "exit", exit_code, "code",
                  out_status_code(err->status), "message",
                  text_json(err->msg[0] == '\0' ? tide_status_name(err->status) : err->msg), "hint",
                  text_json(err->hint), "nearest", "before", text_json(err->before), "after", text_json(err->after));
    if (doc == NULL)
        return;
    out_json(doc);
    json_decref(doc);
}

tide_status out_finish(struct tide_err *err)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        if (errno == EPIPE)
            return TIDE_OK; /* `| head` has seen enough */
        return tide_fail_errno(err, errno, "could not write to standard output");
    }
    return TIDE_OK;
}

/* ----------------------------------------------------------------- tables */

void out_table_row(struct out_table *t, const char *const *cells)
{
    char **grown = realloc(t->cells, (t->n_rows + 1) * t->n_columns * sizeof *grown);
    if (grown == NULL)
        return;
    t->cells = grown;
    for (size_t i = 0; i < t->n_columns; i++)
        t->cells[t->n_rows * t->n_columns + i] = strdup(cells[i] == NULL ? "-" : cells[i]);
    t->n_rows++;
}

void out_table_print(struct out_table *t)
{
    int width[OUT_TABLE_COLUMNS] = {0};
    size_t n_right = t->right == NULL ? 0 : strlen(t->right);

    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        int len = t->cells[i] == NULL ? 0 : (int)strlen(t->cells[i]);
        if (len > width[i % t->n_columns])
            width[i % t->n_columns] = len;
    }
    for (size_t i = 0; i < t->n_rows * t->n_columns; i++) {
        size_t column = i % t->n_columns;
        const char *text = t->cells[i] == NULL ? "" : t->cells[i];
        bool last = column + 1 == t->n_columns, right = column < n_right && t->right[column] == 'r';
        if (column == 0 && t->indent != NULL)
            (void)fputs(t->indent, stdout);
        if (right)
            (void)printf("%*s", width[column], text);
        else if (last)
            (void)fputs(text, stdout);
        else
            (void)printf("%-*s", width[column], text);
        (void)fputs(last ? "\n" : "  ", stdout);
        free(t->cells[i]);
    }
    free(t->cells);
    t->cells = NULL;
    t->n_rows = 0;
}

/* -------------------------------------------------------- out of documents */

const char *out_str(const json_t *doc, const char *member)
{
    const char *text = json_string_value(json_object_get(doc, member));
    return text == NULL || text[0] == '\0' ? "-" : text;
}

static int64_t time_of(const json_t *doc, const char *member)
{
    const char *text = json_string_value(json_object_get(doc, member));
    struct tide_err ignored = TIDE_ERR_INIT;
    int64_t us;

    if (text == NULL || tide_time_parse(text, NULL, 0, &us, &ignored) != TIDE_OK)
        return TIDE_TIME_NONE;
    return us;
}

void out_time(const json_t *doc, const char *member, char out[OUT_TEXT])
{
    struct tide_err ignored = TIDE_ERR_INIT;
    int64_t us = time_of(doc, member);

    if (us == TIDE_TIME_NONE || tide_time_format_zone(us, NULL, out, OUT_TEXT, &ignored) != TIDE_OK)
        (void)snprintf(out, OUT_TEXT, "-");
}

void out_size(const json_t *doc, const char *member, char out[OUT_TEXT])
{
    const json_t *v = json_object_get(doc, member);

    if (json_is_integer(v))
        tide_size_format((uint64_t)json_integer_value(v), out, OUT_TEXT);
    else
        (void)snprintf(out, OUT_TEXT, "-");
}

void out_seconds(const json_t *doc, const char *member, char out[OUT_TEXT])
{
    const json_t *v = json_object_get(doc, member);

    if (json_is_number(v))
        tide_duration_format((int64_t)(json_number_value(v) * (double)TIDE_SECOND_US), out, OUT_TEXT);
    else
        (void)snprintf(out, OUT_TEXT, "-");
}

void out_ago(const json_t *doc, const char *member, char out[OUT_TEXT])
{
    int64_t us = time_of(doc, member), now = tide_now_us();
    char text[OUT_TEXT - 8];

    if (us == TIDE_TIME_NONE) {
        (void)snprintf(out, OUT_TEXT, "-");
        return;
    }
    tide_duration_format(now > us ? now - us : us - now, text, sizeof text);
    (void)snprintf(out, OUT_TEXT, us > now ? "in %s" : "%s ago", text);
}
