#include "orchestrator/repository/record.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

#define RECORD_MAX ((size_t)FRAME_MAX_PLAIN)
#define NUMBER_LEN 8u

/*
 * A record says in its content under which key it was put.  The header cannot prove that, so without it a record
 * copied to another number or another instance would pass for the one that belongs there.
 */
#define KEY_MEMBER "key"

tide_status record_put(struct repo *r, const char *key, enum object_type type, const json_t *doc,
                       struct tide_err *err)
{
    TIDE_AUTO(document_decref) json_t *named = json_copy((json_t *)(uintptr_t)doc);
    TIDE_AUTO(tide_freep) char *text = NULL;
    if (named != NULL && json_object_set_new(named, KEY_MEMBER, json_string(key)) == 0)
        text = json_dumps(named, JSON_COMPACT);
    if (text == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the record \"%s\"", key);
    struct object_small o = {.key = key, .type = type};
    return object_put(r, &o, text, strlen(text), err);
}

tide_status record_get(struct repo *r, const char *key, enum object_type type, json_t **doc, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(RECORD_MAX);
    tide_status s = object_get(r, key, type, &text, NULL, err);
    if (s != TIDE_OK)
        return s;
    TIDE_AUTO(document_decref)
    json_t *d = json_loadb(tide_buf_cstr(&text), text.len, JSON_REJECT_DUPLICATES, NULL);
    if (!json_is_object(d))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" holds no JSON object", key);
    const char *name = json_string_value(json_object_get(d, KEY_MEMBER));
    if (name == NULL || strcmp(name, key) != 0)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" holds the record \"%s\"", key, name == NULL ? "?" : name);
    *doc = TIDE_TAKE(d);
    return TIDE_OK;
}

/* ---- numbered records */

bool record_number(const char *key, size_t folder_len, uint32_t *number)
{
    uint64_t v;
    if (strlen(key) != folder_len + NUMBER_LEN)
        return false;
    const char *digits = key + folder_len;
    if (strpbrk(digits, "ABCDEF") != NULL || !tide_parse_hex64(digits, NUMBER_LEN, &v) || v == 0)
        return false;
    *number = (uint32_t)v;
    return true;
}

struct highest {
    size_t folder_len;
    uint32_t number;
};

static tide_status note_number(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)err;
    struct highest *h = ctx;
    uint32_t n;
    if (record_number(e->key, h->folder_len, &n) && n > h->number)
        h->number = n;
    return TIDE_OK;
}

tide_status record_highest(struct repo *r, const char *folder, uint32_t *number, struct tide_err *err)
{
    struct highest h = {.folder_len = strlen(folder)};
    tide_status s = store_list(repo_store(r), folder, NULL, 0, note_number, &h, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "listing \"%s\"", folder);
    *number = h.number;
    return TIDE_OK;
}

tide_status record_key(const char *folder, uint32_t number, char key[REPO_KEY_MAX], struct tide_err *err)
{
    if (snprintf(key, REPO_KEY_MAX, "%s%08x", folder, number) >= REPO_KEY_MAX)
        return tide_fail(err, TIDE_INVALID, "the key \"%s\" is too long", folder);
    return TIDE_OK;
}

tide_status record_put_numbered(struct repo *r, const char *folder, uint32_t want, enum object_type type,
                                const json_t *doc, struct tide_err *err)
{
    char key[REPO_KEY_MAX];
    if (want == 0)
        return tide_fail(err, TIDE_INVALID, "\"%s\" has no numbers left", folder);
    tide_status s = record_key(folder, want, key, err);
    return s == TIDE_OK ? record_put(r, key, type, doc, err) : s;
}

/* ---- members */

static tide_status bad_member(const json_t *doc, const char *member, struct tide_err *err)
{
    const char *key = json_string_value(json_object_get(doc, KEY_MEMBER));
    return tide_fail(err, TIDE_CORRUPT, "\"%s\" lacks \"%s\", or it is not what it should be",
                     key == NULL ? "a record" : key, member);
}

tide_status record_str(const json_t *doc, const char *member, const char **out, struct tide_err *err)
{
    const char *v = json_string_value(json_object_get(doc, member));
    if (v == NULL)
        return bad_member(doc, member, err);
    *out = v;
    return TIDE_OK;
}

tide_status record_i64(const json_t *doc, const char *member, int64_t *out, struct tide_err *err)
{
    const json_t *v = json_object_get(doc, member);
    if (!json_is_integer(v))
        return bad_member(doc, member, err);
    *out = json_integer_value(v);
    return TIDE_OK;
}

tide_status record_u32(const json_t *doc, const char *member, uint32_t *out, struct tide_err *err)
{
    int64_t v = 0;
    tide_status s = record_i64(doc, member, &v, err);
    if (s != TIDE_OK)
        return s;
    if (v < 0 || v > UINT32_MAX)
        return bad_member(doc, member, err);
    *out = (uint32_t)v;
    return TIDE_OK;
}

tide_status record_hex64(const json_t *doc, const char *member, uint64_t *out, struct tide_err *err)
{
    const char *v = NULL;
    tide_status s = record_str(doc, member, &v, err);
    if (s != TIDE_OK)
        return s;
    return strlen(v) == 16 && tide_parse_hex64(v, 16, out) ? TIDE_OK : bad_member(doc, member, err);
}

json_t *record_hex64_json(uint64_t v)
{
    char text[17];
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)v);
    return json_string(text);
}

tide_status record_pos(const json_t *doc, const char *member, struct tide_pos *out, struct tide_err *err)
{
    const char *v = NULL;
    tide_status s = record_str(doc, member, &v, err);
    if (s != TIDE_OK)
        return s;
    return record_pos_text(v, out) ? TIDE_OK : bad_member(doc, member, err);
}

void record_pos_hex(struct tide_pos p, char out[33])
{
    (void)snprintf(out, 33, "%016llx%016llx", (unsigned long long)p.hi, (unsigned long long)p.lo);
}

json_t *record_pos_json(struct tide_pos p)
{
    char hex[33];
    record_pos_hex(p, hex);
    return json_string(hex);
}

bool record_pos_text(const char *hex, struct tide_pos *out)
{
    return strlen(hex) == 32 && tide_parse_hex64(hex, 16, &out->hi) && tide_parse_hex64(hex + 16, 16, &out->lo);
}
