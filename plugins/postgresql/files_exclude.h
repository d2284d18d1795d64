#ifndef TIDE_PLUGIN_PG_FILES_EXCLUDE_H
#define TIDE_PLUGIN_PG_FILES_EXCLUDE_H

/* What a low-level base backup leaves out, as PostgreSQL documents it, and what the names in it mean. */

#include <stdbool.h>
#include <stdint.h>

enum pg_file_choice {
    PG_FILE_KEEP = 0,
    PG_FILE_SKIP = 1,
    PG_FILE_EMPTY = 2, /* the directory, not what is in it */
};

enum pg_dir_kind {
    PG_DIR_TOP = 0,      /* the data directory itself */
    PG_DIR_GLOBAL = 1,   /* global */
    PG_DIR_DATABASE = 2, /* base/OID, pg_tblspc/OID/PG_x/OID */
    PG_DIR_OTHER = 3,
};

/* name is relative to the data directory; "" is the data directory itself. */
enum pg_dir_kind pg_dir_kind_of(const char *name);
enum pg_file_choice pg_exclude_decide(enum pg_dir_kind kind, const char *name);

struct pg_relation_file {
    uint64_t number; /* relfilenode */
    uint64_t segment;
    bool init, temporary;
};

/* Whether a name in a database's directory or in global is a file of a relation, and which. */
bool pg_relation_file_parse(const char *name, struct pg_relation_file *out);

#endif
