#ifndef TIDE_REPOSITORY_BACKUP_H
#define TIDE_REPOSITORY_BACKUP_H

/*
 * Backups: the commit object (backups/ID, one small PUT, the commit point) and
 * the intent that makes a running backup visible from its first second.
 */

#include "orchestrator/repository/record.h"

#define BACKUP_ID_MAX 40 /* "20261122T101530Z-1f2e3d4c": sorts by time */

/* A frame in some pack; how everything inside packs is referred to. */
struct pack_ref {
    uint8_t pack[OBJECT_ID_SIZE];
    struct frame_ref frame;
    uint8_t hash[FRAME_HASH_SIZE]; /* of the plain bytes */
};

struct backup_totals {
    uint64_t files, bytes; /* of the instance */
    uint64_t stored_bytes; /* what restoring it needs: live bytes in packs */
    uint64_t new_bytes;    /* what it added */
    uint64_t packs, new_packs;
    uint64_t damaged_pages;
};

struct backup {
    char id[BACKUP_ID_MAX];
    char parent[BACKUP_ID_MAX]; /* whose blocks were reused, or "" */
    char method[16];            /* files, stream, snapshot */
    char server_version[64];
    bool from_standby, kept, log_alone; /* log_alone: shipped its own log; only its end can be restored */
    uint32_t lineage;
    uint64_t branch;
    struct tide_pos start, stop;             /* log needed: [start, stop); targets at or after stop */
    int64_t started_us, finished_us;         /* our clock */
    int64_t server_start_us, server_stop_us; /* the server's */
    struct backup_totals totals;
    uint32_t hash_epoch;          /* the seed of the hashes in its maps */
    struct pack_ref files, packs; /* roots: file table, pack table */
    char *metadata;               /* owned: the plugin's JSON */
    char *notes;                  /* owned: JSON object of K=V; or NULL */
    char *damage;                 /* owned: JSON array of {"file","page"}; or NULL */
};

void backup_clear(struct backup *b);
/* Sortable, unique. */
tide_status backup_new_id(int64_t now_us, char id[BACKUP_ID_MAX], struct tide_err *err) TIDE_MUST_CHECK;

/* The commit. */
tide_status backup_commit(struct repo *r, const char *instance, const struct backup *b,
                          struct tide_err *err) TIDE_MUST_CHECK;
tide_status backup_load(struct repo *r, const char *instance, const char *id, struct backup *out,
                        struct tide_err *err) TIDE_MUST_CHECK;

struct backup_list {
    struct backup *items; /* oldest first; metadata and damage are loaded, they are small */
    size_t n;
    size_t n_bad; /* commit objects that did not prove; each was logged */
    char **bad;   /* their keys */
};
/* Reads commit objects only.  A damaged one is reported in bad and left out, never fatal. */
tide_status backup_list_load(struct repo *r, const char *instance, struct backup_list *out,
                             struct tide_err *err) TIDE_MUST_CHECK;
void backup_list_clear(struct backup_list *l);

/* pins/BACKUP/N: kept or not; the highest number counts. */
tide_status backup_pin(struct repo *r, const char *instance, const char *id, bool keep,
                       struct tide_err *err) TIDE_MUST_CHECK;
tide_status backup_is_pinned(struct repo *r, const char *instance, const char *id, bool *kept,
                             struct tide_err *err) TIDE_MUST_CHECK;

/* intents/ID: started, host, pid, parent.  Left behind by a killed backup; its packs may be reused for 7 days. */
struct intent {
    char id[BACKUP_ID_MAX], parent[BACKUP_ID_MAX];
    int64_t started_us;
};
tide_status intent_put(struct repo *r, const char *instance, const struct intent *i,
                       struct tide_err *err) TIDE_MUST_CHECK;
typedef tide_status intent_fn(void *ctx, const struct intent *i, struct tide_err *err);
tide_status intent_list(struct repo *r, const char *instance, intent_fn *fn, void *ctx,
                        struct tide_err *err) TIDE_MUST_CHECK;

#endif
