#ifndef TIDE_PLUGIN_PG_EVIDENCE_H
#define TIDE_PLUGIN_PG_EVIDENCE_H

/*
 * The identity of a log as the core keeps it: lines of key=value.
 *
 *   system_identifier=7412345678901234567
 *   major=15
 *   segment_size=16777216
 *   timeline=2
 *   history=1\t0/3000148\tno recovery target specified\n
 *
 * history is the timeline's history file with backslash, line feed, tab and
 * carriage return escaped; it is empty on a timeline that has none.  Unknown
 * keys are passed over.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define EVIDENCE_MAX_BRANCHES 1024u

/* One line of a history file: timeline ended at end. */
struct evidence_branch {
    uint32_t timeline;
    uint64_t end;
};

struct evidence {
    uint64_t system_identifier;
    uint32_t segment_size;
    uint32_t timeline;
    int major;
    char *history;                    /* unescaped, never NULL after a successful parse */
    struct evidence_branch *branches; /* of history, oldest first */
    size_t n_branches;
};

/* NULL, or what is wrong with the text.  Clear it in both cases. */
const char *evidence_parse(const char *text, struct evidence *out);
void evidence_clear(struct evidence *e);

/* The text for it; the caller's to free(), NULL when out of memory.  branches is not looked at. */
char *evidence_format(const struct evidence *e);

/* The lines of a history file; *branches is the caller's to free().  NULL, or what is wrong. */
const char *evidence_history_parse(const char *history, struct evidence_branch **branches, size_t *n);

#endif
