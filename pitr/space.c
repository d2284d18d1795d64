#include "pitr/restore_internal.h"

#include "orchestrator/base/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Log files pass through one by one; a few lie there at a time, and what replay writes is not known before. */
#define LOG_ROOM (UINT64_C(256) << 20)

/* A file system that files go to. */
struct filesystem {
    dev_t device;
    char at[TIDE_PATH_MAX]; /* a directory of it that exists */
    uint64_t needed;
};

struct sizing {
    const struct placement *p;
    struct filesystem *systems; /* owned */
    size_t n;
    size_t *of; /* owned; for each space, then for the data directory: which system */
};

static void sizing_clear(struct sizing *z)
{
    free(z->systems);
    free(z->of);
}

static void problem(struct restore_report *report, const char *code, const char *message, const char *fix)
{
    struct tide_findings sink = finding_list_sink(&report->findings);
    struct tide_finding f = {.struct_size = sizeof f, .severity = 2, .code = code, .message = message, .fix = fix};

    sink.add(sink.ctx, &f);
}

/* The nearest directory above path that exists: where its bytes will go. */
static void existing_parent(const char *path, char out[TIDE_PATH_MAX])
{
    (void)snprintf(out, TIDE_PATH_MAX, "%s", path);
    while (access(out, F_OK) != 0) {
        char *slash = strrchr(out, '/');
        if (slash == NULL || slash == out) {
            (void)snprintf(out, TIDE_PATH_MAX, "/");
            return;
        }
        *slash = '\0';
    }
}

static tide_status find_system(struct sizing *z, size_t place, const char *directory, struct restore_report *report,
                               struct tide_err *err)
{
    char at[TIDE_PATH_MAX], denied[TIDE_PATH_MAX + 64];
    struct stat st;

    existing_parent(directory, at);
    if (access(at, W_OK | X_OK) != 0) {
        (void)snprintf(denied, sizeof denied, "nothing can be made in \"%s\": %s", at, strerror(errno));
        problem(report, "restore.directory", denied, "as root: install -d -o USER DIR; or restore as root");
    }
    if (stat(at, &st) != 0)
        return tide_fail_errno(err, errno, "could not look at \"%s\"", at);
    for (z->of[place] = 0; z->of[place] < z->n; z->of[place]++)
        if (z->systems[z->of[place]].device == st.st_dev)
            return TIDE_OK;
    z->systems[z->n].device = st.st_dev;
    memcpy(z->systems[z->n++].at, at, sizeof at);
    return TIDE_OK;
}

static tide_status add_entry(void *ctx, const struct tree_entry *e, struct tide_err *err)
{
    struct sizing *z = ctx;

    (void)err;
    if (e->kind == TIDE_FILE_REGULAR)
        z->systems[z->of[placement_space(z->p, e->name)]].needed += e->size;
    return TIDE_OK;
}

static tide_status compare(const struct sizing *z, size_t system, struct restore_report *report, struct tide_err *err)
{
    const struct filesystem *f = &z->systems[system];
    char needed[32], available[32], text[TIDE_PATH_MAX + 128];
    uint64_t available_bytes;
    tide_status s = tide_disk_free(f->at, &available_bytes, err);

    if (s != TIDE_OK)
        return s;
    if (system == z->of[z->p->n]) {
        report->needed_bytes = f->needed;
        report->free_bytes = available_bytes;
    }
    if (available_bytes >= f->needed)
        return TIDE_OK;
    tide_size_format(f->needed, needed, sizeof needed);
    tide_size_format(available_bytes, available, sizeof available);
    (void)snprintf(text, sizeof text, "not enough space in \"%s\": %s needed, %s available", f->at, needed,
                   available);
    problem(report, "restore.space", text, NULL);
    return TIDE_OK;
}

tide_status space_check(struct tree_reader *t, const struct placement *p, struct restore_report *report,
                        struct tide_err *err)
{
    TIDE_AUTO(sizing_clear)
    struct sizing z = {
        .p = p, .systems = calloc(p->n + 1, sizeof(struct filesystem)), .of = calloc(p->n + 1, sizeof(size_t))};

    if (z.systems == NULL || z.of == NULL)
        return tide_fail(err, TIDE_NO_MEMORY, "out of memory looking for room");
    tide_status s = find_system(&z, p->n, p->o->into, report, err);
    for (size_t i = 0; s == TIDE_OK && i < p->n; i++)
        s = find_system(&z, i, p->spaces[i].directory, report, err);
    if (s == TIDE_OK) {
        z.systems[z.of[p->n]].needed = LOG_ROOM;
        s = tree_reader_walk(t, add_entry, &z, err);
    }
    for (size_t i = 0; s == TIDE_OK && i < z.n; i++)
        s = compare(&z, i, report, err);
    return s;
}
