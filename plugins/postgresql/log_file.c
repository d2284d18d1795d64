#include "plugins/postgresql/evidence.h"
#include "plugins/postgresql/pg_pure.h"
#include "plugins/postgresql/wal_format.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEGMENT_NAME 24
#define HISTORY_MAX  (1u << 20)

/* --------------------------------------------------------------------- names */

/* n upper-case hexadecimal digits, as the server writes them. */
static bool hex(const char *text, size_t n, uint32_t *out)
{
    uint32_t value = 0;

    for (size_t i = 0; i < n; i++) {
        static const char digits[] = "0123456789ABCDEF";
        const char *d = text[i] != '\0' ? strchr(digits, text[i]) : NULL;

        if (d == NULL)
            return false;
        value = value << 4 | (uint32_t)(d - digits);
    }
    *out = value;
    return true;
}

struct name {
    enum tide_log_file_kind kind;
    uint32_t timeline, log, segment;
    bool partial;
};

static bool name_parse(const char *text, struct name *out)
{
    uint32_t offset;

    memset(out, 0, sizeof *out);
    if (!hex(text, 8, &out->timeline) || out->timeline == 0)
        return false;
    if (strcmp(text + 8, ".history") == 0) {
        out->kind = TIDE_LOG_FILE_HISTORY;
        return true;
    }
    if (!hex(text + 8, 8, &out->log) || !hex(text + 16, 8, &out->segment))
        return false;
    const char *suffix = text + SEGMENT_NAME;
    out->partial = strcmp(suffix, ".partial") == 0;
    if (*suffix == '\0' || out->partial) {
        out->kind = TIDE_LOG_FILE_SEGMENT;
        return true;
    }
    out->kind = TIDE_LOG_FILE_OTHER;
    return suffix[0] == '.' && hex(suffix + 1, 8, &offset) && strcmp(suffix + 9, ".backup") == 0;
}

static bool segment_range(const struct name *name, uint32_t segment_size, uint64_t *start)
{
    if (name->segment >= (UINT64_C(1) << 32) / segment_size)
        return false;
    *start = ((uint64_t)name->log << 32) + (uint64_t)name->segment * segment_size;
    return true;
}

int pg_log_file_locate(const struct tide_host *host, const char *evidence, const char *text,
                       struct tide_log_file *out, struct tide_err *err)
{
    uint32_t size = out->struct_size;
    struct tide_log_file file = {.struct_size = size};
    struct name name;

    if (!name_parse(text, &name))
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "\"%s\" is no name of a WAL file", text);
    file.kind = (uint32_t)name.kind;
    file.branch = name.timeline;
    file.partial = name.partial;
    if (name.kind == TIDE_LOG_FILE_SEGMENT) {
        struct evidence ev;
        uint64_t start;
        const char *why = evidence_parse(evidence, &ev);
        uint32_t segment_size = ev.segment_size;

        evidence_clear(&ev);
        if (why != NULL)
            return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "cannot read the log's evidence: %s", why);
        if (!segment_range(&name, segment_size, &start))
            return tide_plugin_fail(host, err, TIDE_INVALID, 0,
                                    "\"%s\" is no name of a WAL file with segments of %" PRIu32 " bytes", text,
                                    segment_size);
        file.start = pg_pos(start);
        file.end = pg_pos(start + segment_size);
    }
    pg_copy_out(out, size, &file, sizeof file);
    return TIDE_OK;
}

/* ------------------------------------------------------------------ identity */

static int read_file(const struct tide_host *host, const char *path, uint8_t *buf, size_t size, size_t *len,
                     struct tide_err *err)
{
    PG_AUTO(pg_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

    *len = 0;
    if (fd < 0)
        return tide_plugin_fail(host, err, errno == ENOENT ? TIDE_NOT_FOUND : TIDE_IO, errno, "could not open \"%s\"",
                                path);
    while (*len < size) {
        ssize_t n = read(fd, buf + *len, size - *len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return tide_plugin_fail(host, err, TIDE_IO, errno, "could not read \"%s\"", path);
        if (n == 0)
            break;
        *len += (size_t)n;
    }
    return TIDE_OK;
}

/* The history file lies beside the segment, in pg_wal as in any archive. */
static int read_history(const struct tide_host *host, const char *path, uint32_t timeline, char **history,
                        struct tide_err *err)
{
    const char *slash = strrchr(path, '/');
    size_t dir = slash != NULL ? (size_t)(slash - path) + 1 : 0, size = dir + 32, len;
    PG_AUTO(pg_freep) char *name = malloc(size);
    PG_AUTO(pg_freep) uint8_t *text = malloc(HISTORY_MAX + 1);

    if (name == NULL || text == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    (void)snprintf(name, size, "%.*s%08" PRIX32 ".history", (int)dir, path, timeline);
    int s = read_file(host, name, text, HISTORY_MAX, &len, err);
    if (s != TIDE_OK)
        return s;
    text[len] = '\0';
    *history = strdup((char *)text);
    return *history != NULL ? TIDE_OK : tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
}

/* What the first page of a segment file says. */
static int judge_segment(const struct tide_host *host, const char *path, const struct name *name,
                         struct wal_page *page, struct tide_err *err)
{
    uint8_t header[WAL_LONG_HEADER];
    size_t len;
    uint64_t start;
    int s = read_file(host, path, header, sizeof header, &len, err);

    if (s != TIDE_OK)
        return s;
    if (len < sizeof header)
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "\"%s\" is too short for WAL", path);
    wal_page_read(header, page);
    if (page->magic == 0 && page->address == 0)
        return tide_plugin_fail(host, err, TIDE_NOT_FOUND, 0, "\"%s\" holds no WAL yet", path);
    if (!(page->flags & WAL_PAGE_LONG) || page->page_size != WAL_PAGE_SIZE ||
        !wal_segment_size_valid(page->segment_size))
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "\"%s\" does not begin like a WAL segment", path);
    if (wal_layout_of_magic(page->magic) == NULL)
        return tide_plugin_fail(host, err, TIDE_UNSUPPORTED, 0,
                                "\"%s\" has the WAL page magic 0x%04X, which is not known (PostgreSQL %d to %d are)",
                                path, page->magic, PG_VERSION_MIN, PG_VERSION_MAX);
    if (!segment_range(name, page->segment_size, &start))
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "\"%s\" says a segment size that its name denies", path);
    if (page->address < start)
        return tide_plugin_fail(host, err, TIDE_NOT_FOUND, 0, "\"%s\" is kept for reuse and holds no WAL yet", path);
    if (page->address != start)
        return tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "\"%s\" holds WAL of another position", path);
    return TIDE_OK;
}

int pg_log_file_identify(const struct tide_host *host, const char *path, const char *text, char *buf, size_t buf_size,
                         struct tide_log_identity *out, struct tide_err *err)
{
    uint32_t size = out->struct_size;
    struct wal_page page;
    struct name name;

    if (!name_parse(text, &name) || name.kind != TIDE_LOG_FILE_SEGMENT)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "\"%s\" is no name of a WAL segment", text);
    int s = judge_segment(host, path, &name, &page, err);
    if (s != TIDE_OK)
        return s;
    struct evidence ev = {.system_identifier = page.system_identifier,
                          .segment_size = page.segment_size,
                          .timeline = name.timeline,
                          .major = wal_layout_of_magic(page.magic)->major};
    if (ev.timeline > 1)
        s = read_history(host, path, ev.timeline, &ev.history, err);
    if (s != TIDE_OK)
        return s;
    PG_AUTO(pg_freep) char *evidence = evidence_format(&ev);
    char version[16];
    int major = ev.major;
    evidence_clear(&ev);
    if (evidence == NULL)
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    size_t evidence_len = strlen(evidence) + 1;
    int version_len = snprintf(version, sizeof version, "%d", major) + 1;
    if (evidence_len + (size_t)version_len > buf_size)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "the history of timeline %" PRIu32 " is too long",
                                name.timeline);
    memcpy(buf, evidence, evidence_len);
    memcpy(buf + evidence_len, version, (size_t)version_len);
    struct tide_log_identity id = {.struct_size = size,
                                   .evidence = buf,
                                   .server_version = buf + evidence_len,
                                   .branch = name.timeline,
                                   .current = pg_pos(page.address + page.segment_size),
                                   .oldest = pg_pos(page.address),
                                   .stream_from = pg_pos(page.address),
                                   .clock_us = TIDE_TIME_NONE};
    pg_copy_out(out, size, &id, sizeof id);
    return TIDE_OK;
}

/* ------------------------------------------------------------------- content */

/* The lines of history that came before the branch's own end: the history file that it had itself. */
static size_t history_before(const char *history, uint32_t branch)
{
    const char *p = history;

    while (*p != '\0') {
        char *end;
        unsigned long timeline = strtoul(p, &end, 10); /* over the blank line that the server puts between two */

        if (end != p && timeline >= branch)
            break;
        p += strcspn(p, "\n");
        p += *p == '\n';
    }
    return (size_t)(p - history);
}

static bool has_ancestor(const struct evidence *ev, uint64_t branch)
{
    for (size_t i = 0; i < ev->n_branches; i++)
        if (ev->branches[i].timeline == branch)
            return i > 0; /* the first has no history file */
    return false;
}

static int history_text(const struct tide_host *host, const struct evidence *ev, const struct tide_log_file *file,
                        char *buf, size_t size, size_t *len, struct tide_err *err)
{
    const char *history = ev->history;
    char last[160] = "";
    size_t n;

    if (file->branch == ev->timeline && ev->n_branches > 0) {
        n = strlen(history);
    } else if (has_ancestor(ev, file->branch)) {
        n = history_before(history, (uint32_t)file->branch);
    } else if (file->branch > ev->timeline) {
        /* A number that is kept for a restored instance.  The server looks for the first one that has no file; what
         * it would read is a child of this branch. */
        char lsn[PG_LSN_TEXT_SIZE];

        pg_lsn_text(file->start.lo, lsn, sizeof lsn);
        (void)snprintf(last, sizeof last, "%s%" PRIu32 "\t%s\treserved for a restored instance\n",
                       history[0] != '\0' ? "\n" : "", ev->timeline, lsn);
        n = strlen(history);
    } else {
        return tide_plugin_fail(host, err, TIDE_NOT_FOUND, 0, "timeline %" PRIu64 " has no history file",
                                file->branch);
    }
    if (n + strlen(last) > size)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "the history file is longer than %zu bytes", size);
    memcpy(buf, history, n);
    memcpy(buf + n, last, strlen(last));
    *len = n + strlen(last);
    return TIDE_OK;
}

int pg_log_file_content(const struct tide_host *host, const char *evidence, const struct tide_log_file *file,
                        void *buf, size_t size, size_t *len, struct tide_err *err)
{
    struct evidence ev;
    const char *why = evidence_parse(evidence, &ev);
    int s;

    if (why != NULL)
        s = tide_plugin_fail(host, err, TIDE_CORRUPT, 0, "cannot read the log's evidence: %s", why);
    else if (file->kind != TIDE_LOG_FILE_HISTORY)
        s = tide_plugin_fail(host, err, TIDE_INVALID, 0, "only history files are made from evidence");
    else
        s = history_text(host, &ev, file, buf, size, len, err);
    evidence_clear(&ev);
    return s;
}
