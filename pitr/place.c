#include "pitr/restore_internal.h"

#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define SPACES_MAX 4096u

struct loading {
    struct placement *p;
    const json_t *metadata;
};

/* The DBA's name of a tablespace: from the plugin's metadata, {"tablespaces":[{"oid":16400,"name":"fast"}]}. */
static void space_name(const json_t *metadata, const char *id, char *out, size_t size)
{
    const json_t *list = json_object_get(metadata, "tablespaces"), *item;
    size_t i;

    (void)snprintf(out, size, "%s", id);
    json_array_foreach(list, i, item)
    {
        const json_t *oid = json_object_get(item, "oid");
        const char *name = json_string_value(json_object_get(item, "name"));
        char text[32];
        (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(oid));
        const char *have = json_is_string(oid) ? json_string_value(oid) : text;
        if (name != NULL && strcmp(have, id) == 0)
            (void)snprintf(out, size, "%s", name);
    }
}

static bool is_word(const char *word, const char *text, size_t n)
{
    return strlen(word) == n && memcmp(word, text, n) == 0;
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash == NULL ? path : slash + 1;
}

/* What --tablespace NAME=DIR or ID=DIR says, or NULL. */
static const char *mapped(const struct restore_options *o, const char *name, const char *id)
{
    for (const char *const *m = o->tablespace_map; m != NULL && *m != NULL; m++) {
        const char *eq = strchr(*m, '=');
        size_t n = eq == NULL ? 0 : (size_t)(eq - *m);
        if (n > 0 && (is_word(name, *m, n) || is_word(id, *m, n)))
            return eq + 1;
    }
    return NULL;
}

/* A tablespace may be called anything, and its name must not lead out of the directory of all. */
static bool is_file_name(const char *name)
{
    return *name != '\0' && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static tide_status add_space(struct loading *l, const struct tree_entry *e, struct tide_err *err)
{
    struct placement *p = l->p;
    const char *id = last_part(e->name);

    if (p->n == SPACES_MAX || strlen(e->name) >= sizeof p->spaces->prefix)
        return tide_fail(err, TIDE_UNSUPPORTED, "the backup has too many tablespaces");
    void *grown = realloc(p->spaces, (p->n + 1) * sizeof *p->spaces);
    if (grown == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory placing tablespaces");
    p->spaces = grown;
    memset(&p->spaces[p->n], 0, sizeof *p->spaces);
    (void)snprintf(p->spaces[p->n].prefix, sizeof p->spaces->prefix, "%s", e->name);
    p->spaces[p->n].prefix_len = strlen(e->name);
    char *name = p->spaces[p->n].name, *directory = p->spaces[p->n].directory;
    space_name(l->metadata, id, name, sizeof p->spaces->name);
    const char *where = mapped(p->o, name, id), *folder = is_file_name(name) ? name : id;
    int len;
    if (where != NULL)
        len = snprintf(directory, TIDE_PATH_MAX, "%s", where);
    else if (p->o->tablespaces_into != NULL)
        len = snprintf(directory, TIDE_PATH_MAX, "%s/%s", p->o->tablespaces_into, folder);
    else
        len = snprintf(directory, TIDE_PATH_MAX, "%s.tablespaces/%s", p->o->into, folder);
    if (len < 0 || len >= TIDE_PATH_MAX || directory[0] != '/')
        return tide_fail(err, TIDE_INVALID, "the directory of tablespace \"%s\" must be an absolute path", name);
    p->n++;
    return TIDE_OK;
}

static tide_status add_hold(struct placement *p, const char *name, struct tide_err *err)
{
    char **grown = realloc(p->hold, (p->n_hold + 2) * sizeof *grown);

    if (grown == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory placing files");
    p->hold = grown;
    p->hold[p->n_hold] = strdup(name);
    p->hold[p->n_hold + 1] = NULL;
    if (p->hold[p->n_hold] == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory placing files");
    p->n_hold++;
    return TIDE_OK;
}

static tide_status on_entry(void *ctx, const struct tree_entry *e, struct tide_err *err)
{
    struct loading *l = ctx;

    if ((e->flags & TIDE_FILE_TABLESPACE) != 0)
        return add_space(l, e, err);
    /* control files come last: a directory without one cannot be started by mistake */
    if ((e->flags & TIDE_FILE_STABLE) != 0)
        return add_hold(l->p, e->name, err);
    return TIDE_OK;
}

static tide_status refuse_full_directories(const struct placement *p, struct tide_err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        bool empty = true;
        tide_status s = tide_dir_is_empty(p->spaces[i].directory, &empty, err);
        if (s != TIDE_OK)
            return s;
        if (!empty) {
            s = tide_fail(err, TIDE_REFUSED, "the directory \"%s\" for tablespace \"%s\" is not empty",
                          p->spaces[i].directory, p->spaces[i].name);
            return tide_hint(err, s, "nothing was written; name another with --tablespace %s=DIR", p->spaces[i].name);
        }
    }
    return TIDE_OK;
}

/* Whether b is a, or lies below it. */
static bool is_at_or_below(const char *a, const char *b)
{
    size_t n = strlen(a);

    while (n > 1 && a[n - 1] == '/')
        n--;
    return strncmp(a, b, n) == 0 && (b[n] == '/' || b[n] == '\0' || n == 1);
}

/* Files of two tablespaces may have the same name: in one directory the one would replace the other's. */
static tide_status refuse_shared_directories(const struct placement *p, struct tide_err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        const char *mine = p->spaces[i].directory;
        if (is_at_or_below(mine, p->o->into))
            return tide_fail(err, TIDE_INVALID, "the data directory would lie in \"%s\" of tablespace \"%s\"", mine,
                             p->spaces[i].name);
        for (size_t k = 0; k < p->n; k++) {
            if (k != i && is_at_or_below(mine, p->spaces[k].directory))
                return tide_fail(err, TIDE_INVALID, "tablespaces \"%s\" and \"%s\" would share \"%s\"",
                                 p->spaces[i].name, p->spaces[k].name, p->spaces[k].directory);
        }
    }
    return TIDE_OK;
}

/* A name that was mistyped would send the tablespace elsewhere. */
static tide_status refuse_unknown_names(const struct placement *p, struct tide_err *err)
{
    for (const char *const *m = p->o->tablespace_map; m != NULL && *m != NULL; m++) {
        size_t n = strcspn(*m, "="), i = 0;
        while (i < p->n && !is_word(p->spaces[i].name, *m, n) && !is_word(last_part(p->spaces[i].prefix), *m, n))
            i++;
        if (i == p->n)
            return tide_fail(err, TIDE_INVALID, "the backup has no tablespace \"%.*s\"", (int)n, *m);
    }
    return TIDE_OK;
}

tide_status placement_load(struct tree_reader *t, const struct restore_options *o, bool resume, struct placement *out,
                           struct tide_err *err)
{
    const char *text = o->plan->backup.metadata;
    json_t *metadata = text == NULL ? NULL : json_loads(text, 0, NULL);
    struct loading l = {.p = out, .metadata = metadata};

    memset(out, 0, sizeof *out);
    out->o = o;
    tide_status s = tree_reader_walk(t, on_entry, &l, err);
    json_decref(metadata);
    if (s == TIDE_OK)
        s = refuse_unknown_names(out, err);
    if (s == TIDE_OK)
        s = refuse_shared_directories(out, err);
    if (s == TIDE_OK && !resume)
        s = refuse_full_directories(out, err);
    if (s != TIDE_OK)
        placement_clear(out);
    return s;
}

void placement_clear(struct placement *p)
{
    for (size_t i = 0; i < p->n_hold; i++)
        free(p->hold[i]);
    free(p->hold);
    free(p->spaces);
    memset(p, 0, sizeof *p);
}

size_t placement_space(const struct placement *p, const char *entry)
{
    for (size_t i = 0; i < p->n; i++) {
        size_t n = p->spaces[i].prefix_len;
        if (strncmp(entry, p->spaces[i].prefix, n) == 0 && (entry[n] == '/' || entry[n] == '\0'))
            return i;
    }
    return p->n;
}

tide_status placement_place(void *ctx, const struct tree_entry *e, char path[TIDE_PATH_MAX], struct tide_err *err)
{
    const struct placement *p = ctx;
    size_t i = placement_space(p, e->name);

    if (i == p->n)
        return tide_path_join(path, p->o->into, e->name, err);
    size_t n = p->spaces[i].prefix_len;
    if (e->name[n] == '/')
        return tide_path_join(path, p->spaces[i].directory, e->name + n + 1, err);
    (void)snprintf(path, TIDE_PATH_MAX, "%s", p->spaces[i].directory);
    return TIDE_OK;
}

tide_status placement_lines(const struct placement *p, struct tide_buf *out, struct tide_err *err)
{
    for (size_t i = 0; i < p->n; i++) {
        const char *slash = strrchr(p->spaces[i].prefix, '/');
        tide_buf_printf(out, "%s=%s\n", slash == NULL ? p->spaces[i].prefix : slash + 1, p->spaces[i].directory);
    }
    return tide_buf_check(out, "the list of tablespaces", err);
}
