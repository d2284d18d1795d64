#ifndef TIDE_REPOSITORY_LINEAGE_H
#define TIDE_REPOSITORY_LINEAGE_H

/* Lineages: unbroken histories of one log, numbered from 1, each with its evidence, parent and fork position. */

#include "orchestrator/repository/record.h"

struct lineage {
    uint32_t number, parent; /* parent 0: none */
    uint64_t branch;
    struct tide_pos start; /* first byte that is (to be) stored in this lineage */
    struct tide_pos fork;  /* in the parent; none without one */
    int64_t created_us;
    char engine[32];
    char *evidence;        /* owned */
};

struct lineage_set {
    struct lineage *items; /* ascending numbers */
    size_t n;
};

tide_status lineage_load(struct repo *r, const char *instance, struct lineage_set *out, struct tide_err *err) TIDE_MUST_CHECK;
void lineage_set_clear(struct lineage_set *s);
const struct lineage *lineage_find(const struct lineage_set *s, uint32_t number);
/* Stores l under the next free number (l->number 0, filled in), or under exactly the number that the caller found free:
 * EXISTS when somebody made a lineage since, which may be the very one that l describes. */
tide_status lineage_create(struct repo *r, const char *instance, struct lineage *l, struct tide_err *err) TIDE_MUST_CHECK;

/* The way through the tree to `number`: from its oldest ancestor down.  path[i].end is the fork of path[i + 1];
 * the last end is none. */
#define LINEAGE_PATH_MAX 256
struct lineage_step {
    uint32_t lineage;
    struct tide_pos start, end;
};
tide_status lineage_path(const struct lineage_set *s, uint32_t number, struct lineage_step path[LINEAGE_PATH_MAX],
                         size_t *n, struct tide_err *err) TIDE_MUST_CHECK;

/* Reserves the number by which a restored instance's own branch will be known; greater than all known ones. */
tide_status lineage_reserve_branch(struct repo *r, const char *instance, uint64_t above, const json_t *what,
                                   uint64_t *branch, struct tide_err *err) TIDE_MUST_CHECK;
tide_status lineage_branch_is_reserved(struct repo *r, const char *instance, uint64_t branch, bool *reserved,
                                       struct tide_err *err) TIDE_MUST_CHECK;

/* The instance object: engine and identity; made once. */
tide_status instance_ensure(struct repo *r, const char *instance, const char *engine, struct tide_err *err) TIDE_MUST_CHECK;
/* NOT_FOUND when the repository does not know it.  engine has room for 32. */
tide_status instance_engine(struct repo *r, const char *instance, char engine[32], struct tide_err *err) TIDE_MUST_CHECK;

#endif
