#include "orchestrator/base/bytes.h"
#include "orchestrator/base/buf.h"
#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "orchestrator/base/secret.h"
#include "orchestrator/repository/lease_internal.h"
#include "orchestrator/repository/repo_document.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- which process */

static bool read_small(const char *path, char *out, size_t size)
{
    TIDE_AUTO(tide_closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t got = 0;
    if (fd < 0 || tide_read_upto(fd, out, size - 1, &got, path, NULL) != TIDE_OK)
        return false;
    out[got] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return got > 0;
}

/*
 * The 22nd field of /proc/PID/stat; the second, a name in parentheses, may hold anything.  Behind it stands the
 * state: one that has ended and that nobody waits for stays listed, for good where a container's first process reaps
 * nobody.
 */
static bool start_time(int64_t pid, char out[24])
{
    char path[64], stat[1024];
    (void)snprintf(path, sizeof(path), "/proc/%lld/stat", (long long)pid);
    if (!read_small(path, stat, sizeof(stat)))
        return false;
    char *at = strrchr(stat, ')');
    if (at != NULL && at[1] == ' ' && (at[2] == 'Z' || at[2] == 'X')) {
        (void)snprintf(out, 24, "ended");
        return true;
    }
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return false;
    size_t len = strcspn(at + 1, " ");
    if (len == 0 || len >= 24)
        return false;
    memcpy(out, at + 1, len);
    out[len] = '\0';
    return true;
}

/* "BOOT/NAMESPACE": where process numbers mean the same as here. */
static bool view_of_processes(char out[96])
{
    char boot[48], ns[32];
    ssize_t n = readlink("/proc/self/ns/pid", ns, sizeof(ns) - 1);
    if (n <= 0 || !read_small("/proc/sys/kernel/random/boot_id", boot, sizeof(boot)))
        return false;
    ns[n] = '\0';
    (void)snprintf(out, 96, "%s/%s", boot, ns);
    return true;
}

static void describe_process(int64_t pid, char out[LEASE_PROCESS_SIZE])
{
    char view[96], started[24];
    out[0] = '\0';
    if (!view_of_processes(view) || !start_time(pid, started))
        return;
    if (snprintf(out, LEASE_PROCESS_SIZE, "%s/%s", view, started) >= LEASE_PROCESS_SIZE)
        out[0] = '\0';
}

bool lease_holder_is_gone(const struct lease_record *rec)
{
    char view[96], now[LEASE_PROCESS_SIZE];
    if (rec->process[0] == '\0' || !view_of_processes(view))
        return false;
    size_t len = strlen(view);
    if (strncmp(rec->process, view, len) != 0 || rec->process[len] != '/')
        return false;
    /* No such process, or another one that got its number. */
    describe_process(rec->pid, now);
    if (now[0] != '\0')
        return strcmp(now, rec->process) != 0;
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%lld", (long long)rec->pid);
    return access("/proc/self/stat", R_OK) == 0 && access(path, F_OK) != 0;
}

tide_status lease_record_self(struct lease_record *rec, struct tide_err *err)
{
    uint8_t random[16];
    tide_status s = tide_random(random, sizeof(random), err);
    if (s != TIDE_OK)
        return s;
    *rec = (struct lease_record){.pid = getpid()};
    tide_hex(random, sizeof(random), rec->holder);
    if (gethostname(rec->host, sizeof(rec->host) - 1) != 0)
        (void)snprintf(rec->host, sizeof(rec->host), "?");
    describe_process(rec->pid, rec->process);
    return TIDE_OK;
}

/* ---- a generation */

tide_status lease_record_put(struct repo *r, const char *folder, uint32_t generation, const struct lease_record *rec,
                             struct tide_err *err)
{
    TIDE_AUTO(document_decref)
    json_t *doc =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s}", "holder", rec->holder, "host", rec->host, "process",
                  rec->process, "pid", (json_int_t)rec->pid, "taken_us", (json_int_t)rec->taken_us, "lease_us",
                  (json_int_t)rec->lease_us, "state", rec->released ? "released" : "held");
    if (doc == NULL)
        return tide_fail(err, TIDE_INVALID, "the host's name is no text");
    return record_put_numbered(r, folder, generation, OBJECT_LEASE, doc, err);
}

static tide_status take_text(const json_t *doc, const char *member, char *out, size_t size, struct tide_err *err)
{
    const char *text = NULL;
    tide_status s = record_str(doc, member, &text, err);
    if (s == TIDE_OK)
        (void)snprintf(out, size, "%s", text);
    return s;
}

tide_status lease_record_get(struct repo *r, const char *folder, uint32_t generation, struct lease_record *rec,
                             struct tide_err *err)
{
    char key[REPO_KEY_MAX], state[16] = "";
    TIDE_AUTO(document_decref) json_t *doc = NULL;
    *rec = (struct lease_record){0};
    tide_status s = record_key(folder, generation, key, err);
    if (s == TIDE_OK)
        s = record_get(r, key, OBJECT_LEASE, &doc, err);
    if (s == TIDE_OK)
        s = take_text(doc, "holder", rec->holder, sizeof(rec->holder), err);
    if (s == TIDE_OK)
        s = take_text(doc, "host", rec->host, sizeof(rec->host), err);
    if (s == TIDE_OK)
        s = take_text(doc, "process", rec->process, sizeof(rec->process), err);
    if (s == TIDE_OK)
        s = take_text(doc, "state", state, sizeof(state), err);
    if (s == TIDE_OK)
        s = record_i64(doc, "pid", &rec->pid, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "taken_us", &rec->taken_us, err);
    if (s == TIDE_OK)
        s = record_i64(doc, "lease_us", &rec->lease_us, err);
    rec->released = strcmp(state, "released") == 0;
    return s;
}
