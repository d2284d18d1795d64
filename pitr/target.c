#include "pitr/target.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool after_prefix(const char *text, const char *prefix, const char **rest)
{
    size_t n = strlen(prefix);
    if (strncmp(text, prefix, n) != 0)
        return false;
    *rest = text + n;
    return true;
}

static tide_status keep_text(struct target *t, const char *text, const char *what, struct tide_err *err)
{
    size_t n = strlen(text);
    if (n == 0 || n >= sizeof t->text)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no %s", text, what);
    memcpy(t->text, text, n + 1);
    return TIDE_OK;
}

static tide_status parse_transaction(const char *text, struct target *out, struct tide_err *err)
{
    char *end;

    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || strchr(text, '-') != NULL || v == 0)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no transaction id", text);
    out->kind = TARGET_TRANSACTION;
    out->transaction = v;
    return keep_text(out, text, "transaction id", err);
}

tide_status target_parse(const char *text, bool exclusive, const char *default_zone, int64_t now_us,
                         const struct tide_plugin *plugin, struct target *out, struct tide_err *err)
{
    const char *rest;

    *out = (struct target){.time_us = TIDE_TIME_NONE, .exclusive = exclusive};
    if (strcmp(text, "latest") == 0) {
        out->kind = TARGET_LATEST;
        return keep_text(out, text, "target", err);
    }
    if (after_prefix(text, "backup:", &rest)) {
        out->kind = TARGET_BACKUP;
        return keep_text(out, rest, "backup", err);
    }
    if (after_prefix(text, "name:", &rest)) {
        out->kind = TARGET_NAME;
        return keep_text(out, rest, "restore point", err);
    }
    if (after_prefix(text, "xid:", &rest))
        return parse_transaction(rest, out, err);
    if (after_prefix(text, "lsn:", &rest) || after_prefix(text, "position:", &rest)) {
        out->kind = TARGET_POSITION;
        if (plugin->pos_parse(rest, &out->position) != TIDE_OK || tide_pos_is_none(out->position))
            return tide_fail(err, TIDE_INVALID, "\"%s\" is no log position", rest);
        return keep_text(out, rest, "log position", err);
    }
    out->kind = TARGET_TIME;
    tide_status s = tide_time_parse(text, default_zone, now_us, &out->time_us, err);
    if (s != TIDE_OK)
        return s;
    return keep_text(out, text, "target", err);
}
