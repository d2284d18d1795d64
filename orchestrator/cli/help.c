#include "orchestrator/cli/help.h"

#include <string.h>

#define SUMMARY_COLUMN 16
#define OPTION_COLUMN  26

static void print_options(FILE *to, const struct cli_option *options)
{
    for (const struct cli_option *o = options; o != NULL && o->name != NULL; o++) {
        char left[80];
        char letter[8] = "    ";
        if (o->letter != 0)
            (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
        (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, o->name, o->argument == NULL ? "" : " ",
                       o->argument == NULL ? "" : o->argument);
        if (strlen(left) < OPTION_COLUMN)
            (void)fprintf(to, "  %-*s %s\n", OPTION_COLUMN, left, o->help);
        else
            (void)fprintf(to, "  %s\n  %-*s %s\n", left, OPTION_COLUMN, "", o->help);
    }
}

void help_overview(FILE *to, const struct cli_command *const *commands)
{
    (void)fputs("Tidemark rebuilds a database at any second.\n\n"
                "usage: tidemark [-c FILE] [--json] [-q|-v] COMMAND [INSTANCE] [options]\n\n",
                to);
    for (size_t i = 0; commands[i] != NULL; i++)
        if (!commands[i]->hidden)
            (void)fprintf(to, "  %-*s %s\n", SUMMARY_COLUMN, commands[i]->name, commands[i]->summary);
    (void)fprintf(to, "  %-*s %s\n", SUMMARY_COLUMN, "version", "the version");
    (void)fprintf(to, "  %-*s %s\n", SUMMARY_COLUMN, "help COMMAND", "what a command does, and its options");
    (void)fputs("\nOptions of every command:\n", to);
    print_options(to, cli_global_options);
    (void)fputs(
        "\nExit codes: 0 done; 1 failed; 2 usage or configuration; 3 done, but degraded; 4 target outside the\n"
        "restore window; 5 integrity; 6 locked or busy; 7 repository unreachable; 8 key or credentials;\n"
        "9 refused by a safety rule; 130 interrupted.  See tidemark(1) and tidemark.conf(5).\n",
        to);
}

void help_command(const struct cli_command *command)
{
    (void)printf("usage: tidemark %s %s\n\n%s\n", command->name, command->arguments, command->summary);
    if (command->more != NULL)
        (void)printf("\n%s\n", command->more);
    if (command->options != NULL && command->options[0].name != NULL) {
        (void)fputs("\nOptions:\n", stdout);
        print_options(stdout, command->options);
    }
    (void)fputs("\nOptions of every command:\n", stdout);
    print_options(stdout, cli_global_options);
}
