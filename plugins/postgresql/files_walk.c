#include "plugins/postgresql/backup_internal.h"

#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Deeper than any directory of PostgreSQL's; guards against loops. */
#define MAX_DEPTH 32

/* Names of the last owner seen: nearly always one for the whole cluster. */
struct owner_cache {
    bool known;
    uid_t uid;
    gid_t gid;
    char user[64], group[64];
};

struct walk {
    struct pg_backup_run *run;
    const struct pg_path_map *map; /* NULL: links are followed */
    char tablespace_version[32];   /* "PG_15_202209061" */
    struct owner_cache owner;
};

/* The entries of one directory: the only thing whose size follows the cluster's. */
struct listing {
    char **names;
    size_t n, cap;
    uint64_t *unlogged; /* relfilenodes with an init fork, ascending */
    size_t n_unlogged;
};

static void listing_clear(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++)
        free(l->names[i]);
    free(l->names);
    free(l->unlogged);
    *l = (struct listing){0};
}

static int by_name(const void *a, const void *b)
{
    char *const *x = a, *const *y = b;

    return strcmp(*x, *y);
}

static int by_number(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static int out_of_memory(struct walk *w, struct tide_err *err)
{
    return tide_plugin_fail(w->run->host, err, TIDE_NO_MEMORY, 0, "out of memory listing the data directory");
}

static int listing_add(struct walk *w, struct listing *l, const char *name, struct tide_err *err)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 64 : l->cap * 2;
        char **names = realloc(l->names, cap * sizeof *names);
        if (names == NULL)
            return out_of_memory(w, err);
        l->names = names;
        l->cap = cap;
    }
    l->names[l->n] = strdup(name);
    if (l->names[l->n] == NULL)
        return out_of_memory(w, err);
    l->n++;
    return TIDE_OK;
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

/* *gone: the directory is not there any more, as when its database was dropped. */
static int list(struct walk *w, const char *path, struct listing *l, bool *gone, struct tide_err *err)
{
    PG_AUTO(closedirp) DIR *d = opendir(path);

    *gone = d == NULL && errno == ENOENT;
    if (*gone)
        return TIDE_OK;
    if (d == NULL)
        return tide_plugin_fail(w->run->host, err, pg_status_of_errno(errno), errno,
                                "could not open directory \"%s\"", path);
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (e == NULL && errno != 0)
            return tide_plugin_fail(w->run->host, err, TIDE_IO, errno, "could not read directory \"%s\"", path);
        if (e == NULL)
            break;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        int s = listing_add(w, l, e->d_name, err);
        if (s != TIDE_OK)
            return s;
    }
    if (l->n > 0)
        qsort(l->names, l->n, sizeof *l->names, by_name);
    return TIDE_OK;
}

/* An unlogged relation is known by its init fork; only that is copied, and recovery makes the rest from it. */
static int find_unlogged(struct walk *w, struct listing *l, struct tide_err *err)
{
    struct pg_relation_file f;

    for (size_t i = 0; i < l->n; i++)
        if (pg_relation_file_parse(l->names[i], &f) && f.init)
            l->n_unlogged++;
    if (l->n_unlogged == 0)
        return TIDE_OK;
    l->unlogged = malloc(l->n_unlogged * sizeof *l->unlogged);
    if (l->unlogged == NULL)
        return out_of_memory(w, err);
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (pg_relation_file_parse(l->names[i], &f) && f.init)
            l->unlogged[n++] = f.number;
    qsort(l->unlogged, n, sizeof *l->unlogged, by_number);
    return TIDE_OK;
}

static bool is_unlogged_content(const struct listing *l, const struct pg_relation_file *f)
{
    return l->n_unlogged > 0 && !f->init &&
           bsearch(&f->number, l->unlogged, l->n_unlogged, sizeof *l->unlogged, by_number) != NULL;
}

/* ------------------------------------------------------------ handing over */

static void owner_names(struct owner_cache *c, const struct stat *st)
{
    char buf[2048];
    struct passwd pw, *pwp = NULL;
    struct group gr, *grp = NULL;

    if (c->known && c->uid == st->st_uid && c->gid == st->st_gid)
        return;
    *c = (struct owner_cache){.known = true, .uid = st->st_uid, .gid = st->st_gid};
    if (getpwuid_r(st->st_uid, &pw, buf, sizeof buf, &pwp) == 0 && pwp != NULL)
        (void)snprintf(c->user, sizeof c->user, "%s", pw.pw_name);
    if (getgrgid_r(st->st_gid, &gr, buf, sizeof buf, &grp) == 0 && grp != NULL)
        (void)snprintf(c->group, sizeof c->group, "%s", gr.gr_name);
}

static struct tide_file describe(struct walk *w, const char *name, const char *path, const struct stat *st)
{
    owner_names(&w->owner, st);
    return (struct tide_file){
        .struct_size = sizeof(struct tide_file),
        .kind = S_ISDIR(st->st_mode) ? TIDE_FILE_DIRECTORY : TIDE_FILE_REGULAR,
        .mode = st->st_mode & 07777u,
        .name = name,
        .source = S_ISDIR(st->st_mode) ? NULL : path,
        .owner = w->owner.user[0] != '\0' ? w->owner.user : NULL,
        .group = w->owner.group[0] != '\0' ? w->owner.group : NULL,
        .size = S_ISDIR(st->st_mode) ? 0 : (uint64_t)st->st_size,
        .mtime_us = (int64_t)st->st_mtim.tv_sec * 1000000 + st->st_mtim.tv_nsec / 1000,
    };
}

static int hand_over(struct walk *w, const struct tide_file *f, struct tide_err *err)
{
    const struct tide_backup_sink *sink = w->run->sink;

    return sink->file(sink->ctx, f, err);
}

static int hand_over_directory(struct walk *w, const char *name, const char *path, const struct stat *st,
                               struct tide_err *err)
{
    struct tide_file f = describe(w, name, path, st);

    return hand_over(w, &f, err);
}

static int hand_over_regular(struct walk *w, enum pg_dir_kind kind, const struct listing *l, const char *entry,
                             const char *name, const char *path, const struct stat *st, struct tide_err *err)
{
    const struct pg_source *src = &w->run->source;
    struct tide_file f = describe(w, name, path, st);
    struct pg_relation_file rel;

    f.flags = TIDE_FILE_MAY_VANISH;
    if ((kind == PG_DIR_DATABASE || kind == PG_DIR_GLOBAL) && pg_relation_file_parse(entry, &rel)) {
        if (is_unlogged_content(l, &rel))
            return TIDE_OK;
        if (src->data_checksums && src->block_size == 8192) {
            f.flags |= TIDE_FILE_INSPECT;
            f.inspect_number = rel.segment * src->segment_blocks;
        }
    }
    return hand_over(w, &f, err);
}

/* ---------------------------------------------------------------- walking */

static int walk_dir(struct walk *w, const char *name, const char *path, int depth, struct tide_err *err);

/* A tablespace that somebody placed inside the data directory is read once, under pg_tblspc. */
static bool is_tablespace_path(const struct walk *w, const char *name)
{
    const struct pg_source *src = &w->run->source;
    size_t n = strlen(src->data_directory);

    for (size_t i = 0; i < src->n_tablespaces; i++)
        if (strncmp(src->tablespaces[i].path, src->data_directory, n) == 0 && src->tablespaces[i].path[n] == '/' &&
            strcmp(src->tablespaces[i].path + n + 1, name) == 0)
            return true;
    return false;
}

/* Where a tablespace that the source has at target is read: through the link, or in the snapshot. */
static int tablespace_image(struct walk *w, const char *path, const char *target, char **image, struct tide_err *err)
{
    const struct pg_path_map *map = w->map;

    if (map != NULL && !pg_path_is_below(target, map->from))
        return pg_fail_hint(w->run->host, err, TIDE_UNSUPPORTED, "set backup_method = files",
                            "tablespace directory \"%s\" is not in the snapshot of \"%s\"", target, map->from);
    struct pg_text t = {0};
    if (map != NULL)
        pg_text_addf(&t, "%s%s", map->to, target + strlen(map->from));
    else
        pg_text_puts(&t, path);
    *image = t.data;
    return t.failed ? out_of_memory(w, err) : TIDE_OK;
}

static int walk_tablespace(struct walk *w, const char *name, const char *path, int depth, struct tide_err *err)
{
    PG_AUTO(pg_freep) char *image = NULL;
    struct stat st;
    char target[4096];
    ssize_t n = readlink(path, target, sizeof target - 1);

    target[n > 0 ? n : 0] = '\0';
    int s = n < 0 ? TIDE_OK : tablespace_image(w, path, target, &image, err);
    if (s != TIDE_OK)
        return s;
    if (image == NULL || stat(image, &st) != 0) {
        if (errno == ENOENT && w->map == NULL) /* dropped meanwhile */
            return TIDE_OK;
        return tide_plugin_fail(w->run->host, err, pg_status_of_errno(errno), errno,
                                "could not read tablespace \"%s\"", image != NULL ? image : path);
    }
    struct tide_file f = describe(w, name, image, &st);
    f.flags = TIDE_FILE_TABLESPACE;
    f.link = target;
    s = hand_over(w, &f, err);
    if (s != TIDE_OK)
        return s;

    /* Beside ours there may be directories of other majors. */
    PG_AUTO(pg_freep) char *sub_path = pg_path_join(image, w->tablespace_version);
    PG_AUTO(pg_freep) char *sub_name = pg_path_join(name, w->tablespace_version);
    if (sub_path == NULL || sub_name == NULL)
        return out_of_memory(w, err);
    if (stat(sub_path, &st) != 0)
        return TIDE_OK; /* created or dropped this moment: the log has it */
    s = hand_over_directory(w, sub_name, sub_path, &st, err);
    return s != TIDE_OK ? s : walk_dir(w, sub_name, sub_path, depth + 1, err);
}

/* pg_wal and its archive_status must exist; everything in them comes from the log. */
static int emptied_dir(struct walk *w, const char *name, const char *path, const struct stat *st,
                       struct tide_err *err)
{
    struct stat followed = *st;

    if (S_ISLNK(st->st_mode))
        followed.st_mode = S_IFDIR | 0700u;
    int s = hand_over_directory(w, name, path, &followed, err);
    if (s != TIDE_OK || strcmp(name, "pg_wal") != 0)
        return s;
    return hand_over_directory(w, "pg_wal/archive_status", path, &followed, err);
}

/* Directories of the cluster itself that somebody moved elsewhere and linked. */
static bool belongs_to_cluster(const char *name)
{
    static const char *const names[] = {"base",       "global",      "pg_xact", "pg_multixact", "pg_commit_ts",
                                        "pg_logical", "pg_twophase", "pg_stat", "pg_tblspc"};

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int walk_symlink(struct walk *w, enum pg_dir_kind kind, const char *name, const char *path, int depth,
                        struct tide_err *err)
{
    struct stat st;

    if (strncmp(name, "pg_tblspc/", 10) == 0 && strchr(name + 10, '/') == NULL)
        return walk_tablespace(w, name, path, depth, err);
    if (stat(path, &st) != 0) {
        pg_log(w->run->host, TIDE_LOG_WARN, "postgresql.backup.symlink", "\"%s\" is a dangling link and is left out",
               path);
        return TIDE_OK;
    }
    if (S_ISREG(st.st_mode)) { /* a configuration file, say: its content is what a restore needs */
        struct tide_file f = describe(w, name, path, &st);
        f.flags = TIDE_FILE_MAY_VANISH;
        return hand_over(w, &f, err);
    }
    if (S_ISDIR(st.st_mode) && kind == PG_DIR_TOP && belongs_to_cluster(name)) {
        int s = hand_over_directory(w, name, path, &st, err);
        return s != TIDE_OK ? s : walk_dir(w, name, path, depth + 1, err);
    }
    pg_log(w->run->host, TIDE_LOG_WARN, "postgresql.backup.symlink",
           "\"%s\" links to something outside of the cluster and is left out", path);
    return TIDE_OK;
}

static int walk_entry(struct walk *w, enum pg_dir_kind kind, const struct listing *l, const char *entry,
                      const char *name, const char *path, int depth, struct tide_err *err)
{
    enum pg_file_choice choice = pg_exclude_decide(kind, entry);
    struct stat st;

    if (choice == PG_FILE_SKIP)
        return TIDE_OK;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return TIDE_OK;
        return tide_plugin_fail(w->run->host, err, pg_status_of_errno(errno), errno, "could not stat \"%s\"", path);
    }
    if (choice == PG_FILE_EMPTY)
        return emptied_dir(w, name, path, &st, err);
    if (S_ISLNK(st.st_mode))
        return walk_symlink(w, kind, name, path, depth, err);
    if (S_ISREG(st.st_mode)) {
        if (strcmp(name, "global/pg_control") == 0)
            return TIDE_OK; /* last of all */
        return hand_over_regular(w, kind, l, entry, name, path, &st, err);
    }
    if (!S_ISDIR(st.st_mode))
        return TIDE_OK; /* sockets and pipes */
    if (is_tablespace_path(w, name))
        return TIDE_OK;
    int s = hand_over_directory(w, name, path, &st, err);
    return s != TIDE_OK ? s : walk_dir(w, name, path, depth + 1, err);
}

static int walk_dir(struct walk *w, const char *name, const char *path, int depth, struct tide_err *err)
{
    PG_AUTO(listing_clear) struct listing l = {0};
    enum pg_dir_kind kind = pg_dir_kind_of(name);
    bool gone;

    if (depth > MAX_DEPTH)
        return tide_plugin_fail(w->run->host, err, TIDE_INVALID, 0, "\"%s\" is nested too deeply", path);
    int s = list(w, path, &l, &gone, err);
    if (s == TIDE_OK && gone && kind == PG_DIR_TOP)
        return tide_plugin_fail(w->run->host, err, TIDE_INVALID, 0, "the data directory \"%s\" is not there", path);
    if (s == TIDE_OK && kind == PG_DIR_DATABASE)
        s = find_unlogged(w, &l, err);
    for (size_t i = 0; s == TIDE_OK && i < l.n; i++) {
        PG_AUTO(pg_freep) char *entry_name = *name == '\0' ? strdup(l.names[i]) : pg_path_join(name, l.names[i]);
        PG_AUTO(pg_freep) char *entry_path = pg_path_join(path, l.names[i]);

        if (entry_name == NULL || entry_path == NULL)
            return out_of_memory(w, err);
        s = pg_session_alive(w->run, err);
        if (s == TIDE_OK)
            s = walk_entry(w, kind, &l, l.names[i], entry_name, entry_path, depth, err);
    }
    return s;
}

int pg_files_walk(struct pg_backup_run *run, const char *data_directory, const struct pg_path_map *map,
                  struct tide_err *err)
{
    struct walk w = {.run = run, .map = map};

    (void)snprintf(w.tablespace_version, sizeof w.tablespace_version, "PG_%d_%u", pg_run_major(run),
                   run->source.catalog_version);
    return walk_dir(&w, "", data_directory, 0, err);
}
