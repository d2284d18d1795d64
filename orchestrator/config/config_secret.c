#include "orchestrator/config/config_internal.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/process.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECRET_MAX       65536u
#define COMMAND_DEADLINE (60 * TIDE_SECOND_US)
#define KEY_MAX          128

struct found {
    struct config_value file, command;
};

/* A buffer with a secret in it leaves nothing behind. */
static void wipe_buf(struct tide_buf *b)
{
    if (b->data != NULL)
        tide_wipe(b->data, b->len);
    tide_buf_clear(b);
}

/* All the memory at once: a buffer that grows leaves copies. */
static tide_status secret_buf(struct tide_buf *b, struct tide_err *err)
{
    return tide_buf_reserve(b, SECRET_MAX) ? TIDE_OK
                                           : tide_fail(err, TIDE_NO_MEMORY, "out of memory reading a secret");
}

static tide_status read_secret_file(const char *path, struct tide_buf *out, char *warning, struct tide_err *err)
{
    TIDE_AUTO(tide_closep)
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* no waiting for a FIFO's writer */
    if (fd < 0)
        return tide_fail_errno(err, errno, "could not open \"%s\"", path);
    struct stat sb;
    if (fstat(fd, &sb) != 0)
        return tide_fail_errno(err, errno, "could not examine \"%s\"", path);
    if (S_ISREG(sb.st_mode) && (sb.st_mode & 077) != 0 && warning != NULL)
        (void)snprintf(warning, CONFIG_WARNING, "\"%.400s\" is open to others than its owner (mode %04o)", path,
                       (unsigned)(sb.st_mode & 07777));
    size_t got = 0;
    tide_status st = tide_read_upto(fd, out->data, SECRET_MAX, &got, path, err);
    if (st != TIDE_OK)
        return st;
    out->len = got;
    if (got == SECRET_MAX)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is too large to hold a secret", path);
    if (got == 0)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is empty", path);
    return TIDE_OK;
}

static tide_status run_secret_command(const char *command, struct tide_buf *out, struct tide_err *err)
{
    int exit_code = 0;
    struct process_options o = {.shell = command, .deadline_us = COMMAND_DEADLINE, .out = out};
    tide_status st = process_run(&o, &exit_code, err);
    if (st != TIDE_OK)
        return tide_wrap(err, st, "running the command for a secret");
    if (exit_code != 0)
        return tide_fail(err, TIDE_DENIED, "the command for a secret ended with exit code %d", exit_code);
    st = tide_buf_check(out, "the output of the command for a secret", err);
    if (st == TIDE_OK && out->len == 0)
        st = tide_fail(err, TIDE_DENIED, "the command for a secret printed nothing");
    return st;
}

static tide_status read_environment(const char *name, const char *key, struct tide_buf *out, struct tide_err *err)
{
    char variable[CONFIG_NAME_MAX + KEY_MAX + 16];
    (void)snprintf(variable, sizeof variable, "TIDEMARK_%s_%s", name == NULL ? "" : name, key);
    for (char *p = variable; *p != '\0'; p++)
        *p = isalnum((unsigned char)*p) ? (char)toupper((unsigned char)*p) : '_';
    const char *value = getenv(variable);
    if (value == NULL || *value == '\0')
        return tide_fail(err, TIDE_NOT_FOUND, "\"%s\" is not configured", key);
    tide_buf_str(out, value);
    return tide_buf_check(out, variable, err);
}

/* An instance's own section may replace a policy's file by a command; within one section both are a mistake. */
static tide_status find_source(const struct config *c, enum config_kind kind, const char *name, const char *key,
                               struct found *f, struct tide_err *err)
{
    char file_key[KEY_MAX + 16], command_key[KEY_MAX + 16];
    (void)snprintf(file_key, sizeof file_key, "%.*s_file", KEY_MAX, key);
    (void)snprintf(command_key, sizeof command_key, "%.*s_command", KEY_MAX, key);
    const struct config_section *own = config_section_find(c, kind, name);
    const struct config_entry *file = config_entry_find(own, file_key),
                              *command = config_entry_find(own, command_key);
    if (file != NULL && command != NULL) {
        tide_status st = tide_fail(err, TIDE_INVALID, "\"%s\" and \"%s\" are both set", file_key, command_key);
        return config_at(err, st, command->file, command->line);
    }
    f->file = config_value(c, kind, name, file_key);
    f->command = config_value(c, kind, name, command_key);
    if (command != NULL)
        f->file.text = NULL;
    return TIDE_OK;
}

static tide_status from_configuration(const struct found *f, struct tide_buf *text, char *warning,
                                      struct tide_err *err)
{
    const struct config_value *v = f->file.text != NULL ? &f->file : &f->command;
    tide_status st =
        v == &f->file ? read_secret_file(v->text, text, warning, err) : run_secret_command(v->text, text, err);
    /* A file that is not there is a configuration that is wrong, not a secret that nobody asked for. */
    if (st == TIDE_NOT_FOUND)
        st = TIDE_DENIED;
    if (st != TIDE_OK && err != NULL)
        err->status = st;
    return st != TIDE_OK ? config_at(err, st, v->file, v->line) : TIDE_OK;
}

tide_status config_secret(const struct config *c, enum config_kind kind, const char *name, const char *key,
                          struct tide_secret *out, char warning[CONFIG_WARNING], struct tide_err *err)
{
    struct found f = {0};
    if (warning != NULL)
        warning[0] = '\0';
    tide_status st = find_source(c, kind, name, key, &f, err);
    TIDE_AUTO(wipe_buf) struct tide_buf text = TIDE_BUF_INIT(SECRET_MAX);
    if (st == TIDE_OK)
        st = secret_buf(&text, err);
    if (st != TIDE_OK)
        return st;
    if (f.file.text != NULL || f.command.text != NULL)
        st = from_configuration(&f, &text, warning, err);
    else
        st = read_environment(name, key, &text, err);
    if (st != TIDE_OK)
        return st;
    const struct config_option *o = config_option_find(kind, key);
    if (o == NULL || (o->flags & CONFIG_EXACT) == 0) {
        if (text.len > 0 && text.data[text.len - 1] == '\n')
            text.len--;
        if (text.len > 0 && text.data[text.len - 1] == '\r')
            text.len--;
    }
    return tide_secret_set(out, text.data, text.len, err);
}
