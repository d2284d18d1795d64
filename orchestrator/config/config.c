#include "orchestrator/config/config.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/config/config_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ETC      "/etc/tidemark"
#define FILE_MAX (1u << 20)

static const struct {
    const char *word;
    enum config_kind kind;
    bool named;
} kinds[] = {
    {"repository", CONFIG_REPOSITORY, true}, {"daemon", CONFIG_DAEMON, false},
    {"defaults", CONFIG_DEFAULTS, false},    {"policy", CONFIG_POLICY, true},
    {"instance", CONFIG_INSTANCE, true},
};

const char *config_kind_word(enum config_kind kind)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (kinds[i].kind == kind)
            return kinds[i].word;
    return "";
}

void config_section_title(enum config_kind kind, const char *name, char out[CONFIG_TITLE])
{
    const char *word = config_kind_word(kind);
    if (name == NULL || *name == '\0')
        (void)snprintf(out, CONFIG_TITLE, "[%s]", word);
    else
        (void)snprintf(out, CONFIG_TITLE, "[%s %.*s]", word, CONFIG_NAME_MAX, name);
}

/* ------------------------------------------------------------------ sections */

static struct config_section *find(const struct config *c, enum config_kind kind, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (c->sections[i].kind == kind && strcmp(c->sections[i].name, name == NULL ? "" : name) == 0)
            return &c->sections[i];
    return NULL;
}

const struct config_section *config_section_find(const struct config *c, enum config_kind kind, const char *name)
{
    return find(c, kind, name);
}

const struct config_entry *config_entry_find(const struct config_section *s, const char *key)
{
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (strcmp(s->entries[i].key, key) == 0)
            return &s->entries[i];
    return NULL;
}

static const struct config_section *nth(const struct config *c, enum config_kind kind, size_t i)
{
    for (size_t j = 0; j < c->n; j++)
        if (c->sections[j].kind == kind && i-- == 0)
            return &c->sections[j];
    return NULL;
}

size_t config_count(const struct config *c, enum config_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n; i++)
        n += c->sections[i].kind == kind;
    return n;
}

const char *config_name(const struct config *c, enum config_kind kind, size_t i)
{
    const struct config_section *s = nth(c, kind, i);
    return s == NULL ? NULL : s->name;
}

bool config_has(const struct config *c, enum config_kind kind, const char *name)
{
    return find(c, kind, name) != NULL;
}

/* ------------------------------------------------------------------- loading */

struct loading {
    struct config *config;
    const char *file;
    size_t section; /* index + 1 of the section that entries go to; 0: none yet */
};

static tide_status no_memory(struct tide_err *err)
{
    return tide_fail(err, TIDE_NO_MEMORY, "out of memory reading the configuration");
}

static bool name_is_valid(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t len = strlen(name);
    return len > 0 && len <= CONFIG_NAME_MAX && strchr(letters, name[0]) != NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

static tide_status which_section(const char *word, const char *name, enum config_kind *kind, struct tide_err *err)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strcmp(kinds[i].word, word) != 0)
            continue;
        *kind = kinds[i].kind;
        if (kinds[i].named && !name_is_valid(name))
            return tide_fail(
                err, TIDE_INVALID,
                "[%s NAME]: a name has 1 to %d lower-case letters, digits, '.', '_', '-', and starts with a "
                "letter or digit",
                word, CONFIG_NAME_MAX);
        if (!kinds[i].named && *name != '\0')
            return tide_fail(err, TIDE_INVALID, "[%s] has no name", word);
        return TIDE_OK;
    }
    return tide_fail(err, TIDE_INVALID, "there is no section [%s]", word);
}

static tide_status on_section(void *ctx, const char *word, const char *name, int line, struct tide_err *err)
{
    struct loading *l = ctx;
    struct config *c = l->config;
    enum config_kind kind = CONFIG_DAEMON;
    if (strcmp(word, "repository") == 0 && *name == '\0')
        name = "main"; /* the only one, usually */
    tide_status st = which_section(word, name, &kind, err);
    if (st != TIDE_OK)
        return st;
    const struct config_section *known = find(c, kind, name);
    if (known != NULL) { /* again: in conf.d, most likely */
        l->section = (size_t)(known - c->sections) + 1;
        return TIDE_OK;
    }
    if (c->n == c->cap) {
        size_t cap = c->cap == 0 ? 8 : c->cap * 2;
        struct config_section *bigger = reallocarray(c->sections, cap, sizeof *bigger);
        if (bigger == NULL)
            return no_memory(err);
        c->sections = bigger;
        c->cap = cap;
    }
    struct config_section *s = &c->sections[c->n++];
    *s = (struct config_section){.kind = kind, .file = l->file, .line = line};
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    l->section = c->n;
    return TIDE_OK;
}

static tide_status add_entry(struct config_section *s, const char *key, const char *text, const char *file, int line,
                             struct tide_err *err)
{
    if (s->n == s->cap) {
        size_t cap = s->cap == 0 ? 8 : s->cap * 2;
        struct config_entry *bigger = reallocarray(s->entries, cap, sizeof *bigger);
        if (bigger == NULL)
            return no_memory(err);
        s->entries = bigger;
        s->cap = cap;
    }
    struct config_entry e = {.key = strdup(key), .text = strdup(text), .file = file, .line = line};
    s->entries[s->n++] = e; /* freed with the section, whole or not */
    return e.key == NULL || e.text == NULL ? no_memory(err) : TIDE_OK;
}

static tide_status on_entry(void *ctx, const char *key, const char *value, int line, struct tide_err *err)
{
    struct loading *l = ctx;
    if (l->section == 0)
        return tide_fail(err, TIDE_INVALID, "\"%s\" stands before the first section", key);
    struct config_section *s = &l->config->sections[l->section - 1];
    const struct config_entry *twice = config_entry_find(s, key);
    if (twice != NULL)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is set again; it was set at %s:%d", key, twice->file,
                         twice->line);
    tide_status st = config_check_entry(s->kind, s->name, key, value, err);
    return st != TIDE_OK ? st : add_entry(s, key, value, l->file, line, err);
}

static tide_status load_file(struct config *c, const char *path, struct tide_err *err)
{
    char **files = reallocarray(c->files, c->n_files + 1, sizeof *files);
    if (files == NULL)
        return no_memory(err);
    c->files = files;
    char *name = strdup(path);
    if (name == NULL)
        return no_memory(err);
    c->files[c->n_files++] = name;

    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(FILE_MAX);
    tide_status st = tide_file_read(path, &text, err);
    if (st == TIDE_NOT_FOUND) {
        st = tide_fail(err, TIDE_INVALID, "there is no configuration file \"%s\"", path);
        return tide_hint(err, st, "Name one with -c, or write this one; see tidemark.conf(5).");
    }
    if (st != TIDE_OK)
        return tide_wrap(err, st, "reading the configuration");
    if (text.len == 0)
        return TIDE_OK;
    struct loading l = {.config = c, .file = name};
    struct ini_handler h = {.ctx = &l, .section = on_section, .entry = on_entry};
    return ini_parse_text((char *)text.data, text.len, name, &h, err);
}

static int is_conf(const struct dirent *e)
{
    size_t len = strlen(e->d_name);
    return e->d_name[0] != '.' && len > 5 && strcmp(e->d_name + len - 5, ".conf") == 0;
}

static int by_bytes(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static tide_status load_directory(struct config *c, const char *dir, struct tide_err *err)
{
    struct dirent **names = NULL;
    int n = scandir(dir, &names, is_conf, by_bytes);
    if (n < 0)
        return errno == ENOENT ? TIDE_OK : tide_fail_errno(err, errno, "could not list \"%s\"", dir);
    tide_status st = TIDE_OK;
    for (int i = 0; i < n; i++) {
        char path[TIDE_PATH_MAX];
        if (st == TIDE_OK)
            st = tide_path_join(path, dir, names[i]->d_name, err);
        if (st == TIDE_OK)
            st = load_file(c, path, err);
        free(names[i]);
    }
    free(names);
    return st;
}

static tide_status load_etc(struct config *c, const char *etc, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    tide_status st = tide_path_join(path, etc, "tidemark.conf", err);
    if (st == TIDE_OK)
        st = load_file(c, path, err);
    if (st == TIDE_OK)
        st = tide_path_join(path, etc, "conf.d", err);
    return st == TIDE_OK ? load_directory(c, path, err) : st;
}

tide_status config_load(const struct config_sources *src, struct config **out, struct tide_err *err)
{
    TIDE_AUTO(config_freep) struct config *c = calloc(1, sizeof *c);
    if (c == NULL)
        return no_memory(err);
    tide_status st =
        src->file != NULL ? load_file(c, src->file, err) : load_etc(c, src->etc != NULL ? src->etc : ETC, err);
    if (st == TIDE_OK)
        st = config_check_references(c, err);
    if (st == TIDE_OK)
        *out = TIDE_TAKE(c);
    return st;
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->n; i++) {
        for (size_t j = 0; j < c->sections[i].n; j++) {
            free(c->sections[i].entries[j].key);
            free(c->sections[i].entries[j].text);
        }
        free(c->sections[i].entries);
    }
    for (size_t i = 0; i < c->n_files; i++)
        free(c->files[i]);
    free(c->sections);
    free(c->files);
    free(c);
}

void config_freep(struct config **c)
{
    config_free(*c);
}
