#ifndef TIDE_CONFIG_CONFIG_INTERNAL_H
#define TIDE_CONFIG_CONFIG_INTERNAL_H

/* For orchestrator/config/ *.c only. */

#include "orchestrator/base/buf.h"
#include "orchestrator/config/config.h"

#define CONFIG_NAME_MAX 64 /* as the names of instances in a repository */
#define CONFIG_LINE_MAX 8192

/* ---------------------------------------------------------------- config_ini.c */

struct ini_handler {
    void *ctx;
    /* kind and name as written, name "" when there is none */
    tide_status (*section)(void *ctx, const char *kind, const char *name, int line, struct tide_err *err);
    tide_status (*entry)(void *ctx, const char *key, const char *value, int line, struct tide_err *err);
};

/* text is changed on the way.  Errors, the handler's too, get "FILE:LINE: " before them. */
tide_status ini_parse_text(char *text, size_t len, const char *file, const struct ini_handler *h,
                           struct tide_err *err) TIDE_MUST_CHECK;

/* -------------------------------------------------------------------- config.c */

struct config_entry {
    char *key, *text;
    const char *file; /* the configuration's */
    int line;
};

struct config_section {
    enum config_kind kind;
    char name[CONFIG_NAME_MAX + 1];
    const char *file;
    int line;
    struct config_entry *entries;
    size_t n, cap;
};

struct config {
    struct config_section *sections;
    size_t n, cap;
    char **files;
    size_t n_files;
};

const struct config_section *config_section_find(const struct config *c, enum config_kind kind, const char *name);
const struct config_entry *config_entry_find(const struct config_section *s, const char *key);
/* "[instance shop]" */
#define CONFIG_TITLE (CONFIG_NAME_MAX + 16)
void config_section_title(enum config_kind kind, const char *name, char out[CONFIG_TITLE]);
const char *config_kind_word(enum config_kind kind);

/* Whether the entry that is effective for an instance is there, with the section's own before policy and defaults. */
const struct config_entry *config_effective(const struct config *c, const char *instance, const char *key);

/* ------------------------------------------------------------- config_table.c */

/* A value against its type and bounds; the base-unit text goes to out when it is not NULL.  The error has no place.
 */
tide_status config_check_value(const struct config_option *o, const char *text, struct tide_buf *out,
                               struct tide_err *err) TIDE_MUST_CHECK;
struct config_option config_option_of(const struct tide_option *o);

/* ------------------------------------------------------------- config_check.c */

/* A core key of one entry: known in that section, its value right; *unknown in an [instance] is left to its engine.
 */
tide_status config_check_entry(enum config_kind kind, const char *name, const char *key, const char *text,
                               struct tide_err *err) TIDE_MUST_CHECK;
/* What needs the whole: policies and repositories that are named exist. */
tide_status config_check_references(const struct config *c, struct tide_err *err) TIDE_MUST_CHECK;
/* Puts "FILE:LINE: " before the error. */
tide_status config_at(struct tide_err *err, tide_status s, const char *file, int line);

#endif
