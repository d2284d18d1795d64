#include "plugins/postgresql/pg_pure.h"

#include <ctype.h>
#include <string.h>

#define NAME_MAX_LEN 63u /* the server keeps no more */

void pg_name_of_instance(const char *instance, char *buf, size_t size)
{
    (void)snprintf(buf, size, "tidemark_%s", instance != NULL ? instance : "instance");
    if (size > NAME_MAX_LEN + 1)
        buf[NAME_MAX_LEN] = '\0';
    /* A slot has lower-case letters, digits and underscores; a list of standby names gives others a meaning too. */
    for (char *p = buf; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;

        *p = c < 0x80 && isalnum(c) ? (char)tolower(c) : '_';
    }
}

bool pg_host_is_local(const char *host)
{
    return host == NULL || host[0] == '/' || host[0] == '@' || strcmp(host, "localhost") == 0 ||
           (strncmp(host, "127.", 4) == 0 && host[strspn(host, "0123456789.")] == '\0') || strcmp(host, "::1") == 0;
}

const char *pg_sslmode_for(const char *written, bool from_service, bool local)
{
    /* What a service was resolved to includes libpq's own default, which nobody wrote. */
    if (written != NULL && !(from_service && strcmp(written, "prefer") == 0))
        return written;
    return local ? "prefer" : "verify-full";
}

/* The next name or number of a list like `ANY 1 (a, "B c")`; false at its end. */
static bool next_name(const char **list, char *buf, size_t size, bool *quoted)
{
    const char *p = *list;
    size_t n = 0;

    while (*p != '\0' && strchr(" \t\n,()", *p) != NULL)
        p++;
    if (*p == '\0')
        return false;
    *quoted = *p == '"';
    if (*quoted) {
        for (p++; *p != '\0'; p++) {
            if (*p == '"' && *++p != '"')
                break;
            if (n + 1 < size)
                buf[n++] = *p;
        }
    } else {
        for (; *p != '\0' && strchr(" \t\n,()", *p) == NULL; p++)
            if (n + 1 < size)
                buf[n++] = *p;
    }
    buf[n] = '\0';
    *list = p;
    return true;
}

static bool equal_ignoring_case(const char *a, const char *b)
{
    for (; *a != '\0' && tolower((unsigned char)*a) == tolower((unsigned char)*b); a++)
        b++;
    return tolower((unsigned char)*a) == tolower((unsigned char)*b);
}

bool pg_sync_names(const char *list, const char *name, unsigned *others)
{
    const char *open = strchr(list, '(');
    char buf[128];
    bool quoted, ours = false;

    *others = 0;
    /* What stands before the parenthesis says how many of them are needed. */
    if (open != NULL)
        list = open + 1;
    while (next_name(&list, buf, sizeof buf, &quoted)) {
        if (equal_ignoring_case(buf, name)) {
            ours = true;
        } else {
            if (strcmp(buf, "*") == 0 && !quoted)
                ours = true;
            (*others)++;
        }
    }
    return ours;
}
