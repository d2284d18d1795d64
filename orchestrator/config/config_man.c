#include "orchestrator/config/config_internal.h"

#include <errno.h>

/* A value in roff: what would be a macro, an escape or a hyphen of the typesetter's is none. */
static void put_text(FILE *out, const char *text)
{
    for (const char *p = text; *p != '\0'; p++) {
        if (*p == '\\' || *p == '-')
            (void)fputc('\\', out);
        else if ((*p == '.' || *p == '\'') && p == text)
            (void)fputs("\\&", out);
        (void)fputs(*p == '\\' ? "e" : (char[]){*p, '\0'}, out);
    }
}

static const char *type_word(const struct config_option *o)
{
    switch ((enum tide_option_type)o->type) {
    case TIDE_OPTION_BOOL:
        return "yes or no";
    case TIDE_OPTION_INTEGER:
        return "number";
    case TIDE_OPTION_SIZE:
        return "size";
    case TIDE_OPTION_DURATION:
        return "duration";
    case TIDE_OPTION_PATH:
        return "absolute path";
    case TIDE_OPTION_ENUM:
        return o->choices;
    case TIDE_OPTION_STRING:
        break;
    }
    return "text";
}

static void put_option(FILE *out, const struct config_option *o)
{
    (void)fputs(".TP\n.BR ", out);
    if ((o->flags & TIDE_OPTION_SECRET) != 0)
        (void)fprintf(out, "%s_file \", \" %s_command\n", o->key, o->key);
    else {
        (void)fprintf(out, "%s \" (", o->key);
        put_text(out, type_word(o));
        (void)fputs(")\"\n", out);
    }
    put_text(out, o->help);
    (void)fputs(".\n", out);
    if (o->def != NULL) {
        (void)fputs("Default:\n.BR ", out);
        put_text(out, o->def);
        (void)fputs(" .\n", out);
    }
    if ((o->flags & TIDE_OPTION_REQUIRED) != 0)
        (void)fputs("Required.\n", out);
    if ((o->sections & (CONFIG_DEFAULTS | CONFIG_POLICY | CONFIG_INSTANCE)) == CONFIG_INSTANCE)
        (void)fputs("Only in an instance.\n", out);
}

static void put_section(FILE *out, const char *title, uint32_t mask)
{
    size_t n;
    const struct config_option *o = config_options(&n);
    (void)fprintf(out, ".SH %s\n", title);
    for (size_t i = 0; i < n; i++)
        if ((o[i].sections & mask) != 0)
            put_option(out, &o[i]);
}

static const char before[] =
    ".\\\" Generated from the option table by orchestrator/config/config_man.c.\n"
    ".TH TIDEMARK.CONF 5 \"\" \"Tidemark\" \"File formats\"\n"
    ".SH NAME\n"
    "tidemark.conf \\- configuration of tidemark\n"
    ".SH SYNOPSIS\n"
    ".I /etc/tidemark/tidemark.conf\n"
    ".br\n"
    ".I /etc/tidemark/conf.d/*.conf\n"
    ".SH DESCRIPTION\n"
    "Sections begin with a name in brackets, and hold lines of the form\n"
    ".IR \"key \" = \" value\" .\n"
    "A line that begins with ; or # is a comment; so is the rest of a line behind a blank and ;.\n"
    "An unknown key, a value of the wrong kind, and a key that is set twice are errors, reported with file and "
    "line.\n"
    ".PP\n"
    "Durations are written with their units, as in 500ms, 2s, 15m, 1h30m, 35d; sizes as in 64kB, 16MiB, 10GiB.\n"
    ".PP\n"
    "A value of an instance is taken from its own section, else from the\n"
    ".B [policy]\n"
    "that it names, else from\n"
    ".BR [defaults] ,\n"
    "else it is the default given here.\n"
    ".B tidemark config show \\-\\-effective\n"
    ".I INSTANCE\n"
    "prints each with its file and line.\n"
    ".SH SECRETS\n"
    "A secret is never written into these files. It is read from the file named by\n"
    ".IR key _file,\n"
    "from what the command in\n"
    ".IR key _command\n"
    "prints, or from the environment variable TIDEMARK_NAME_KEY, where NAME is the section's name, both in capitals "
    "and\n"
    "with _ for every character that is neither a letter nor a digit. Its file should be readable by its owner "
    "only.\n";

static const char after[] = ".PP\n"
                            "The engine adds keys of its own; an instance may hold them, too.\n"
                            ".SH SEE ALSO\n"
                            ".BR tidemark (1)\n";

tide_status config_write_man(FILE *out, struct tide_err *err)
{
    (void)fputs(before, out);
    put_section(out, "[repository NAME]", CONFIG_REPOSITORY);
    put_section(out, "[daemon]", CONFIG_DAEMON);
    put_section(out, "[instance NAME], [policy NAME], [defaults]", CONFIG_DEFAULTS | CONFIG_POLICY | CONFIG_INSTANCE);
    (void)fputs(after, out);
    if (fflush(out) != 0 || ferror(out))
        return tide_fail_errno(err, errno, "could not write the manual page");
    return TIDE_OK;
}
