#include "orchestrator/repository/repo_document.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/crypto.h"

#include <string.h>

#define CHECK_BEGIN "  \"check\": \""
#define CHECK_END   "\"\n}\n"
#define CHECK_LEN   (sizeof(CHECK_BEGIN) - 1 + 2 * (size_t)CRYPTO_SHA256_SIZE + sizeof(CHECK_END) - 1)

void document_decref(json_t **doc)
{
    json_decref(*doc);
    *doc = NULL;
}

tide_status document_write(const json_t *doc, struct tide_buf *out, struct tide_err *err)
{
    TIDE_AUTO(tide_freep) char *text = json_dumps(doc, JSON_INDENT(2) | JSON_ENSURE_ASCII);
    if (text == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a document");
    size_t len = strlen(text);
    tide_assert(len > 2 && strcmp(text + len - 2, "\n}") == 0);

    size_t begin = out->len;
    tide_buf_append(out, text, len - 2);
    tide_buf_str(out, ",\n");
    tide_status s = tide_buf_check(out, "a document", err);
    if (s != TIDE_OK)
        return s;
    uint8_t digest[CRYPTO_SHA256_SIZE];
    s = crypto_sha256(out->data + begin, out->len - begin, digest, err);
    if (s != TIDE_OK)
        return s;
    char hex[2 * CRYPTO_SHA256_SIZE + 1];
    tide_hex(digest, sizeof(digest), hex);
    tide_buf_printf(out, "%s%s%s", CHECK_BEGIN, hex, CHECK_END);
    return tide_buf_check(out, "a document", err);
}

static bool check_fits(const char *text, size_t len)
{
    if (len < CHECK_LEN)
        return false;
    const char *check = text + len - CHECK_LEN;
    const char *hex = check + sizeof(CHECK_BEGIN) - 1;
    char found[2 * CRYPTO_SHA256_SIZE + 1], right[2 * CRYPTO_SHA256_SIZE + 1];
    memcpy(found, hex, sizeof(found) - 1);
    found[sizeof(found) - 1] = '\0';

    uint8_t digest[CRYPTO_SHA256_SIZE];
    if (crypto_sha256(text, len - CHECK_LEN, digest, NULL) != TIDE_OK)
        return false;
    tide_hex(digest, sizeof(digest), right);
    return memcmp(check, CHECK_BEGIN, sizeof(CHECK_BEGIN) - 1) == 0 && strcmp(found, right) == 0 &&
           memcmp(hex + sizeof(found) - 1, CHECK_END, sizeof(CHECK_END) - 1) == 0;
}

tide_status document_read(const char *name, const char *format, const void *text, size_t len, json_t **doc,
                          struct tide_err *err)
{
    if (!check_fits(text, len))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" is damaged: its check does not fit its text", name);
    TIDE_AUTO(document_decref) json_t *d = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
    const char *found = json_string_value(json_object_get(d, "format"));
    if (found == NULL || strcmp(found, format) != 0)
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" is not a %s", name, format);
    uint32_t version;
    if (!document_u32(d, "version", &version) || version != 1)
        return tide_fail(err, TIDE_UNSUPPORTED, "\"%s\" has a version that this program does not know", name);
    *doc = TIDE_TAKE(d);
    return TIDE_OK;
}

bool document_hex(const json_t *doc, const char *member, void *out, size_t len)
{
    const char *hex = json_string_value(json_object_get(doc, member));
    return hex != NULL && strlen(hex) == 2 * len && tide_unhex(hex, out, len);
}

bool document_u32(const json_t *doc, const char *member, uint32_t *out)
{
    const json_t *v = json_object_get(doc, member);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > UINT32_MAX)
        return false;
    *out = (uint32_t)json_integer_value(v);
    return true;
}
