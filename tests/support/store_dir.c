#include "tests/support/store_dir.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"

#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

struct tide_store *store_dir_open(const char *url, bool create)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_store *s = NULL;
    if (store_open(&(struct store_options){.url = url, .create = create}, &s, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    return s;
}

int store_dir_set_up(void **state)
{
    struct store_dir *f = calloc(1, sizeof *f);
    assert_non_null(f);
    strcpy(f->dir, "/tmp/tide-store-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    (void)snprintf(f->root, sizeof f->root, "%s/repo", f->dir);
    (void)snprintf(f->url, sizeof f->url, "file://%s", f->root);
    f->store = store_dir_open(f->url, true);
    *state = f;
    return 0;
}

int store_dir_tear_down(void **state)
{
    struct store_dir *f = *state;
    store_close(f->store);
    assert_int_equal(tide_remove_tree(f->dir, NULL), TIDE_OK);
    free(f);
    return 0;
}

void store_dir_put(struct tide_store *s, const char *key, const char *text)
{
    struct tide_err err = TIDE_ERR_INIT;
    if (store_put(s, key, text, strlen(text), &err) != TIDE_OK)
        fail_msg("%s", err.msg);
}

void store_dir_assert_holds(struct tide_store *s, const char *key, const char *text)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf b = TIDE_BUF_INIT(1 << 20);
    struct tide_err err = TIDE_ERR_INIT;
    if (store_get_all(s, key, &b, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    assert_string_equal(tide_buf_cstr(&b), text);
}

unsigned store_dir_files_in_tmp(const struct store_dir *f)
{
    char command[160];
    (void)snprintf(command, sizeof command, "find %s/.tmp -type f 2>/dev/null | wc -l", f->root);
    FILE *p = popen(command, "r");
    unsigned n = 99;
    assert_int_equal(fscanf(p, "%u", &n), 1);
    (void)pclose(p);
    return n;
}

tide_status seen_add(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    struct seen *s = ctx;
    assert_true(s->n < SEEN_MAX);
    s->keys[s->n++] = strdup(e->key);
    return s->stop_at != 0 && s->n == s->stop_at ? tide_fail(err, TIDE_EXISTS, "enough") : TIDE_OK;
}

void seen_clear(struct seen *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->keys[i]);
    s->n = 0;
}

void store_dir_assert_list(struct tide_store *s, const char *prefix, const char *after, uint64_t limit, char **want,
                           size_t n)
{
    TIDE_AUTO(seen_clear) struct seen seen = {.n = 0};
    struct tide_err err = TIDE_ERR_INIT;
    if (store_list(s, prefix, after, limit, seen_add, &seen, &err) != TIDE_OK)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < seen.n && i < n; i++)
        assert_string_equal(seen.keys[i], want[i]);
    assert_int_equal(seen.n, n);
}
