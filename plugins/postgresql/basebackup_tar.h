#ifndef TIDE_PLUGIN_PG_BASEBACKUP_TAR_H
#define TIDE_PLUGIN_PG_BASEBACKUP_TAR_H

/* Reads a tar archive as PostgreSQL writes it (ustar, no long-name extension), in pieces of any size. */

#include "plugins/tide_plugin.h"

#define PG_TAR_BLOCK 512u

enum pg_tar_kind { PG_TAR_FILE = 1, PG_TAR_DIRECTORY = 2, PG_TAR_LINK = 3 };

struct pg_tar_entry {
    enum pg_tar_kind kind;
    char name[260]; /* without a slash at the end; relative, no "." or ".." in it */
    char link[104];
    uint32_t mode;
    uint64_t size;
    int64_t mtime_s;
};

struct pg_tar_events {
    void *ctx;
    int (*begin)(void *ctx, const struct pg_tar_entry *entry, struct tide_err *err);
    int (*data)(void *ctx, const struct pg_tar_entry *entry, uint64_t offset, const void *data, size_t len,
                struct tide_err *err);
    int (*end)(void *ctx, const struct pg_tar_entry *entry, struct tide_err *err);
};

/* Zero-initialise for each archive. */
struct pg_tar {
    uint8_t header[PG_TAR_BLOCK];
    size_t have;      /* of the header */
    uint64_t left;    /* of the entry's content */
    uint64_t padding; /* behind it */
    bool in_entry, ended;
    struct pg_tar_entry entry;
};

/* NULL, or what is wrong with the header.  A header of zeros is the end: kind 0. */
const char *pg_tar_parse_header(const uint8_t header[PG_TAR_BLOCK], struct pg_tar_entry *out);

/* A status that an event returned is passed on; TIDE_CORRUPT when the bytes are no tar archive. */
int pg_tar_feed(const struct tide_host *host, struct pg_tar *tar, const void *data, size_t len,
                const struct pg_tar_events *events, struct tide_err *err);
/* TIDE_CORRUPT when the archive stopped in the middle of an entry.  The two blocks of zeros may be missing: 14
 * leaves them to the client. */
int pg_tar_finish(const struct tide_host *host, const struct pg_tar *tar, struct tide_err *err);

#endif
