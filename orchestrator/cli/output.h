#ifndef TIDE_CLI_OUTPUT_H
#define TIDE_CLI_OUTPUT_H

/* What people and programs read: stdout for data, stderr for errors. */

#include "orchestrator/base/clock.h"
#include <jansson.h>

/* One document on stdout, indented, with a line end. */
void out_json(const json_t *doc);

/* An error for people: message, hint, nearest times. */
void out_error(const struct tide_err *err);
/* The same as the JSON document of a failure, on stdout. */
void out_error_json(const struct tide_err *err, int exit_code);
/* "outside_window": what `code` in that document says. */
const char *out_status_code(tide_status s);

/* FULL or IO when what was printed could not be written. */
tide_status out_finish(struct tide_err *err) TIDE_MUST_CHECK;

/* Columns as wide as their widest cell; cells are copied.  The last column is never padded. */
#define OUT_TABLE_COLUMNS 12u
struct out_table {
    char **cells; /* n_rows * n_columns, owned */
    size_t n_rows, n_columns;
    const char *right; /* a letter a column: 'r' flush right; shorter: left */
    const char *indent;
};
void out_table_row(struct out_table *t, const char *const *cells);
void out_table_print(struct out_table *t); /* and clears it */

/* ---- texts out of documents; "-" where the member is null or missing */

#define OUT_TEXT 64
const char *out_str(const json_t *doc, const char *member);
/* A stored RFC 3339 time as "2026-11-22 10:15:30.123456+00:00". */
void out_time(const json_t *doc, const char *member, char out[OUT_TEXT]);
void out_size(const json_t *doc, const char *member, char out[OUT_TEXT]);
/* "3 min ago" */
void out_ago(const json_t *doc, const char *member, char out[OUT_TEXT]);
/* A duration given in seconds. */
void out_seconds(const json_t *doc, const char *member, char out[OUT_TEXT]);

#endif
