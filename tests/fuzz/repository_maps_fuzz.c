/* What packs hold about files: leaves, patches, nodes of tables, entries, notes.  The first byte chooses.  A leaf
 * that decodes comes back from its own encoding; keys of a node are found where they are. */

#include "orchestrator/repository/blockmap.h"
#include "orchestrator/repository/table_node.h"
#include "orchestrator/repository/tree_item.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_leaf(const uint8_t *data, size_t size)
{
    static struct leaf l, again;
    struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    if (leaf_decode(data, size, &l, NULL) == TIDE_OK) {
        leaf_encode(&l, &b);
        if (leaf_decode(b.data, b.len, &again, NULL) != TIDE_OK || again.n != l.n ||
            memcmp(l.blocks, again.blocks, l.n * sizeof l.blocks[0]) != 0)
            abort();
    }
    tide_buf_clear(&b);
}

static void fuzz_patch(const uint8_t *data, size_t size)
{
    static uint8_t block[TREE_BLOCK];
    struct patch p;
    if (patch_decode(data, size, &p, NULL) == TIDE_OK)
        patch_apply(&p, block, size % TREE_BLOCK);
}

static void fuzz_entry(const struct table_record *r)
{
    static struct tree_item i;
    struct tide_cursor c;
    struct leaf_ref l;
    uint32_t here = 0;
    if (tree_item_decode(r, &i, &c, &here, NULL) != TIDE_OK)
        return;
    if (tree_name_check(i.name, NULL) != TIDE_OK || strlen(i.link) >= TREE_NAME_MAX)
        abort();
    while (here-- > 0 && tree_leaf_ref_read(&c, &l, NULL) == TIDE_OK)
        ;
    if (tree_part_decode(r, &i, 1, &c, &here, NULL) != TIDE_OK)
        return; /* refused, as most inputs are */
}

static void fuzz_node(const uint8_t *data, size_t size)
{
    struct table_node n = {.plain = TIDE_BUF_INIT(FRAME_MAX_PLAIN)};
    struct pack_ref ref;
    tide_buf_append(&n.plain, data, size);
    if (table_node_parse(&n, TABLE_FILES, NULL) == TIDE_OK) {
        for (uint32_t i = 0; i < n.n; i++) {
            struct table_record r = table_node_record(&n, i);
            if (table_node_lower(&n, r.key, r.key_len) != i || table_node_child(&n, r.key, r.key_len) != i)
                abort();
            if (n.level > 0 && !table_node_child_ref(&n, i, &ref))
                abort();
            fuzz_entry(&r);
        }
    }
    free(n.offsets);
    tide_buf_clear(&n.plain);
}

static void fuzz_notes(const uint8_t *data, size_t size)
{
    static struct pack_note note;
    struct tide_cursor c;
    struct pack_ref ref;
    uint32_t epoch = 0;
    tide_status s = pack_notes_begin(data, size, &epoch, &c, NULL);
    while (s == TIDE_OK) {
        s = pack_notes_next(&c, &note, NULL);
        for (uint32_t i = 0; s == TIDE_OK && i < note.n; i++)
            (void)pack_note_block(&note, i, &ref);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    switch (data[0] % 4) {
    case 0:
        fuzz_leaf(data + 1, size - 1);
        break;
    case 1:
        fuzz_patch(data + 1, size - 1);
        break;
    case 2:
        fuzz_node(data + 1, size - 1);
        break;
    default:
        fuzz_notes(data + 1, size - 1);
    }
    return 0;
}
