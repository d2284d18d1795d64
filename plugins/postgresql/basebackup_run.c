#include "plugins/postgresql/backup_internal.h"
#include "plugins/postgresql/basebackup_tar.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>

/* The conversation of one BASE_BACKUP. */
struct basebackup {
    struct pg_backup_run *run;
    PGconn *conn;
    struct pg_tar tar;
    bool in_archive;
    char prefix[64]; /* "pg_tblspc/16384/", or "" for the data directory */
    bool skipped;    /* the entry that is being read is left out */
    char name[400];  /* of the entry, in the backup */
    uint8_t control[PG_CONTROL_FILE_SIZE];
    size_t control_len;
    bool has_label;
};

/* ------------------------------------------------------------ conversation */

/* phase: what the server rightly takes its time for; NULL: nothing, it should send. */
static int wait_input(struct basebackup *b, const char *phase, struct tide_err *err)
{
    const struct tide_host *host = b->run->host;
    unsigned ready;
    int s = pg_wait(
        host,
        &(struct pg_wait){
            .fd = PQsocket(b->conn), .events = POLLIN, .extra_fd = -1, .timeout_ms = phase == NULL ? -1 : PG_TELL_MS},
        &ready, err);

    if (s != TIDE_OK)
        return s;
    if (ready == 0)
        pg_tell_phase(host, phase);
    if (!PQconsumeInput(b->conn))
        return pg_fail_result(host, b->conn, NULL, "connection to the server was lost", err);
    return TIDE_OK;
}

/* The next of the command's results, which must be of the kind wanted. */
static int next_result(struct basebackup *b, ExecStatusType wanted, PGresult **out, struct tide_err *err)
{
    while (PQisBusy(b->conn)) {
        int s = wait_input(b, "checkpoint", err);
        if (s != TIDE_OK)
            return s;
    }
    PG_AUTO(pg_result_clearp) PGresult *res = PQgetResult(b->conn);
    if (res == NULL || PQresultStatus(res) != wanted)
        return pg_fail_result(b->run->host, b->conn, res, "the server did not make a base backup", err);
    *out = res;
    res = NULL;
    return TIDE_OK;
}

static int send_command(struct basebackup *b, struct tide_err *err)
{
    const struct tide_backup_params *p = b->run->params;
    PG_AUTO(pg_text_clearp) struct pg_text sql = {0};
    bool new_grammar = pg_run_major(b->run) >= 15;

    pg_text_puts(&sql, new_grammar ? "BASE_BACKUP (LABEL '" : "BASE_BACKUP LABEL '");
    for (const char *c = p->label != NULL ? p->label : "tidemark"; *c != '\0'; c++) {
        if (*c == '\'')
            pg_text_puts(&sql, "'");
        pg_text_add(&sql, c, 1);
    }
    /* No manifest and no check of the server's: every byte is proved on our side, and a failed check would come
     * only at the very end. */
    if (new_grammar)
        pg_text_addf(&sql,
                     "', CHECKPOINT '%s', WAIT false, TABLESPACE_MAP true, VERIFY_CHECKSUMS false, MANIFEST 'no')",
                     p->fast ? "fast" : "spread");
    else
        pg_text_addf(&sql, "' %sNOWAIT TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'no'", p->fast ? "FAST " : "");
    if (sql.failed)
        return tide_plugin_fail(b->run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    if (!PQsendQuery(b->conn, sql.data))
        return pg_fail_result(b->run->host, b->conn, NULL, "could not ask for a base backup", err);
    return TIDE_OK;
}

static int read_position(struct basebackup *b, const PGresult *res, uint64_t *lsn, uint32_t *timeline,
                         struct tide_err *err)
{
    *timeline = (uint32_t)strtoul(pg_value(res, 0, 1, "0"), NULL, 10);
    if (!pg_lsn_parse(pg_value(res, 0, 0, ""), lsn) || *timeline == 0)
        return tide_plugin_fail(b->run->host, err, TIDE_IO, 0, "the server gave no position of the backup");
    return TIDE_OK;
}

/* ----------------------------------------------------------------- entries */

static bool is_ours(const char *name)
{
    return strncmp(name, "tidemark_", 9) == 0 || strncmp(name, ".tidemark", 9) == 0;
}

static bool is_left_out(const struct basebackup *b, const struct pg_tar_entry *e)
{
    if (b->prefix[0] != '\0')
        return false;
    /* The links are made at the restore, from where the tablespaces were put. */
    if (e->kind == PG_TAR_LINK || is_ours(e->name))
        return true;
    return strcmp(e->name, "standby.signal") == 0 || strcmp(e->name, "recovery.signal") == 0;
}

static struct tide_file describe(const struct basebackup *b, const struct pg_tar_entry *e)
{
    const struct pg_source *src = &b->run->source;
    struct tide_file f = {
        .struct_size = sizeof f,
        .kind = e->kind == PG_TAR_DIRECTORY ? TIDE_FILE_DIRECTORY : TIDE_FILE_REGULAR,
        .mode = e->mode & 0777u,
        .name = b->name,
        .size = e->size,
        .mtime_us = e->mtime_s * 1000000,
    };
    char dir[400];
    struct pg_relation_file rel;

    if (strcmp(b->name, "global/pg_control") == 0)
        f.flags |= TIDE_FILE_STABLE; /* to a restore: put it there last */
    (void)snprintf(dir, sizeof dir, "%s", b->name);
    char *slash = strrchr(dir, '/');
    if (slash == NULL || e->kind != PG_TAR_FILE)
        return f;
    *slash = '\0';
    enum pg_dir_kind kind = pg_dir_kind_of(dir);
    if ((kind == PG_DIR_DATABASE || kind == PG_DIR_GLOBAL) && src->data_checksums && src->block_size == 8192 &&
        pg_relation_file_parse(slash + 1, &rel)) {
        f.flags |= TIDE_FILE_INSPECT;
        f.inspect_number = rel.segment * src->segment_blocks;
    }
    return f;
}

static bool can_begin_pieces(const struct tide_backup_sink *sink)
{
    return sink->struct_size >= offsetof(struct tide_backup_sink, piece_begin) + sizeof sink->piece_begin &&
           sink->piece_begin != NULL;
}

static int entry_begin(void *ctx, const struct pg_tar_entry *e, struct tide_err *err)
{
    struct basebackup *b = ctx;
    const struct tide_backup_sink *sink = b->run->sink;

    b->skipped = is_left_out(b, e);
    (void)snprintf(b->name, sizeof b->name, "%s%s", b->prefix, e->name);
    if (b->skipped)
        return TIDE_OK;
    struct tide_file f = describe(b, e);
    if (e->kind == PG_TAR_DIRECTORY)
        return sink->file(sink->ctx, &f, err);
    if ((f.flags & TIDE_FILE_INSPECT) == 0 || !can_begin_pieces(sink))
        return TIDE_OK;
    return sink->piece_begin(sink->ctx, &f, err);
}

static int entry_data(void *ctx, const struct pg_tar_entry *e, uint64_t offset, const void *data, size_t len,
                      struct tide_err *err)
{
    struct basebackup *b = ctx;
    const struct tide_backup_sink *sink = b->run->sink;

    (void)e;
    if (b->skipped)
        return TIDE_OK;
    if (strcmp(b->name, "global/pg_control") == 0 && offset + len <= sizeof b->control) {
        memcpy(b->control + offset, data, len);
        b->control_len = (size_t)offset + len;
    }
    return sink->piece(sink->ctx, b->name, offset, data, len, err);
}

static int entry_end(void *ctx, const struct pg_tar_entry *e, struct tide_err *err)
{
    struct basebackup *b = ctx;
    const struct tide_backup_sink *sink = b->run->sink;

    if (b->skipped || e->kind != PG_TAR_FILE)
        return TIDE_OK;
    if (strcmp(b->name, "backup_label") == 0)
        b->has_label = true;
    struct tide_file f = describe(b, e);
    return sink->piece_end(sink->ctx, &f, err);
}

/* ---------------------------------------------------------------- archives */

static int archive_end(struct basebackup *b, struct tide_err *err)
{
    if (!b->in_archive)
        return TIDE_OK;
    b->in_archive = false;
    return pg_tar_finish(b->run->host, &b->tar, err);
}

/* oid NULL: the data directory. */
static int archive_begin(struct basebackup *b, const char *oid, const char *path, struct tide_err *err)
{
    const struct tide_backup_sink *sink = b->run->sink;
    int s = archive_end(b, err);

    if (s != TIDE_OK)
        return s;
    b->tar = (struct pg_tar){0};
    b->in_archive = true;
    b->prefix[0] = '\0';
    if (oid == NULL)
        return TIDE_OK;
    if (strlen(oid) == 0 || strlen(oid) > 10 || strspn(oid, "0123456789") != strlen(oid))
        return tide_plugin_fail(b->run->host, err, TIDE_CORRUPT, 0, "the server names a tablespace \"%s\"", oid);
    (void)snprintf(b->prefix, sizeof b->prefix, "pg_tblspc/%s/", oid);
    char name[64];
    (void)snprintf(name, sizeof name, "pg_tblspc/%s", oid);
    struct tide_file f = {
        .struct_size = sizeof f,
        .kind = TIDE_FILE_DIRECTORY,
        .mode = 0700,
        .name = "pg_tblspc", /* the data directory, in which it is, comes last */
        .mtime_us = b->run->start_us,
    };
    s = sink->file(sink->ctx, &f, err);
    f.name = name;
    f.flags = TIDE_FILE_TABLESPACE;
    f.link = path;
    return s != TIDE_OK ? s : sink->file(sink->ctx, &f, err);
}

static int feed(struct basebackup *b, const char *data, size_t len, struct tide_err *err)
{
    static const char what[] = "the server sent file content outside of an archive";
    const struct pg_tar_events events = {.ctx = b, .begin = entry_begin, .data = entry_data, .end = entry_end};

    if (!b->in_archive)
        return tide_plugin_fail(b->run->host, err, TIDE_CORRUPT, 0, what);
    return pg_tar_feed(b->run->host, &b->tar, data, len, &events, err);
}

/* From 15 on, one copy holds everything: 'n' begins an archive, 'd' is its content, 'm' and 'p' are not asked for. */
static int take_message(struct basebackup *b, const char *msg, size_t len, struct tide_err *err)
{
    if (len == 0)
        return tide_plugin_fail(b->run->host, err, TIDE_CORRUPT, 0, "the server sent an empty message");
    if (msg[0] == 'd')
        return feed(b, msg + 1, len - 1, err);
    if (msg[0] == 'p' || msg[0] == 'm')
        return TIDE_OK;
    const char *name = msg + 1, *end = msg + len;
    const char *path = memchr(name, '\0', (size_t)(end - name));
    if (msg[0] != 'n' || path == NULL || memchr(path + 1, '\0', (size_t)(end - path - 1)) == NULL)
        return tide_plugin_fail(b->run->host, err, TIDE_CORRUPT, 0,
                                "the server sent a message of unknown kind \"%c\"", msg[0]);
    path++;
    if (strcmp(name, "base.tar") == 0)
        return archive_begin(b, NULL, NULL, err);
    char oid[16];
    (void)snprintf(oid, sizeof oid, "%.*s", (int)strcspn(name, "."), name);
    return archive_begin(b, oid, path, err);
}

/* Reads one copy to its end. */
static int take_copy(struct basebackup *b, bool messages, struct tide_err *err)
{
    for (;;) {
        char *buf = NULL;
        int n = PQgetCopyData(b->conn, &buf, 1);
        int s = TIDE_OK;

        if (n > 0)
            s = messages ? take_message(b, buf, (size_t)n, err) : feed(b, buf, (size_t)n, err);
        else if (n == 0)
            s = wait_input(b, NULL, err);
        else if (n == -2)
            s = pg_fail_result(b->run->host, b->conn, NULL, "the base backup was cut off", err);
        PQfreemem(buf);
        if (s != TIDE_OK)
            return s;
        if (n == -1)
            return TIDE_OK;
    }
}

static int take_archives(struct basebackup *b, const PGresult *tablespaces, struct tide_err *err)
{
    PG_AUTO(pg_result_clearp) PGresult *copy = NULL;
    int s = TIDE_OK;

    if (pg_run_major(b->run) >= 15) {
        s = next_result(b, PGRES_COPY_OUT, &copy, err);
        if (s == TIDE_OK)
            s = take_copy(b, true, err);
        return s != TIDE_OK ? s : archive_end(b, err);
    }
    /* 14: one copy for each row; the row without an OID is the data directory. */
    for (int i = 0; s == TIDE_OK && i < PQntuples(tablespaces); i++) {
        PG_AUTO(pg_result_clearp) PGresult *one = NULL;
        s = next_result(b, PGRES_COPY_OUT, &one, err);
        if (s == TIDE_OK)
            s = archive_begin(b, pg_value(tablespaces, i, 0, NULL), pg_value(tablespaces, i, 1, NULL), err);
        if (s == TIDE_OK)
            s = take_copy(b, false, err);
        if (s == TIDE_OK)
            s = archive_end(b, err);
    }
    return s;
}

/* --------------------------------------------------------------------- run */

static int begin(struct basebackup *b, PGresult **tablespaces, struct tide_err *err)
{
    struct pg_backup_run *run = b->run;
    PG_AUTO(pg_result_clearp) PGresult *start = NULL;
    bool standby;
    int s = pg_session_clock(run, &run->start_us, &standby, err);

    if (s == TIDE_OK)
        s = send_command(b, err);
    if (s == TIDE_OK)
        s = next_result(b, PGRES_TUPLES_OK, &start, err);
    if (s == TIDE_OK)
        s = read_position(b, start, &run->start, &run->timeline, err);
    if (s == TIDE_OK)
        s = next_result(b, PGRES_TUPLES_OK, tablespaces, err);
    return s != TIDE_OK ? s
                        : run->sink->started(run->sink->ctx, pg_pos(run->start), run->timeline, run->start_us, err);
}

static int finish(struct basebackup *b, struct tide_err *err)
{
    struct pg_backup_run *run = b->run;
    PG_AUTO(pg_result_clearp) PGresult *end = NULL;
    PG_AUTO(pg_result_clearp) PGresult *done = NULL;
    struct pg_control control;
    uint32_t timeline;
    int s = next_result(b, PGRES_TUPLES_OK, &end, err);

    if (s == TIDE_OK)
        s = read_position(b, end, &run->stop, &timeline, err);
    if (s == TIDE_OK)
        s = next_result(b, PGRES_COMMAND_OK, &done, err);
    if (s != TIDE_OK)
        return s;
    if (timeline != run->timeline)
        return tide_plugin_fail(run->host, err, TIDE_AGAIN, 0, "the timeline changed from %u to %u during the backup",
                                run->timeline, timeline);
    if (!b->has_label || !pg_control_parse(b->control, b->control_len, &control))
        return tide_plugin_fail(run->host, err, TIDE_CORRUPT, 0,
                                "the server's base backup lacks backup_label or a whole pg_control");
    s = pg_control_judge(run, &control, err);
    return s != TIDE_OK ? s : pg_session_clock_at_end(run, err);
}

int pg_basebackup_run(struct pg_backup_run *run, struct tide_err *err)
{
    PG_AUTO(pg_conn_finishp) PGconn *conn = NULL;
    PG_AUTO(pg_freep) struct basebackup *b = calloc(1, sizeof *b);
    PG_AUTO(pg_result_clearp) PGresult *tablespaces = NULL;

    if (b == NULL)
        return tide_plugin_fail(run->host, err, TIDE_NO_MEMORY, 0, "out of memory");
    int s = pg_conn_open_same(run->host, &run->inst->target, run->session, PG_CONN_BASEBACKUP, &conn, err);
    b->run = run;
    b->conn = conn;
    if (s == TIDE_OK)
        s = begin(b, &tablespaces, err);
    if (s == TIDE_OK)
        s = pg_files_config(run, err);
    if (s == TIDE_OK)
        s = take_archives(b, tablespaces, err);
    return s != TIDE_OK ? s : finish(b, err);
}
