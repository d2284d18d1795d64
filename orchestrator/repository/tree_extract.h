#ifndef TIDE_REPOSITORY_TREE_EXTRACT_H
#define TIDE_REPOSITORY_TREE_EXTRACT_H

/* tree_extract.c walks the file table and makes tasks; tree_extract_task.c carries them out. */

#include "orchestrator/repository/tree_reader.h"
#include "orchestrator/repository/tree_target.h"

#define EXTRACT_BATCH WINDOW_BLOCKS

struct small_file {
    char *path; /* owned */
    uint64_t size;
    uint32_t mode;
    int64_t mtime_us;
    struct block_entry block;
    bool there; /* right already */
};

struct extract_disk;

struct extract {
    struct tree_reader *t;
    struct tree_extract_options o;
    struct target_options target;
    struct read_lane *lanes;
    struct tide_pool *pool;
    struct extract_task *batch; /* small files that wait for company */
    struct extract_disk *disk;
    _Atomic uint64_t bytes_done;
};

struct extract_task {
    struct extract *x;
    struct target *target; /* one leaf of it */
    struct leaf_ref ref;
    uint32_t leaf;
    unsigned n; /* without target: so many small files */
    struct small_file small[EXTRACT_BATCH];
};

struct extract_task *extract_task_new(struct extract *x);
tide_task_fn extract_run;
tide_task_free_fn extract_task_free;
tide_status extract_check(const struct extract *x, struct tide_err *err) TIDE_MUST_CHECK;

#endif
