#ifndef TIDE_CLI_ARGS_H
#define TIDE_CLI_ARGS_H

/* Words of a command line against a table; the same table makes the help. */

#include "orchestrator/base/err.h"

struct cli_option {
    const char *name;     /* "to": typed as --to VALUE or --to=VALUE */
    char letter;          /* 'q': typed as -q; 0: none */
    const char *argument; /* "TARGET", as help shows it; NULL: a flag */
    const char *help;     /* one line */
};

#define ARGS_MAX_OPTIONS    48u
#define ARGS_MAX_POSITIONAL 8u

struct cli_command;

struct cli_args {
    const char *positional[ARGS_MAX_POSITIONAL];
    size_t n_positional;
    struct cli_given {
        const struct cli_option *option;
        const char *value; /* NULL for a flag */
    } given[ARGS_MAX_OPTIONS];
    size_t n_given;
    const struct cli_command *command; /* whose they are; NULL: the program's */
};

/*
 * Reads words into args, whose earlier content stays.  Options may stand anywhere; behind "--" everything is
 * positional.  tables is an array of n tables, each ended by an option without a name.  INVALID for what is not in
 * them.  stop_at_word: stops at the first positional word; *used says how many words were read.
 */
struct cli_parse {
    const struct cli_option *const *tables;
    size_t n_tables;
    bool stop_at_word;
};
tide_status cli_args_parse(const struct cli_parse *p, int argc, char *const *argv, struct cli_args *args, int *used,
                           struct tide_err *err) TIDE_MUST_CHECK;

bool cli_args_has(const struct cli_args *args, const char *name);
/* The last one given, or NULL. */
const char *cli_args_value(const struct cli_args *args, const char *name);
/* The i-th value of an option that may be repeated, or NULL. */
const char *cli_args_nth(const struct cli_args *args, const char *name, size_t i);

/* A whole number between min and max. */
tide_status cli_args_number(const struct cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t def,
                            uint64_t *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
