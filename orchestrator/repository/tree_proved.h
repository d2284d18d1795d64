#ifndef TIDE_REPOSITORY_TREE_PROVED_H
#define TIDE_REPOSITORY_TREE_PROVED_H

/* The set behind struct tree_proved, as tree_verify.c uses it; NULL: an empty set that stays empty. */

#include "orchestrator/repository/blockmap.h"

uint64_t proved_key_of_frame(const struct pack_ref *r);
uint64_t proved_key_of_block(const struct block_entry *e);
uint64_t proved_key_of_pack(const uint8_t pack[OBJECT_ID_SIZE]);
bool proved_has(struct tree_proved *p, uint64_t key);
void proved_add(struct tree_proved *p, uint64_t key);

#endif
