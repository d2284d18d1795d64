#ifndef TIDE_TESTS_FAKE_LOG_H
#define TIDE_TESTS_FAKE_LOG_H

/* The inside of the fake engine; for fake_*.c only. */

#include "tests/support/fake_engine.h"

#include <pthread.h>

#define FAKE_BRANCHES    16u
#define FAKE_PAGE_HEADER 8u
#define FAKE_MAGIC       0xFA4Eu

struct fake_timeline {
    uint64_t number, parent; /* 0: none */
    struct tide_pos fork;
    uint8_t *data; /* from FAKE_BASE on; owned */
    size_t len, cap;
    uint64_t end;   /* normalised end of log */
    uint32_t clone; /* differs between servers whose logs diverged */
};

struct fake_server {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t identifier;
    struct fake_timeline branches[FAKE_BRANCHES];
    size_t n;
    struct tide_pos oldest;
    int64_t clock_us;
    bool synchronous, standby, down, busy, paused;
    unsigned kicks, streams;
    struct tide_pos confirmed;
    struct fake_commit_record *commits;
    size_t n_commits, commits_cap;
};

struct fake_timeline *fake_timeline_of(struct fake_server *s, uint64_t number);
uint64_t fake_normalise(uint64_t lo);
uint32_t fake_checksum(const uint8_t *record, size_t len);
int fake_fail(const struct tide_host *host, struct tide_err *err, int status, const char *text);

/* evidence: "system=ID\nbranch=N\nhistory=N:LO,N:LO\n" */
struct fake_evidence_text {
    uint64_t system, branch;
    struct {
        uint64_t branch, fork;
    } history[FAKE_BRANCHES];
    size_t n;
};
bool fake_evidence_parse(const char *text, struct fake_evidence_text *out);

int fake_scan_open(const struct tide_host *host, const struct tide_log_scan_params *params, void **scan,
                   struct tide_err *err);
int fake_scan_feed(void *scan, const void *data, size_t len, const struct tide_log_scan_sink *sink,
                   struct tide_log_mark *mark, struct tide_err *err);
void fake_scan_close(void *scan);
int fake_relate(const struct tide_host *host, const char *stored, struct tide_pos stored_end, const char *current,
                struct tide_log_kinship *out, struct tide_err *err);

#endif
