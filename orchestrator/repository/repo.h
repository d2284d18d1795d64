#ifndef TIDE_REPOSITORY_REPO_H
#define TIDE_REPOSITORY_REPO_H

/* An open repository: its store, its identity and its keys.  Thread-safe after open. */

#include "orchestrator/base/secret.h"
#include "orchestrator/pipe/frame.h"
#include "orchestrator/store/store.h"

#define REPO_KEY_MAX 512      /* longest object key */
#define REPO_ID_HEX  33       /* 16 random bytes in hex, and NUL */
#define REPO_NAME_MAX 64      /* instance names: [a-z0-9][a-z0-9._-]* */

struct repo;

struct repo_options {
    const char *url;
    const struct tide_secret *key; /* content of the key file; NULL or empty: none */
    enum frame_codec codec;
    int level;
    struct tide_cancel *cancel;
};

/* Makes tidemark.json and, with a key, epoch 1 in one slot.  *created false when the repository was there (then it
 * is opened, and so proved). */
tide_status repo_init(const struct repo_options *o, bool *created, struct repo **out, struct tide_err *err) TIDE_MUST_CHECK;
/* DENIED: wrong key, or a key is needed; REFUSED: a key was given and the repository says it is not encrypted;
 * NOT_FOUND: no tidemark.json (an unmounted directory?); UNSUPPORTED: unknown incompatible feature bits. */
tide_status repo_open(const struct repo_options *o, struct repo **out, struct tide_err *err) TIDE_MUST_CHECK;
void repo_close(struct repo *r);

struct tide_store *repo_store(const struct repo *r);
const char *repo_id(const struct repo *r); /* hex */
bool repo_is_encrypted(const struct repo *r);
/* The repository has features that this version may read past but not write beside: every put is REFUSED. */
bool repo_is_read_only(const struct repo *r);
struct tide_cancel *repo_cancel(const struct repo *r);
enum frame_codec repo_codec(const struct repo *r);
int repo_level(const struct repo *r);
/* The epoch that new objects use (0 when not encrypted), and the key of any epoch.  DENIED when it is not held. */
uint32_t repo_epoch(const struct repo *r);
tide_status repo_epoch_key(const struct repo *r, uint32_t epoch, uint8_t out[32], struct tide_err *err) TIDE_MUST_CHECK;
/* The seed of frame_hash for an epoch; without encryption from the repository's id. */
tide_status repo_hash_seed(const struct repo *r, uint32_t epoch, uint64_t *seed, struct tide_err *err) TIDE_MUST_CHECK;
/* A second repository over another store with the same keys: the spool.  root is a directory. */
tide_status repo_open_spool(const struct repo *r, const char *directory, struct repo **out, struct tide_err *err) TIDE_MUST_CHECK;

bool repo_name_is_valid(const char *instance);
/* Instances that the repository knows, in order; the entry's key is the bare name. */
tide_status repo_instances(struct repo *r, store_list_fn *fn, void *ctx, struct tide_err *err) TIDE_MUST_CHECK;

#endif
