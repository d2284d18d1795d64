#include "examples/template_plugin/toy.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

/*
 * A base backup: says where the log stands, hands every file over by path (the
 * core reads them, in parallel), and says where the log stands then.  Between
 * the two a real engine is in its hot-backup mode, which it leaves in any case.
 */

static int64_t clock_us(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int hand_over(struct toy *toy, const char *name, const struct tide_backup_sink *sink, struct tide_err *err)
{
    char path[4096];
    struct stat st;

    int s = toy_path(toy->host, toy->directory, name, path, sizeof path, err);
    if (s != TIDE_OK)
        return s;
    if (lstat(path, &st) != 0) {
        if (errno == ENOENT)
            return TIDE_OK; /* removed since the directory was read: the log knows */
        return tide_plugin_fail(toy->host, err, TIDE_IO, errno, "could not examine \"%s\"", path);
    }
    if (!S_ISREG(st.st_mode))
        return TIDE_OK;
    const struct tide_file file = {
        .struct_size = sizeof file,
        .kind = TIDE_FILE_REGULAR,
        .flags = TIDE_FILE_MAY_VANISH,
        .mode = st.st_mode & 07777,
        .name = name,
        .source = path,
        .size = (uint64_t)st.st_size,
        .mtime_us = (int64_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000,
    };
    return sink->file(sink->ctx, &file, err);
}

static int hand_over_all(struct toy *toy, const struct tide_backup_sink *sink, struct tide_err *err)
{
    DIR *dir = opendir(toy->directory);
    int s = TIDE_OK;

    if (dir == NULL)
        return tide_plugin_fail(toy->host, err, TIDE_IO, errno, "could not open \"%s\"", toy->directory);
    for (const struct dirent *e = readdir(dir); e != NULL && s == TIDE_OK; e = readdir(dir)) {
        if (toy->host->cancelled(toy->host->ctx))
            s = tide_plugin_fail(toy->host, err, TIDE_CANCELLED, 0, "cancelled");
        else if (e->d_name[0] != '.' && strcmp(e->d_name, TOY_LOG_FILE) != 0)
            s = hand_over(toy, e->d_name, sink, err);
    }
    (void)closedir(dir);
    return s;
}

int toy_backup(void *inst, const struct tide_backup_params *params, const struct tide_backup_sink *sink,
               struct tide_backup_result *result, struct tide_err *err)
{
    struct toy *toy = inst;
    struct tide_log_identity id = {.struct_size = sizeof id};
    struct tide_clock clock = {.struct_size = sizeof clock};
    int64_t start_us = clock_us();

    (void)params;
    if (toy->host->cancelled(toy->host->ctx))
        return tide_plugin_fail(toy->host, err, TIDE_CANCELLED, 0, "cancelled");
    int s = toy_log_identify(toy, &id, err);
    if (s == TIDE_OK)
        s = sink->started(sink->ctx, id.current, id.branch, start_us, err);
    if (s == TIDE_OK)
        s = hand_over_all(toy, sink, err);
    if (s == TIDE_OK)
        s = sink->drain(sink->ctx, err); /* only now have they been read */
    if (s == TIDE_OK)
        s = toy_clock(toy, &clock, err);
    if (s != TIDE_OK)
        return s;
    *result = (struct tide_backup_result){
        .struct_size = sizeof *result,
        .start = id.current,
        .stop = clock.end,
        .branch = id.branch,
        .start_us = start_us,
        .stop_us = clock_us(),
        .evidence = toy->evidence,
        .server_version = "toy 1.0",
        .metadata = "{}",
        .method = "files",
    };
    return TIDE_OK;
}
