#ifndef TIDE_TESTS_FORMAT_VECTORS_H
#define TIDE_TESTS_FORMAT_VECTORS_H

/*
 * The test vectors of FORMAT.md, made by the code that writes repositories,
 * with fixed keys, ids, salts and times.  tests/tools/format_vectors prints
 * them; repository_format_test compares them with the page and reads the
 * page's bytes back.
 */

#include "orchestrator/repository/blockmap.h"

#define VECTOR_INSTANCE "shop"
#define VECTOR_KEY_FILE "0123456789abcdef0123456789ABCDEF"
#define VECTOR_SLOT     "keys/00000001/00000001/00000001"
#define VECTOR_GAP      "instances/shop/gaps/00000001"
#define VECTOR_LARGE    "instances/shop/packs/a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"
#define VECTOR_TEXT     "All frames of one object share a key, and no two frames share a number. "
#define VECTOR_LOG      "a record, a commit record, and a restore point"

struct vector {
    const char *name;
    const char *about;
    bool text;  /* shown as text, else as hex */
    bool loose; /* another version of a library may give other bytes */
    struct tide_buf bytes;
};

#define VECTORS_MAX 48

struct vectors {
    struct vector items[VECTORS_MAX];
    size_t n;
};

/* Aborts when anything fails. */
struct vectors *vectors_make(void);
void vectors_free(struct vectors *v);
/* format_vectors_backup.c: adds those of sections 6 to 8, made of these. */
void vectors_add_backup(struct vectors *v);
struct pack_ref vectors_ref(uint8_t pack, uint32_t number);
struct leaf *vectors_leaf(void); /* the caller's to free() */
void vectors_patch(uint8_t base[2048], uint8_t block[2600]);
const struct vector *vectors_find(const struct vectors *v, const char *name);

#endif
