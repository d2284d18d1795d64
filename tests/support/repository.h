#ifndef TIDE_TESTS_REPOSITORY_H
#define TIDE_TESTS_REPOSITORY_H

/* A repository in a temporary directory, and its objects' bytes behind its back. */

#include "orchestrator/repository/repo.h"

struct test_repo {
    char dir[64], root[80], url[96];
    struct tide_secret key;
    struct repo_options options;
    struct repo *repo;
};

/* 32 fixed bytes as key file when encrypted.  Aborts when anything fails. */
struct test_repo *test_repo_new(bool encrypted);
void test_repo_free(struct test_repo *t);
void test_repo_reopen(struct test_repo *t);

void test_raw_path(const struct test_repo *t, const char *key, char path[4096]);
/* The object's stored bytes, appended to out. */
void test_raw_read(const struct test_repo *t, const char *key, struct tide_buf *out);
/* Replaces or makes it, which no store would do. */
void test_raw_write(const struct test_repo *t, const char *key, const void *data, size_t len);

/* Cleanup for repositories. */
void test_repo_closep(struct repo **r);

#endif
