#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/tree_item.h"

#include <stdlib.h>
#include <string.h>

struct tree_scan {
    struct table_cursor *cursor;
    struct tree_item item;
    uint32_t next_leaf, part, here; /* of item; here: leaves left in this part */
    struct tide_cursor leaves;
    struct table_record ahead; /* read already, not given out */
    bool have_ahead;
    table_bad_fn *bad;
};

tide_status tree_scan_new(struct table *files, struct pack_reader *r, const char *from, struct tree_scan **out,
                          struct tide_err *err)
{
    struct tree_scan *s = calloc(1, sizeof *s);
    uint8_t key[TABLE_KEY_MAX];
    if (s == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for reading a file table");
    size_t len = from == NULL ? 0 : tree_item_key(from, 0, key);
    tide_status st = table_cursor_new(files, r, from == NULL ? NULL : key, len, &s->cursor, err);
    if (st != TIDE_OK) {
        free(s);
        return st;
    }
    *out = s;
    return TIDE_OK;
}

void tree_scan_free(struct tree_scan *s)
{
    if (s == NULL)
        return;
    table_cursor_free(s->cursor);
    free(s);
}

void tree_scan_skip_bad(struct tree_scan *s, table_bad_fn *bad, void *ctx)
{
    s->bad = bad;
    table_cursor_skip_bad(s->cursor, bad, ctx);
}

static bool is_first_part(const struct table_record *r)
{
    return r->key_len > 4 && tide_get_be32(r->key + r->key_len - 4) == 0;
}

static tide_status next_record(struct tree_scan *s, struct table_record *r, struct tide_err *err)
{
    if (s->have_ahead) {
        s->have_ahead = false;
        *r = s->ahead;
        return TIDE_OK;
    }
    return table_cursor_next(s->cursor, r, err);
}

tide_status tree_scan_next(struct tree_scan *s, const struct tree_item **item, struct tide_err *err)
{
    struct table_record r;
    tide_status st = next_record(s, &r, err);
    /* Parts of the entry before that nobody wanted to read, or whose beginning lies in a bad node. */
    while (st == TIDE_OK && !is_first_part(&r))
        st = next_record(s, &r, err);
    if (st == TIDE_OK)
        st = tree_item_decode(&r, &s->item, &s->leaves, &s->here, err);
    if (st != TIDE_OK)
        return st;
    s->part = s->next_leaf = 0;
    *item = &s->item;
    return TIDE_OK;
}

static tide_status next_part(struct tree_scan *s, struct tide_err *err)
{
    struct table_record r;
    struct tide_err why = TIDE_ERR_INIT;
    tide_status st = next_record(s, &r, err);
    if (st == TIDE_OK) {
        st = tree_part_decode(&r, &s->item, ++s->part, &s->leaves, &s->here, &why);
        if (st == TIDE_OK)
            return TIDE_OK;
        s->ahead = r; /* of another entry */
        s->have_ahead = true;
    } else if (st == TIDE_NOT_FOUND) {
        st = tide_fail(&why, TIDE_CORRUPT, "part %u of \"%s\" is missing in a file table", s->part + 1, s->item.name);
    } else {
        return st;
    }
    /* It lay in a bad node, which was told already. */
    if (s->bad != NULL) {
        s->next_leaf = s->item.n_leaves;
        return TIDE_NOT_FOUND;
    }
    if (err != NULL)
        *err = why;
    return st;
}

tide_status tree_scan_leaf(struct tree_scan *s, struct leaf_ref *l, struct tide_err *err)
{
    if (s->next_leaf == s->item.n_leaves)
        return TIDE_NOT_FOUND;
    if (s->here == 0) {
        tide_status st = next_part(s, err);
        if (st != TIDE_OK)
            return st;
    }
    tide_status st = tree_leaf_ref_read(&s->leaves, l, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "the entry of \"%s\"", s->item.name);
    s->here--;
    s->next_leaf++;
    return TIDE_OK;
}
