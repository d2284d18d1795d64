// OBJECTS: plugins/postgresql/wal_scan.c plugins/postgresql/wal_page.c plugins/postgresql/wal_record.c
// OBJECTS: plugins/postgresql/wal_event.c plugins/postgresql/wal_layout.c plugins/postgresql/wal_crc.c
// OBJECTS: plugins/postgresql/evidence.c plugins/postgresql/value.c
// OBJECTS: tests/support/wal_build.c tests/support/plugin_host.c
/*
 * The scanner of PostgreSQL's log meets any bytes, in any pieces, and never says more than is there.
 *
 * The first four bytes of an input choose: the major; how long the pieces are; whether a record is known to begin
 * at the start; and the kind. Kind 0 is WAL as it is, from a page on. Kind 1 is a row of records (manager, info,
 * two bytes of length, body) that are given pages and checksums here, so that what lies behind a right checksum is
 * reached; its last byte says which byte of the result is changed, if any.
 */

#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_format.h"
#include "tests/support/plugin_host.h"
#include "tests/support/wal_build.h"

#include <stdlib.h>
#include <string.h>

#define START   (UINT64_C(5) << 20)
#define SEGMENT (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct watch {
    uint64_t end; /* of what was fed */
    uint64_t last;
};

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *err)
{
    struct watch *w = ctx;

    (void)err;
    demand(e->start.lo >= w->last && e->start.lo < e->end.lo && e->end.lo <= w->end);
    demand(e->text_len == 0 || e->text != NULL);
    for (size_t i = 0; i < e->text_len; i++)
        demand(e->text[i] != '\0'); /* reads it all */
    w->last = e->start.lo;
    return TIDE_OK;
}

static int on_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *err)
{
    (void)ctx;
    (void)err;
    for (size_t i = 0; i < n; i++)
        demand(refs[i].fork < 16);
    return TIDE_OK;
}

static void scan(const struct wal_build *b, const uint8_t *data, size_t len, size_t piece, bool known)
{
    struct test_host host;
    struct tide_err err = TIDE_ERR_INIT;
    struct tide_log_mark mark = {0}, before = {0};
    char evidence[300];
    void *s;
    struct watch w = {.end = START};
    const struct tide_log_scan_sink sink = {
        .struct_size = sizeof sink, .ctx = &w, .event = on_event, .blocks = on_blocks};
    int rc = TIDE_OK;

    test_host_init(&host, "shop", NULL);
    wal_build_evidence(b, evidence, sizeof evidence);
    const struct tide_log_scan_params params = {.struct_size = sizeof params,
                                                .evidence = evidence,
                                                .start = pg_pos(START),
                                                .first_record = pg_pos(known ? START : 0)};
    demand(pg_log_scan_open(&host.host, &params, &s, &err) == TIDE_OK);
    for (size_t at = 0; rc == TIDE_OK && at < len; at += piece) {
        size_t n = len - at < piece ? len - at : piece;
        /* Each piece in memory of its own: what reads past it is seen. */
        uint8_t *copy = malloc(n);

        demand(copy != NULL);
        memcpy(copy, data + at, n);
        w.end += n;
        rc = pg_log_scan_feed(s, copy, n, &sink, &mark, &err);
        free(copy);
        demand(mark.whole_end.lo <= w.end && mark.whole_end.lo >= before.whole_end.lo);
        demand(mark.last_start.lo >= before.last_start.lo && mark.last_start.lo <= mark.whole_end.lo);
        demand(rc == TIDE_OK || rc == TIDE_CORRUPT || rc == TIDE_UNSUPPORTED);
        demand(rc == TIDE_OK || err.msg[0] != '\0');
        before = mark;
    }
    pg_log_scan_close(s);
}

static void build(struct wal_build *b, const uint8_t *data, size_t size)
{
    while (size >= 4 && b->len < 4u << 20) {
        size_t len = wal_u16(data + 2);

        if (data[0] == 0xff && size > 4) { /* a crash in the middle of a record */
            (void)wal_build_broken(b, 9000 + len, data[1] & 1);
            data += 4;
            size -= 4;
            continue;
        }
        if (len > size - 4)
            len = size - 4;
        (void)wal_build_record(b, &(struct wal_build_record){
                                      .rmgr = data[0], .info = data[1], .xid = 700, .body = data + 4, .len = len});
        data += 4 + len;
        size -= 4 + len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t pieces[] = {1u << 30, 1, 7, 8, 61, 1000, 8192, 20000};
    struct wal_build b;

    if (size < 5)
        return 0;
    wal_build_init(&b, 14 + data[0] % 5, START, SEGMENT);
    size_t piece = pieces[data[1] % 8];
    if (data[3] % 2 == 0) {
        scan(&b, data + 4, size - 4, piece, data[2] & 1);
    } else {
        build(&b, data + 4, size - 5);
        if (b.len > 0 && data[size - 1] != 0)
            b.data[(size_t)data[size - 1] * 37 % b.len] ^= data[size - 1];
        scan(&b, b.data, b.len, piece, data[2] & 1);
    }
    wal_build_clear(&b);
    return 0;
}
