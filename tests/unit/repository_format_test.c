/* FORMAT.md, section 10: what stands there is what the code writes, and the code reads what stands there. */

#include "tests/support/format_vectors.h"
#include "tests/support/repository.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/repository/logobject_internal.h"
#include "orchestrator/repository/record.h"
#include "orchestrator/repository/repo_document.h"
#include "orchestrator/repository/repo_internal.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char page_path[] = "orchestrator/repository/FORMAT.md";

static struct tide_buf page = TIDE_BUF_INIT(4 << 20);
static struct vectors *made;

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static int set_up(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    char path[TIDE_PATH_MAX];
    const char *build = getenv("TIDE_BUILD"); /* two below the root */
    (void)snprintf(path, sizeof(path), "%s%s%s", build == NULL ? "" : build, build == NULL ? "" : "/../../",
                   page_path);
    ok(tide_file_read(path, &page, &err), &err);
    made = vectors_make();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tide_buf_clear(&page);
    vectors_free(made);
    return 0;
}

/* The block between "```hex NAME" (or text) and "```". */
static void from_page(const char *name, bool text, struct tide_buf *out)
{
    char fence[100];
    (void)snprintf(fence, sizeof(fence), "\n```%s %s\n", text ? "text" : "hex", name);
    const char *begin = strstr(tide_buf_cstr(&page), fence);
    if (begin == NULL)
        fail_msg("%s has no vector \"%s\"", page_path, name);
    begin += strlen(fence);
    const char *end = strstr(begin, "```");
    assert_non_null(end);
    if (text) {
        tide_buf_append(out, begin, (size_t)(end - begin));
        return;
    }
    for (const char *p = begin; p < end; p += p[0] == '\n' ? 1 : 2) {
        uint64_t v;
        if (*p == '\n')
            continue;
        assert_true(tide_parse_hex64(p, 2, &v));
        tide_buf_u8(out, (uint8_t)v);
    }
}

static void page_holds_what_the_code_writes(void **state)
{
    (void)state;
    for (size_t i = 0; i < made->n; i++) {
        const struct vector *v = &made->items[i];
        TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(65536);
        from_page(v->name, v->text, &b);
        if (v->loose) /* compressed: read back below */
            continue;
        if (b.len != v->bytes.len || memcmp(b.data, v->bytes.data, b.len) != 0)
            fail_msg("\"%s\" is not what the code writes: run tests/tools/format_vectors", v->name);
    }
}

/* A repository that holds the page's bytes. */
static struct test_repo *open_page(bool sealed)
{
    struct test_repo *t = test_repo_new(sealed);
    repo_close(TIDE_TAKE(t->repo));
    struct {
        const char *name, *plain, *key;
        bool text;
    } objects[] = {
        {"descriptor", "descriptor-plain", REPO_DESCRIPTOR, true},
        {"small-object", "small-object-plain", VECTOR_GAP, false},
        {"large-object", "large-object-plain", VECTOR_LARGE, false},
        {"key-slot", NULL, VECTOR_SLOT, true},
    };
    for (size_t i = 0; i < (sealed ? 4 : 3); i++) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(65536);
        from_page(sealed ? objects[i].name : objects[i].plain, objects[i].text, &b);
        test_raw_write(t, objects[i].key, b.data, b.len);
    }
    TIDE_AUTO(tide_buf_clear) struct tide_buf key = TIDE_BUF_INIT(1000), log = TIDE_BUF_INIT(65536);
    from_page("log-key", true, &key);
    key.data[strcspn((char *)key.data, "\n")] = '\0';
    from_page(sealed ? "log-object" : "log-object-plain", false, &log);
    test_raw_write(t, (char *)key.data, log.data, log.len);
    test_repo_reopen(t);
    return t;
}

static tide_status check_gap(void *ctx, const struct log_gap *g, struct tide_err *err)
{
    (void)err;
    ++*(unsigned *)ctx;
    assert_int_equal(g->lineage, 2);
    assert_int_equal(g->from.lo, 0x1000000);
    assert_int_equal(g->to.lo, 0x2000000);
    assert_string_equal(g->reason, "removed by the server");
    return TIDE_OK;
}

static void read_large(struct test_repo *t)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct object_reader *o = NULL;
    struct frame_coder *c = NULL;
    TIDE_AUTO(tide_freep) struct frame_ref *refs = NULL;
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(100);
    struct frame_info info;
    size_t n = 0;
    ok(frame_coder_new(FRAME_STORED, 0, &c, &err), &err);
    ok(object_reader_open(t->repo, VECTOR_LARGE, OBJECT_PACK, &o, &err), &err);
    ok(object_reader_index(o, c, &refs, &n, &err), &err);
    assert_int_equal(n, 2);
    ok(object_reader_frame(o, c, &refs[0], &b, &info, &err), &err);
    ok(object_reader_frame(o, c, &refs[1], &b, &info, &err), &err);
    assert_string_equal(tide_buf_cstr(&b), "firstsecond");
    assert_int_equal(info.kind, FRAME_TABLE);
    object_reader_close(o);
    frame_coder_free(c);
}

static void read_log(struct test_repo *t)
{
    struct tide_err err = TIDE_ERR_INIT;
    TIDE_AUTO(tide_buf_clear) struct tide_buf key = TIDE_BUF_INIT(1000), content = TIDE_BUF_INIT(1000);
    TIDE_AUTO(log_info_clear) struct log_info i = {0};
    TIDE_AUTO(tide_freep) struct tide_block_ref *refs = NULL;
    size_t n = 0;
    from_page("log-key", true, &key);
    char *k = (char *)key.data;
    k[strcspn(k, "\n")] = '\0';
    ok(log_object_verify(t->repo, k, NULL, &err), &err);
    ok(log_object_read(t->repo, k, &i, &content, &err), &err);
    assert_string_equal(tide_buf_cstr(&content), VECTOR_LOG);
    assert_int_equal(i.n_extents, 2);
    assert_int_equal(i.received_us, 1795342531000000);
    assert_string_equal(i.events_json, "[{\"kind\":\"restore_point\",\"name\":\"before\"}]");
    ok(log_object_refs(t->repo, k, &refs, &n, &err), &err);
    assert_int_equal(n, 4);
    assert_int_equal(refs[2].fork, 2);
    assert_int_equal(refs[3].space, 1664);
    assert_int_equal(refs[3].block, 70000);
}

static void objects_on_the_page_are_read(void **state)
{
    (void)state;
    for (int sealed = 0; sealed < 2; sealed++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct test_repo *t = open_page(sealed);
        unsigned gaps = 0;
        assert_string_equal(repo_id(t->repo), "000102030405060708090a0b0c0d0e0f");
        ok(log_gap_list(t->repo, VECTOR_INSTANCE, check_gap, &gaps, &err), &err);
        assert_int_equal(gaps, 1);
        read_large(t);
        read_log(t);
        test_repo_free(t);
    }
}

static void frames_on_the_page_are_read(void **state)
{
    (void)state;
    static const char *const names[2][3] = {{"frame-stored-plain", "frame-zstd-plain", "frame-lz4-plain"},
                                            {"frame-stored", "frame-zstd", "frame-lz4"}};
    for (int sealed = 0; sealed < 2; sealed++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct test_repo *t = open_page(sealed);
        struct object_header h;
        struct frame_seal seal;
        struct frame_coder *c = NULL;
        TIDE_AUTO(tide_buf_clear) struct tide_buf head = TIDE_BUF_INIT(1000);
        from_page("header", false, &head);
        ok(object_header_decode(head.data, head.len, &h, &err), &err);
        h.epoch = sealed ? 1 : 0;
        ok(object_header_seal(t->repo, &h, &seal, &err), &err);
        ok(frame_coder_new(FRAME_STORED, 0, &c, &err), &err);
        for (unsigned codec = 0; codec < 3; codec++) {
            TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1000);
            struct frame_info info;
            char text[sizeof(VECTOR_TEXT) * 2];
            from_page(names[sealed][codec], false, &b);
            ok(frame_open_bytes(c, &seal, b.data, b.len, 5, text, sizeof(text), &info, &err), &err);
            assert_int_equal(info.codec, codec);
            assert_int_equal(info.plain_len, 2 * strlen(VECTOR_TEXT));
            assert_memory_equal(text, VECTOR_TEXT VECTOR_TEXT, info.plain_len);
        }
        frame_coder_free(c);
        frame_seal_clear(&seal);
        test_repo_free(t);
    }
}

/* The lines of a document without their values: which members, in which order. */
static void members(const char *text, size_t len, char out[512])
{
    bool name = true;
    size_t n = 0;
    for (size_t i = 0; i < len && n < 511; i++) {
        if (name)
            out[n++] = text[i];
        if (text[i] == ':')
            name = false;
        if (text[i] == '\n')
            name = true;
    }
    out[n] = '\0';
}

static void documents_are_written_as_on_the_page(void **state)
{
    (void)state;
    struct test_repo *t = test_repo_new(true);
    static const char *const names[][2] = {{"descriptor", REPO_DESCRIPTOR}, {"key-slot", VECTOR_SLOT}};
    for (size_t i = 0; i < 2; i++) {
        TIDE_AUTO(tide_buf_clear) struct tide_buf shown = TIDE_BUF_INIT(65536), written = TIDE_BUF_INIT(65536);
        char a[512], b[512];
        from_page(names[i][0], true, &shown);
        test_raw_read(t, names[i][1], &written);
        members((char *)shown.data, shown.len, a);
        members((char *)written.data, written.len, b);
        assert_string_equal(a, b);
        assert_int_equal(shown.len, written.len);
    }
    test_repo_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(page_holds_what_the_code_writes),
        cmocka_unit_test(objects_on_the_page_are_read),
        cmocka_unit_test(frames_on_the_page_are_read),
        cmocka_unit_test(documents_are_written_as_on_the_page),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
