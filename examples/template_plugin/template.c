#include "examples/template_plugin/toy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

TIDE_PLUGIN_EXPORT const struct tide_plugin *tide_plugin_entry(uint32_t host_abi);

/* The configuration parser, --help and the manual come from this table. */
static const struct tide_option toy_options[] = {
    {"data_directory", TIDE_OPTION_PATH, TIDE_OPTION_REQUIRED, NULL, NULL,
     "the directory that is the toy's database"},
};

int toy_path(const struct tide_host *host, const char *directory, const char *name, char *buf, size_t size,
             struct tide_err *err)
{
    int n = snprintf(buf, size, "%s/%s", directory, name);

    if (n < 0 || (size_t)n >= size)
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "the path \"%s/%s\" is too long", directory, name);
    return TIDE_OK;
}

static void toy_close(void *inst)
{
    struct toy *toy = inst;

    if (toy == NULL)
        return;
    free(toy->directory);
    free(toy);
}

/* Reads the options; a real engine connects on first use, so that opening costs nothing and cannot hang. */
static int toy_open(const struct tide_host *host, void **inst, struct tide_err *err)
{
    const char *directory = host->option(host->ctx, "data_directory");

    if (directory == NULL || directory[0] == '\0')
        return tide_plugin_fail(host, err, TIDE_INVALID, 0, "\"data_directory\" is not configured");
    struct toy *toy = calloc(1, sizeof *toy);
    if (toy != NULL)
        toy->directory = strdup(directory);
    if (toy == NULL || toy->directory == NULL) {
        toy_close(toy);
        return tide_plugin_fail(host, err, TIDE_NO_MEMORY, 0, "out of memory");
    }
    toy->host = host;
    *inst = toy;
    return TIDE_OK;
}

int toy_log_end(struct toy *toy, uint64_t *end, char id[17], struct tide_err *err)
{
    uint8_t header[TOY_LOG_HEADER];
    struct stat st;
    char path[4096];

    int s = toy_path(toy->host, toy->directory, TOY_LOG_FILE, path, sizeof path, err);
    if (s != TIDE_OK)
        return s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return tide_plugin_fail(toy->host, err, errno == ENOENT ? TIDE_NOT_FOUND : TIDE_IO, errno,
                                "could not open \"%s\"", path);
    ssize_t n = pread(fd, header, sizeof header, 0);
    int failed = fstat(fd, &st);
    (void)close(fd);
    if (failed != 0 || n != (ssize_t)sizeof header || memcmp(header, "TOYLOG1\n", 8) != 0)
        return tide_plugin_fail(toy->host, err, TIDE_CORRUPT, 0, "\"%s\" is no toy log", path);
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(id + 2 * i, 3, "%02x", header[8 + i]);
    *end = (uint64_t)st.st_size;
    return TIDE_OK;
}

static void find(const struct tide_findings *out, uint32_t severity, const char *code, const char *message,
                 const char *fix)
{
    out->add(out->ctx, &(struct tide_finding){.struct_size = sizeof(struct tide_finding),
                                              .severity = severity,
                                              .code = code,
                                              .message = message,
                                              .fix = fix});
}

static int toy_check(void *inst, const struct tide_findings *out, struct tide_err *err)
{
    struct toy *toy = inst;
    uint64_t end;
    char id[17];

    int s = toy_log_end(toy, &end, id, err);
    if (s == TIDE_NOT_FOUND) {
        find(out, 2, "toy.log.missing", "the toy has no log yet", "tidemark init");
        return TIDE_OK; /* found, and told: the check itself worked */
    }
    if (s == TIDE_OK)
        find(out, 0, "toy.log", "the toy's log can be read", NULL);
    return s;
}

/* Makes what shipping needs on the server; safe to repeat. */
static int toy_setup(void *inst, const struct tide_setup_params *params, const struct tide_findings *out,
                     struct tide_err *err)
{
    struct toy *toy = inst;
    char path[4096];
    uint8_t header[TOY_LOG_HEADER] = "TOYLOG1\n";

    int s = toy_path(toy->host, toy->directory, TOY_LOG_FILE, path, sizeof path, err);
    if (s != TIDE_OK || params->remove != 0)
        return s;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno == EEXIST) {
        find(out, 0, "toy.log", "the toy has a log", NULL);
        return TIDE_OK;
    }
    if (fd < 0)
        return tide_plugin_fail(toy->host, err, TIDE_IO, errno, "could not create \"%s\"", path);
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    uint64_t id = (uint64_t)now.tv_sec * 1000000007u ^ (uint64_t)now.tv_nsec << 32 ^ (uint64_t)getpid();
    memcpy(header + 8, &id, sizeof id);
    ssize_t n = write(fd, header, sizeof header);
    int synced = fsync(fd);
    (void)close(fd);
    if (n != (ssize_t)sizeof header || synced != 0)
        return tide_plugin_fail(toy->host, err, TIDE_IO, errno, "could not write \"%s\"", path);
    find(out, 0, "toy.log.made", "the toy's log was made", NULL);
    return TIDE_OK;
}

static const struct tide_plugin toy_plugin = {
    .struct_size = sizeof(struct tide_plugin),
    .abi = TIDE_PLUGIN_ABI,
    .name = "template",
    .version = "1.0",
    .caps = TIDE_CAP_BACKUP_FILES | TIDE_CAP_LOG_STREAM,
    .options = toy_options,
    .n_options = sizeof toy_options / sizeof toy_options[0],
    .options_stride = sizeof toy_options[0],
    .open = toy_open,
    .close = toy_close,
    .check = toy_check,
    .setup = toy_setup,
    .clock = toy_clock,
    .log_identify = toy_log_identify,
    .log_relate = toy_log_relate,
    .log_stream = toy_log_stream,
    .log_scan_open = toy_log_scan_open,
    .log_scan_feed = toy_log_scan_feed,
    .log_scan_close = toy_log_scan_close,
    .pos_format = toy_pos_format,
    .pos_parse = toy_pos_parse,
    .backup = toy_backup,
};

const struct tide_plugin *tide_plugin_entry(uint32_t host_abi)
{
    return host_abi == TIDE_PLUGIN_ABI ? &toy_plugin : NULL;
}
