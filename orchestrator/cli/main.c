/* The program: global options, the table of commands, help, and the way from a failure to an exit code. */

#include "orchestrator/cli/cli.h"

#include "orchestrator/base/log.h"
#include "orchestrator/cli/help.h"
#include "orchestrator/cli/signals.h"
#include "orchestrator/config/config.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static const struct cli_command *const commands[] = {
    &cli_init,     &cli_check,   &cli_backup,       &cli_ship,        &cli_status,  &cli_list,
    &cli_log_show, &cli_log_get, &cli_log_put,      &cli_log_verify,  &cli_restore, &cli_activate,
    &cli_verify,   &cli_keep,    &cli_config_check, &cli_config_show, &cli_worker,  NULL,
};

const struct cli_option cli_global_options[] = {
    {"config", 'c', "FILE", "the configuration (default: /etc/tidemark/tidemark.conf)"},
    {"json", 0, NULL, "print one JSON document"},
    {"quiet", 'q', NULL, "no progress, only warnings and errors"},
    {"verbose", 'v', NULL, "more log lines"},
    {"help", 'h', NULL, "this help"},
    {"version", 'V', NULL, "the version"},
    {0},
};

/* Finds "log get" in two words or "backup" in one; *words says how many. */
static const struct cli_command *find_command(int argc, char *const *argv, int *words)
{
    for (size_t i = 0; commands[i] != NULL; i++) {
        const char *name = commands[i]->name, *blank = strchr(name, ' ');
        size_t first = blank == NULL ? strlen(name) : (size_t)(blank - name);
        if (strlen(argv[0]) != first || memcmp(argv[0], name, first) != 0)
            continue;
        if (blank == NULL) {
            *words = 1;
            return commands[i];
        }
        if (argc > 1 && strcmp(argv[1], blank + 1) == 0) {
            *words = 2;
            return commands[i];
        }
    }
    return NULL;
}

static void take_globals(struct cli *cli, const struct cli_args *args)
{
    const char *path = cli_args_value(args, "config");

    if (path != NULL)
        cli->config_path = path;
    cli->json |= cli_args_has(args, "json");
    cli->quiet |= cli_args_has(args, "quiet");
    cli->verbose |= cli_args_has(args, "verbose");
    tide_log_init(cli->quiet ? TIDE_LOG_WARN : cli->verbose ? TIDE_LOG_DEBUG : TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
}

static int report(const struct cli *cli, const struct cli_command *command, tide_status s, const struct tide_err *err)
{
    int code = command != NULL && command->exit_of != NULL ? command->exit_of(s) : tide_status_exit(s);

    if (cli->json)
        out_error_json(err, code);
    else
        out_error(err);
    return code;
}

/* Runs one command whose words have been found. */
static int run(struct cli *cli, const struct cli_command *command, int argc, char *const *argv)
{
    const struct cli_option *const tables[] = {cli_global_options, command->options};
    const struct cli_parse parse = {.tables = tables, .n_tables = 2};
    struct tide_err err = TIDE_ERR_INIT;
    struct cli_args args = {0};

    args.command = command;
    tide_status s = cli_args_parse(&parse, argc, argv, &args, NULL, &err);
    take_globals(cli, &args);
    if (s == TIDE_OK && cli_args_has(&args, "help")) {
        help_command(command);
        return 0;
    }
    if (s != TIDE_OK)
        (void)tide_hint(&err, s, "See \"tidemark %s --help\".", command->name);
    else
        s = command->run(cli, &args, &err);
    if (s != TIDE_OK)
        return report(cli, command, s, &err);
    return cli->exit_code;
}

static int unknown_command(struct cli *cli, const char *word)
{
    struct tide_err err = TIDE_ERR_INIT;
    char group[128] = "";
    size_t len = strlen(word), n = 0;

    for (size_t i = 0; commands[i] != NULL; i++)
        if (strncmp(commands[i]->name, word, len) == 0 && commands[i]->name[len] == ' ' && n < sizeof group)
            n += (size_t)snprintf(group + n, sizeof group - n, "%s%s", n == 0 ? "" : ", ",
                                  commands[i]->name + len + 1);
    tide_status s = n > 0 ? tide_fail(&err, TIDE_INVALID, "\"%s\" needs one more word: %s", word, group)
                          : tide_fail(&err, TIDE_INVALID, "unknown command \"%s\"", word);
    (void)tide_hint(&err, s, "\"tidemark --help\" lists the commands.");
    return report(cli, NULL, s, &err);
}

static int dispatch(struct cli *cli, int argc, char *const *argv)
{
    const struct cli_option *const tables[] = {cli_global_options};
    const struct cli_parse parse = {.tables = tables, .n_tables = 1, .stop_at_word = true};
    struct tide_err err = TIDE_ERR_INIT;
    struct cli_args args = {0};
    int used = 0, words = 0;

    tide_status s = cli_args_parse(&parse, argc - 1, argv + 1, &args, &used, &err);
    take_globals(cli, &args);
    if (s != TIDE_OK) {
        (void)tide_hint(&err, s, "See \"tidemark --help\".");
        return report(cli, NULL, s, &err);
    }
    argc -= used + 1;
    argv += used + 1;
    bool asked_help = cli_args_has(&args, "help") || (argc > 0 && strcmp(argv[0], "help") == 0);
    if (cli_args_has(&args, "version") || (argc > 0 && strcmp(argv[0], "version") == 0)) {
        (void)printf("tidemark %s\n", TIDE_VERSION);
        return 0;
    }
    if (argc > 0 && strcmp(argv[0], "help") == 0) {
        argc--;
        argv++;
    }
    if (argc == 0) {
        help_overview(asked_help ? stdout : stderr, commands);
        return asked_help ? 0 : tide_status_exit(TIDE_INVALID);
    }
    const struct cli_command *command = find_command(argc, argv, &words);
    if (command == NULL)
        return unknown_command(cli, argv[0]);
    if (asked_help) {
        help_command(command);
        return 0;
    }
    return run(cli, command, argc - words, argv + words);
}

int main(int argc, char **argv)
{
    struct cli cli = {0};
    struct tide_err err = TIDE_ERR_INIT;

    /* Keys and passwords are in memory: no core file. */
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    tide_log_init(TIDE_LOG_INFO, TIDE_LOG_TEXT, NULL);
    bool worker = argc > 1 && strcmp(argv[1], cli_worker.name) == 0;
    tide_status s = signals_install(worker, &cli.cancel, &err);
    if (s != TIDE_OK)
        return report(&cli, NULL, s, &err);
    int code = dispatch(&cli, argc, argv);
    if (out_finish(&err) != TIDE_OK && code == 0) {
        out_error(&err);
        code = tide_status_exit(TIDE_IO);
    }
    config_free(cli.config);
    return code;
}
