#include "orchestrator/daemon/job.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/log.h"
#include "orchestrator/repository/lineage.h"
#include "pitr/fetch_server.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * One log file for a server that asks by name: `log get INSTANCE %f %p`.
 *
 * NOT_FOUND means that the file is proved not to be there; a recovering server
 * takes that for the end of the log, so every doubt is another status.
 */

struct get {
    struct job *job;
    struct lineage_set lineages;
    struct tide_log_file file;
    struct lineage_step path[LINEAGE_PATH_MAX];
    size_t n_path;
    struct tide_pos until;
};

static void get_clear(struct get *g)
{
    lineage_set_clear(&g->lineages);
}

/* The lineage to fetch from: as asked, else the newest that has the file's branch in its past or present. */
static tide_status choose_lineage(struct get *g, uint32_t *number, struct tide_err *err)
{
    uint32_t asked = (uint32_t)job_number(g->job, "lineage", 0), found = 0;
    size_t n_owners = 0;

    if (g->lineages.n == 0)
        return tide_fail(err, TIDE_IO, "no log of \"%s\" was ever stored", g->job->instance);
    if (asked != 0 && lineage_find(&g->lineages, asked) == NULL)
        return tide_fail(err, TIDE_INVALID, "there is no lineage %u of \"%s\"", asked, g->job->instance);
    if (asked != 0) {
        *number = asked;
        return TIDE_OK;
    }
    for (size_t i = 0; i < g->lineages.n; i++) {
        if (g->lineages.items[i].branch != g->file.branch)
            continue;
        n_owners++;
        found = g->lineages.items[i].number;
    }
    if (n_owners > 1)
        return tide_fail(err, TIDE_INVALID, "%zu lineages of \"%s\" have branch %llu: --lineage says which is meant",
                         n_owners, g->job->instance, (unsigned long long)g->file.branch);
    *number = found != 0 ? found : g->lineages.items[g->lineages.n - 1].number;
    return TIDE_OK;
}

static tide_status read_until(struct get *g, struct tide_err *err)
{
    const char *text = job_text(g->job, "until");

    if (text == NULL)
        return TIDE_OK;
    if (g->job->plugin->pos_parse(text, &g->until) != TIDE_OK)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is no log position", text);
    /* What lies behind is not wanted, even where it is stored. */
    while (g->n_path > 1 && tide_pos_cmp(g->path[g->n_path - 1].start, g->until) >= 0)
        g->n_path--;
    g->path[g->n_path - 1].end = g->until;
    return TIDE_OK;
}

static tide_status locate(struct get *g, const char *name, struct tide_err *err)
{
    struct job *job = g->job;
    uint32_t number = 0;

    tide_status s = lineage_load(job->repo, job->instance, &g->lineages, err);
    if (s != TIDE_OK)
        return s;
    if (g->lineages.n == 0)
        return choose_lineage(g, &number, err);
    g->file.struct_size = sizeof g->file;
    s = (tide_status)job->plugin->log_file_locate(job->host, g->lineages.items[0].evidence, name, &g->file, err);
    /* A name that is no log file's at all is a mistake of who asks, not an absent file. */
    if (s != TIDE_OK)
        return tide_wrap(err, s == TIDE_NOT_FOUND ? TIDE_INVALID : s, "\"%s\"", name);
    s = choose_lineage(g, &number, err);
    if (s == TIDE_OK)
        s = lineage_path(&g->lineages, number, g->path, &g->n_path, err);
    return s == TIDE_OK ? read_until(g, err) : s;
}

/* Branch numbers that restored instances took exist for everybody but the one that took it. */
static tide_status reserved_history(struct get *g, const char *to, struct tide_err *err)
{
    bool reserved = false;

    if (g->file.branch == job_number(g->job, "own_branch", 0))
        return TIDE_NOT_FOUND;
    struct tide_err why = TIDE_ERR_INIT;
    tide_status s = lineage_branch_is_reserved(g->job->repo, g->job->instance, g->file.branch, &reserved, &why);
    if (s != TIDE_OK) {
        *err = why;
        return s;
    }
    if (!reserved)
        return TIDE_NOT_FOUND; /* err says so already */
    static const char content[] = "# reserved\n";
    tide_err_clear(err);
    return tide_file_replace(to, content, sizeof content - 1, 0600, err);
}

static tide_status fetch(struct get *g, const char *to, struct tide_err *err)
{
    struct job *job = g->job;
    struct log_source *source = NULL;

    tide_status s = log_source_new(job->repo, job->instance, g->path, g->n_path, &source, err);
    if (s != TIDE_OK)
        return s;
    s = fetch_file(&(struct fetch_file_options){.repo = job->repo,
                                                .instance = job->instance,
                                                .plugin = job->plugin,
                                                .host = job->host,
                                                .lineages = &g->lineages,
                                                .path = g->path,
                                                .n_path = g->n_path,
                                                .padded_from = g->until,
                                                .durable = true},
                   source, &g->file, to, err);
    log_source_free(source);
    if (s == TIDE_NOT_FOUND && g->file.kind == TIDE_LOG_FILE_HISTORY)
        s = reserved_history(g, to, err);
    return s;
}

tide_status job_log_get(struct job *job, struct tide_err *err)
{
    TIDE_AUTO(get_clear) struct get g = {.job = job};
    const char *name = job_text(job, "name"), *path = job_text(job, "path");
    char temporary[TIDE_PATH_MAX];

    if (name == NULL || path == NULL)
        return tide_fail(err, TIDE_INVALID, "log get needs a file's name and where to put it");
    if ((size_t)snprintf(temporary, sizeof temporary, "%s.tidemark-%d", path, (int)getpid()) >= sizeof temporary)
        return tide_fail(err, TIDE_INVALID, "\"%s\" is too long", path);
    tide_status s = job_open(job, err);
    if (s == TIDE_NOT_FOUND)
        s = tide_wrap(err, TIDE_IO, "opening"); /* absence of anything but the file proves nothing */
    if (s == TIDE_OK)
        s = locate(&g, name, err);
    if (s == TIDE_OK)
        s = fetch(&g, temporary, err);
    if (s == TIDE_OK && rename(temporary, path) != 0) {
        s = tide_fail_errno(err, errno, "could not rename to \"%s\"", path);
        if (s == TIDE_NOT_FOUND)
            s = TIDE_IO;
    }
    if (s != TIDE_OK) {
        (void)unlink(temporary);
        return s;
    }
    return tide_fsync_parent(path, err);
}
