#include "tests/conformance/conformance.h"

#include "orchestrator/base/clock.h"
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 100

/* ---------------------------------------------------------------- options */

static bool is_key(const char *key)
{
    return key[0] >= 'a' && key[0] <= 'z' && strspn(key, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(key);
}

static bool default_parses(const struct tide_option *o)
{
    struct tide_err err = TIDE_ERR_INIT;
    uint64_t bytes;
    int64_t us;
    char *end;

    if (o->def == NULL)
        return true;
    switch (o->type) {
    case TIDE_OPTION_SIZE:
        return tide_size_parse(o->def, &bytes, &err) == TIDE_OK;
    case TIDE_OPTION_DURATION:
        return tide_duration_parse(o->def, &us, &err) == TIDE_OK;
    case TIDE_OPTION_INTEGER:
        (void)strtoll(o->def, &end, 10);
        return end != o->def && *end == '\0';
    case TIDE_OPTION_BOOL:
        return strcmp(o->def, "yes") == 0 || strcmp(o->def, "no") == 0 || strcmp(o->def, "0") == 0 ||
               strcmp(o->def, "1") == 0 || strcmp(o->def, "on") == 0 || strcmp(o->def, "off") == 0;
    case TIDE_OPTION_PATH:
        return o->def[0] == '/';
    case TIDE_OPTION_ENUM: {
        size_t len = strlen(o->def);
        for (const char *c = o->choices; c != NULL; c = strchr(c, '|')) {
            c += *c == '|';
            if (strncmp(c, o->def, len) == 0 && (c[len] == '|' || c[len] == '\0'))
                return true;
        }
        return false;
    }
    default:
        return true;
    }
}

void check_options(const struct subject *s)
{
    bool keys = true, helps = true, defaults = true, secrets = true;

    for (size_t i = 0; i < s->n_options; i++) {
        const struct tide_option *o = &s->options[i];
        size_t help = strlen(o->help);
        keys &= is_key(o->key);
        helps &= help > 10 && strchr(o->help, '\n') == NULL && o->help[help - 1] != '.';
        defaults &= default_parses(o);
        secrets &= (o->flags & TIDE_OPTION_SECRET) == 0 || o->def == NULL;
        if (strstr(o->key, "password") != NULL)
            secrets &= (o->flags & TIDE_OPTION_SECRET) != 0 || strstr(o->key, "_file") != NULL;
    }
    tap_check(keys, "option keys are small letters, digits and _");
    tap_check(helps, "every option has one sentence of help, without a full stop");
    tap_check(defaults, "every default is a value of its type");
    tap_check(secrets, "secrets are marked, and have no default");
}

/* ------------------------------------------------------------------- life */

static size_t count_entries(const char *path)
{
    DIR *dir = opendir(path);
    size_t n = 0;

    if (dir == NULL)
        return 0;
    while (readdir(dir) != NULL)
        n++;
    (void)closedir(dir);
    return n;
}

static bool open_once(const struct subject *s, struct fake_host *h, struct tide_err *err)
{
    void *inst = NULL;

    if (s->plugin->open(&h->table, &inst, err) != TIDE_OK)
        return false;
    s->plugin->close(inst);
    return true;
}

static void check_open_without_options(const struct subject *s)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fake_host h;
    void *inst = NULL;

    if (!tap_check(fake_host_init(&h, NULL), "a host is made"))
        return;
    int status = s->plugin->open(&h.table, &inst, &err);
    tap_check(status == TIDE_OK || (status == TIDE_INVALID && err.msg[0] != '\0'),
              "opening without options works, or is refused as INVALID with a reason");
    if (status == TIDE_OK)
        s->plugin->close(inst);
    else
        tap_check(inst == NULL, "a handle that was refused is not given out");
    fake_host_clear(&h);
}

void check_life(const struct subject *s)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fake_host h;
    bool all = true;

    s->plugin->close(NULL);
    tap_check(true, "close(NULL) does nothing");
    check_open_without_options(s);
    if (!s->has_server) {
        tap_skip("no options were given", "opening and closing %d times", ROUNDS);
        return;
    }
    if (!fake_host_init(&h, s->settings))
        return;
    (void)open_once(s, &h, &err); /* what libraries open once and keep */
    size_t fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
    for (int i = 0; all && i < ROUNDS; i++)
        all = open_once(s, &h, &err);
    if (!tap_check(all, "opening and closing %d times", ROUNDS))
        tap_diag("%s", err.msg);
    tap_check(count_entries("/proc/self/fd") == fds, "no descriptor is left behind");
    tap_check(count_entries("/proc/self/task") == threads, "no thread is left behind");

    void *one = NULL, *two = NULL;
    bool both = s->plugin->open(&h.table, &one, &err) == TIDE_OK && s->plugin->open(&h.table, &two, &err) == TIDE_OK;
    tap_check(both && one != two, "two handles are two things");
    s->plugin->close(one);
    s->plugin->close(two);
    tap_check(!h.bad_error, "every error has a text and a status");
    fake_host_clear(&h);
}

/* -------------------------------------------------------------- positions */

void check_positions(const struct subject *s)
{
    static const struct tide_pos positions[] = {{0, 0x1000028}, {0, 0x2000000}, {0, 0x16B374D848}};
    static const char *const junk[] = {"", "junk", "-1", "0/", "/1", "1//2", "zz/1", "0/1 "};
    bool round = true, junk_refused = true;

    if (s->plugin->pos_format == NULL || s->plugin->pos_parse == NULL) {
        tap_skip("no log", "positions");
        return;
    }
    for (size_t i = 0; i < sizeof positions / sizeof positions[0]; i++) {
        char text[128] = "";
        struct tide_pos back = {0};
        s->plugin->pos_format(positions[i], text, sizeof text);
        round &=
            text[0] != '\0' && s->plugin->pos_parse(text, &back) == TIDE_OK && tide_pos_cmp(back, positions[i]) == 0;
    }
    tap_check(round, "a position that is printed reads back as itself");
    for (size_t i = 0; i < sizeof junk / sizeof junk[0]; i++) {
        struct tide_pos p = {0};
        if (s->plugin->pos_parse(junk[i], &p) == TIDE_OK) {
            tap_diag("taken for a position: \"%s\"", junk[i]);
            junk_refused = false;
        }
    }
    tap_check(junk_refused, "what is no position is refused");
    char small[4];
    memset(small, 'x', sizeof small);
    s->plugin->pos_format(positions[2], small, sizeof small - 1);
    tap_check(small[3] == 'x' && memchr(small, '\0', 3) != NULL, "a small buffer is respected");
}
