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

tide_status record_put(struct repo *r, const char *key, enum object_type type, const json_t *doc, struct tide_err *err) TIDE_MUST_CHECK;
/* *doc is a new reference. */
tide_status record_get(struct repo *r, const char *key, enum object_type type, json_t **doc, struct tide_err *err) TIDE_MUST_CHECK;
/* The highest number below folder ("instances/shop/lineages/"), 0: none. */
tide_status record_highest(struct repo *r, const char *folder, uint32_t *number, struct tide_err *err) TIDE_MUST_CHECK;
/* Puts doc as number `want`; EXISTS when somebody was faster. */
tide_status record_put_numbered(struct repo *r, const char *folder, uint32_t want, enum object_type type, const json_t *doc,
                                struct tide_err *err) TIDE_MUST_CHECK;

/* Members, with CORRUPT naming the key when they are missing or of another type. */
tide_status record_str(const json_t *doc, const char *member, const char **out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status record_i64(const json_t *doc, const char *member, int64_t *out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status record_pos(const json_t *doc, const char *member, struct tide_pos *out, struct tide_err *err) TIDE_MUST_CHECK;
json_t *record_pos_json(struct tide_pos p); /* 32 hex digits */
bool record_pos_text(const char *hex, struct tide_pos *out);
void record_pos_hex(struct tide_pos p, char out[33]);

#endif
