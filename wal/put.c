#include "wal/put.h"

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/log.h"
#include "wal/pos.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVIDENCE_MAX (2u << 20)

tide_status put_lineage(const struct wal_put_options *o, const struct tide_log_identity *id, struct tide_pos start,
                        struct lineage_set *set, const struct lineage **out, struct tide_err *err)
{
    struct branch_search q = {.repo = o->repo,
                              .instance = o->instance,
                              .plugin = o->plugin,
                              .host = o->host,
                              .set = set,
                              .evidence = id->evidence};
    struct branch_kin kin = {0};
    uint32_t number = 0;

    lineage_set_clear(set);
    tide_status s = lineage_load(o->repo, o->instance, set, err);
    if (s == TIDE_OK)
        s = branch_find(&q, &kin, err);
    if (s == TIDE_OK && !kin.child) {
        *out = kin.lineage;
        return TIDE_OK;
    }
    if (s == TIDE_NOT_FOUND) {
        tide_err_clear(err);
        s = branch_create(o->repo, o->instance, set, o->plugin, NULL, start, id->branch, id->evidence, &number, err);
    } else if (s == TIDE_OK) {
        s = branch_create(o->repo, o->instance, set, o->plugin, kin.lineage, kin.fork, id->branch, id->evidence,
                          &number, err);
    }
    if (s != TIDE_OK)
        return s;
    lineage_set_clear(set);
    s = lineage_load(o->repo, o->instance, set, err);
    if (s != TIDE_OK)
        return s;
    *out = lineage_find(set, number);
    return *out != NULL ? TIDE_OK : tide_fail(err, TIDE_IO, "lineage %u was made and is not there", number);
}

/* What is no segment: the engine's own notes, and history files, which evidence holds already. */
static tide_status put_other(const struct wal_put_options *o, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    struct tide_log_file f = {.struct_size = sizeof f};
    struct tide_err first = *err;

    tide_err_clear(err);
    tide_status s = lineage_load(o->repo, o->instance, &set, err);
    if (s == TIDE_NOT_FOUND)
        s = TIDE_OK;
    if (s != TIDE_OK)
        return s;
    const char *evidence = set.n == 0 ? "" : set.items[set.n - 1].evidence;
    s = (tide_status)o->plugin->log_file_locate(o->host, evidence, o->name, &f, err);
    if (s != TIDE_OK || f.kind == TIDE_LOG_FILE_SEGMENT) {
        *err = first;
        return first.status;
    }
    tide_err_clear(err);
    return TIDE_OK;
}

tide_status wal_put_file(const struct wal_put_options *o, struct tide_err *err)
{
    TIDE_AUTO(lineage_set_clear) struct lineage_set set = {0};
    TIDE_AUTO(tide_freep) char *buf = malloc(EVIDENCE_MAX);
    struct tide_err own = TIDE_ERR_INIT;
    struct tide_log_identity id = {.struct_size = sizeof id};
    struct tide_log_file file = {.struct_size = sizeof file};
    const struct lineage *l = NULL;
    struct tide_pos end;
    uint64_t added;

    if (err == NULL)
        err = &own;
    if (buf == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory");
    if ((o->plugin->caps & TIDE_CAP_LOG_FILES) == 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "the plugin \"%s\" cannot take log files", o->plugin->name);
    tide_status s = (tide_status)o->plugin->log_file_identify(o->host, o->path, o->name, buf, EVIDENCE_MAX, &id, err);
    if (s == TIDE_INVALID)
        return put_other(o, err);
    if (s == TIDE_OK)
        s = (tide_status)o->plugin->log_file_locate(o->host, id.evidence, o->name, &file, err);
    if (s == TIDE_OK)
        s = put_lineage(o, &id, file.start, &set, &l, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "putting \"%s\"", o->name);
    struct put_reader in = {.paths = &o->path, .files = &file, .n = 1};
    s = put_range(o, l, &in, file.partial == 0, &added, &end, err);
    if (s != TIDE_OK)
        return tide_wrap(err, s, "putting \"%s\"", o->name);
    TIDE_LOG(TIDE_LOG_INFO, "wal.put.file", TIDE_STR("instance", o->instance), TIDE_STR("name", o->name),
             TIDE_U64("added", added));
    return TIDE_OK;
}
