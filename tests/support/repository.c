#include "tests/support/repository.h"

#include "orchestrator/base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(tide_status s, const char *what, const struct tide_err *err)
{
    if (s == TIDE_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

void test_repo_closep(struct repo **r)
{
    repo_close(*r);
}

struct test_repo *test_repo_new(bool encrypted)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct test_repo *t = calloc(1, sizeof(*t));
    tide_assert(t != NULL);
    strcpy(t->dir, "/tmp/tide-repo-XXXXXX");
    tide_assert(mkdtemp(t->dir) != NULL);
    (void)snprintf(t->root, sizeof(t->root), "%s/repo", t->dir);
    (void)snprintf(t->url, sizeof(t->url), "file://%s", t->root);
    if (encrypted)
        must(tide_secret_set(&t->key, "0123456789abcdef0123456789ABCDEF", 32, &err), "key", &err);
    t->options = (struct repo_options){.url = t->url, .key = &t->key, .codec = FRAME_ZSTD, .level = 3};
    bool created = false;
    must(repo_init(&t->options, &created, &t->repo, &err), "repo_init", &err);
    tide_assert(created);
    return t;
}

void test_repo_reopen(struct test_repo *t)
{
    struct tide_err err = TIDE_ERR_INIT;
    repo_close(t->repo);
    t->repo = NULL;
    must(repo_open(&t->options, &t->repo, &err), "repo_open", &err);
}

void test_repo_free(struct test_repo *t)
{
    struct tide_err err = TIDE_ERR_INIT;
    repo_close(t->repo);
    tide_secret_clear(&t->key);
    must(tide_remove_tree(t->dir, &err), "removing", &err);
    free(t);
}

void test_raw_path(const struct test_repo *t, const char *key, char path[4096])
{
    (void)snprintf(path, 4096, "%s/%s", t->root, key);
}

void test_raw_read(const struct test_repo *t, const char *key, struct tide_buf *out)
{
    struct tide_err err = TIDE_ERR_INIT;
    char path[4096];
    test_raw_path(t, key, path);
    must(tide_file_read(path, out, &err), key, &err);
}

void test_raw_write(const struct test_repo *t, const char *key, const void *data, size_t len)
{
    struct tide_err err = TIDE_ERR_INIT;
    char path[4096], folder[4096];
    test_raw_path(t, key, path);
    strcpy(folder, path);
    *strrchr(folder, '/') = '\0';
    must(tide_mkdirs(folder, 0755, &err), folder, &err);
    must(tide_file_replace(path, data, len, 0644, &err), key, &err);
}
