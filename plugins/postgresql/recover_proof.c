#include "plugins/postgresql/restore_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HISTORY_MAX (1024 * 1024)

int pg_proof_check(struct pg_restore *r, uint32_t timeline, struct tide_pos *reached, struct tide_err *err)
{
    const struct tide_restore_params *p = r->params;
    PG_AUTO(pg_freep) char *path = NULL;
    PG_AUTO(pg_freep) char *text = NULL;
    char name[64], got[PG_LSN_TEXT_SIZE], want[PG_LSN_TEXT_SIZE];
    uint32_t parent = 0;
    uint64_t fork = 0;
    size_t len;

    (void)snprintf(name, sizeof name, "pg_wal/%08" PRIX32 ".history", timeline);
    int s = pg_restore_path(r, name, &path, err);
    if (s == TIDE_OK)
        s = pg_file_read(r->host, path, HISTORY_MAX, &text, &len, err);
    if (s != TIDE_OK)
        return s;
    if (!pg_history_last(text, &parent, &fork))
        return tide_plugin_fail(r->host, err, TIDE_CORRUPT, 0, "the history file \"%s\" makes no sense", path);
    *reached = pg_pos(fork);
    if (parent != p->branch)
        return tide_plugin_fail(r->host, err, TIDE_CORRUPT, 0,
                                "recovery ended on timeline %" PRIu32 ", planned was %" PRIu64, parent, p->branch);
    if (tide_pos_is_none(p->expected_end))
        return TIDE_OK;
    if (pg_lsn_without_header(fork) != pg_lsn_without_header(p->expected_end.lo)) {
        pg_lsn_text(fork, got, sizeof got);
        pg_lsn_text(p->expected_end.lo, want, sizeof want);
        return tide_plugin_fail(r->host, err, TIDE_CORRUPT, 0, "recovery ended at %s, planned was %s", got, want);
    }
    return TIDE_OK;
}
