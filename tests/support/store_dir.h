#ifndef TIDE_TESTS_STORE_DIR_H
#define TIDE_TESTS_STORE_DIR_H

/* An empty object store on a temporary directory, and what tests of stores do all the time.  Failures end the test.
 */

#include "orchestrator/store/store.h"

#define SEEN_MAX 4000

struct store_dir {
    char dir[64], root[80], url[96]; /* dir holds root; dir is there for the test's own files */
    struct tide_store *store;
};

/* For cmocka: *state is a struct store_dir. */
int store_dir_set_up(void **state);
int store_dir_tear_down(void **state);

struct tide_store *store_dir_open(const char *url, bool create);
void store_dir_put(struct tide_store *s, const char *key, const char *text);
void store_dir_assert_holds(struct tide_store *s, const char *key, const char *text);
unsigned store_dir_files_in_tmp(const struct store_dir *f);

/* A store_list_fn and its context: the keys, ended with EXISTS at the stop_at-th (0: never). */
struct seen {
    char *keys[SEEN_MAX];
    size_t n, stop_at;
};
tide_status seen_add(void *ctx, const struct store_entry *e, struct tide_err *err);
void seen_clear(struct seen *s);
void store_dir_assert_list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, char **want,
                           size_t n);

#endif
