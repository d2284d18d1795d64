#ifndef TIDE_REPOSITORY_REPO_DOCUMENT_H
#define TIDE_REPOSITORY_REPO_DOCUMENT_H

/*
 * Plain JSON that people may read and that proves itself: the descriptor and
 * key slots.  The last line but one is "check", the SHA-256 of every byte
 * before that line; FORMAT.md, section 1.
 */

#include "orchestrator/base/buf.h"
#include <jansson.h>

#define DOCUMENT_MAX ((size_t)64 << 10)

/* Appends the text of doc (an object without "check") to out. */
tide_status document_write(const json_t *doc, struct tide_buf *out, struct tide_err *err) TIDE_MUST_CHECK;
/* CORRUPT unless the text is whole and its format member is `format`; UNSUPPORTED for another version than 1. *doc
 * is a new reference. */
tide_status document_read(const char *name, const char *format, const void *text, size_t len, json_t **doc,
                          struct tide_err *err) TIDE_MUST_CHECK;

/* Cleanup for json_t *. */
void document_decref(json_t **doc);
/* A hex member of exactly len bytes. */
bool document_hex(const json_t *doc, const char *member, void *out, size_t len);
bool document_u32(const json_t *doc, const char *member, uint32_t *out);

#endif
