#ifndef TIDE_PLUGIN_PG_PURE_H
#define TIDE_PLUGIN_PG_PURE_H

/*
 * The part of the PostgreSQL plugin that needs no server: positions, the log's
 * bytes, identities and file names.  It links without libpq.
 */

#include "plugins/tide_plugin.h"

#define PG_MUST_CHECK __attribute__((warn_unused_result))
#define PG_AUTO(fn)   __attribute__((cleanup(fn)))

#define PG_VERSION_MIN 14
#define PG_VERSION_MAX 18

/* PostgreSQL counts from 2000-01-01; Tidemark from 1970-01-01. */
#define PG_EPOCH_US INT64_C(946684800000000)

/* ------------------------------------------------------------------ values */

/* "0/3000028" */
bool pg_lsn_parse(const char *text, uint64_t *lsn);
void pg_lsn_text(uint64_t lsn, char *buf, size_t size);
#define PG_LSN_TEXT_SIZE 20

static inline struct tide_pos pg_pos(uint64_t lsn)
{
    return (struct tide_pos){.hi = 0, .lo = lsn};
}

int64_t pg_monotonic_ms(void);

/* Copies what fits of our struct into the caller's, whose struct_size was size. */
void pg_copy_out(void *out, uint32_t size, const void *from, size_t from_size);

void pg_freep(void *p); /* of a char ** or any other pointer to an owned pointer */
void pg_closep(int *fd);

/* ------------------------------------------------------------------- names */

/* "tidemark_" and the instance's name, as a slot and a list of standby names can have it. */
void pg_name_of_instance(const char *instance, char *buf, size_t size);
/* true when `name` is among the candidates of a synchronous_standby_names; *others counts the other ones. */
bool pg_sync_names(const char *list, const char *name, unsigned *others);
/* A Unix socket or a loopback address. */
bool pg_host_is_local(const char *host);
/* The sslmode to use: what was written, else verify-full over TCP beyond loopback. */
const char *pg_sslmode_for(const char *written, bool from_service, bool local);

/* --------------------------------------------- functions of struct tide_plugin */

/* history.c */
int pg_log_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end, const char *current,
                  struct tide_log_kinship *out, struct tide_err *err);
/* wal_scan.c */
int pg_log_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **scan,
                     struct tide_err *err);
int pg_log_scan_feed(void *scan, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                     struct tide_log_mark *mark, struct tide_err *err);
void pg_log_scan_close(void *scan);
/* log_file.c */
int pg_log_file_locate(const struct tide_host *host, const char *evidence, const char *name,
                       struct tide_log_file *out, struct tide_err *err);
int pg_log_file_identify(const struct tide_host *host, const char *path, const char *name, char *buf, size_t buf_size,
                         struct tide_log_identity *out, struct tide_err *err);
int pg_log_file_content(const struct tide_host *host, const char *evidence, const struct tide_log_file *file,
                        void *buf, size_t size, size_t *len, struct tide_err *err);
/* value.c */
void pg_pos_format(struct tide_pos pos, char *buf, size_t size);
int pg_pos_parse(const char *text, struct tide_pos *pos);

#endif
