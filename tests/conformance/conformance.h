#ifndef TIDE_TESTS_CONFORMANCE_H
#define TIDE_TESTS_CONFORMANCE_H

/*
 * What every plugin must pass: tidemark-conformance PLUGIN.so [KEY=VALUE...]
 *
 * KEY=VALUE are the plugin's options, in base units.  Without any, what needs a
 * server is skipped.  Prints TAP.
 */

#include "orchestrator/base/thread.h"
#include "orchestrator/plugin/loader.h"

/* ---- results: tap.c */

bool tap_check(bool good, const char *fmt, ...) TIDE_PRINTF(2, 3); /* gives good */
void tap_skip(const char *why, const char *fmt, ...) TIDE_PRINTF(2, 3);
void tap_diag(const char *fmt, ...) TIDE_PRINTF(1, 2);
int tap_finish(void); /* the plan; the exit code */

/* ---- a host that takes notes: fake_host.c */

struct fake_host {
    struct tide_host table;
    struct tide_cancel *cancel;
    const char *const *options; /* KEY=VALUE, NULL-terminated */
    unsigned errors;            /* calls of set_error */
    bool bad_error;             /* set_error without a text, with an OK, or with an unknown status */
    bool bad_progress;          /* without a phase, or with more done than there is */
};

/* table's addresses point into *h: it must not move. */
bool fake_host_init(struct fake_host *h, const char *const *options);
void fake_host_clear(struct fake_host *h);

/* Sets h->cancel after a while, from a thread of its own. */
struct later;
struct later *later_cancel(struct fake_host *h, int64_t after_us);
void later_join(struct later *l);

/* ---- the parts */

struct subject {
    const char *path;
    const struct tide_plugin *plugin;
    const struct tide_option *options;
    size_t n_options;
    const char *const *settings; /* KEY=VALUE */
    bool has_server;             /* settings are given */
};

void check_exports(const struct subject *s);      /* elf.c: on the file alone */
void check_options(const struct subject *s);      /* load.c */
void check_life(const struct subject *s);         /* load.c: open and close */
void check_positions(const struct subject *s);    /* load.c */
void check_scan_garbage(const struct subject *s); /* log.c: without a server */
void check_server(const struct subject *s);       /* log.c: check, clock, identity */
void check_stream(const struct subject *s);       /* log.c */
void check_backup(const struct subject *s);       /* backup.c */

#endif
