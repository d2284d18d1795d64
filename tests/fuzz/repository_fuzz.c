/*
 * Bytes of a repository that no proof protects yet, or that a faulty writer may have sealed: headers, frames,
 * documents, names, and what stands in log objects.  The first byte chooses the parser.
 */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/codec.h"
#include "orchestrator/repository/logobject_internal.h"
#include "orchestrator/repository/repo_document.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void header(const uint8_t *data, size_t size)
{
    struct object_header h;
    if (object_header_decode(data, size, &h, NULL) != TIDE_OK)
        return;
    /* What is accepted is written back as it was: nothing in it is ignored. */
    TIDE_AUTO(tide_buf_clear) struct tide_buf again = TIDE_BUF_INIT(OBJECT_HEADER_MAX);
    object_header_encode(&h, &again);
    tide_assert(again.len == h.size && h.size <= size && memcmp(again.data, data, h.size) == 0);
}

static void frame(const uint8_t *data, size_t size)
{
    static const struct frame_seal seal;
    static uint8_t plain[65536];
    struct frame_coder *c = NULL;
    struct frame_info info;
    if (frame_coder_new(FRAME_STORED, 0, &c, NULL) != TIDE_OK)
        return;
    if (size >= FRAME_HEADER_SIZE && frame_parse_header(data, &info, NULL) == TIDE_OK)
        tide_assert(frame_open_bytes(c, &seal, data, size, info.number, plain, sizeof(plain), &info, NULL) !=
                    TIDE_INVALID);
    frame_coder_free(c);
}

static void expand(enum frame_codec kind, const uint8_t *data, size_t size)
{
    static uint8_t plain[65536];
    struct codec *c = NULL;
    if (size < 2 || codec_new(FRAME_STORED, 0, &c, NULL) != TIDE_OK)
        return;
    size_t len = (size_t)(data[0] << 8 | data[1]);
    tide_status s = codec_expand(c, kind, data + 2, size - 2, plain, len, NULL);
    tide_assert(s == TIDE_OK || s == TIDE_CORRUPT);
    codec_free(c);
}

static void document(const uint8_t *data, size_t size)
{
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    tide_status s = document_read("x", "tidemark repository", data, size, &doc, NULL);
    tide_assert((s == TIDE_OK) == (doc != NULL));
}

static void description(const uint8_t *data, size_t size)
{
    TIDE_AUTO(log_meta_clear) struct log_meta m = {0};
    if (log_meta_decode(data, size, &m, NULL) != TIDE_OK)
        return;
    TIDE_AUTO(tide_buf_clear) struct tide_buf again = TIDE_BUF_INIT(size);
    log_meta_encode(&m, &again);
    tide_assert(again.len == size && memcmp(again.data, data, size) == 0);
    tide_status s = log_info_check(&m.info, TIDE_CORRUPT, NULL);
    tide_assert(s == TIDE_OK || s == TIDE_CORRUPT);
}

static void references(const uint8_t *data, size_t size)
{
    static struct tide_block_ref refs[4096];
    size_t n = 0;
    if (log_refs_decode(data, size, refs, &n, 4096, NULL) != TIDE_OK)
        return;
    for (size_t i = 1; i < n; i++)
        tide_assert(log_ref_cmp(&refs[i - 1], &refs[i]) < 0);
}

static void name(const uint8_t *data, size_t size)
{
    TIDE_AUTO(tide_freep) char *text = strndup((const char *)data, size);
    char instance[REPO_NAME_MAX], again[REPO_KEY_MAX];
    struct log_name n;
    if (text == NULL || !log_name_parse_key(text, instance, &n))
        return;
    tide_assert(log_name_key(instance, &n, again, NULL) == TIDE_OK && strcmp(again, text) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    uint8_t which = *data++;
    size--;
    switch (which) {
    case 'h':
        header(data, size);
        break;
    case 'f':
        frame(data, size);
        break;
    case 'z':
        expand(FRAME_ZSTD, data, size);
        break;
    case '4':
        expand(FRAME_LZ4, data, size);
        break;
    case 'd':
        document(data, size);
        break;
    case 'm':
        description(data, size);
        break;
    case 'r':
        references(data, size);
        break;
    case 'n':
        name(data, size);
        break;
    }
    return 0;
}
