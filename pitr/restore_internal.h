#ifndef TIDE_PITR_RESTORE_INTERNAL_H
#define TIDE_PITR_RESTORE_INTERNAL_H

/* Shared by restore.c (the order of things), marker.c (resuming) and place.c (where files go). */

#include "orchestrator/repository/tree.h"
#include "pitr/restore.h"

/*
 * The marker of an unfinished restore, DIR/.tidemark-restore: which restore it
 * is and how far it came.  A directory that carries it is ours to go on with.
 */
enum marker_stage { MARKER_FILES, MARKER_RECOVERING };

struct marker {
    char identity[512]; /* repository, instance, backup, lineage, end: the same text means the same restore */
    char spaces[65];    /* digest of where tablespaces go, in hex: only those directories are ours as well */
    enum marker_stage stage;
    uint64_t new_branch;
    bool present;
};

void marker_identity(const struct restore_options *o, char text[512]);
/* Looks at the directory: *resume true when it carries our marker.  REFUSED when it is not empty and carries none, or
 * that of another restore. */
tide_status marker_examine(const struct restore_options *o, struct marker *m, struct tide_err *err) TIDE_MUST_CHECK;
tide_status marker_write(const struct restore_options *o, const struct marker *m,
                         struct tide_err *err) TIDE_MUST_CHECK;
tide_status marker_remove(const struct restore_options *o, struct tide_err *err) TIDE_MUST_CHECK;
/* REFUSED when the unfinished restore sent tablespaces elsewhere; lines: placement_lines(). */
tide_status marker_spaces(struct marker *m, struct tide_buf *lines, struct tide_err *err) TIDE_MUST_CHECK;
/* Removes everything in the directory but the marker, so that being killed meanwhile leaves a directory that is ours.
 */
tide_status marker_clear_directory(const struct restore_options *o, struct tide_err *err) TIDE_MUST_CHECK;

/* REFUSED when a process works in the directory and does not go away soon: the server of an earlier restore. */
tide_status leftover_refuse(const char *directory, int64_t patience_us, struct tide_err *err) TIDE_MUST_CHECK;

/* Where the directories of tablespaces go. */
struct placement {
    const struct restore_options *o;
    struct {
        char prefix[256]; /* entry name: "pg_tblspc/16400" */
        char name[128];   /* what the DBA calls it, else the last part of prefix */
        char directory[TIDE_PATH_MAX];
        size_t prefix_len;
    } * spaces;
    size_t n;
    char **hold; /* entries that are written last; NULL-terminated */
    size_t n_hold;
};

/* Reads the backup's entries; tablespaces' directories must be absent or empty (REFUSED), unless resuming. */
tide_status placement_load(struct tree_reader *t, const struct restore_options *o, bool resume, struct placement *out,
                           struct tide_err *err) TIDE_MUST_CHECK;
void placement_clear(struct placement *p);
/* Which of the spaces an entry lies in; n: none, it goes to the data directory. */
size_t placement_space(const struct placement *p, const char *entry);
tide_status placement_place(void *ctx, const struct tree_entry *e, char path[TIDE_PATH_MAX], struct tide_err *err);
/* "OID=DIR" lines for the plugin. */
tide_status placement_lines(const struct placement *p, struct tide_buf *out, struct tide_err *err) TIDE_MUST_CHECK;

/* Adds a problem for every file system that has not enough room, or in which nothing can be made. */
tide_status space_check(struct tree_reader *t, const struct placement *p, struct restore_report *report,
                        struct tide_err *err) TIDE_MUST_CHECK;

#endif
