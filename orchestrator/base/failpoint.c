#include "orchestrator/base/failpoint.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_POINTS 16

enum action { ACTION_KILL, ACTION_HANG, ACTION_ERROR };

struct point {
    char name[64];
    enum action action;
    unsigned long nth; /* 0: every pass */
    atomic_ulong passes;
};

/* Written before main only, except for the counters. */
static struct point points[MAX_POINTS];
static size_t n_points;
static bool malformed;
bool tide_failpoints_armed;

static bool parse_action(const char *text, enum action *action)
{
    if (strcmp(text, "kill") == 0)
        *action = ACTION_KILL;
    else if (strcmp(text, "hang") == 0)
        *action = ACTION_HANG;
    else if (strcmp(text, "error") == 0)
        *action = ACTION_ERROR;
    else
        return false;
    return true;
}

/* "NAME=action" or "NAME=action:N"; the item is cut up. */
static bool parse_point(char *item, struct point *p)
{
    char *equals = strchr(item, '=');
    if (equals == NULL || equals == item || (size_t)(equals - item) >= sizeof(p->name))
        return false;
    *equals = '\0';
    strcpy(p->name, item);

    char *action = equals + 1;
    char *colon = strchr(action, ':');
    p->nth = 0;
    if (colon != NULL) {
        *colon = '\0';
        char *end = NULL;
        if (colon[1] < '1' || colon[1] > '9')
            return false;
        p->nth = strtoul(colon + 1, &end, 10);
        if (*end != '\0')
            return false;
    }
    atomic_store(&p->passes, 0);
    return parse_action(action, &p->action);
}

bool tide_failpoints_load(const char *text)
{
    n_points = 0;
    malformed = false;
    tide_failpoints_armed = text != NULL && text[0] != '\0';
    if (!tide_failpoints_armed)
        return true;

    char copy[1024];
    if (strlen(text) >= sizeof(copy)) {
        malformed = true;
        return false;
    }
    strcpy(copy, text);
    char *save = NULL;
    for (char *item = strtok_r(copy, ",", &save); item != NULL; item = strtok_r(NULL, ",", &save)) {
        if (n_points == MAX_POINTS || !parse_point(item, &points[n_points])) {
            malformed = true;
            return false;
        }
        n_points++;
    }
    return true;
}

__attribute__((constructor)) static void load_from_environment(void)
{
    (void)tide_failpoints_load(getenv("TIDE_FAILPOINTS"));
}

tide_status tide_failpoint_hit(const char *name, struct tide_err *err)
{
    /* A misspelt order must not let a crash test pass because nothing happened. */
    if (malformed)
        return tide_fail(err, TIDE_INVALID, "malformed TIDE_FAILPOINTS");

    for (size_t i = 0; i < n_points; i++) {
        struct point *p = &points[i];
        if (strcmp(p->name, name) != 0)
            continue;
        unsigned long pass = atomic_fetch_add(&p->passes, 1) + 1;
        if (p->nth != 0 && pass != p->nth)
            continue;
        switch (p->action) {
        case ACTION_KILL:
            (void)kill(getpid(), SIGKILL);
            break;
        case ACTION_HANG:
            break;
        case ACTION_ERROR:
            return tide_fail(err, TIDE_IO, "fail point \"%s\"", name);
        }
        for (;;)
            (void)pause();
    }
    return TIDE_OK;
}
