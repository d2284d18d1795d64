#include "wal/refset.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN 1024u

void refset_init(struct refset *s, size_t max)
{
    *s = (struct refset){.max = max};
}

void refset_clear(struct refset *s)
{
    free(s->items);
    s->items = NULL;
    s->n = s->cap = 0;
}

int refset_compare(const struct tide_block_ref *a, const struct tide_block_ref *b)
{
    if (a->space != b->space)
        return a->space < b->space ? -1 : 1;
    if (a->database != b->database)
        return a->database < b->database ? -1 : 1;
    if (a->relation != b->relation)
        return a->relation < b->relation ? -1 : 1;
    if (a->fork != b->fork)
        return a->fork < b->fork ? -1 : 1;
    return a->block < b->block ? -1 : a->block > b->block;
}

static int compare_items(const void *a, const void *b)
{
    return refset_compare(a, b);
}

void refset_sort(struct refset *s)
{
    size_t kept = 0;

    if (s->n < 2)
        return;
    qsort(s->items, s->n, sizeof *s->items, compare_items);
    for (size_t i = 1; i < s->n; i++)
        if (refset_compare(&s->items[kept], &s->items[i]) != 0)
            s->items[++kept] = s->items[i];
    s->n = kept + 1;
}

static tide_status make_room(struct refset *s, struct tide_err *err)
{
    /* Log touches the same pages again and again: sorting usually frees more than it costs. */
    if (s->n >= CAP_MIN)
        refset_sort(s);
    if (s->n < s->cap - s->cap / 4)
        return TIDE_OK;
    size_t cap = s->cap == 0 ? CAP_MIN : s->cap * 2;
    if (cap > s->max)
        cap = s->max;
    if (cap <= s->n)
        return tide_fail(err, TIDE_FULL, "more than %zu different block references", s->max);
    struct tide_block_ref *items = realloc(s->items, cap * sizeof *items);
    if (items == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for block references");
    s->items = items;
    s->cap = cap;
    return TIDE_OK;
}

tide_status refset_add(struct refset *s, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (s->n > 0 && refset_compare(&s->items[s->n - 1], &refs[i]) == 0)
            continue;
        if (s->n == s->cap) {
            tide_status st = make_room(s, err);
            if (st != TIDE_OK)
                return st;
        }
        s->items[s->n++] = refs[i];
    }
    return TIDE_OK;
}
