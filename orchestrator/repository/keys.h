#ifndef TIDE_REPOSITORY_KEYS_H
#define TIDE_REPOSITORY_KEYS_H

/*
 * Epoch keys and the slots that wrap them: keys/EPOCH/SLOT/GENERATION.  A slot
 * is one way to the key of one epoch; the highest generation of a slot counts,
 * and changing slots never touches data.  FORMAT.md, section 2.
 */

#include "orchestrator/base/secret.h"
#include "orchestrator/store/store.h"

#define KEYS_ID_SIZE    16u
#define KEYS_EPOCH_SIZE 32u
#define KEYS_SECRET_MIN 16u /* shorter key files are refused when a slot is made */

/* The epoch keys that a secret opened. */
struct key_ring {
    uint32_t *epochs; /* ascending */
    size_t n;
    struct tide_secret keys; /* n times KEYS_EPOCH_SIZE */
    uint32_t newest;         /* epoch that exists, opened or not; 0: there is no slot at all */
};

void key_ring_clear(struct key_ring *ring);
tide_status key_ring_copy(const struct key_ring *from, struct key_ring *to, struct tide_err *err) TIDE_MUST_CHECK;
/* DENIED when the ring does not hold it. */
tide_status key_ring_get(const struct key_ring *ring, uint32_t epoch, uint8_t out[KEYS_EPOCH_SIZE],
                         struct tide_err *err) TIDE_MUST_CHECK;

/*
 * Opens every slot that the secret opens.  OK with ring->newest 0 when the repository has no slot; DENIED when the
 * newest epoch does not open; CORRUPT when it does not and one of its slots is damaged.  Slots of unknown kinds are
 * skipped.
 */
tide_status keys_load(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], const struct tide_secret *secret,
                      struct key_ring *ring, struct tide_err *err) TIDE_MUST_CHECK;

struct key_slot_name {
    uint32_t epoch, slot, generation;
};

#define KEYS_NAME_MAX 64
void keys_slot_name(const struct key_slot_name *name, char out[KEYS_NAME_MAX]);

/* Wraps an epoch key for a key file's bytes, under this name.  EXISTS when the name is taken. */
tide_status keys_put_slot(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], const struct key_slot_name *name,
                          const uint8_t key[KEYS_EPOCH_SIZE], const struct tide_secret *secret,
                          struct tide_err *err) TIDE_MUST_CHECK;
/* A new random key for an epoch, in slot 1. */
tide_status keys_make_epoch(struct tide_store *store, const uint8_t id[KEYS_ID_SIZE], uint32_t epoch,
                            const struct tide_secret *secret, struct tide_err *err) TIDE_MUST_CHECK;

#endif
