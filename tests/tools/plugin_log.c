/*
 * Drives the log half of a plugin by hand, for the integration tests: what it prints is read by scripts.
 *
 *     plugin_log PLUGIN.so CONNECTION identify|clock|check|setup|remove
 *     plugin_log PLUGIN.so CONNECTION stream FROM BRANCH SECONDS [FILE]     "-": what identify says
 *     plugin_log PLUGIN.so CONNECTION scan EVIDENCE START FIRST PIECE FILE...   FIRST "-": find it
 *
 * EVIDENCE in the environment takes the place of the server's in `stream`, INSTANCE that of the name, PASSWORD is
 * the option, DURABLE=MS makes what arrives durable that much later, and STOP_AT=LSN ends `stream` once the log has
 * been received up to there.
 */

#include "tests/support/plugin_host.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

static const struct tide_plugin *plugin;
static struct test_host host;
static struct tide_err err = TIDE_ERR_INIT;

static const char *pos_text(struct tide_pos pos)
{
    static char texts[4][64];
    static unsigned next;
    char *text = texts[next++ % 4];

    plugin->pos_format(pos, text, sizeof texts[0]);
    return text;
}

static int failed(const char *what, int status)
{
    (void)printf("failed %s: %s: %s\n", what, tide_status_name((tide_status)status), err.msg);
    return 1;
}

static void print_log(void *ctx, int level, const char *event, const char *message)
{
    (void)ctx;
    (void)level;
    (void)fprintf(stderr, "%s: %s\n", event, message);
}

static void signal_fd(int fd)
{
    uint64_t one = 1;

    if (write(fd, &one, sizeof one) != (ssize_t)sizeof one)
        abort();
}

/* -------------------------------------------------------------------- scan */

struct shown {
    bool events, blocks;
    uint64_t commits;
    int64_t last_commit_us;
};

static int on_event(void *ctx, const struct tide_log_event *e, struct tide_err *unused)
{
    struct shown *shown = ctx;

    (void)unused;
    if (e->kind == TIDE_EVENT_COMMIT) {
        shown->commits++;
        shown->last_commit_us = e->time_us;
    }
    if (shown->events)
        (void)printf("event %u %s %s %" PRId64 " %" PRIu64 " %.*s\n", e->kind, pos_text(e->start), pos_text(e->end),
                     e->time_us, e->number, e->text_len > 0 ? (int)strcspn(e->text, "\n") : 0,
                     e->text_len > 0 ? e->text : "");
    return TIDE_OK;
}

static int on_blocks(void *ctx, const struct tide_block_ref *refs, size_t n, struct tide_err *unused)
{
    (void)ctx;
    (void)unused;
    for (size_t i = 0; i < n; i++)
        (void)printf("block %u/%u/%u %u %u\n", refs[i].space, refs[i].database, refs[i].relation, refs[i].fork,
                     refs[i].block);
    return TIDE_OK;
}

/* Prints each record once: fed in pieces of 8 bytes no two can end in one. */
static int scan_file(void *scan, const char *path, size_t piece, const struct tide_log_scan_sink *sink,
                     struct tide_log_mark *mark)
{
    static uint8_t buf[1u << 20];
    uint64_t last = mark->last_start.lo;
    int fd = open(path, O_RDONLY | O_CLOEXEC), s = TIDE_OK;

    for (ssize_t n = 0; fd >= 0 && s == TIDE_OK && (n = read(fd, buf, sizeof buf)) > 0;)
        for (size_t at = 0; s == TIDE_OK && at < (size_t)n; at += piece) {
            s = plugin->log_scan_feed(scan, buf + at, (size_t)n - at < piece ? (size_t)n - at : piece, sink, mark,
                                      &err);
            if (piece == 8 && mark->last_start.lo != last)
                (void)printf("record %s %s\n", pos_text(mark->last_start), pos_text(mark->whole_end));
            last = mark->last_start.lo;
        }
    if (fd < 0)
        (void)fprintf(stderr, "cannot read \"%s\"\n", path);
    else
        (void)close(fd);
    return fd < 0 ? TIDE_IO : s;
}

static int do_scan(int argc, char **argv)
{
    struct tide_log_scan_params params = {.struct_size = sizeof params, .evidence = argv[0]};
    struct shown shown = {.events = true, .blocks = true};
    struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = &shown, .event = on_event};
    struct tide_log_mark mark = {.struct_size = sizeof mark};
    size_t piece = argc > 3 ? strtoul(argv[3], NULL, 10) : 0;
    void *scan = NULL;

    if (argc < 5 || piece == 0 || plugin->pos_parse(argv[1], &params.start) != TIDE_OK)
        return failed("arguments", TIDE_INVALID);
    if (strcmp(argv[2], "-") != 0 && plugin->pos_parse(argv[2], &params.first_record) != TIDE_OK)
        return failed("arguments", TIDE_INVALID);
    if (piece > 8)
        sink.blocks = on_blocks;
    int s = plugin->log_scan_open(&host.host, &params, &scan, &err);
    for (int i = 4; s == TIDE_OK && i < argc; i++)
        s = scan_file(scan, argv[i], piece, &sink, &mark);
    plugin->log_scan_close(scan);
    (void)printf("mark %s %s %s\n", pos_text(mark.first_start), pos_text(mark.last_start), pos_text(mark.whole_end));
    return s == TIDE_OK ? 0 : failed("scan", s);
}

/* ------------------------------------------------------------------ stream */

struct receiver {
    pthread_mutex_t lock;
    struct tide_pos received, durable; /* under lock */
    struct tide_pos stop_at;
    int wake_fd, out;
    long delay_ms; /* before what is received counts as durable */
    bool ended;    /* under lock */
    void *scan;
    struct shown shown;
    struct tide_log_mark mark;
    uint64_t bytes, idle;
};

static void cancel(void)
{
    host.cancelled = true;
    signal_fd(host.cancel_fd);
}

static int on_bytes(void *ctx, struct tide_pos start, struct tide_pos end, const void *data, size_t len,
                    struct tide_err *e)
{
    struct receiver *r = ctx;
    const struct tide_log_scan_sink sink = {.struct_size = sizeof sink, .ctx = &r->shown, .event = on_event};

    if (tide_pos_cmp(start, r->received) != 0 || end.lo - start.lo != len)
        return (int)tide_fail(e, TIDE_CORRUPT, "bytes from %s where %s is due", pos_text(start),
                              pos_text(r->received));
    if (r->out >= 0 && write(r->out, data, len) != (ssize_t)len)
        return (int)tide_fail(e, TIDE_IO, "cannot write");
    int s = plugin->log_scan_feed(r->scan, data, len, &sink, &r->mark, e);
    (void)pthread_mutex_lock(&r->lock);
    r->received = end;
    if (r->delay_ms == 0)
        r->durable = end;
    (void)pthread_mutex_unlock(&r->lock);
    r->bytes += len;
    if (!tide_pos_is_none(r->stop_at) && tide_pos_cmp(end, r->stop_at) >= 0)
        cancel();
    return s;
}

static struct tide_pos durable(void *ctx)
{
    struct receiver *r = ctx;

    (void)pthread_mutex_lock(&r->lock);
    struct tide_pos pos = r->durable;
    (void)pthread_mutex_unlock(&r->lock);
    return pos;
}

static int on_idle(void *ctx, struct tide_err *e)
{
    (void)e;
    ((struct receiver *)ctx)->idle++;
    return TIDE_OK;
}

static void pause_ms(long ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    while (nanosleep(&ts, &ts) != 0 && errno == EINTR)
        continue;
}

/* Makes what was received durable later, as a repository would, and wakes the plugin. */
static void *store(void *ctx)
{
    struct receiver *r = ctx;

    for (bool ended = false; !ended;) {
        (void)pthread_mutex_lock(&r->lock);
        struct tide_pos pos = r->received;
        ended = r->ended;
        (void)pthread_mutex_unlock(&r->lock);
        pause_ms(r->delay_ms);
        (void)pthread_mutex_lock(&r->lock);
        bool moved = tide_pos_cmp(pos, r->durable) > 0;
        r->durable = pos;
        (void)pthread_mutex_unlock(&r->lock);
        if (moved)
            signal_fd(r->wake_fd);
    }
    return NULL;
}

static void *time_is_up(void *seconds)
{
    pause_ms((long)(intptr_t)seconds * 1000);
    cancel();
    return NULL;
}

static void print_end(const struct receiver *r, const struct tide_log_stream_end *end)
{
    static const char *const reasons[] = {"cancelled", "branch-end", "removed", "ahead", "foreign"};

    (void)printf("end %s\nat %s\noldest %s\nnext %" PRIu64 "\n", end->reason < 5 ? reasons[end->reason] : "?",
                 pos_text(end->end), pos_text(end->oldest), end->next_branch);
    if (end->next_evidence != NULL)
        (void)printf("%s", end->next_evidence);
    (void)printf("bytes %" PRIu64 "\nidle %s\ncommits %" PRIu64 "\nwhole %s\n", r->bytes, r->idle > 0 ? "yes" : "no",
                 r->shown.commits, pos_text(r->mark.whole_end));
}

static int run_stream(void *inst, const struct tide_log_stream_params *params, int seconds, struct receiver *r)
{
    const struct tide_log_scan_params scan_params = {
        .struct_size = sizeof scan_params, .evidence = params->evidence, .start = params->from};
    const struct tide_log_sink sink = {.struct_size = sizeof sink,
                                       .wake_fd = r->wake_fd,
                                       .ctx = r,
                                       .bytes = on_bytes,
                                       .durable = durable,
                                       .idle = on_idle};
    struct tide_log_stream_end end = {.struct_size = sizeof end};
    pthread_t store_thread, alarm_thread;
    int s = plugin->log_scan_open(&host.host, &scan_params, &r->scan, &err);

    if (s != TIDE_OK)
        return failed("scan", s);
    r->received = params->from;
    if (pthread_create(&alarm_thread, NULL, time_is_up, (void *)(intptr_t)seconds) != 0 ||
        (r->delay_ms > 0 && pthread_create(&store_thread, NULL, store, r) != 0))
        return failed("threads", TIDE_IO);
    (void)pthread_detach(alarm_thread);
    s = plugin->log_stream(inst, params, &sink, &end, &err);
    if (r->delay_ms > 0) {
        (void)pthread_mutex_lock(&r->lock);
        r->ended = true;
        (void)pthread_mutex_unlock(&r->lock);
        (void)pthread_join(store_thread, NULL);
    }
    plugin->log_scan_close(r->scan);
    if (s != TIDE_OK)
        return failed("stream", s);
    print_end(r, &end);
    return 0;
}

static int do_stream(void *inst, int argc, char **argv)
{
    static struct receiver r = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct tide_log_identity id = {.struct_size = sizeof id};
    const char *evidence = getenv("EVIDENCE"), *delay = getenv("DURABLE"), *stop_at = getenv("STOP_AT");
    int s = plugin->log_identify(inst, &id, &err);

    if (s != TIDE_OK || argc < 3)
        return failed("identify", s);
    char *copy = strdup(evidence != NULL ? evidence : id.evidence);
    struct tide_log_stream_params params = {
        .struct_size = sizeof params, .evidence = copy, .from = id.stream_from, .branch = id.branch};
    if (copy == NULL || (strcmp(argv[0], "-") != 0 && plugin->pos_parse(argv[0], &params.from) != TIDE_OK) ||
        (stop_at != NULL && plugin->pos_parse(stop_at, &r.stop_at) != TIDE_OK))
        return failed("arguments", TIDE_INVALID);
    if (strcmp(argv[1], "-") != 0)
        params.branch = strtoull(argv[1], NULL, 10);
    r.out = argc > 3 ? open(argv[3], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    r.delay_ms = delay != NULL ? strtol(delay, NULL, 10) : 0;
    r.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int rc = run_stream(inst, &params, atoi(argv[2]), &r);
    free(copy);
    return rc;
}

/* ------------------------------------------------------------------- others */

static void add_finding(void *ctx, const struct tide_finding *f)
{
    static const char *const names[] = {"ok", "warning", "critical"};

    (void)ctx;
    (void)printf("%s %s %s\n", f->severity < 3 ? names[f->severity] : "?", f->code, f->message);
    if (f->fix != NULL)
        (void)printf("  fix: %s\n", f->fix);
}

static int do_identify(void *inst)
{
    struct tide_log_identity id = {.struct_size = sizeof id};
    int s = plugin->log_identify(inst, &id, &err);

    if (s != TIDE_OK)
        return failed("identify", s);
    (void)printf("standby %u\nbranch %" PRIu64 "\ncurrent %s\noldest %s\nfrom %s\nsynchronous %u\n%s", id.standby,
                 id.branch, pos_text(id.current), pos_text(id.oldest), pos_text(id.stream_from), id.synchronous,
                 id.evidence);
    return 0;
}

static int do_clock(void *inst)
{
    struct tide_clock clock = {.struct_size = sizeof clock};
    int s = plugin->clock(inst, &clock, &err);

    if (s != TIDE_OK)
        return failed("clock", s);
    (void)printf("standby %u\nclock %" PRId64 "\nend %s\nheld %" PRIu64 "\n", clock.standby, clock.clock_us,
                 pos_text(clock.end), clock.held_back_bytes);
    return 0;
}

static int do_setup(void *inst, bool remove)
{
    const struct tide_findings out = {.struct_size = sizeof out, .add = add_finding};
    const struct tide_setup_params params = {.struct_size = sizeof params, .remove = remove};
    int s = plugin->setup(inst, &params, &out, &err);

    return s == TIDE_OK ? 0 : failed("setup", s);
}

static int do_check(void *inst)
{
    const struct tide_findings out = {.struct_size = sizeof out, .add = add_finding};
    int s = plugin->check(inst, &out, &err);

    return s == TIDE_OK ? 0 : failed("check", s);
}

static int command(void *inst, const char *name, int argc, char **argv)
{
    if (strcmp(name, "identify") == 0)
        return do_identify(inst);
    if (strcmp(name, "clock") == 0)
        return do_clock(inst);
    if (strcmp(name, "check") == 0)
        return do_check(inst);
    if (strcmp(name, "setup") == 0 || strcmp(name, "remove") == 0)
        return do_setup(inst, name[0] == 'r');
    if (strcmp(name, "stream") == 0)
        return do_stream(inst, argc, argv);
    if (strcmp(name, "scan") == 0)
        return do_scan(argc, argv);
    return failed("command", TIDE_INVALID);
}

int main(int argc, char **argv)
{
    const char *password = getenv("PASSWORD"), *name = getenv("INSTANCE");
    const char *options[] = {"connection", argc > 2 ? argv[2] : NULL, password != NULL ? "password" : NULL, password,
                             NULL};
    void *library = argc > 3 ? dlopen(argv[1], RTLD_NOW | RTLD_LOCAL) : NULL, *inst = NULL;
    tide_plugin_entry_fn *entry = NULL;

    if (library == NULL) {
        (void)fprintf(stderr, "usage: plugin_log PLUGIN.so CONNECTION COMMAND ...\n%s\n", argc > 3 ? dlerror() : "");
        return 2;
    }
    void *symbol = dlsym(library, TIDE_PLUGIN_ENTRY);
    memcpy(&entry, &symbol, sizeof entry);
    plugin = entry != NULL ? entry(TIDE_PLUGIN_ABI) : NULL;
    if (plugin == NULL)
        return 2;
    test_host_init(&host, name != NULL ? name : "shop", options);
    host.host.log = print_log;
    host.cancel_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int s = plugin->open(&host.host, &inst, &err);
    if (s != TIDE_OK)
        return failed("open", s);
    int rc = command(inst, argv[3], argc - 4, argv + 4);
    plugin->close(inst);
    return rc;
}
