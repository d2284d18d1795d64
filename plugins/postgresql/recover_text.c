#include "plugins/postgresql/recover_text.h"
#include "plugins/postgresql/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAL_PAGE             8192u
#define WAL_SHORT_HEADER     24u
#define WAL_LONG_HEADER      40u
#define WAL_SEGMENT_AT_LEAST 1048576u

uint64_t pg_lsn_without_header(uint64_t lsn)
{
    if (lsn % WAL_SEGMENT_AT_LEAST == WAL_LONG_HEADER)
        return lsn - WAL_LONG_HEADER;
    return lsn % WAL_PAGE == WAL_SHORT_HEADER ? lsn - WAL_SHORT_HEADER : lsn;
}

bool pg_history_last(const char *text, uint32_t *parent, uint64_t *fork)
{
    struct evidence_branch *branches = NULL;
    size_t n = 0;
    const char *wrong = evidence_history_parse(text, &branches, &n);
    bool found = wrong == NULL && n > 0;

    if (found) {
        *parent = branches[n - 1].timeline;
        *fork = branches[n - 1].end;
    }
    free(branches);
    return found;
}

void pg_log_failures(const char *log, char *buf, size_t size)
{
    static const char *const words[] = {"FATAL:  ", "PANIC:  "};
    size_t used = 0;

    buf[0] = '\0';
    for (const char *line = log; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
            const char *at = memmem(line, len, words[i], strlen(words[i]));
            if (at == NULL)
                continue;
            at += strlen(words[i]);
            int text_len = (int)(len - (size_t)(at - line));
            /* Each try of ours to connect during start-up leaves one of these. */
            if (strncmp(at, "the database system is ", 23) == 0)
                continue;
            int n = snprintf(buf + used, size - used, "%s%.*s", used > 0 ? "; " : "", text_len, at);
            if (n < 0 || (size_t)n >= size - used)
                return;
            used += (size_t)n;
        }
        line += len + (line[len] == '\n' ? 1 : 0);
    }
}

int64_t pg_log_demanded(const char *log, const char *setting)
{
    static const char mark[] = "where its value was ";
    int64_t highest = 0;

    for (const char *line = log; line != NULL && *line != '\0';) {
        size_t len = strcspn(line, "\n");
        const char *value = memmem(line, len, mark, sizeof mark - 1);
        if (value != NULL && memmem(line, len, setting, strlen(setting)) != NULL) {
            int64_t v = strtoll(value + sizeof mark - 1, NULL, 10);
            highest = v > highest ? v : highest;
        }
        line += len + (line[len] == '\n' ? 1 : 0);
    }
    return highest;
}
