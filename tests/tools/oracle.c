// LDFLAGS: -lpq

/*
 * The oracle: knows from outside the database what a restore to a moment must
 * hold, and what it must not.
 *
 *   oracle write CONNINFO JOURNAL CONNECTIONS SECONDS [COMMITS_PER_SECOND]
 *       Commits numbered transactions of PARTS rows each from several
 *       connections, and notes on this machine's clock when each commit was
 *       sent and when it was acknowledged.  Reconnects for ever.
 *   oracle check JOURNAL ROWS AT_US
 *       ROWS has a line "TXN PART" for each restored row.  Every transaction
 *       acknowledged by AT_US must be there, none sent after it, none that was
 *       rolled back, and each whole or absent.
 *
 * A journal line: TXN KIND SENT_US ACKED_US; kind c: commit, r: rollback;
 * acked 0: nobody knows.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <postgresql/libpq-fe.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PARTS    3
#define PER_CONN 1000000000LL

static int64_t now_us(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

/* ---------------------------------------------------------------- write */

struct writer {
    const char *conninfo;
    int journal;
    int64_t number, deadline_us, pause_us;
    uint64_t acked;
    unsigned seed;
};

static bool run(PGconn *c, const char *statement)
{
    PGresult *r = PQexec(c, statement);
    ExecStatusType s = PQresultStatus(r);

    PQclear(r);
    return s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK;
}

static bool insert_parts(PGconn *c, int64_t txn, unsigned filler)
{
    char text[512];

    for (int part = 0; part < PARTS; part++) {
        (void)snprintf(text, sizeof text,
                       "insert into oracle (txn, part, filler) values (%" PRId64 ", %d, repeat('x', %u))", txn, part,
                       filler % 700);
        if (part == 1 && filler % 5 == 0 && !run(c, "savepoint s"))
            return false;
        if (!run(c, text))
            return false;
    }
    return true;
}

static void note(const struct writer *w, int64_t txn, char kind, int64_t sent, int64_t acked)
{
    char line[128];
    int n = snprintf(line, sizeof line, "%" PRId64 " %c %" PRId64 " %" PRId64 "\n", txn, kind, sent, acked);

    if (n < 0 || write(w->journal, line, (size_t)n) != n) {
        perror("oracle: journal");
        exit(2);
    }
}

static void *writer_main(void *arg)
{
    struct writer *w = arg;
    PGconn *c = NULL;

    for (int64_t seq = 1; now_us(CLOCK_MONOTONIC) < w->deadline_us; seq++) {
        int64_t txn = w->number * PER_CONN + seq;
        unsigned dice = (unsigned)rand_r(&w->seed);
        bool rollback = dice % 17 == 0;

        if (c == NULL || PQstatus(c) != CONNECTION_OK) {
            PQfinish(c);
            c = PQconnectdb(w->conninfo);
            if (PQstatus(c) != CONNECTION_OK) {
                usleep(50000);
                continue;
            }
        }
        if (!run(c, "begin") || !insert_parts(c, txn, dice)) {
            (void)run(c, "rollback"); /* no commit was sent: it cannot be there, and must not */
            usleep(10000);
            continue;
        }
        int64_t sent = now_us(CLOCK_REALTIME);
        bool ok = run(c, rollback ? "rollback" : "commit");
        note(w, txn, rollback ? 'r' : 'c', sent, ok ? now_us(CLOCK_REALTIME) : 0);
        w->acked += ok;
        if (w->pause_us > 0)
            usleep((unsigned)w->pause_us);
    }
    PQfinish(c);
    return NULL;
}

static int write_main(char **argv, int argc)
{
    enum { MAX = 64 };
    static struct writer writers[MAX];
    static pthread_t threads[MAX];
    long n = strtol(argv[2], NULL, 10);
    double rate = argc > 4 ? strtod(argv[4], NULL) : 0;
    int journal = open(argv[1], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    uint64_t acked = 0;

    if (journal < 0 || n < 1 || n > MAX) {
        (void)fprintf(stderr, "oracle: could not open %s\n", argv[1]);
        return 2;
    }
    /* Numbers go on behind those of an earlier run, by the clock. */
    int64_t base = now_us(CLOCK_REALTIME) / 1000000 % 1000000 * 100;
    for (long i = 0; i < n; i++) {
        writers[i] = (struct writer){.conninfo = argv[0],
                                     .journal = journal,
                                     .number = base + i,
                                     .deadline_us = now_us(CLOCK_MONOTONIC) + (int64_t)(strtod(argv[3], NULL) * 1e6),
                                     .pause_us = rate > 0 ? (int64_t)((double)n * 1e6 / rate) : 0,
                                     .seed = (unsigned)(base + i)};
        if (pthread_create(&threads[i], NULL, writer_main, &writers[i]) != 0)
            return 2;
    }
    for (long i = 0; i < n; i++) {
        (void)pthread_join(threads[i], NULL);
        acked += writers[i].acked;
    }
    printf("%" PRIu64 " acknowledged\n", acked);
    return 0;
}

/* ---------------------------------------------------------------- check */

struct seen {
    int64_t txn;
    unsigned parts; /* bit mask */
};

static int by_txn(const void *a, const void *b)
{
    int64_t x = ((const struct seen *)a)->txn, y = ((const struct seen *)b)->txn;

    return x < y ? -1 : x > y;
}

static struct seen *read_rows(const char *path, size_t *n)
{
    FILE *f = fopen(path, "re");
    struct seen *rows = NULL;
    size_t cap = 0, out = 0;
    int64_t txn;
    int part;

    *n = 0;
    if (f == NULL)
        return NULL;
    while (fscanf(f, "%" SCNd64 " %d", &txn, &part) == 2) {
        if (*n == cap) {
            cap = cap == 0 ? 4096 : cap * 2;
            rows = realloc(rows, cap * sizeof *rows);
            if (rows == NULL)
                exit(2);
        }
        rows[(*n)++] = (struct seen){.txn = txn, .parts = 1u << (part & 7)};
    }
    (void)fclose(f);
    if (rows == NULL)
        return calloc(1, sizeof *rows);
    qsort(rows, *n, sizeof *rows, by_txn);
    for (size_t i = 0; i < *n; i++) {
        if (out > 0 && rows[out - 1].txn == rows[i].txn)
            rows[out - 1].parts |= rows[i].parts;
        else
            rows[out++] = rows[i];
    }
    *n = out;
    return rows;
}

static unsigned bad; /* violations so far; the first few are told */

static void violated(int64_t txn, const char *what, int64_t sent, int64_t acked, int64_t at)
{
    if (bad++ < 10)
        (void)fprintf(stderr,
                      "oracle: transaction %" PRId64 " %s (sent %+.6f s, acknowledged %+.6f s from the target)\n",
                      txn, what, (double)(sent - at) / 1e6, acked == 0 ? 0.0 : (double)(acked - at) / 1e6);
}

static int check_main(char **argv)
{
    size_t n_rows, must = 0, must_not = 0, either = 0, known = 0;
    int64_t at = strtoll(argv[2], NULL, 10), txn, sent, acked;
    struct seen *rows = read_rows(argv[1], &n_rows);
    FILE *journal = fopen(argv[0], "re");
    char kind;

    if (rows == NULL || journal == NULL) {
        perror("oracle: could not open the journal or the rows");
        return 2;
    }
    while (fscanf(journal, "%" SCNd64 " %c %" SCNd64 " %" SCNd64, &txn, &kind, &sent, &acked) == 4) {
        struct seen key = {.txn = txn};
        const struct seen *got = bsearch(&key, rows, n_rows, sizeof *rows, by_txn);
        known += got != NULL;
        if (got != NULL && got->parts != (1u << PARTS) - 1)
            violated(txn, "is there in part", sent, acked, at);
        if (kind == 'r') {
            if (got != NULL)
                violated(txn, "was rolled back and is there", sent, acked, at);
        } else if (acked != 0 && acked <= at) {
            must++;
            if (got == NULL)
                violated(txn, "was acknowledged and is missing", sent, acked, at);
        } else if (sent > at) {
            must_not++;
            if (got != NULL)
                violated(txn, "was sent after the target and is there", sent, acked, at);
        } else {
            either++;
        }
    }
    (void)fclose(journal);
    if (known != n_rows) {
        bad++;
        (void)fprintf(stderr, "oracle: %zu restored transactions were never committed\n", n_rows - known);
    }
    free(rows);
    printf("%zu must be there, %zu must not, %zu in flight, %zu restored: %u violations\n", must, must_not, either,
           n_rows, bad);
    return bad == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc >= 6 && strcmp(argv[1], "write") == 0)
        return write_main(argv + 2, argc - 2);
    if (argc == 5 && strcmp(argv[1], "check") == 0)
        return check_main(argv + 2);
    (void)fprintf(stderr,
                  "usage: oracle write CONNINFO JOURNAL CONNECTIONS SECONDS [RATE] | check JOURNAL ROWS AT_US\n");
    return 2;
}
