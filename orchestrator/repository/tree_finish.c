#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/failpoint.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/tree_internal.h"

#include <stdlib.h>
#include <string.h>

#define PACKS_MEMORY (8u << 20)
#define TABLE_ROOM   (8u << 20) /* for a pack table: some 300,000 packs, 14 TB of stored bytes */

/* The file that the records now belong to. */
struct merge {
    struct tree_writer *w;
    struct table_writer *files;
    struct sorter *packs; /* pack id: bytes */
    struct backup_totals *totals;
    struct tree_item item;
    bool open, skip;
    uint32_t seq, next_leaf, part;
    struct tide_buf value; /* of the part that is being gathered */
};

/* ------------------------------------------------------------------ the file table */

static tide_status add_bytes(struct merge *m, const uint8_t *pack, uint64_t bytes, struct tide_err *err)
{
    uint8_t value[8];
    tide_put_be64(value, bytes);
    return sorter_add(m->packs, pack, OBJECT_ID_SIZE, value, sizeof value, err);
}

static tide_status take_usage(struct merge *m, struct tide_cursor *c, struct tide_err *err)
{
    uint16_t n = tide_read_be16(c);
    for (uint16_t i = 0; i < n; i++) {
        const uint8_t *pack = tide_read_bytes(c, OBJECT_ID_SIZE);
        uint64_t bytes = tide_read_be64(c);
        tide_assert(!c->bad);
        tide_status s = m->skip ? TIDE_OK : add_bytes(m, pack, bytes, err);
        if (s != TIDE_OK)
            return s;
    }
    return TIDE_OK;
}

static tide_status write_part(struct merge *m, struct tide_err *err)
{
    uint8_t key[TABLE_KEY_MAX];
    tide_status s = tide_buf_check(&m->value, "an entry", err);
    if (s != TIDE_OK)
        return s;
    size_t len = tree_item_key(m->item.name, m->part, key);
    s = table_writer_add(m->files, key, len, m->value.data, m->value.len, err);
    tide_buf_reset(&m->value);
    m->part++;
    return s;
}

/* The file's last record is complete. */
static tide_status close_item(struct merge *m, struct tide_err *err)
{
    if (!m->open || m->skip)
        return TIDE_OK;
    m->open = false;
    if (m->next_leaf != m->item.n_leaves)
        return tide_fail(err, TIDE_IO, "leaf %u of \"%s\" was not written", m->next_leaf, m->item.name);
    return m->part == 0 || m->value.len > 0 ? write_part(m, err) : TIDE_OK;
}

static tide_status open_item(struct merge *m, const struct sorter_record *r, size_t name_len, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(r->value, r->value_len), rest;
    uint32_t here = 0;
    uint8_t key[TABLE_KEY_MAX];
    m->skip = tide_read_u8(&c) != 0;
    tide_status s = take_usage(m, &c, err);
    if (s != TIDE_OK)
        return s;
    /* What follows is the entry as it stands in the table. */
    memcpy(key, r->key, name_len + 1);
    tide_put_be32(key + name_len + 1, 0);
    const struct table_record rec = {.key = key, .key_len = name_len + 5, .value = c.p, .value_len = c.left};
    s = tree_item_decode(&rec, &m->item, &rest, &here, err);
    if (s != TIDE_OK)
        return s;
    tide_buf_reset(&m->value);
    tide_buf_append(&m->value, c.p, c.left);
    m->open = true;
    m->next_leaf = m->part = 0;
    if (!m->skip && m->item.kind == TIDE_FILE_REGULAR) {
        m->totals->files++;
        m->totals->bytes += m->item.size;
    }
    return TIDE_OK;
}

static tide_status add_leaf(struct merge *m, const struct sorter_record *r, uint32_t leaf, struct tide_err *err)
{
    struct tide_cursor c = tide_cursor_of(r->value, r->value_len);
    struct leaf_ref ref;
    /* Behind the end of a file that became shorter, or of an earlier hand-over that was longer. */
    if (m->skip || leaf >= m->item.n_leaves)
        return TIDE_OK;
    if (leaf != m->next_leaf)
        return tide_fail(err, TIDE_IO, "leaf %u of \"%s\" was not written", m->next_leaf, m->item.name);
    tide_status s = TIDE_OK;
    if (leaf > 0 && leaf % TREE_PART_LEAVES == 0)
        s = write_part(m, err);
    if (s == TIDE_OK)
        s = tree_leaf_ref_read(&c, &ref, err);
    if (s != TIDE_OK)
        return s;
    tree_leaf_ref_encode(&ref, &m->value);
    m->next_leaf++;
    return take_usage(m, &c, err);
}

static tide_status take_record(struct merge *m, const struct sorter_record *r, struct tide_err *err)
{
    size_t name_len = r->key_len - 9;
    uint32_t seq = tide_get_be32(r->key + name_len + 1), index = tide_get_be32(r->key + name_len + 5);
    bool same = m->open && strlen(m->item.name) == name_len && memcmp(m->item.name, r->key, name_len) == 0;
    if (same)
        return seq != m->seq || index == 0 ? TIDE_OK : add_leaf(m, r, index - 1, err);
    tide_status s = close_item(m, err);
    if (s != TIDE_OK)
        return s;
    if (index != 0)
        return tide_fail(err, TIDE_IO, "the entry of \"%.*s\" was not written", (int)name_len, (const char *)r->key);
    m->seq = seq;
    return open_item(m, r, name_len, err);
}

static tide_status merge_records(struct merge *m, struct tide_err *err)
{
    struct sorter_record r;
    tide_status s = sorter_rewind(m->w->records, err);
    while (s == TIDE_OK) {
        s = sorter_next(m->w->records, &r, err);
        if (s == TIDE_OK)
            s = take_record(m, &r, err);
        if (s == TIDE_OK)
            s = tree_check_cancel(m->w, err);
    }
    return s == TIDE_NOT_FOUND ? close_item(m, err) : s;
}

static bool node_is_usable(void *ctx, const struct pack_ref *ref)
{
    return known_packs_usable(ctx, ref);
}

static tide_status write_files(struct merge *m, struct tree_lane *l, struct pack_ref *root, struct tide_err *err)
{
    struct pack_usage u = {0};
    const struct table_writer_options o = {.type = TABLE_FILES,
                                           .pack = l->pack,
                                           .seed = m->w->seed,
                                           .old = m->w->old_files,
                                           .old_reader = l->reader,
                                           .usable = node_is_usable,
                                           .usable_ctx = &m->w->known};
    tide_status s = table_writer_new(&o, &m->files, err);
    if (s == TIDE_OK)
        s = merge_records(m, err);
    if (s == TIDE_OK)
        s = table_writer_finish(m->files, root, &u, err);
    for (size_t i = 0; s == TIDE_OK && i < u.n; i++)
        s = add_bytes(m, u.items[i].pack, u.items[i].bytes, err);
    pack_usage_clear(&u);
    return s;
}

/* ------------------------------------------------------------------ the pack table */

struct buried {
    struct known_packs packs; /* sizes mean nothing here */
};

static tide_status note_buried(void *ctx, const uint8_t id[OBJECT_ID_SIZE], struct tide_err *err)
{
    struct buried *b = ctx;
    if (b->packs.n == b->packs.size) {
        size_t size = b->packs.size == 0 ? 64 : 2 * b->packs.size;
        struct known_pack *items = realloc(b->packs.items, size * sizeof *items);
        if (items == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for tombstones");
        b->packs.items = items;
        b->packs.size = size;
    }
    memcpy(b->packs.items[b->packs.n++].id, id, OBJECT_ID_SIZE);
    return TIDE_OK;
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(((const struct known_pack *)a)->id, ((const struct known_pack *)b)->id, OBJECT_ID_SIZE);
}

/* Retention may have laid a tombstone on what we refer to since we looked first. */
static tide_status check_not_buried(const struct tree_writer *w, const struct buried *b, const uint8_t *id,
                                    struct tide_err *err)
{
    struct known_pack key = {.size = 0};
    memcpy(key.id, id, sizeof key.id);
    if (b->packs.n == 0 || bsearch(&key, b->packs.items, b->packs.n, sizeof key, compare_ids) == NULL)
        return TIDE_OK;
    const struct known_pack *known =
        w->known.n == 0 ? NULL : bsearch(&key, w->known.items, w->known.n, sizeof key, compare_ids);
    if (known != NULL && known->size == UINT64_MAX) /* repacked: the tombstone is for the old copy */
        return TIDE_OK;
    char pack[REPO_KEY_MAX];
    pack_key(w->instance, id, pack);
    tide_status s =
        tide_fail(err, TIDE_AGAIN, "\"%s\", whose blocks this backup reuses, is about to be deleted", pack);
    return tide_hint(err, s, "Run the backup again: it will store these blocks anew.");
}

static tide_status write_pack(struct merge *m, struct table_writer *t, const struct buried *b, const uint8_t *id,
                              uint64_t bytes, struct tide_err *err)
{
    uint8_t value[8];
    tide_status s = check_not_buried(m->w, b, id, err);
    if (s != TIDE_OK)
        return s;
    tide_put_be64(value, bytes);
    m->totals->packs++;
    m->totals->stored_bytes += bytes;
    return table_writer_add(t, id, OBJECT_ID_SIZE, value, sizeof value, err);
}

/* Sums what the sorter has for each pack. */
static tide_status merge_packs(struct merge *m, struct table_writer *t, const struct buried *b, struct tide_err *err)
{
    struct sorter_record r;
    uint8_t id[OBJECT_ID_SIZE];
    uint64_t bytes = 0;
    bool any = false;
    tide_status s = sorter_rewind(m->packs, err);
    while (s == TIDE_OK) {
        s = sorter_next(m->packs, &r, err);
        if (s == TIDE_NOT_FOUND)
            return any ? write_pack(m, t, b, id, bytes, err) : TIDE_OK;
        if (s != TIDE_OK)
            return s;
        if (any && memcmp(id, r.key, sizeof id) != 0) {
            s = write_pack(m, t, b, id, bytes, err);
            bytes = 0;
        }
        memcpy(id, r.key, sizeof id);
        bytes += tide_get_be64(r.value);
        any = true;
    }
    return s;
}

static tide_status write_packs(struct merge *m, struct tree_lane *l, struct pack_ref *root, struct tide_err *err)
{
    struct buried b = {.packs = {0}};
    struct pack_usage u = {0};
    struct table_writer *t = NULL;
    uint8_t id[OBJECT_ID_SIZE];
    const struct table_writer_options o = {.type = TABLE_PACKS, .pack = l->pack, .seed = m->w->seed};
    tide_status s = tombstoned_packs(m->w->o.repo, m->w->instance, note_buried, &b, err);
    if (s == TIDE_OK && b.packs.n > 0)
        qsort(b.packs.items, b.packs.n, sizeof *b.packs.items, compare_ids);
    /* The table names the pack that it lies in: nothing else tells the collector of garbage about that pack. */
    if (s == TIDE_OK)
        s = pack_writer_hold(l->pack, TABLE_ROOM, id, err);
    if (s == TIDE_OK)
        s = add_bytes(m, id, 0, err);
    if (s == TIDE_OK)
        s = table_writer_new(&o, &t, err);
    if (s == TIDE_OK)
        s = merge_packs(m, t, &b, err);
    if (s == TIDE_OK)
        s = table_writer_finish(t, root, &u, err);
    for (size_t i = 0; s == TIDE_OK && i < u.n; i++)
        m->totals->stored_bytes += u.items[i].bytes;
    table_writer_free(t);
    pack_usage_clear(&u);
    known_packs_clear(&b.packs);
    return s;
}

/* ------------------------------------------------------------------ all of it */

/* The tables go where a pack is open already: a small backup is then one or two objects. */
static struct tree_lane *table_lane(struct tree_writer *w)
{
    struct tree_lane *best = &w->lanes[w->n_lanes - 1];
    for (unsigned i = 0; i < w->n_lanes; i++) {
        if (pack_writer_open_size(w->lanes[i].pack) > pack_writer_open_size(best->pack))
            best = &w->lanes[i];
    }
    return best;
}

static tide_status write_tables(struct merge *m, struct backup *b, struct tide_err *err)
{
    struct tree_writer *w = m->w;
    struct tree_lane *l = table_lane(w);
    tide_status s = TIDE_OK;
    for (unsigned i = 0; s == TIDE_OK && i < w->n_lanes; i++) {
        if (&w->lanes[i] != l)
            s = pack_writer_flush(w->lanes[i].pack, err);
    }
    if (s == TIDE_OK)
        s = write_files(m, l, &b->files, err);
    if (s == TIDE_OK)
        s = write_packs(m, l, &b->packs, err);
    if (s == TIDE_OK)
        s = pack_writer_flush(l->pack, err);
    for (unsigned i = 0; s == TIDE_OK && i < w->n_lanes; i++)
        s = pack_writer_wait(w->lanes[i].pack, err);
    return s;
}

static tide_status fill_backup(struct tree_writer *w, const struct backup_totals *t, struct backup *b,
                               struct tide_err *err)
{
    char *damage = NULL;
    if (json_array_size(w->damage) > 0) {
        damage = json_dumps(w->damage, JSON_COMPACT);
        if (damage == NULL)
            return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the list of damaged pages");
    }
    free(b->damage);
    b->damage = damage;
    b->totals = *t;
    b->totals.new_packs = atomic_load(&w->counters.packs);
    b->totals.new_bytes = atomic_load(&w->counters.bytes);
    b->totals.damaged_pages = w->damaged_pages;
    b->hash_epoch = w->hash_epoch;
    return TIDE_OK;
}

static void merge_free(struct merge *m)
{
    table_writer_free(m->files);
    sorter_free(m->packs);
    tide_buf_clear(&m->value);
    free(m);
}

tide_status tree_writer_finish(struct tree_writer *w, struct backup *b, struct tide_err *err)
{
    struct backup_totals totals = {0};
    tide_status s = tree_writer_drain(w, err);
    if (s != TIDE_OK)
        return s;
    if (w->n_streams > 0)
        return tide_fail(err, TIDE_INVALID, "%u files came in pieces and were not ended", w->n_streams);
    TIDE_FAILPOINT("backup-before-tables", err);
    struct merge *m = calloc(1, sizeof *m);
    if (m == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for the tables");
    m->w = w;
    m->totals = &totals;
    m->value.max = TABLE_VALUE_MAX;
    s = sorter_new(PACKS_MEMORY, NULL, &m->packs, err);
    if (s == TIDE_OK)
        s = write_tables(m, b, err);
    if (s == TIDE_OK)
        s = fill_backup(w, &totals, b, err);
    merge_free(m);
    if (atomic_load(&w->unreadable) > 0)
        TIDE_LOG(TIDE_LOG_WARN, "backup.parent.not_compared", TIDE_U64("ranges", atomic_load(&w->unreadable)));
    return s == TIDE_OK ? s : tide_wrap(err, s, "finishing the backup");
}
