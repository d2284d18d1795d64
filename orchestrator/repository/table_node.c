#include "orchestrator/repository/table_node.h"
#include "orchestrator/repository/blockmap.h"
#include "orchestrator/repository/sorter.h"

#include <stdlib.h>

#define RECORD_HEAD 6u

void table_node_head(uint8_t out[NODE_HEAD], uint8_t level, enum table_type type, uint32_t n)
{
    out[0] = NODE_VERSION;
    out[1] = level;
    tide_put_be16(out + 2, (uint16_t)type);
    tide_put_be32(out + 4, n);
}

void table_record_encode(struct tide_buf *out, const void *key, size_t key_len, const void *value, size_t value_len)
{
    tide_buf_be16(out, (uint16_t)key_len);
    tide_buf_be32(out, (uint32_t)value_len);
    tide_buf_append(out, key, key_len);
    tide_buf_append(out, value, value_len);
}

struct table_record table_node_record(const struct table_node *n, uint32_t i)
{
    const uint8_t *p = n->plain.data + n->offsets[i];
    struct table_record r = {.key_len = tide_get_be16(p), .value_len = tide_get_be32(p + 2)};
    r.key = p + RECORD_HEAD;
    r.value = r.key + r.key_len;
    return r;
}

/* Finds where records begin; each key must be greater than the one before. */
static tide_status index_records(struct table_node *n, struct tide_cursor *c, struct tide_err *err)
{
    for (uint32_t i = 0; i < n->n; i++) {
        n->offsets[i] = (uint32_t)(n->plain.len - c->left);
        size_t key_len = tide_read_be16(c);
        size_t value_len = tide_read_be32(c);
        (void)tide_read_bytes(c, key_len);
        (void)tide_read_bytes(c, value_len);
        if (c->bad || (n->level > 0 && value_len < PACK_REF_SIZE))
            return tide_fail(err, TIDE_CORRUPT, "record %u of a table's node is not valid", i);
        if (i == 0)
            continue;
        struct table_record a = table_node_record(n, i - 1), b = table_node_record(n, i);
        if (sorter_compare(a.key, a.key_len, b.key, b.key_len) >= 0)
            return tide_fail(err, TIDE_CORRUPT, "record %u of a table's node is out of order", i);
    }
    return c->left == 0 ? TIDE_OK : tide_fail(err, TIDE_CORRUPT, "a table's node has bytes behind its records");
}

tide_status table_node_parse(struct table_node *n, enum table_type type, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(n->plain.data, n->plain.len);
    uint8_t version = tide_read_u8(&c);
    n->level = tide_read_u8(&c);
    uint16_t its_type = tide_read_be16(&c);
    n->n = tide_read_be32(&c);
    if (!c.bad && version != NODE_VERSION)
        return tide_fail(err, TIDE_UNSUPPORTED, "a table's node has version %u", version);
    if (c.bad || n->level >= NODE_LEVELS || its_type != type || n->n > c.left / RECORD_HEAD)
        return tide_fail(err, TIDE_CORRUPT, "the head of a table's node is not valid");
    n->offsets = malloc((n->n == 0 ? 1 : n->n) * sizeof *n->offsets);
    if (n->offsets == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for a table's node");
    return index_records(n, &c, err);
}

uint32_t table_node_lower(const struct table_node *n, const void *key, size_t key_len)
{
    uint32_t low = 0, high = n->n;
    while (low < high) {
        uint32_t mid = low + (high - low) / 2;
        struct table_record r = table_node_record(n, mid);
        if (sorter_compare(r.key, r.key_len, key, key_len) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint32_t table_node_child(const struct table_node *n, const void *key, size_t key_len)
{
    uint32_t i = table_node_lower(n, key, key_len);
    if (i < n->n) {
        struct table_record r = table_node_record(n, i);
        if (sorter_compare(r.key, r.key_len, key, key_len) == 0)
            return i;
    }
    return i == 0 ? 0 : i - 1;
}

bool table_node_child_ref(const struct table_node *n, uint32_t i, struct pack_ref *ref)
{
    struct table_record r = table_node_record(n, i);
    struct tide_cursor c = tide_cursor_of(r.value, r.value_len);
    pack_ref_read(&c, ref);
    return !c.bad;
}
