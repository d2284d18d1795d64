#include "orchestrator/repository/tree_proved.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define SLOTS_FIRST (1u << 12)
#define SLOTS_MAX   (1u << 22) /* 32 MiB; half of them are used: leaves of 128 TiB */

/* Keys are 64 bits of a hash over a random id: two alike among millions are less likely than a bad disk's silence. */
struct tree_proved {
    pthread_mutex_t lock;
    uint64_t *slots; /* 0: free */
    size_t size, n;
};

tide_status tree_proved_new(struct tree_proved **out, struct tide_err *err)
{
    struct tree_proved *p = calloc(1, sizeof *p);
    if (p != NULL)
        p->slots = calloc(SLOTS_FIRST, sizeof *p->slots);
    if (p == NULL || p->slots == NULL) {
        free(p);
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory for verifying");
    }
    p->size = SLOTS_FIRST;
    (void)pthread_mutex_init(&p->lock, NULL);
    *out = p;
    return TIDE_OK;
}

void tree_proved_free(struct tree_proved *p)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_destroy(&p->lock);
    free(p->slots);
    free(p);
}

static uint64_t key_of(const void *data, size_t len, uint64_t seed)
{
    uint64_t key = XXH3_64bits_withSeed(data, len, seed);
    return key == 0 ? 1 : key;
}

uint64_t proved_key_of_pack(const uint8_t pack[OBJECT_ID_SIZE])
{
    return key_of(pack, OBJECT_ID_SIZE, UINT64_MAX);
}

/* The hash too: another reference to the same frame may mean another content. */
uint64_t proved_key_of_frame(const struct pack_ref *r)
{
    uint8_t bytes[OBJECT_ID_SIZE + FRAME_HASH_SIZE];
    memcpy(bytes, r->pack, OBJECT_ID_SIZE);
    memcpy(bytes + OBJECT_ID_SIZE, r->hash, FRAME_HASH_SIZE);
    return key_of(bytes, sizeof bytes, r->frame.number ^ r->frame.offset << 20);
}

uint64_t proved_key_of_block(const struct block_entry *e)
{
    uint64_t keys[2] = {proved_key_of_frame(&e->base), 0};
    if (e->kind == BLOCK_PATCHED)
        keys[1] = proved_key_of_frame(&e->patch);
    return key_of(keys, sizeof keys, e->kind);
}

/* Where key is, or would go.  There is always a free slot. */
static size_t slot_of(const uint64_t *slots, size_t size, uint64_t key)
{
    size_t i = key & (size - 1);
    while (slots[i] != 0 && slots[i] != key)
        i = (i + 1) & (size - 1);
    return i;
}

bool proved_has(struct tree_proved *p, uint64_t key)
{
    if (p == NULL)
        return false;
    (void)pthread_mutex_lock(&p->lock);
    bool has = p->slots[slot_of(p->slots, p->size, key)] == key;
    (void)pthread_mutex_unlock(&p->lock);
    return has;
}

/* False when it is as large as it may be. */
static bool grow(struct tree_proved *p)
{
    uint64_t *slots = p->size < SLOTS_MAX ? calloc(2 * p->size, sizeof *slots) : NULL;
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < p->size; i++) {
        if (p->slots[i] != 0)
            slots[slot_of(slots, 2 * p->size, p->slots[i])] = p->slots[i];
    }
    free(p->slots);
    p->slots = slots;
    p->size *= 2;
    return true;
}

void proved_add(struct tree_proved *p, uint64_t key)
{
    if (p == NULL)
        return;
    (void)pthread_mutex_lock(&p->lock);
    if (p->n < p->size / 2 || grow(p)) {
        size_t i = slot_of(p->slots, p->size, key);
        p->n += p->slots[i] == 0;
        p->slots[i] = key;
    }
    (void)pthread_mutex_unlock(&p->lock);
}
