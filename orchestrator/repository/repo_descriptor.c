#include "orchestrator/repository/repo_internal.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

#define DESCRIPTOR_FORMAT "tidemark repository"
#define CIPHER_NAME       "aes-256-gcm"

static json_t *bits(uint64_t v)
{
    char text[17];
    (void)snprintf(text, sizeof(text), "%016llx", (unsigned long long)v);
    return json_string(text);
}

static bool read_bits(const json_t *features, const char *member, uint64_t *v)
{
    const char *text = json_string_value(json_object_get(features, member));
    return text != NULL && strlen(text) == 16 && tide_parse_hex64(text, 16, v);
}

tide_status repo_descriptor_write(struct tide_store *store, const struct repo_descriptor *d, struct tide_err *err)
{
    char id[REPO_ID_HEX], now[TIDE_TIME_TEXT];
    tide_hex(d->id, sizeof(d->id), id);
    tide_time_format(tide_now_us(), now);
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:s, s:i, s:s, s:s, s:s, s:{s:o, s:o, s:o}}", "format", DESCRIPTOR_FORMAT, "version", 1,
                            "id", id, "created", now, "cipher", d->encrypted ? CIPHER_NAME : "none", "features",
                            "incompatible", bits(d->incompatible), "read_only_compatible", bits(d->read_only),
                            "compatible", bits(d->compatible));
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the descriptor");
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    tide_status s = document_write(doc, &text, err);
    if (s != TIDE_OK)
        return s;
    return store_put(store, REPO_DESCRIPTOR, text.data, text.len, err);
}

tide_status repo_descriptor_read(struct tide_store *store, struct repo_descriptor *d, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = store_get_all(store, REPO_DESCRIPTOR, &text, err);
    if (s == TIDE_OK)
        s = document_read(REPO_DESCRIPTOR, DESCRIPTOR_FORMAT, text.data, text.len, &doc, err);
    if (s != TIDE_OK)
        return s;

    *d = (struct repo_descriptor){0};
    const json_t *features = json_object_get(doc, "features");
    const char *cipher = json_string_value(json_object_get(doc, "cipher"));
    if (!document_hex(doc, "id", d->id, sizeof(d->id)) || cipher == NULL ||
        !read_bits(features, "incompatible", &d->incompatible) ||
        !read_bits(features, "read_only_compatible", &d->read_only) ||
        !read_bits(features, "compatible", &d->compatible))
        return tide_fail(err, TIDE_CORRUPT, "\"%s\" lacks members that it must have", REPO_DESCRIPTOR);
    d->encrypted = strcmp(cipher, CIPHER_NAME) == 0;
    if (!d->encrypted && strcmp(cipher, "none") != 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "the repository is encrypted by an unknown cipher");
    if ((d->incompatible & ~REPO_KNOWN_INCOMPATIBLE) != 0) {
        (void)tide_fail(err, TIDE_UNSUPPORTED,
                        "the repository uses features that this version does not know (%016llx)",
                        (unsigned long long)(d->incompatible & ~REPO_KNOWN_INCOMPATIBLE));
        return tide_hint(err, TIDE_UNSUPPORTED, "Use a newer version of tidemark.");
    }
    return TIDE_OK;
}
