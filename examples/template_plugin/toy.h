#ifndef TIDE_TEMPLATE_TOY_H
#define TIDE_TEMPLATE_TOY_H

/*
 * A template for a plugin: a toy engine that is small enough to read in one go.
 *
 * Its "server" is a directory of files; its "log" is the file toy.log in it:
 *
 *   offset 0   "TOYLOG1\n"
 *   offset 8   8 random bytes: the identity of this log
 *   offset 16  records, one behind the other:
 *
 *     u8 'R'  u8 kind  u16 payload length  u32 transaction  i64 microseconds  payload  u32 checksum
 *
 * Numbers are little-endian.  A log position is an offset in the file, so the
 * smallest one is 16, and {0,0} keeps its meaning of "none".
 *
 * Copy this folder to plugins/NAME, and replace the bodies.
 */

#include "plugins/tide_plugin.h"

#define TOY_LOG_FILE    "toy.log"
#define TOY_LOG_HEADER  16u
#define TOY_RECORD_HEAD 16u
#define TOY_RECORD_TAIL 4u
#define TOY_RECORD_MAX  (TOY_RECORD_HEAD + UINT16_MAX + TOY_RECORD_TAIL)

enum toy_kind { TOY_COMMIT = 1, TOY_ABORT = 2, TOY_RESTORE_POINT = 3, TOY_CHANGE = 4 };

/* One handle.  Everything a plugin knows lives here or in objects of its own; nothing in file scope. */
struct toy {
    const struct tide_host *host;
    char *directory;
    char evidence[64]; /* handed to the core; replaced by the next call that makes one */
};

/* "DIR/NAME" into buf; TIDE_INVALID when it does not fit. */
int toy_path(const struct tide_host *host, const char *directory, const char *name, char *buf, size_t size,
             struct tide_err *err);
/* The log's end and its identity (16 hex digits). */
int toy_log_end(struct toy *toy, uint64_t *end, char id[17], struct tide_err *err);

/* toy_log.c */
int toy_clock(void *inst, struct tide_clock *out, struct tide_err *err);
int toy_log_identify(void *inst, struct tide_log_identity *out, struct tide_err *err);
int toy_log_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end, const char *current,
                   struct tide_log_kinship *out, struct tide_err *err);
int toy_log_stream(void *inst, const struct tide_log_stream_params *params, const struct tide_log_sink *sink,
                   struct tide_log_stream_end *end, struct tide_err *err);
void toy_pos_format(struct tide_pos pos, char *buf, size_t size);
int toy_pos_parse(const char *text, struct tide_pos *pos);

/* toy_scan.c */
int toy_log_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **scan,
                      struct tide_err *err);
int toy_log_scan_feed(void *scan, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                      struct tide_log_mark *mark, struct tide_err *err);
void toy_log_scan_close(void *scan);

/* toy_backup.c */
int toy_backup(void *inst, const struct tide_backup_params *params, const struct tide_backup_sink *sink,
               struct tide_backup_result *result, struct tide_err *err);

#endif
