#include "orchestrator/repository/repo_internal.h"
#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/repository/repo_document.h"

#include <string.h>

/* The name of a descriptor, by which the store knows the directory again; the format says what it is. */
#define SPOOL_DESCRIPTOR REPO_DESCRIPTOR
#define SPOOL_FORMAT     "tidemark spool"

static void repo_closep(struct repo **r)
{
    repo_close(*r);
}

static tide_status put_marker(const struct repo *r, struct tide_store *store, struct tide_err *err)
{
    TIDE_AUTO(document_decref)
    json_t *doc = json_pack("{s:s, s:i, s:s}", "format", SPOOL_FORMAT, "version", 1, "repository", r->id_hex);
    if (doc == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the spool's descriptor");
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    tide_status s = document_write(doc, &text, err);
    return s == TIDE_OK ? store_put(store, SPOOL_DESCRIPTOR, text.data, text.len, err) : s;
}

/* Log that was spooled for another repository must not end up in this one. */
static tide_status check_marker(const struct repo *r, struct tide_store *store, const char *directory,
                                struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(DOCUMENT_MAX);
    tide_status s = store_get_all(store, SPOOL_DESCRIPTOR, &text, err);
    if (s == TIDE_NOT_FOUND) {
        s = put_marker(r, store, err);
        if (s == TIDE_EXISTS)
            s = store_get_all(store, SPOOL_DESCRIPTOR, &text, err);
        else
            return s;
    }
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    if (s == TIDE_OK)
        s = document_read(SPOOL_DESCRIPTOR, SPOOL_FORMAT, text.data, text.len, &doc, err);
    if (s != TIDE_OK)
        return s;
    uint8_t id[KEYS_ID_SIZE];
    if (!document_hex(doc, "repository", id, sizeof(id)) || memcmp(id, r->descriptor.id, sizeof(id)) != 0)
        return tide_fail(err, TIDE_REFUSED, "the spool \"%s\" belongs to another repository", directory);
    return TIDE_OK;
}

/* A URL reads "%" as the beginning of two hex digits. */
static tide_status url_of(const char *directory, struct tide_buf *url, struct tide_err *err)
{
    if (directory[0] != '/')
        return tide_fail(err, TIDE_INVALID, "the spool directory \"%s\" is not an absolute path", directory);
    tide_buf_str(url, "file://");
    for (const char *p = directory; *p != '\0'; p++) {
        if (*p == '%')
            tide_buf_str(url, "%25");
        else
            tide_buf_u8(url, (uint8_t)*p);
    }
    return tide_buf_check(url, "the spool's address", err);
}

tide_status repo_open_spool(const struct repo *r, const char *directory, struct repo **out, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(3 * TIDE_PATH_MAX);
    tide_status s = url_of(directory, &text, err);
    if (s != TIDE_OK)
        return s;
    const char *url = tide_buf_cstr(&text);
    s = tide_mkdirs(directory, 0700, err);
    if (s != TIDE_OK)
        return s;
    struct tide_store *store = NULL;
    s = store_open(&(struct store_options){.url = url, .cancel = r->cancel, .create = true}, &store, err);
    if (s != TIDE_OK)
        return s;

    struct repo_options o = {.url = url, .codec = r->codec, .level = r->level, .cancel = r->cancel};
    TIDE_AUTO(repo_closep) struct repo *spool = NULL;
    s = repo_new(&o, store, &r->descriptor, &spool, err);
    if (s == TIDE_OK)
        s = check_marker(r, spool->store, directory, err);
    if (s == TIDE_OK)
        s = key_ring_copy(&r->ring, &spool->ring, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "opening the spool \"%s\"", directory);
    *out = TIDE_TAKE(spool);
    return TIDE_OK;
}
