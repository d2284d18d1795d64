#ifndef TIDE_CONFIG_CONFIG_H
#define TIDE_CONFIG_CONFIG_H

/*
 * The configuration: INI files read once, then immutable (thread-safe to read).
 *
 *     [repository NAME] [daemon] [defaults] [policy NAME] [instance NAME]
 *
 * Keys are checked against the table in config_table.c, those of an instance also against its engine's options, which
 * the caller hands in.  An instance's value comes from its own section, else from its policy, else from [defaults],
 * else from the table.  An instance without a section has only the last two: what the repository knows can be listed
 * and restored without being configured.
 */

#include "orchestrator/base/secret.h"

struct config;

enum config_kind {
    CONFIG_REPOSITORY = 1,
    CONFIG_DAEMON = 2,
    CONFIG_DEFAULTS = 4,
    CONFIG_POLICY = 8,
    CONFIG_INSTANCE = 16,
};

/* ------------------------------------------------------------------ loading */

struct config_sources {
    const char *file; /* -c; NULL: etc/tidemark.conf, then etc/conf.d/ *.conf in order of their names */
    const char *etc;  /* NULL: "/etc/tidemark" */
};

/* INVALID when there is no such file and, with file and line, for everything that is wrong in one; but for keys of an
 * [instance] that the core does not know: config_validate. */
tide_status config_load(const struct config_sources *src, struct config **out, struct tide_err *err) TIDE_MUST_CHECK;
void config_free(struct config *c);
void config_freep(struct config **c);

/* One instance's keys and values against its engine's options: unknown keys, wrong values, missing ones. */
tide_status config_validate_instance(const struct config *c, const char *instance, const struct tide_option *options,
                                     size_t n, struct tide_err *err) TIDE_MUST_CHECK;
/* All instances; fn gives the options of an engine's plugin, or its error (which is passed on with file and line). */
typedef tide_status config_engine_fn(void *ctx, const char *engine, const struct tide_option **options, size_t *n,
                                     struct tide_err *err);
tide_status config_validate(const struct config *c, config_engine_fn *fn, void *ctx,
                            struct tide_err *err) TIDE_MUST_CHECK;

/* ----------------------------------------------------------------- sections */

/* In the order of the files. */
size_t config_count(const struct config *c, enum config_kind kind);
const char *config_name(const struct config *c, enum config_kind kind, size_t i);
bool config_has(const struct config *c, enum config_kind kind, const char *name);
/* The repository of an instance: the one it names, else the only one.  INVALID when there is none, or a choice. */
tide_status config_instance_repository(const struct config *c, const char *instance, const char **name,
                                       struct tide_err *err) TIDE_MUST_CHECK;

/* ------------------------------------------------------------------- values */

struct config_value {
    const char *text; /* NULL: not set, and no default */
    const char *file; /* NULL: the default */
    int line;
};

/* name: of the section; NULL for [daemon] and [defaults].  With CONFIG_INSTANCE the effective value. */
struct config_value config_value(const struct config *c, enum config_kind kind, const char *name, const char *key);
struct config_value config_instance_value(const struct config *c, const char *instance, const char *key);

/* The value by its type.  NOT_FOUND when it is not set and has no default; INVALID, with file and line.  The text of
 * config_string is the configuration's. */
tide_status config_string(const struct config *c, enum config_kind kind, const char *name, const char *key,
                          const char **out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status config_duration(const struct config *c, enum config_kind kind, const char *name, const char *key,
                            int64_t *us, struct tide_err *err) TIDE_MUST_CHECK;
tide_status config_size(const struct config *c, enum config_kind kind, const char *name, const char *key,
                        uint64_t *bytes, struct tide_err *err) TIDE_MUST_CHECK;
tide_status config_integer(const struct config *c, enum config_kind kind, const char *name, const char *key,
                           int64_t *out, struct tide_err *err) TIDE_MUST_CHECK;
tide_status config_bool(const struct config *c, enum config_kind kind, const char *name, const char *key, bool *out,
                        struct tide_err *err) TIDE_MUST_CHECK;

/*
 * What a plugin's host gives for an option: its text in base units (bytes, microseconds, 0 or 1), the option's
 * default when nothing is configured, secrets resolved.  NOT_FOUND: it has no value.
 */
tide_status config_engine_option(const struct config *c, const char *instance, const struct tide_option *option,
                                 struct tide_secret *value, struct tide_err *err) TIDE_MUST_CHECK;

/* ------------------------------------------------------------------ secrets */

#define CONFIG_WARNING 512

/*
 * A secret of a repository or an instance, from KEY_file, KEY_command, or the environment variable
 * TIDEMARK_<NAME>_<KEY> (capitals, '_' for what is neither letter nor digit), in this order.  NOT_FOUND: from none.
 * A line's end behind a password goes; an encryption key is taken byte by byte.  warning (NULL: not wanted) says,
 * when not empty, that others can read the file.
 */
tide_status config_secret(const struct config *c, enum config_kind kind, const char *name, const char *key,
                          struct tide_secret *out, char warning[CONFIG_WARNING],
                          struct tide_err *err) TIDE_MUST_CHECK;

/* -------------------------------------------------------------------- table */

#define CONFIG_EXACT 0x10000u /* of flags: a secret whose every byte counts */

struct config_option {
    const char *key;
    uint32_t sections; /* enum config_kind, or-ed */
    uint32_t type;     /* enum tide_option_type */
    uint32_t flags;    /* TIDE_OPTION_..., CONFIG_EXACT */
    const char *def;
    const char *choices;
    const char *help; /* one sentence, lower case, no full stop */
    int64_t min, max; /* base units; max 0: unbounded */
};

const struct config_option *config_options(size_t *n);
/* The core's option for a key of a section, or NULL.  KEY_file and KEY_command find the secret KEY. */
const struct config_option *config_option_find(enum config_kind kind, const char *key);

/* tidemark.conf(5), from the table. */
tide_status config_write_man(FILE *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
