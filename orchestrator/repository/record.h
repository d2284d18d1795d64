#ifndef TIDE_REPOSITORY_RECORD_H
#define TIDE_REPOSITORY_RECORD_H

/*
 * Small sealed objects whose content is one JSON document: instances,
 * lineages, intents, pins, tombstones, leases, heartbeats, gaps, branches.
 * Numbered ones ("PREFIX/00000007") are made by conditional create; the
 * highest counts.
 */

#include "orchestrator/repository/object.h"
#include <jansson.h>

/* Adds the member "key", which record_get compares: a record at another key than its own is CORRUPT. */
tide_status record_put(struct repo *r, const char *key, enum object_type type, const json_t *doc, struct tide_err *err) TIDE_MUST_CHECK;
/* *doc is a new reference. */
tide_status record_get(struct repo *r, const char *key, enum object_type type, json_t **doc, struct tide_err *err) TIDE_MUST_CHECK;
/* The highest number below folder ("instances/shop/lineages/"), 0: none. */
tide_status record_highest(struct repo *r, const char *folder, uint32_t *number, struct tide_err *err) TIDE_MUST_CHECK;
/* Puts doc as number `want`; EXISTS when somebody was faster. */
tide_status record_put_numbered(struct repo *r, const char *folder, uint32_t want, enum object_type type, const json_t *doc,
                                struct tide_err *err) TIDE_MUST_CHECK;
/* The key of a number, and the number of a key in a folder whose name has that length; false: another kind of key. */
tide_status record_key(const char *folder, uint32_t number, char key[REPO_KEY_MAX], struct tide_err *err) TIDE_MUST_CHECK;
bool record_number(const char *key, size_t folder_len, uint32_t *number);

/* Members, with CORRUPT naming the key when they are missing or of another type. */
tide_status record_str(const json_t *doc, const char *member, const char **out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status record_i64(const json_t *doc, const char *member, int64_t *out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status record_pos(const json_t *doc, const char *member, struct tide_pos *out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status record_u32(const json_t *doc, const char *member, uint32_t *out, struct tide_err *err) TIDE_MUST_CHECK;
/* Numbers that JSON's signed ones cannot hold: 16 hex digits. */
tide_status record_hex64(const json_t *doc, const char *member, uint64_t *out, struct tide_err *err) TIDE_MUST_CHECK;
json_t *record_hex64_json(uint64_t v);
json_t *record_pos_json(struct tide_pos p); /* 32 hex digits */
bool record_pos_text(const char *hex, struct tide_pos *out);
void record_pos_hex(struct tide_pos p, char out[33]);

#endif
