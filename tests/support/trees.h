#ifndef TIDE_TESTS_TREES_H
#define TIDE_TESTS_TREES_H

/* Directories to back up, and their copies to compare them with. */

#include "orchestrator/repository/tree.h"

/* A small generator of numbers, the same for the same seed. */
struct trees_random {
    uint64_t state;
};
uint64_t trees_next(struct trees_random *r);
uint64_t trees_below(struct trees_random *r, uint64_t n);

/* Bytes that compress like table pages do (noise: not at all). */
void trees_fill(struct trees_random *r, void *data, size_t len, bool noise);

/* Writes a file of size bytes (holes: about a third of its blocks stay unwritten).  Aborts when anything fails. */
void trees_file(const char *dir, const char *name, uint64_t size, bool holes, struct trees_random *r);
void trees_write(const char *dir, const char *name, uint64_t offset, const void *data, size_t len);
/* A random tree of about n files, with sizes at the borders of blocks. */
void trees_make(const char *dir, unsigned n, uint64_t seed);
/* Three more files, around the size of a leaf. */
void trees_add_large(const char *dir, uint64_t seed);

struct trees_backup {
    struct repo *repo;
    const char *instance, *dir;
    const struct backup *parent;
    unsigned jobs;
    uint32_t flags; /* of every regular file */
    tree_inspect_fn *inspect;
    const char *id; /* NULL: a new one, with an intent */
    bool no_commit;
};

/* Hands every file of dir over by path, finishes and commits. */
tide_status trees_run(const struct trees_backup *b, struct backup *out, struct tide_err *err) TIDE_MUST_CHECK;
/* Only the handing over, into a writer. */
tide_status trees_hand_over(struct tree_writer *w, const char *dir, uint32_t flags,
                            struct tide_err *err) TIDE_MUST_CHECK;

tide_status trees_extract(struct repo *r, const char *instance, const struct backup *b, const char *into, bool resume,
                          struct tide_err *err) TIDE_MUST_CHECK;
/* Number of differences in names, kinds, modes, links, sizes and content; each is printed. */
unsigned trees_differences(const char *a, const char *b);

#endif
