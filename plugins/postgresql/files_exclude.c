#include "plugins/postgresql/files_exclude.h"

#include <stdlib.h>
#include <string.h>

/*
 * The list of "Making a Base Backup Using the Low Level API" and of
 * PostgreSQL's own basebackup.c.  What is left out here is either rebuilt by
 * the server at start, or would be wrong in a copy.
 */

static const char *const top_emptied[] = {
    "pg_wal", "pg_replslot", "pg_dynshmem", "pg_notify", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans",
};

static const char *const top_skipped[] = {
    "postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal", "recovery.done", "backup_manifest",
};

static const char *const skipped_anywhere[] = {
    "postgresql.auto.conf.tmp",
    "current_logfiles",
    "current_logfiles.tmp",
    ".DS_Store",
};

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(name, list[i]) == 0)
            return true;
    return false;
}

static bool begins_with(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

#define COUNT(a) (sizeof(a) / sizeof(a)[0])

static enum pg_file_choice decide_top(const char *name)
{
    if (is_one_of(name, top_emptied, COUNT(top_emptied)))
        return PG_FILE_EMPTY;
    if (is_one_of(name, top_skipped, COUNT(top_skipped)))
        return PG_FILE_SKIP;
    if (begins_with(name, "backup_label") || begins_with(name, "tablespace_map"))
        return PG_FILE_SKIP;
    /* Our own marks in a restored directory mean that directory, not a copy of it. */
    if (begins_with(name, "tidemark_") || begins_with(name, ".tidemark"))
        return PG_FILE_SKIP;
    return PG_FILE_KEEP;
}

enum pg_file_choice pg_exclude_decide(enum pg_dir_kind kind, const char *name)
{
    struct pg_relation_file f;

    if (begins_with(name, "pgsql_tmp") || begins_with(name, "pg_internal.init") ||
        is_one_of(name, skipped_anywhere, COUNT(skipped_anywhere)))
        return PG_FILE_SKIP;
    if (kind == PG_DIR_TOP)
        return decide_top(name);
    if (kind == PG_DIR_DATABASE && pg_relation_file_parse(name, &f) && f.temporary)
        return PG_FILE_SKIP;
    return PG_FILE_KEEP;
}

static bool digits(const char **p, uint64_t *value)
{
    const char *s = *p;
    uint64_t v = 0;

    if (*s < '0' || *s > '9')
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        if (v > UINT32_MAX)
            return false;
        v = v * 10 + (uint64_t)(*s - '0');
    }
    *p = s;
    *value = v;
    return true;
}

static bool skip_word(const char **p, const char *word)
{
    size_t n = strlen(word);

    if (strncmp(*p, word, n) != 0)
        return false;
    *p += n;
    return true;
}

/* OID, OID_fork, OID.segment, OID_fork.segment, and with tBACKEND_ before it for temporary ones. */
bool pg_relation_file_parse(const char *name, struct pg_relation_file *out)
{
    const char *p = name;
    uint64_t backend;

    *out = (struct pg_relation_file){0};
    if (*p == 't') {
        p++;
        if (!digits(&p, &backend) || *p++ != '_')
            return false;
        out->temporary = true;
    }
    if (!digits(&p, &out->number))
        return false;
    if (skip_word(&p, "_init"))
        out->init = true;
    else if (!skip_word(&p, "_fsm"))
        (void)skip_word(&p, "_vm");
    if (*p == '.') {
        p++;
        if (!digits(&p, &out->segment))
            return false;
    }
    return *p == '\0';
}

static bool only_digits(const char *s, size_t n)
{
    return n > 0 && strspn(s, "0123456789") >= n;
}

enum pg_dir_kind pg_dir_kind_of(const char *name)
{
    if (*name == '\0')
        return PG_DIR_TOP;
    if (strcmp(name, "global") == 0)
        return PG_DIR_GLOBAL;
    if (begins_with(name, "base/"))
        return only_digits(name + 5, strlen(name + 5)) ? PG_DIR_DATABASE : PG_DIR_OTHER;
    if (begins_with(name, "pg_tblspc/")) {
        const char *oid = name + strlen("pg_tblspc/");
        const char *version = strchr(oid, '/');
        const char *db = version != NULL ? strchr(version + 1, '/') : NULL;
        if (db != NULL && only_digits(oid, (size_t)(version - oid)) && only_digits(db + 1, strlen(db + 1)))
            return PG_DIR_DATABASE;
    }
    return PG_DIR_OTHER;
}
