#include "pitr/restore_internal.h"

#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MARKER ".tidemark-restore"

void marker_identity(const struct restore_options *o, char text[512])
{
    char end[33];

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
    const char *identity, *stage;
    json_int_t branch;
    json_t *doc = json_loads(text, 0, NULL);

    if (doc == NULL ||
        json_unpack(doc, "{s:s,s:s,s:I}", "restore", &identity, "stage", &stage, "branch", &branch) != 0 ||
        strlen(identity) >= sizeof m->identity) {
        json_decref(doc);
        return tide_fail(err, TIDE_REFUSED, "\"%s\" is no marker of a restore", path);
    }
    (void)snprintf(m->identity, sizeof m->identity, "%s", identity);
    m->stage = strcmp(stage, "recovering") == 0 ? MARKER_RECOVERING : MARKER_FILES;
    m->new_branch = (uint64_t)branch;
    m->present = true;
    json_decref(doc);
    return TIDE_OK;
}

tide_status marker_examine(const struct restore_options *o, struct marker *m, struct tide_err *err)
{
    TIDE_AUTO(tide_buf_clear) struct tide_buf text = TIDE_BUF_INIT(65536);
    char path[TIDE_PATH_MAX], mine[512];
    bool empty = true;

    memset(m, 0, sizeof *m);
    tide_status s = tide_dir_is_empty(o->into, &empty, err);
    if (s != TIDE_OK || empty)
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

tide_status marker_write(const struct restore_options *o, const struct marker *m, struct tide_err *err)
{
    char path[TIDE_PATH_MAX];
    json_t *doc =
        json_pack("{s:s,s:s,s:I}", "restore", m->identity, "stage",
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
    if (unlink(path) != 0 && errno != ENOENT)
        return tide_fail_errno(err, errno, "could not remove \"%s\"", path);
    return tide_fsync_dir(o->into, err);
}
