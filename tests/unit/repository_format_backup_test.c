/* FORMAT.md, section 10: the code reads the leaves, patches and nodes that stand there.  That it writes them is
 * tested with the others in repository_format_test.c. */

#include "tests/support/format_vectors.h"

#include "orchestrator/base/file.h"
#include "orchestrator/repository/table_node.h"
#include "orchestrator/repository/tree_item.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const char page_path[] = "orchestrator/repository/FORMAT.md";
static struct tide_buf page = TIDE_BUF_INIT(4 << 20);

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
    (void)snprintf(path, sizeof path, "%s%s%s", build == NULL ? "" : build, build == NULL ? "" : "/../../",
                   page_path);
    ok(tide_file_read(path, &page, &err), &err);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    tide_buf_clear(&page);
    return 0;
}

/* The bytes between "```hex NAME" and "```". */
static struct tide_buf from_page(const char *name)
{
    struct tide_buf out = TIDE_BUF_INIT(65536);
    char fence[100];
    (void)snprintf(fence, sizeof fence, "\n```hex %s\n", name);
    const char *p = strstr(tide_buf_cstr(&page), fence);
    if (p == NULL)
        fail_msg("%s has no vector \"%s\"", page_path, name);
    uint64_t v;
    for (p += strlen(fence); *p != '`'; p += *p == '\n' ? 1 : 2) {
        if (*p != '\n' && tide_parse_hex64(p, 2, &v))
            tide_buf_u8(&out, (uint8_t)v);
    }
    return out;
}

static void the_leaf_is_read(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf b = from_page("leaf");
    struct leaf *want = vectors_leaf(), *l = calloc(1, sizeof *l);
    ok(leaf_decode(b.data, b.len, l, &err), &err);
    assert_int_equal(l->n, want->n);
    for (uint32_t i = 0; i < l->n; i++)
        assert_memory_equal(&l->blocks[i], &want->blocks[i], sizeof l->blocks[i]);
    free(l);
    free(want);
    tide_buf_clear(&b);
}

static void the_patch_is_laid_over_its_base(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf b = from_page("patch");
    struct patch p;
    uint8_t base[TREE_BLOCK], block[2600];
    vectors_patch(base, block);
    ok(patch_decode(b.data, b.len, &p, &err), &err);
    assert_int_equal(p.base_hash[15], 0x2a);
    patch_apply(&p, base, 2048);
    assert_int_equal(p.block_len, sizeof block);
    assert_memory_equal(base, block, sizeof block);
    tide_buf_clear(&b);
}

static void the_nodes_are_read(void **state)
{
    (void)state;
    struct tide_err err = TIDE_ERR_INIT;
    struct table_node n = {.plain = from_page("table-node")}, root = {.plain = from_page("root-node")};
    struct tree_item *i = calloc(1, sizeof *i);
    struct tide_cursor c;
    struct leaf_ref leaf;
    struct pack_ref below;
    const struct pack_ref nine = vectors_ref(0xaa, 9), ten = vectors_ref(0xaa, 10);
    uint32_t here = 0;
    ok(table_node_parse(&root, TABLE_FILES, &err), &err);
    assert_int_equal(root.level, 1);
    assert_true(table_node_child_ref(&root, table_node_child(&root, "base", 4), &below));
    assert_memory_equal(&below, &ten, sizeof ten);
    ok(table_node_parse(&n, TABLE_FILES, &err), &err);
    assert_int_equal(n.n, 2);

    struct table_record r = table_node_record(&n, 0);
    ok(tree_item_decode(&r, i, &c, &here, &err), &err);
    assert_string_equal(i->name, "PG_VERSION");
    assert_string_equal(i->owner, "postgres");
    assert_int_equal(i->layout, TREE_INLINE);
    assert_int_equal(i->size, 3);
    assert_int_equal(i->mode, 0600);
    assert_int_equal(i->block.base.frame.number, 1);

    r = table_node_record(&n, 1);
    ok(tree_item_decode(&r, i, &c, &here, &err), &err);
    assert_string_equal(i->name, "base/5/1259");
    assert_int_equal(i->flags, TIDE_FILE_MAY_VANISH | TIDE_FILE_INSPECT);
    assert_int_equal(here, 2);
    ok(tree_leaf_ref_read(&c, &leaf, &err), &err);
    assert_int_equal(leaf.kind, LEAF_STORED);
    assert_memory_equal(&leaf.ref, &nine, sizeof nine);
    ok(tree_leaf_ref_read(&c, &leaf, &err), &err);
    assert_int_equal(leaf.kind, LEAF_ZERO);
    assert_int_equal(c.left, 0);
    free(i);
    free(n.offsets);
    free(root.offsets);
    tide_buf_clear(&n.plain);
    tide_buf_clear(&root.plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_leaf_is_read),
        cmocka_unit_test(the_patch_is_laid_over_its_base),
        cmocka_unit_test(the_nodes_are_read),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
