#include "orchestrator/cli/args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct cli_option *find_long(const struct cli_parse *p, const char *name, size_t len)
{
    for (size_t t = 0; t < p->n_tables; t++)
        for (const struct cli_option *o = p->tables[t]; o != NULL && o->name != NULL; o++)
            if (strlen(o->name) == len && memcmp(o->name, name, len) == 0)
                return o;
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_parse *p, char letter)
{
    for (size_t t = 0; t < p->n_tables; t++)
        for (const struct cli_option *o = p->tables[t]; o != NULL && o->name != NULL; o++)
            if (o->letter != 0 && o->letter == letter)
                return o;
    return NULL;
}

static tide_status remember(struct cli_args *args, const struct cli_option *o, const char *value,
                            struct tide_err *err)
{
    if (args->n_given == ARGS_MAX_OPTIONS)
        return tide_fail(err, TIDE_INVALID, "too many options");
    /* A script's variable that was not set. */
    if (value != NULL && value[0] == '\0')
        return tide_fail(err, TIDE_INVALID, "the value of \"--%s\" is empty: %s", o->name, o->argument);
    args->given[args->n_given++] = (struct cli_given){.option = o, .value = value};
    return TIDE_OK;
}

/* "--name", "--name=value", "--name value"; *i moves over a value that is a word of its own. */
static tide_status take_long(const struct cli_parse *p, int argc, char *const *argv, int *i, struct cli_args *args,
                             struct tide_err *err)
{
    const char *name = argv[*i] + 2;
    const char *equals = strchr(name, '=');
    size_t len = equals == NULL ? strlen(name) : (size_t)(equals - name);

    const struct cli_option *o = find_long(p, name, len);
    if (o == NULL)
        return tide_fail(err, TIDE_INVALID, "unknown option \"--%.*s\"", (int)len, name);
    if (o->argument == NULL) {
        if (equals != NULL)
            return tide_fail(err, TIDE_INVALID, "option \"--%s\" takes no value", o->name);
        return remember(args, o, NULL, err);
    }
    if (equals != NULL)
        return remember(args, o, equals + 1, err);
    if (*i + 1 >= argc)
        return tide_fail(err, TIDE_INVALID, "option \"--%s\" needs a value: %s", o->name, o->argument);
    *i += 1;
    return remember(args, o, argv[*i], err);
}

/* "-q", "-qv", "-c FILE", "-cFILE". */
static tide_status take_letters(const struct cli_parse *p, int argc, char *const *argv, int *i, struct cli_args *args,
                                struct tide_err *err)
{
    for (const char *letter = argv[*i] + 1; *letter != '\0'; letter++) {
        const struct cli_option *o = find_letter(p, *letter);
        if (o == NULL)
            return tide_fail(err, TIDE_INVALID, "unknown option \"-%c\"", *letter);
        if (o->argument == NULL) {
            tide_status s = remember(args, o, NULL, err);
            if (s != TIDE_OK)
                return s;
            continue;
        }
        if (letter[1] != '\0')
            return remember(args, o, letter + 1, err);
        if (*i + 1 >= argc)
            return tide_fail(err, TIDE_INVALID, "option \"-%c\" needs a value: %s", *letter, o->argument);
        *i += 1;
        return remember(args, o, argv[*i], err);
    }
    return TIDE_OK;
}

tide_status cli_args_parse(const struct cli_parse *p, int argc, char *const *argv, struct cli_args *args, int *used,
                           struct tide_err *err)
{
    bool only_words = false;
    int i = 0;

    for (; i < argc; i++) {
        const char *word = argv[i];
        tide_status s = TIDE_OK;
        if (!only_words && strcmp(word, "--") == 0) {
            only_words = true;
        } else if (!only_words && strncmp(word, "--", 2) == 0) {
            s = take_long(p, argc, argv, &i, args, err);
        } else if (!only_words && word[0] == '-' && word[1] != '\0') {
            s = take_letters(p, argc, argv, &i, args, err);
        } else if (p->stop_at_word) {
            break;
        } else {
            if (args->n_positional == ARGS_MAX_POSITIONAL)
                return tide_fail(err, TIDE_INVALID, "too many words, beginning with \"%s\"", word);
            args->positional[args->n_positional++] = word;
        }
        if (s != TIDE_OK)
            return s;
    }
    if (used != NULL)
        *used = i;
    return TIDE_OK;
}

const char *cli_args_nth(const struct cli_args *args, const char *name, size_t i)
{
    for (size_t k = 0; k < args->n_given; k++)
        if (strcmp(args->given[k].option->name, name) == 0 && i-- == 0)
            return args->given[k].value;
    return NULL;
}

const char *cli_args_value(const struct cli_args *args, const char *name)
{
    for (size_t k = args->n_given; k > 0; k--)
        if (strcmp(args->given[k - 1].option->name, name) == 0)
            return args->given[k - 1].value;
    return NULL;
}

bool cli_args_has(const struct cli_args *args, const char *name)
{
    for (size_t k = 0; k < args->n_given; k++)
        if (strcmp(args->given[k].option->name, name) == 0)
            return true;
    return false;
}

tide_status cli_args_number(const struct cli_args *args, const char *name, uint64_t min, uint64_t max, uint64_t def,
                            uint64_t *out, struct tide_err *err)
{
    const char *text = cli_args_value(args, name);
    char *end = NULL;

    *out = def;
    if (text == NULL)
        return TIDE_OK;
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || v < min || v > max)
        return tide_fail(err, TIDE_INVALID, "\"--%s %s\" is no number between %llu and %llu", name, text,
                         (unsigned long long)min, (unsigned long long)max);
    *out = v;
    return TIDE_OK;
}
