#include "orchestrator/plugin/loader.h"

#include "orchestrator/base/cleanup.h"
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_NAME_MAX    32
#define PLUGIN_OPTIONS_MAX 256u

/* Everything before the first optional callback: an older or newer plugin has at least that. */
#define PLUGIN_MIN_SIZE (offsetof(struct tide_plugin, close) + sizeof(void (*)(void *)))
#define OPTION_MIN_SIZE sizeof(struct tide_option)

struct loaded_plugin {
    struct tide_plugin table;
    struct tide_option *options;
    char path[TIDE_PATH_MAX];
};

void plugin_free(struct loaded_plugin *p)
{
    if (p == NULL)
        return;
    free(p->options);
    free(p);
}

void plugin_freep(struct loaded_plugin **p)
{
    plugin_free(*p);
    *p = NULL;
}

const struct tide_plugin *plugin_table(const struct loaded_plugin *p)
{
    return &p->table;
}

const char *plugin_path(const struct loaded_plugin *p)
{
    return p->path;
}

const struct tide_option *plugin_options(const struct loaded_plugin *p, size_t *n)
{
    *n = p->table.n_options;
    return p->options;
}

const char *plugin_name_for_engine(const char *engine)
{
    static const struct {
        const char *engine, *plugin;
    } aliases[] = {{"postgres", "postgresql"}, {"pg", "postgresql"}, {"mariadb", "mysql"}};

    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(engine, aliases[i].engine) == 0)
            return aliases[i].plugin;
    return engine;
}

/* ---------------------------------------------------------------- where */

static bool is_directory(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

tide_status plugin_self_path(char out[TIDE_PATH_MAX], struct tide_err *err)
{
    ssize_t n = readlink("/proc/self/exe", out, TIDE_PATH_MAX - 1);
    if (n < 0)
        return tide_fail_errno(err, errno, "could not find the program's own file through \"/proc/self/exe\"");
    out[n] = '\0';
    return TIDE_OK;
}

/* The directory that the program lies in, and `relative` below or beside it. */
static tide_status beside_program(const char *relative, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    char self[TIDE_PATH_MAX];

    tide_status s = plugin_self_path(self, err);
    if (s != TIDE_OK)
        return s;
    char *slash = strrchr(self, '/');
    if (slash != NULL)
        *slash = '\0';
    return tide_path_join(out, self, relative, err);
}

tide_status plugin_helper_path(const char *name, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    static const char *const places[] = {"", "../libexec/tidemark/"};

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char relative[256];
        (void)snprintf(relative, sizeof relative, "%s%s", places[i], name);
        tide_status s = beside_program(relative, out, err);
        if (s != TIDE_OK)
            return s;
        if (access(out, X_OK) == 0)
            return TIDE_OK;
    }
    tide_status s = tide_fail(err, TIDE_NOT_FOUND, "could not find the program \"%s\"", name);
    return tide_hint(err, s, "It belongs beside \"tidemark\" or in libexec/tidemark of the installation.");
}

tide_status plugin_directory_find(const char *configured, char out[TIDE_PATH_MAX], struct tide_err *err)
{
    const char *given = configured != NULL && configured[0] != '\0' ? configured : getenv("TIDEMARK_PLUGIN_DIR");
    if (given == NULL || given[0] == '\0')
        given = getenv("TIDE_PLUGIN_DIR");
    if (given != NULL && given[0] != '\0') {
        /* Links in the way there are the administrator's; the checks below hold for where they lead. */
        if (realpath(given, out) == NULL)
            return tide_fail_errno(err, errno, "could not open the plugin directory \"%s\"", given);
        return TIDE_OK;
    }

    static const char *const places[] = {"../lib/tidemark/plugins", "plugins"};
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char path[TIDE_PATH_MAX];
        tide_status s = beside_program(places[i], path, err);
        if (s != TIDE_OK)
            return s;
        if (is_directory(path) && realpath(path, out) != NULL)
            return TIDE_OK;
    }
    tide_status s = tide_fail(err, TIDE_NOT_FOUND, "there is no plugin directory");
    return tide_hint(err, s, "Name it by plugin_directory under [daemon], or in TIDE_PLUGIN_DIR.");
}

/* --------------------------------------------------------------- whose */

/* What we run with our rights must not be writable by anybody with other rights. */
static tide_status check_owner(const char *path, const struct stat *st, struct tide_err *err)
{
    if (st->st_uid != 0 && st->st_uid != geteuid()) {
        tide_status s = tide_fail(err, TIDE_REFUSED, "\"%s\" belongs to user %u, neither root nor us", path,
                                  (unsigned)st->st_uid);
        return tide_hint(err, s, "Its owner could run code as us: chown it to root.");
    }
    if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        tide_status s = tide_fail(err, TIDE_REFUSED, "\"%s\" can be written by others (mode %03o)", path,
                                  (unsigned)(st->st_mode & 0777));
        return tide_hint(err, s, "They could run code as us: chmod go-w \"%s\".", path);
    }
    return TIDE_OK;
}

static tide_status check_file(const char *directory, const char *path, struct tide_err *err)
{
    struct stat st;

    if (directory[0] != '/')
        return tide_fail(err, TIDE_INVALID, "the plugin directory \"%s\" is not an absolute path", directory);
    if (stat(directory, &st) != 0)
        return tide_fail_errno(err, errno, "could not open the plugin directory \"%s\"", directory);
    tide_status s = check_owner(directory, &st, err);
    if (s != TIDE_OK)
        return s;
    if (lstat(path, &st) != 0)
        return tide_fail_errno(err, errno, "could not open plugin \"%s\"", path);
    if (!S_ISREG(st.st_mode))
        return tide_fail(err, TIDE_REFUSED, "plugin \"%s\" is not an ordinary file", path);
    return check_owner(path, &st, err);
}

/* "postgresql, mysql" for the hint of a missing plugin. */
static void list_plugins(const char *directory, char *out, size_t size)
{
    size_t used = 0;

    out[0] = '\0';
    DIR *dir = opendir(directory);
    if (dir == NULL)
        return;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        size_t n = strlen(e->d_name);
        if (n <= 3 || strcmp(e->d_name + n - 3, ".so") != 0 || used + n + 3 >= size)
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%.*s", used == 0 ? "" : ", ", (int)(n - 3), e->d_name);
    }
    (void)closedir(dir);
}

static bool name_is_valid(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n < PLUGIN_NAME_MAX && name[0] >= 'a' && name[0] <= 'z' &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_") == n;
}

/* ------------------------------------------------------------ contract */

struct requirement {
    uint64_t caps; /* any of these */
    size_t offset; /* of the callback in the table */
    const char *name;
};

#define NEED(caps_, member_)                                                                                         \
    {                                                                                                                \
        (caps_), offsetof(struct tide_plugin, member_), #member_                                                     \
    }
#define CAP_BACKUP (TIDE_CAP_BACKUP_FILES | TIDE_CAP_BACKUP_STREAM | TIDE_CAP_BACKUP_SNAPSHOT)

static const struct requirement requirements[] = {
    NEED(UINT64_MAX, open),
    NEED(UINT64_MAX, close),
    NEED(UINT64_MAX, check),
    NEED(TIDE_CAP_LOG_STREAM, clock),
    NEED(TIDE_CAP_LOG_STREAM | CAP_BACKUP, log_identify),
    NEED(TIDE_CAP_LOG_STREAM | CAP_BACKUP, log_relate),
    NEED(TIDE_CAP_LOG_STREAM, log_stream),
    NEED(TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES, log_scan_open),
    NEED(TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES, log_scan_feed),
    NEED(TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES, log_scan_close),
    NEED(TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES | CAP_BACKUP, pos_format),
    NEED(TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES | CAP_BACKUP, pos_parse),
    NEED(TIDE_CAP_LOG_FILES, log_file_locate),
    NEED(TIDE_CAP_LOG_FILES, log_file_identify),
    NEED(TIDE_CAP_LOG_FILES, log_file_content),
    NEED(CAP_BACKUP, backup),
    NEED(TIDE_CAP_INSPECT, inspect),
    NEED(TIDE_CAP_CHANGED_PAGES, changed_pages),
    NEED(TIDE_CAP_RECOVER, restore_check),
    NEED(TIDE_CAP_RECOVER, restore_prepare),
    NEED(TIDE_CAP_RECOVER, recover),
};

static tide_status check_callbacks(const struct loaded_plugin *p, struct tide_err *err)
{
    for (size_t i = 0; i < sizeof requirements / sizeof requirements[0]; i++) {
        const struct requirement *r = &requirements[i];
        void (*callback)(void) = NULL;
        memcpy(&callback, (const char *)&p->table + r->offset, sizeof callback);
        if (callback == NULL && (r->caps == UINT64_MAX || (p->table.caps & r->caps) != 0))
            return tide_fail(err, TIDE_INVALID, "plugin \"%s\" has no \"%s\", which its capabilities promise",
                             p->path, r->name);
    }
    return TIDE_OK;
}

static tide_status check_option(const struct loaded_plugin *p, size_t i, struct tide_err *err)
{
    const struct tide_option *o = &p->options[i];

    if (o->key == NULL || o->key[0] == '\0' || o->help == NULL || o->help[0] == '\0')
        return tide_fail(err, TIDE_INVALID, "option %zu of plugin \"%s\" has no key or no help", i, p->path);
    if (o->type > TIDE_OPTION_ENUM)
        return tide_fail(err, TIDE_UNSUPPORTED, "option \"%s\" of plugin \"%s\" has the unknown type %u", o->key,
                         p->path, o->type);
    if (o->type == TIDE_OPTION_ENUM && (o->choices == NULL || o->choices[0] == '\0'))
        return tide_fail(err, TIDE_INVALID, "option \"%s\" of plugin \"%s\" has no choices", o->key, p->path);
    for (size_t j = 0; j < i; j++)
        if (strcmp(p->options[j].key, o->key) == 0)
            return tide_fail(err, TIDE_INVALID, "option \"%s\" of plugin \"%s\" is there twice", o->key, p->path);
    return TIDE_OK;
}

/* Copies the options into an array of our layout: theirs may be wider. */
static tide_status adopt_options(struct loaded_plugin *p, struct tide_err *err)
{
    uint32_t n = p->table.n_options, stride = p->table.options_stride;

    if (n == 0)
        return TIDE_OK;
    if (n > PLUGIN_OPTIONS_MAX || p->table.options == NULL || stride < OPTION_MIN_SIZE)
        return tide_fail(err, TIDE_INVALID, "plugin \"%s\" has a bad option table (%u options of %u bytes)", p->path,
                         n, stride);
    p->options = calloc(n, sizeof *p->options);
    if (p->options == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory loading plugin \"%s\"", p->path);
    for (size_t i = 0; i < n; i++) {
        memcpy(&p->options[i], (const char *)p->table.options + i * stride, sizeof p->options[i]);
        tide_status s = check_option(p, i, err);
        if (s != TIDE_OK)
            return s;
    }
    p->table.options = p->options;
    p->table.options_stride = sizeof *p->options;
    return TIDE_OK;
}

tide_status plugin_adopt(const char *path, const char *name, const struct tide_plugin *theirs,
                         struct loaded_plugin **out, struct tide_err *err)
{
    if (theirs == NULL)
        return tide_fail(err, TIDE_UNSUPPORTED, "plugin \"%s\" refuses plugin ABI %u of this program", path,
                         TIDE_PLUGIN_ABI);
    if (theirs->abi != TIDE_PLUGIN_ABI)
        return tide_fail(err, TIDE_UNSUPPORTED, "plugin \"%s\" has plugin ABI %u, this program has %u", path,
                         theirs->abi, TIDE_PLUGIN_ABI);
    if (theirs->struct_size < PLUGIN_MIN_SIZE)
        return tide_fail(err, TIDE_INVALID, "plugin \"%s\" declares a table of only %u bytes", path,
                         theirs->struct_size);

    TIDE_AUTO(plugin_freep) struct loaded_plugin *p = calloc(1, sizeof *p);
    if (p == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory loading plugin \"%s\"", path);
    (void)snprintf(p->path, sizeof p->path, "%s", path);
    size_t known = theirs->struct_size < sizeof p->table ? theirs->struct_size : sizeof p->table;
    memcpy(&p->table, theirs, known);

    if (p->table.name == NULL || strcmp(p->table.name, name) != 0)
        return tide_fail(err, TIDE_INVALID, "plugin \"%s\" calls itself \"%s\", not \"%s\"", path,
                         p->table.name == NULL ? "" : p->table.name, name);
    if (p->table.version == NULL)
        return tide_fail(err, TIDE_INVALID, "plugin \"%s\" has no version", path);
    tide_status s = check_callbacks(p, err);
    if (s == TIDE_OK)
        s = adopt_options(p, err);
    if (s != TIDE_OK)
        return s;
    *out = TIDE_TAKE(p);
    return TIDE_OK;
}

tide_status plugin_load(const char *directory, const char *name, struct loaded_plugin **out, struct tide_err *err)
{
    char file[PLUGIN_NAME_MAX + 4], path[TIDE_PATH_MAX];

    if (!name_is_valid(name))
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no engine's name", name);
    (void)snprintf(file, sizeof file, "%s.so", name);
    tide_status s = tide_path_join(path, directory, file, err);
    if (s == TIDE_OK)
        s = check_file(directory, path, err);
    if (s == TIDE_NOT_FOUND) {
        char known[256];
        list_plugins(directory, known, sizeof known);
        s = tide_fail(err, TIDE_NOT_FOUND, "there is no plugin for engine \"%s\" in \"%s\"", name, directory);
        return tide_hint(err, s, "Plugins that are there: %s.", known[0] == '\0' ? "none" : known);
    }
    if (s != TIDE_OK)
        return s;

    /* RTLD_LOCAL: libraries of two engines must not see each other; RTLD_NOW: a missing symbol shows here. */
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (handle == NULL) {
        const char *why = dlerror();
        s = tide_fail(err, TIDE_IO, "could not load plugin \"%s\": %s", path, why == NULL ? "unknown reason" : why);
        return tide_hint(err, s, "A client library may be missing: ldd \"%s\".", path);
    }
    void *symbol = dlsym(handle, TIDE_PLUGIN_ENTRY);
    if (symbol == NULL)
        return tide_fail(err, TIDE_INVALID, "plugin \"%s\" does not export \"%s\"", path, TIDE_PLUGIN_ENTRY);
    tide_plugin_entry_fn *entry;
    memcpy(&entry, &symbol, sizeof entry);
    return plugin_adopt(path, name, entry(TIDE_PLUGIN_ABI), out, err);
}
