/* pack_*.c, relocation.c, tree_blocks.c: frames in packs, wherever they lie now. */

#include "tests/support/repository.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/repository/relocation.h"
#include "orchestrator/repository/tree_blocks.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define INSTANCE "shop"
#define FRAMES   40u

struct fixture {
    struct test_repo *t;
    struct pack_counters counters;
    struct pack_writer *pack;
    struct pack_source *source;
    struct pack_reader *reader;
    struct pack_ref refs[FRAMES];
};

static void ok(tide_status s, const struct tide_err *err)
{
    if (s != TIDE_OK)
        fail_msg("%s: %s", tide_status_name(s), err->msg);
}

static size_t frame_len(unsigned i)
{
    return i % 5 == 0 ? TREE_BLOCK : 1000 + 997 * i;
}

static void fill(unsigned i, uint8_t *out)
{
    uint64_t x = i + 1;
    for (size_t k = 0; k < TREE_BLOCK; k++) {
        x = x * UINT64_C(6364136223846793005) + 1;
        out[k] = (uint8_t)(x >> 56);
    }
}

static void append(struct fixture *f, enum frame_kind kind, const void *plain, size_t len, struct pack_ref *ref)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t hash[FRAME_HASH_SIZE];
    frame_hash(pack_source_seed(f->source), plain, len, hash);
    ok(pack_writer_append(f->pack, kind, plain, len, hash, ref, &err), &err);
}

static void commit(struct fixture *f)
{
    struct tide_err err = TIDE_ERR_INIT;
    ok(pack_writer_flush(f->pack, &err), &err);
    ok(pack_writer_wait(f->pack, &err), &err);
}

static int set_up_with(void **state, bool encrypted)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    f->t = test_repo_new(encrypted);
    const struct pack_writer_options o = {.repo = f->t->repo,
                                          .instance = INSTANCE,
                                          .backup = "20261122T101530Z-1f2e3d4c",
                                          .hash_epoch = repo_epoch(f->t->repo),
                                          .counters = &f->counters};
    ok(pack_writer_new(&o, &f->pack, &err), &err);
    ok(pack_source_new(f->t->repo, INSTANCE, o.hash_epoch, &f->source, &err), &err);
    ok(pack_reader_new(f->source, &f->reader, &err), &err);
    *state = f;
    return 0;
}

static int set_up(void **state)
{
    return set_up_with(state, true);
}

static int set_up_plain(void **state)
{
    return set_up_with(state, false);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    pack_writer_free(f->pack);
    pack_reader_free(f->reader);
    pack_source_free(f->source);
    test_repo_free(f->t);
    free(f);
    return 0;
}

static void write_frames(struct fixture *f)
{
    uint8_t *plain = malloc(TREE_BLOCK);
    for (unsigned i = 0; i < FRAMES; i++) {
        fill(i, plain);
        append(f, FRAME_DATA, plain, frame_len(i), &f->refs[i]);
        pack_writer_note(f->pack, i < 25 ? "base/1/2" : "base/1/3", i < 10 ? 0 : 1, i, &f->refs[i]);
    }
    commit(f);
    free(plain);
}

struct bad {
    unsigned n;
    char key[REPO_KEY_MAX];
    tide_status status;
};

static void note_bad(void *ctx, const struct pack_want *want, const char *key, const struct tide_err *why)
{
    struct bad *b = ctx;
    (void)want;
    b->n++;
    b->status = why->status;
    (void)snprintf(b->key, sizeof b->key, "%s", key);
}

/* All frames by one call; those that come must be right.  Returns how many came. */
static unsigned fetch_all(struct fixture *f, struct bad *bad)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t *out = malloc((size_t)FRAMES * TREE_BLOCK), *want = malloc(TREE_BLOCK);
    struct pack_want wants[FRAMES];
    unsigned came = 0;
    for (unsigned i = 0; i < FRAMES; i++)
        wants[i] = (struct pack_want){.ref = &f->refs[FRAMES - 1 - i],
                                      .hash = f->refs[FRAMES - 1 - i].hash,
                                      .out = out + (size_t)i * TREE_BLOCK,
                                      .size = TREE_BLOCK,
                                      .kind = FRAME_DATA};
    ok(pack_reader_fetch(f->reader, wants, FRAMES, bad == NULL ? NULL : note_bad, bad, &err), &err);
    for (unsigned i = 0; i < FRAMES; i++) {
        if (wants[i].failed)
            continue;
        fill(FRAMES - 1 - i, want);
        assert_int_equal(wants[i].len, frame_len(FRAMES - 1 - i));
        assert_memory_equal(wants[i].out, want, wants[i].len);
        came++;
    }
    free(out);
    free(want);
    return came;
}

static void frames_come_back_with_few_requests(void **state)
{
    struct fixture *f = *state;
    write_frames(f);
    uint64_t before = store_counters(repo_store(f->t->repo)).gets;
    assert_int_equal(fetch_all(f, NULL), FRAMES);
    assert_true(store_counters(repo_store(f->t->repo)).gets - before <= 3);
    before = store_counters(repo_store(f->t->repo)).gets;
    struct tide_buf one = TIDE_BUF_INIT(TREE_BLOCK);
    struct tide_err err = TIDE_ERR_INIT;
    ok(pack_reader_frame(f->reader, &f->refs[7], FRAME_DATA, f->refs[7].hash, &one, &err), &err);
    assert_int_equal(store_counters(repo_store(f->t->repo)).gets - before, 1);
    tide_buf_clear(&one);
}

static void full_packs_are_closed(void **state)
{
    struct fixture *f = *state;
    uint8_t *plain = malloc(TREE_BLOCK);
    struct pack_ref first, last;
    for (unsigned i = 0; i < 1000; i++) {
        fill(i, plain);
        append(f, FRAME_DATA, plain, TREE_BLOCK, i == 0 ? &first : &last);
    }
    commit(f);
    assert_memory_not_equal(first.pack, last.pack, OBJECT_ID_SIZE);
    assert_int_equal(atomic_load(&f->counters.packs), 3);
    assert_true(atomic_load(&f->counters.bytes) / 3 < 64u << 20);
    free(plain);
}

static void notes_tell_what_a_pack_holds(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf notes = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    struct object_reader *o = NULL;
    struct frame_coder *coder = NULL;
    struct frame_ref *refs = NULL;
    struct tide_cursor c;
    struct pack_note *note = malloc(sizeof *note);
    char key[REPO_KEY_MAX];
    uint32_t epoch = 99, groups = 0, blocks = 0;
    size_t n = 0;
    write_frames(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    ok(frame_coder_new(FRAME_ZSTD, 3, &coder, &err), &err);
    ok(object_reader_open(f->t->repo, key, OBJECT_PACK, &o, &err), &err);
    assert_memory_equal(object_reader_header(o)->ext, "20261122T101530Z-1f2e3d4c", 25);
    ok(object_reader_index(o, coder, &refs, &n, &err), &err);
    assert_int_equal(n, FRAMES + 1);
    ok(object_reader_frame(o, coder, &refs[n - 1], &notes, NULL, &err), &err);
    ok(pack_notes_begin(notes.data, notes.len, &epoch, &c, &err), &err);
    assert_int_equal(epoch, repo_epoch(f->t->repo));
    for (tide_status s = pack_notes_next(&c, note, &err); s != TIDE_NOT_FOUND; s = pack_notes_next(&c, note, &err)) {
        ok(s, &err);
        assert_string_equal(note->name, groups < 2 ? "base/1/2" : "base/1/3");
        assert_int_equal(note->leaf, groups == 0 ? 0 : 1);
        for (uint32_t i = 0; i < note->n; i++, blocks++) {
            struct pack_ref ref = {.frame = {.number = 0}};
            assert_int_equal(pack_note_block(note, i, &ref), blocks);
            assert_memory_equal(&ref.frame, &f->refs[blocks].frame, sizeof ref.frame);
            assert_memory_equal(ref.hash, f->refs[blocks].hash, sizeof ref.hash);
        }
        groups++;
    }
    assert_int_equal(groups, 3);
    assert_int_equal(blocks, FRAMES);
    for (size_t len = 0; len < notes.len; len += 13) { /* cut anywhere: an error or an end, never a step too far */
        uint8_t *copy = malloc(len + 1);
        memcpy(copy, notes.data, len);
        tide_status s = pack_notes_begin(copy, len, &epoch, &c, &err);
        while (s == TIDE_OK)
            s = pack_notes_next(&c, note, &err);
        free(copy);
    }
    free(note);
    free(refs);
    object_reader_close(o);
    frame_coder_free(coder);
    tide_buf_clear(&notes);
}

/* Notes of blocks give way to the one of their leaf, but only in the group that is open. */
static void a_leaf_is_noted_in_place_of_its_blocks(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf notes = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    struct object_reader *o = NULL;
    struct frame_coder *coder = NULL;
    struct frame_ref *refs = NULL;
    struct tide_cursor c;
    struct pack_note *note = malloc(sizeof *note);
    struct pack_ref ref = {.frame = {.number = 0}};
    uint8_t *plain = malloc(TREE_BLOCK);
    char key[REPO_KEY_MAX];
    uint32_t epoch = 99;
    size_t n = 0;
    for (unsigned i = 0; i < 4; i++) {
        fill(i, plain);
        append(f, FRAME_DATA, plain, frame_len(i), &f->refs[i]);
        if (i < 3)
            pack_writer_note(f->pack, "base/1/2", i == 0 ? 0 : 1, i, &f->refs[i]);
    }
    pack_writer_note_leaf(f->pack, "base/1/2", 1, &f->refs[3]);
    pack_writer_note_leaf(f->pack, "base/1/3", 0, &f->refs[3]);
    commit(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    ok(frame_coder_new(FRAME_ZSTD, 3, &coder, &err), &err);
    ok(object_reader_open(f->t->repo, key, OBJECT_PACK, &o, &err), &err);
    ok(object_reader_index(o, coder, &refs, &n, &err), &err);
    ok(object_reader_frame(o, coder, &refs[n - 1], &notes, NULL, &err), &err);
    ok(pack_notes_begin(notes.data, notes.len, &epoch, &c, &err), &err);
    for (unsigned i = 0; i < 3; i++) {
        ok(pack_notes_next(&c, note, &err), &err);
        assert_string_equal(note->name, i < 2 ? "base/1/2" : "base/1/3");
        assert_int_equal(note->leaf, i == 1 ? 1 : 0);
        assert_int_equal(note->n, 1);
        assert_int_equal(pack_note_block(note, 0, &ref), i == 0 ? 0 : PACK_NOTE_LEAF);
        assert_int_equal(ref.frame.number, i == 0 ? 0 : 3);
    }
    assert_int_equal(pack_notes_next(&c, note, &err), TIDE_NOT_FOUND);
    free(plain);
    free(note);
    free(refs);
    object_reader_close(o);
    frame_coder_free(coder);
    tide_buf_clear(&notes);
}

static void a_flipped_byte_costs_its_frame_only(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20), one = TIDE_BUF_INIT(TREE_BLOCK);
    struct bad bad = {.n = 0};
    char key[REPO_KEY_MAX];
    write_frames(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    test_raw_read(f->t, key, &raw);
    raw.data[f->refs[9].frame.offset + 40] ^= 0x10;
    test_raw_write(f->t, key, raw.data, raw.len);
    assert_int_equal(fetch_all(f, &bad), FRAMES - 1);
    assert_int_equal(bad.n, 1);
    assert_int_equal(bad.status, TIDE_CORRUPT);
    assert_string_equal(bad.key, key);
    assert_int_equal(pack_reader_frame(f->reader, &f->refs[9], FRAME_DATA, NULL, &one, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, key));
    assert_non_null(strstr(err.msg, "frame 9"));
    tide_buf_clear(&raw);
    tide_buf_clear(&one);
}

static void a_flipped_byte_in_the_header_costs_all_frames(void **state)
{
    struct fixture *f = *state;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
    char key[REPO_KEY_MAX];
    write_frames(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    test_raw_read(f->t, key, &raw);
    for (size_t at = 40; at < 96 + 25; at += 9) {
        struct bad bad = {.n = 0};
        struct tide_err err = TIDE_ERR_INIT;
        raw.data[at] ^= 1;
        test_raw_write(f->t, key, raw.data, raw.len);
        raw.data[at] ^= 1;
        pack_reader_free(f->reader); /* which keeps headers */
        pack_source_free(f->source);
        ok(pack_source_new(f->t->repo, INSTANCE, repo_epoch(f->t->repo), &f->source, &err), &err);
        ok(pack_reader_new(f->source, &f->reader, &err), &err);
        assert_int_equal(fetch_all(f, &bad), 0);
        assert_int_equal(bad.n, FRAMES);
        assert_int_equal(bad.status, TIDE_CORRUPT);
    }
    tide_buf_clear(&raw);
}

static void a_cut_pack_still_gives_its_first_frames(void **state)
{
    struct fixture *f = *state;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20);
    struct bad bad = {.n = 0};
    char key[REPO_KEY_MAX];
    write_frames(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    test_raw_read(f->t, key, &raw);
    test_raw_write(f->t, key, raw.data, f->refs[30].frame.offset + 5);
    assert_int_equal(fetch_all(f, &bad), 30);
    assert_int_equal(bad.n, FRAMES - 30);
    assert_int_equal(bad.status, TIDE_CORRUPT);
    tide_buf_clear(&raw);
}

static void a_missing_pack_is_told_as_missing(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf one = TIDE_BUF_INIT(TREE_BLOCK);
    struct bad bad = {.n = 0};
    char key[REPO_KEY_MAX];
    write_frames(f);
    pack_key(INSTANCE, f->refs[0].pack, key);
    ok(store_delete(repo_store(f->t->repo), key, &err), &err);
    assert_int_equal(fetch_all(f, &bad), 0);
    assert_int_equal(bad.n, FRAMES);
    assert_int_equal(bad.status, TIDE_NOT_FOUND);
    assert_int_equal(pack_reader_frame(f->reader, &f->refs[9], FRAME_DATA, NULL, &one, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, key));
    tide_buf_clear(&one);
}

static void a_swapped_reference_is_found(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf one = TIDE_BUF_INIT(TREE_BLOCK);
    write_frames(f);
    struct pack_ref other = f->refs[3];
    assert_int_equal(pack_reader_frame(f->reader, &other, FRAME_DATA, f->refs[4].hash, &one, &err), TIDE_CORRUPT);
    assert_int_equal(pack_reader_frame(f->reader, &other, FRAME_LEAF, other.hash, &one, &err), TIDE_CORRUPT);
    other.frame.number++;
    assert_int_equal(pack_reader_frame(f->reader, &other, FRAME_DATA, other.hash, &one, &err), TIDE_CORRUPT);
    other = f->refs[3];
    other.frame.stored = UINT32_MAX;
    assert_int_equal(pack_reader_frame(f->reader, &other, FRAME_DATA, other.hash, &one, &err), TIDE_CORRUPT);
    other.frame.stored = 5;
    assert_int_equal(pack_reader_frame(f->reader, &other, FRAME_DATA, other.hash, &one, &err), TIDE_CORRUPT);
    assert_int_equal(one.len, 0);
    tide_buf_clear(&one);
}

/* ------------------------------------------------------------------ relocation */

/* What repacking does: frames are copied as they are stored into an object that is otherwise a pack. */
static void repack(struct fixture *f, unsigned first, unsigned last, uint8_t new_id[OBJECT_ID_SIZE])
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20), new = TIDE_BUF_INIT(64 << 20);
    struct object_reader *o = NULL;
    struct object_header h;
    struct frame_ref moved[FRAMES];
    char old_key[REPO_KEY_MAX], new_key[REPO_KEY_MAX];
    pack_key(INSTANCE, f->refs[0].pack, old_key);
    ok(object_reader_open(f->t->repo, old_key, OBJECT_PACK, &o, &err), &err);
    test_raw_read(f->t, old_key, &raw);
    ok(object_header_new(f->t->repo, OBJECT_PACK, "x", 1, &h, &err), &err);
    object_header_encode(&h, &new);
    for (unsigned i = first; i < last; i++) {
        const struct frame_ref *old = &f->refs[i].frame;
        moved[i - first] = (struct frame_ref){.number = old->number, .stored = old->stored, .offset = new.len};
        tide_buf_append(&new, raw.data + old->offset, old->stored);
    }
    memcpy(new_id, h.id, OBJECT_ID_SIZE);
    pack_key(INSTANCE, new_id, new_key);
    test_raw_write(f->t, new_key, new.data, new.len);
    struct relocation m = {.header = *object_reader_header(o), .frames = moved, .n = last - first};
    memcpy(m.pack, new_id, OBJECT_ID_SIZE);
    ok(relocation_put(f->t->repo, INSTANCE, &m, &err), &err);
    ok(store_delete(repo_store(f->t->repo), old_key, &err), &err);
    object_reader_close(o);
    tide_buf_clear(&raw);
    tide_buf_clear(&new);
}

static void repacked_frames_are_found(void **state)
{
    struct fixture *f = *state;
    uint8_t id[OBJECT_ID_SIZE];
    write_frames(f);
    repack(f, 0, FRAMES, id);
    assert_int_equal(fetch_all(f, NULL), FRAMES);
}

static void a_pack_may_be_repacked_while_it_is_open(void **state)
{
    struct fixture *f = *state;
    uint8_t id[OBJECT_ID_SIZE];
    write_frames(f);
    assert_int_equal(fetch_all(f, NULL), FRAMES);
    repack(f, 0, FRAMES, id);
    assert_int_equal(fetch_all(f, NULL), FRAMES);
}

static void a_frame_that_was_left_behind_is_corrupt(void **state)
{
    struct fixture *f = *state;
    uint8_t id[OBJECT_ID_SIZE];
    struct bad bad = {.n = 0};
    char key[REPO_KEY_MAX];
    write_frames(f);
    repack(f, 5, 20, id);
    assert_int_equal(fetch_all(f, &bad), 15);
    assert_int_equal(bad.n, FRAMES - 15);
    assert_int_equal(bad.status, TIDE_CORRUPT);
    pack_key(INSTANCE, id, key);
    assert_string_equal(bad.key, key);
}

static void the_newest_relocation_counts(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    uint8_t first[OBJECT_ID_SIZE];
    struct relocation *m = NULL;
    struct tide_buf raw = TIDE_BUF_INIT(64 << 20), new = TIDE_BUF_INIT(64 << 20);
    char key[REPO_KEY_MAX];
    write_frames(f);
    repack(f, 0, FRAMES, first);
    /* repacked again: the old header stays, places change */
    ok(relocation_load(f->t->repo, INSTANCE, f->refs[0].pack, &m, &err), &err);
    pack_key(INSTANCE, first, key);
    test_raw_read(f->t, key, &raw);
    ok(store_delete(repo_store(f->t->repo), key, &err), &err);
    tide_buf_append(&new, raw.data, 7);
    tide_buf_append(&new, raw.data, raw.len);
    memset(m->pack, 0x5a, sizeof m->pack);
    for (size_t i = 0; i < m->n; i++)
        m->frames[i].offset += 7;
    ok(relocation_put(f->t->repo, INSTANCE, m, &err), &err);
    pack_key(INSTANCE, m->pack, key);
    test_raw_write(f->t, key, new.data, new.len);
    relocation_free(m);
    assert_int_equal(fetch_all(f, NULL), FRAMES);
    tide_buf_clear(&raw);
    tide_buf_clear(&new);
}

static void a_relocation_of_another_pack_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_buf raw = TIDE_BUF_INIT(1 << 20);
    uint8_t id[OBJECT_ID_SIZE], other[OBJECT_ID_SIZE];
    struct relocation *m = NULL;
    char hex[PACK_ID_HEX], key[REPO_KEY_MAX];
    write_frames(f);
    repack(f, 0, FRAMES, id);
    tide_hex(f->refs[0].pack, OBJECT_ID_SIZE, hex);
    (void)snprintf(key, sizeof key, "instances/%s/relocations/%s/00000001", INSTANCE, hex);
    test_raw_read(f->t, key, &raw);
    memset(other, 0x77, sizeof other);
    tide_hex(other, OBJECT_ID_SIZE, hex);
    (void)snprintf(key, sizeof key, "instances/%s/relocations/%s/00000001", INSTANCE, hex);
    test_raw_write(f->t, key, raw.data, raw.len);
    assert_int_equal(relocation_load(f->t->repo, INSTANCE, other, &m, &err), TIDE_CORRUPT);
    assert_int_equal(relocation_load(f->t->repo, INSTANCE, id, &m, &err), TIDE_NOT_FOUND);
    tide_buf_clear(&raw);
}

/* ------------------------------------------------------------------ patched blocks */

struct patched {
    uint8_t base[TREE_BLOCK], block[TREE_BLOCK];
    struct block_entry entry;
};

static void make_patched(struct fixture *f, struct patched *p, size_t base_len, size_t block_len)
{
    struct tide_buf patch = TIDE_BUF_INIT(FRAME_MAX_PLAIN);
    uint64_t seed = pack_source_seed(f->source);
    uint8_t hash[FRAME_HASH_SIZE];
    fill(1, p->base);
    memset(p->block, 0, sizeof p->block);
    memcpy(p->block, p->base, base_len < block_len ? base_len : block_len);
    p->block[3 * 8192 + 17] ^= 1;
    p->block[block_len - 1] = 0x42;
    frame_hash(seed, p->base, base_len, hash);
    patch_encode(p->base, base_len, hash, p->block, block_len, 8192, &patch);
    p->entry.kind = BLOCK_PATCHED;
    append(f, FRAME_DATA, p->base, base_len, &p->entry.base);
    append(f, FRAME_PATCH, patch.data, patch.len, &p->entry.patch);
    frame_hash(seed, p->block, block_len, p->entry.base.hash);
    tide_buf_clear(&patch);
}

static tide_status read_block(struct fixture *f, const struct block_entry *e, size_t len, uint8_t *out,
                              struct tide_err *err)
{
    struct block_reader *b = NULL;
    struct block_job job = {.entry = e, .out = out, .len = len};
    ok(block_reader_new(f->source, &b, err), err);
    tide_status s = block_reader_fetch(b, &job, 1, NULL, NULL, err);
    block_reader_free(b);
    return s;
}

static void patched_blocks_come_back(void **state)
{
    struct fixture *f = *state;
    static const size_t lens[][2] = {
        {TREE_BLOCK, TREE_BLOCK}, {40000, TREE_BLOCK}, {TREE_BLOCK, 40000}, {8192, 30000}};
    struct patched *p = calloc(4, sizeof *p);
    uint8_t *out = malloc(TREE_BLOCK);
    for (size_t i = 0; i < 4; i++)
        make_patched(f, &p[i], lens[i][0], lens[i][1]);
    commit(f);
    for (size_t i = 0; i < 4; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        ok(read_block(f, &p[i].entry, lens[i][1], out, &err), &err);
        assert_memory_equal(out, p[i].block, lens[i][1]);
    }
    free(p);
    free(out);
}

static void wrong_patches_are_corrupt(void **state)
{
    struct fixture *f = *state;
    struct tide_err err = TIDE_ERR_INIT;
    struct patched *p = calloc(2, sizeof *p);
    uint8_t *out = malloc(TREE_BLOCK);
    make_patched(f, &p[0], TREE_BLOCK, TREE_BLOCK);
    make_patched(f, &p[1], 40000, TREE_BLOCK);
    commit(f);
    struct block_entry e = p[0].entry; /* the patch of another base */
    e.patch = p[1].entry.patch;
    assert_int_equal(read_block(f, &e, TREE_BLOCK, out, &err), TIDE_CORRUPT);
    assert_non_null(strstr(err.msg, "another base"));
    e = p[0].entry; /* a result that was not meant */
    e.base.hash[0] ^= 1;
    assert_int_equal(read_block(f, &e, TREE_BLOCK, out, &err), TIDE_CORRUPT);
    /* a block of another length than the file has there */
    assert_int_equal(read_block(f, &p[0].entry, TREE_BLOCK - 1, out, &err), TIDE_CORRUPT);
    free(p);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(frames_come_back_with_few_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(full_packs_are_closed, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(notes_tell_what_a_pack_holds, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_leaf_is_noted_in_place_of_its_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_byte_costs_its_frame_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_byte_costs_its_frame_only, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_byte_in_the_header_costs_all_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_flipped_byte_in_the_header_costs_all_frames, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_cut_pack_still_gives_its_first_frames, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_missing_pack_is_told_as_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_swapped_reference_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repacked_frames_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(repacked_frames_are_found, set_up_plain, tear_down),
        cmocka_unit_test_setup_teardown(a_pack_may_be_repacked_while_it_is_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_frame_that_was_left_behind_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_newest_relocation_counts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_relocation_of_another_pack_is_corrupt, set_up, tear_down),
        cmocka_unit_test_setup_teardown(patched_blocks_come_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(wrong_patches_are_corrupt, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
