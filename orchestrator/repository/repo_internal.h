#ifndef TIDE_REPOSITORY_REPO_INTERNAL_H
#define TIDE_REPOSITORY_REPO_INTERNAL_H

/* What the repository's own files know of an open repository. */

#include "orchestrator/repository/keys.h"
#include "orchestrator/repository/repo.h"

#include <pthread.h>

#define REPO_DESCRIPTOR "tidemark.json"
#define REPO_CODERS     8u

/* Feature bits that this version understands.  None is in use yet. */
#define REPO_KNOWN_INCOMPATIBLE UINT64_C(0)
#define REPO_KNOWN_READ_ONLY    UINT64_C(0)

struct repo_descriptor {
    uint8_t id[KEYS_ID_SIZE];
    bool encrypted;
    uint64_t incompatible, read_only, compatible;
};

struct repo {
    struct tide_store *store;
    struct repo_descriptor descriptor;
    char id_hex[REPO_ID_HEX];
    bool read_only;
    struct key_ring ring;
    enum frame_codec codec;
    int level;
    struct tide_cancel *cancel;
    pthread_mutex_t lock; /* of the coders */
    struct frame_coder *coders[REPO_CODERS];
    size_t n_coders;
};

/* tidemark.json: reading proves it and checks its feature bits against what we know. */
tide_status repo_descriptor_read(struct tide_store *store, struct repo_descriptor *d,
                                 struct tide_err *err) TIDE_MUST_CHECK;
tide_status repo_descriptor_write(struct tide_store *store, const struct repo_descriptor *d,
                                  struct tide_err *err) TIDE_MUST_CHECK;

/* An open repository over a store, which it takes over in any case. */
tide_status repo_new(const struct repo_options *o, struct tide_store *store, const struct repo_descriptor *d,
                     struct repo **out, struct tide_err *err) TIDE_MUST_CHECK;

/* REFUSED when the repository may only be read. */
tide_status repo_check_writable(const struct repo *r, struct tide_err *err) TIDE_MUST_CHECK;

/* A coder for one call, from those kept; given back (or freed) by repo_coder_give. */
tide_status repo_coder_take(struct repo *r, struct frame_coder **out, struct tide_err *err) TIDE_MUST_CHECK;
void repo_coder_give(struct repo *r, struct frame_coder *coder);

#endif
