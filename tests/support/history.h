#ifndef TIDE_TESTS_HISTORY_H
#define TIDE_TESTS_HISTORY_H

/*
 * A server's history and what is stored of it, both known to the test: lineages that fork, log objects cut anywhere,
 * overlapping, merged and lost, base backups.  What is right is then a matter of looking at all commits.
 */

#include "orchestrator/repository/backup.h"
#include "tests/support/fake_world.h"

#define HISTORY_LINEAGES 4u
#define HISTORY_COMMITS  400u
#define HISTORY_OBJECTS  600u
#define HISTORY_BACKUPS  8u

struct history_lineage {
    uint32_t number, parent;
    uint64_t branch;
    struct tide_pos start, end;                         /* end: of all log that the server has of it */
    struct fake_commit_record commits[HISTORY_COMMITS]; /* its own only */
    size_t n_commits;
};

struct history {
    struct fake_world *w;
    struct history_lineage lineages[HISTORY_LINEAGES];
    size_t n_lineages;
    struct log_name objects[HISTORY_OBJECTS]; /* stored, and not lost */
    size_t n_objects;
    struct backup backups[HISTORY_BACKUPS]; /* oldest first */
    size_t n_backups;
    unsigned seed;
};

struct history *history_new(unsigned seed);
void history_free(struct history *h);
unsigned history_below(struct history *h, unsigned n);

/* A lineage that forks from parent (NULL: the first one) at fork. */
struct history_lineage *history_fork(struct history *h, const struct history_lineage *parent, struct tide_pos fork);
/* One commit more on the newest lineage. */
void history_commit(struct history *h, int64_t time_us);
/* Any other record on the newest lineage. */
struct tide_pos history_record(struct history *h, unsigned kind, const char *text);

/* Stores [from, to) of a lineage in objects cut anywhere, of `commits` commits or so. */
void history_store(struct history *h, const struct history_lineage *l, struct tide_pos from, struct tide_pos to,
                   unsigned commits);
/* The second writer's: overlaps what is stored. */
void history_overlap(struct history *h, const struct history_lineage *l);
/* Merges a random run of a lineage's objects of one level; the members go or stay. */
void history_merge(struct history *h, const struct history_lineage *l, bool bury);
void history_lose(struct history *h, size_t object);
/* A backup whose log is [start, stop) of the lineage. */
const struct backup *history_backup(struct history *h, const struct history_lineage *l, struct tide_pos start,
                                    struct tide_pos stop, int64_t stop_us);

/* All commits on the way to l, in the order of the log; the ancestors' up to the fork. */
size_t history_path_commits(const struct history *h, const struct history_lineage *l,
                            struct fake_commit_record out[HISTORY_COMMITS]);
/* How far log is stored without a gap on the way to l, from a position on it. */
struct tide_pos history_covered(const struct history *h, const struct history_lineage *l, struct tide_pos from);

#endif
