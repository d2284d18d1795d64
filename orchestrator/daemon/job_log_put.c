#include "orchestrator/daemon/job.h"

#include "orchestrator/daemon/values.h"
#include "wal/ship.h"
#include <string.h>

/* Log that comes as files: `archive_command`, and the log directory of a dead server. */

tide_status job_log_put(struct job *job, struct tide_err *err)
{
    const char *path = job_text(job, "path"), *from = job_text(job, "from");
    uint64_t added = 0;
    struct tide_pos end = {0};

    if ((path == NULL) == (from == NULL))
        return tide_fail(err, TIDE_INVALID, "log put needs either a file or --from DIR");
    tide_status s = job_open(job, err);
    if (s != TIDE_OK)
        return s;
    if ((job->plugin->caps & TIDE_CAP_LOG_FILES) == 0)
        return tide_fail(err, TIDE_UNSUPPORTED, "engine \"%s\" cannot take log in files", job->plugin->name);

    struct wal_put_options o = {.repo = job->repo,
                                .instance = job->instance,
                                .path = path != NULL ? path : from,
                                .plugin = job->plugin,
                                .host = job->host,
                                .object_bytes = job->settings.object_bytes};
    if (path != NULL) {
        const char *slash = strrchr(path, '/');
        o.name = slash == NULL ? path : slash + 1;
        return wal_put_file(&o, err);
    }
    s = wal_put_directory(&o, &added, &end, err);
    if (s == TIDE_OK)
        job->data = json_pack("{s:i, s:I, s:o}", "schema", 1, "added_bytes", (json_int_t)added, "end",
                              value_position(job->plugin, end));
    return s;
}
