#include "tests/conformance/conformance.h"

#include "orchestrator/base/log.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "DIR/NAME.so" apart. */
static bool split(const char *path, char directory[PATH_MAX], char name[64])
{
    char whole[PATH_MAX];

    if (realpath(path, whole) == NULL)
        return false;
    char *slash = strrchr(whole, '/');
    size_t len = strlen(slash + 1);
    if (len < 4 || len - 3 >= 64 || strcmp(slash + 1 + len - 3, ".so") != 0)
        return false;
    (void)snprintf(name, 64, "%.*s", (int)(len - 3), slash + 1);
    *slash = '\0';
    (void)snprintf(directory, PATH_MAX, "%s", whole);
    return true;
}

/* An ABI that is not its own: the plugin says so, or says which one it has. */
static void check_other_abi(const char *path)
{
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = handle == NULL ? NULL : dlsym(handle, TIDE_PLUGIN_ENTRY);
    tide_plugin_entry_fn *entry;

    if (symbol == NULL)
        return;
    memcpy(&entry, &symbol, sizeof entry);
    const struct tide_plugin *p = entry(TIDE_PLUGIN_ABI + 1000);
    tap_check(p == NULL || p->abi == TIDE_PLUGIN_ABI, "asked for an ABI that it does not have, it does not pretend");
    const struct tide_plugin *again = entry(TIDE_PLUGIN_ABI);
    tap_check(again != NULL && again == entry(TIDE_PLUGIN_ABI), "the entry gives the same table each time");
}

static void check_capabilities(const struct subject *s)
{
    const uint64_t known = TIDE_CAP_BACKUP_FILES | TIDE_CAP_BACKUP_STREAM | TIDE_CAP_BACKUP_SNAPSHOT |
                           TIDE_CAP_LOG_STREAM | TIDE_CAP_LOG_FILES | TIDE_CAP_CHANGED_PAGES | TIDE_CAP_RECOVER |
                           TIDE_CAP_INSPECT | TIDE_CAP_SYNCHRONOUS;

    tap_check((s->plugin->caps & ~known) == 0, "its capabilities are known ones");
    tap_check(s->plugin->caps != 0, "it can do something");
}

static void check_other_names(const char *directory)
{
    static const char *const names[] = {"", "no_such_engine", "../evil", "a/b", "UPPER", "x.so"};
    bool refused = true;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct tide_err err = TIDE_ERR_INIT;
        struct loaded_plugin *p = NULL;
        refused &= plugin_load(directory, names[i], &p, &err) != TIDE_OK && p == NULL && err.msg[0] != '\0';
    }
    tap_check(refused, "names that are none are refused, with a reason");
}

int main(int argc, char **argv)
{
    char directory[PATH_MAX], name[64];
    struct tide_err err = TIDE_ERR_INIT;
    struct loaded_plugin *loaded = NULL;

    if (argc < 2 || !split(argv[1], directory, name)) {
        (void)fprintf(stderr, "usage: tidemark-conformance PLUGIN.so [KEY=VALUE...]\n");
        return 2;
    }
    tide_log_init(TIDE_LOG_ERROR, TIDE_LOG_TEXT, NULL);
    struct subject s = {
        .path = argv[1], .settings = (const char *const *)(uintptr_t)(argv + 2), .has_server = argc > 2};
    check_exports(&s);
    if (!tap_check(plugin_load(directory, name, &loaded, &err) == TIDE_OK, "it loads")) {
        tap_diag("%s", err.msg);
        return tap_finish();
    }
    s.plugin = plugin_table(loaded);
    s.options = plugin_options(loaded, &s.n_options);
    check_other_abi(argv[1]);
    check_other_names(directory);
    check_capabilities(&s);
    check_options(&s);
    check_positions(&s);
    check_life(&s);
    check_scan_garbage(&s);
    check_server(&s);
    check_stream(&s);
    check_backup(&s);
    plugin_free(loaded);
    return tap_finish();
}
