#include "pitr/restore_internal.h"

#include "orchestrator/base/bytes.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/pipe/crypto.h"

#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKER      ".tidemark-restore"
#define MARKER_PART MARKER ".tmp-" /* what tide_file_replace leaves when it is killed */

void marker_identity(const struct restore_options *o, char text[512])
{
    char end[33];

    /* Log that came since an unfinished restore to the latest changes nothing in its files: recovery begins after. */
    if (o->moving != NULL) {
        (void)snprintf(text, 512, "%s %s %s %u %.200s", repo_id(o->repo), o->instance, o->plan->backup.id,
                       o->plan->lineage, o->moving);
        return;
    }
    record_pos_hex(o->plan->expected_end, end);
    (void)snprintf(text, 512, "%s %s %s %u %s %d", repo_id(o->repo), o->instance, o->plan->backup.id,
                   o->plan->lineage, end, (int)o->plan->kind);
}

static tide_status marker_path(const struct restore_options *o, char path[TIDE_PATH_MAX], struct tide_err *err)
{
    return tide_path_join(path, o->into, MARKER, err);
}

static tide_status parse(const char *text, const char *path, struct marker *m, struct tide_err *err)
{
    const char *identity, *stage, *spaces;
    json_int_t branch;
    json_t *doc = json_loads(text, 0, NULL);

    if (doc == NULL ||
        json_unpack(doc, "{s:s,s:s,s:s,s:I}", "restore", &identity, "tablespaces", &spaces, "stage", &stage, "branch",
                    &branch) != 0 ||
        strlen(identity) >= sizeof m->identity || strlen(spaces) >= sizeof m->spaces) {
        json_decref(doc);
        return tide_fail(err, TIDE_REFUSED, "\"%s\" is no marker of a restore", path);
    }
    (void)snprintf(m->identity, sizeof m->identity, "%s", identity);
    (void)snprintf(m->spaces, sizeof m->spaces, "%s", spaces);
    m->stage = strcmp(stage, "recovering") == 0 ? MARKER_RECOVERING : MARKER_FILES;
    m->new_branch = (uint64_t)branch;
    m->present = true;
    json_decref(doc);
    return TIDE_OK;
}

static void closedirp(DIR **d)
{
    if (*d != NULL)
        (void)closedir(*d);
}

static bool is_part(const char *name)
{
    return strncmp(name, MARKER_PART, sizeof MARKER_PART - 1) == 0;
}

/* Calls fn for every name in the directory but "." and ".."; a directory that does not exist has none. */
typedef tide_status name_fn(void *ctx, const char *path, const char *name, struct tide_err *err);
static tide_status each_name(const char *directory, name_fn *fn, void *ctx, struct tide_err *err)
{
    TIDE_AUTO(closedirp) DIR *d = opendir(directory);
    tide_status s = TIDE_OK;

    if (d == NULL)
        return errno == ENOENT ? TIDE_OK : tide_fail_errno(err, errno, "could not open directory \"%s\"", directory);
    while (s == TIDE_OK) {
        char path[TIDE_PATH_MAX];
        errno = 0;
        const struct dirent *e = readdir(d);
        if (e == NULL)
            return errno == 0 ? TIDE_OK : tide_fail_errno(err, errno, "could not read directory \"%s\"", directory);
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        s = tide_path_join(path, directory, e->d_name, err);
        if (s == TIDE_OK)
            s = fn(ctx, path, e->d_name, err);
    }
    return s;
}

/* TIDE_EXISTS: something lies there that is not ours. */
static tide_status only_parts(void *ctx, const char *path, const char *name, struct tide_err *err)
{
    (void)ctx;
    (void)path;
    (void)err;
    return is_part(name) ? TIDE_OK : TIDE_EXISTS;
}

static tide_status remove_beside(void *ctx, const char *path, const char *name, struct tide_err *err)
{
    const char *keep = ctx;
    return strcmp(name, keep) == 0 ? TIDE_OK : tide_remove_tree(path, err);
}

static tide_status remove_part(void *ctx, const char *path, const char *name, struct tide_err *err)
{
    (void)ctx;
    return is_part(name) ? tide_remove_tree(path, err) : TIDE_OK;
}

tide_status marker_clear_directory(const struct restore_options *o, struct tide_err *err)
{
    char keep[] = MARKER;
    return each_name(o->into, remove_beside, keep, err);
}

tide_status marker_examine(const struct restore_options *o, struct marker *m, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(65536);
    char path[TIDE_PATH_MAX], mine[512];

    memset(m, 0, sizeof *m);
    tide_status s = each_name(o->into, only_parts, NULL, err);
    if (s != TIDE_EXISTS)
        return s;
    s = marker_path(o, path, err);
    if (s == TIDE_OK)
        s = tide_file_read(path, &text, err);
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = tide_fail(err, TIDE_REFUSED, "the directory \"%s\" is not empty", o->into);
        return tide_hint(err, s, "nothing was written; restore into a new or empty directory");
    }
    if (s == TIDE_OK)
        s = parse(tide_buf_cstr(&text), path, m, err);
    if (s != TIDE_OK)
        return s;
    marker_identity(o, mine);
    if (strcmp(mine, m->identity) != 0) {
        s = tide_fail(err, TIDE_REFUSED, "the directory \"%s\" holds an unfinished restore to another target",
                      o->into);
        return tide_hint(err, s, "nothing was written; finish it with its own command, or remove the directory");
    }
    return TIDE_OK;
}

tide_status marker_spaces(struct marker *m, struct tide_buf *lines, struct tide_err *err)
{
    uint8_t digest[CRYPTO_SHA256_SIZE];
    char now[2 * CRYPTO_SHA256_SIZE + 1];
    tide_status s = crypto_sha256(tide_buf_cstr(lines), lines->len, digest, err);

    if (s != TIDE_OK)
        return s;
    tide_hex(digest, sizeof digest, now);
    if (m->present && strcmp(m->spaces, now) != 0) {
        s = tide_fail(err, TIDE_REFUSED, "the unfinished restore sent its tablespaces to other directories");
        return tide_hint(err, s,
                         "nothing was written; name the same directories again, or remove what the unfinished "
                         "restore left");
    }
    (void)snprintf(m->spaces, sizeof m->spaces, "%s", now);
    return TIDE_OK;
}

tide_status marker_write(const struct restore_options *o, const struct marker *m, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    json_t *doc =
        json_pack("{s:s,s:s,s:s,s:I}", "restore", m->identity, "tablespaces", m->spaces, "stage",
                  m->stage == MARKER_RECOVERING ? "recovering" : "files", "branch", (json_int_t)m->new_branch);
    char *text = doc == NULL ? NULL : json_dumps(doc, JSON_COMPACT);
    tide_status s = text == NULL ? tide_fail(err, TIDE_NO_MEMORY, "out of memory") : marker_path(o, path, err);

    if (s == TIDE_OK)
        s = tide_file_replace(path, text, strlen(text), 0600, err);
    free(text);
    json_decref(doc);
    return s;
}

tide_status marker_remove(const struct restore_options *o, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    tide_status s = marker_path(o, path, err);

    if (s != TIDE_OK)
        return s;
    s = each_name(o->into, remove_part, NULL, err);
    if (s != TIDE_OK)
        return s;
    if (unlink(path) != 0 && errno != ENOENT)
        return tide_fail_errno(err, errno, "could not remove \"%s\"", path);
    return tide_fsync_dir(o->into, err);
}
