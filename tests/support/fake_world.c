#include "tests/support/fake_world.h"

#include "orchestrator/base/clock.h"
#include "orchestrator/base/file.h"
#include "wal/branch_internal.h"
#include "wal/collector.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAIT_US (20 * TIDE_SECOND_US)

static void must(tide_status s, const char *what, const struct tide_err *err)
{
    if (s == TIDE_OK)
        return;
    (void)fprintf(stderr, "%s: %s\n", what, err->msg);
    abort();
}

struct fake_world *fake_world_new(void)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct fake_world *w = calloc(1, sizeof *w);

    tide_assert(w != NULL);
    w->t = test_repo_new(false);
    w->repo = w->t->repo;
    w->server = fake_server_new(4711);
    fake_host_init(&w->host, w->server);
    (void)pthread_mutex_init(&w->lock, NULL);
    (void)snprintf(w->down_file, sizeof w->down_file, "%s/down", w->t->dir);
    (void)snprintf(w->control, sizeof w->control, "%s/control", w->t->dir);
    (void)snprintf(w->spool, sizeof w->spool, "%s/spool", w->t->dir);
    must(instance_ensure(w->repo, "shop", "fake", &err), "instance", &err);
    fake_world_defaults(w);
    return w;
}

void fake_world_free(struct fake_world *w)
{
    if (w->running)
        (void)fake_world_stop(w);
    if (w->own_repo)
        repo_close(w->repo);
    fake_server_free(w->server);
    test_repo_free(w->t);
    (void)pthread_mutex_destroy(&w->lock);
    free(w);
}

void fake_world_faulty(struct fake_world *w)
{
    struct tide_err err = TIDE_ERR_INIT;
    char url[512];

    (void)snprintf(url, sizeof url, "faulty+%s?fault=down=%s", w->t->url, w->down_file);
    struct repo_options o = w->t->options;
    o.url = url;
    must(repo_open(&o, &w->repo, &err), "faulty repository", &err);
    w->own_repo = true;
    w->o.repo = w->repo;
}

void fake_world_down(struct fake_world *w, const char *how)
{
    if (how == NULL) {
        (void)unlink(w->down_file);
        return;
    }
    FILE *f = fopen(w->down_file, "w");
    tide_assert(f != NULL && fputs(how, f) >= 0 && fclose(f) == 0);
}

static void take_report(void *ctx, const struct wal_ship_state *s)
{
    struct fake_world *w = ctx;

    (void)pthread_mutex_lock(&w->lock);
    w->last = *s;
    (void)pthread_mutex_unlock(&w->lock);
}

void fake_world_defaults(struct fake_world *w)
{
    w->o = (struct wal_ship_options){.repo = w->repo,
                                     .instance = "shop",
                                     .plugin = &fake_plugin,
                                     .host = &w->host.host,
                                     .ship_interval_us = 30000,
                                     .heartbeat_interval_us = 60000,
                                     .lease_us = 2 * TIDE_SECOND_US,
                                     .clock_tolerance_us = TIDE_SECOND_US,
                                     .merge_grace_us = 0,
                                     .object_bytes = 64 << 10,
                                     .spool_limit = 1 << 20,
                                     .report = take_report,
                                     .report_ctx = w};
}

static void *ship_main(void *arg)
{
    struct fake_world *w = arg;

    w->status = wal_ship(&w->o, &w->err);
    return NULL;
}

void fake_world_start(struct fake_world *w)
{
    struct tide_err err = TIDE_ERR_INIT;

    tide_assert(!w->running);
    w->err = (struct tide_err)TIDE_ERR_INIT;
    must(tide_cancel_new(&w->cancel, &err), "cancel", &err);
    w->o.cancel = w->cancel;
    tide_assert(pthread_create(&w->thread, NULL, ship_main, w) == 0);
    w->running = true;
}

struct stream_wait {
    struct fake_server *server;
    unsigned streams;
};

static bool streams_more(void *ctx)
{
    struct stream_wait *q = ctx;
    return fake_streams(q->server) > q->streams;
}

void fake_world_start_streaming(struct fake_world *w)
{
    struct stream_wait q = {.server = w->server, .streams = fake_streams(w->server)};

    fake_world_start(w);
    tide_assert(fake_world_wait(streams_more, &q));
}

tide_status fake_world_join(struct fake_world *w)
{
    tide_assert(w->running && pthread_join(w->thread, NULL) == 0);
    w->running = false;
    tide_cancel_free(w->cancel);
    w->cancel = w->o.cancel = NULL;
    return w->status;
}

tide_status fake_world_stop(struct fake_world *w)
{
    tide_cancel_set(w->cancel);
    return fake_world_join(w);
}

bool fake_world_wait(bool (*done)(void *ctx), void *ctx)
{
    int64_t deadline = tide_monotonic_us() + WAIT_US;

    while (!done(ctx)) {
        if (tide_monotonic_us() > deadline)
            return false;
        tide_sleep_us(5000);
    }
    return true;
}

struct stored_wait {
    struct fake_world *w;
    uint32_t lineage;
    struct tide_pos pos;
};

static bool is_stored(void *ctx)
{
    struct stored_wait *q = ctx;
    struct tide_err err = TIDE_ERR_INIT;
    struct log_name n;
    tide_status s = log_newest(q->w->t->repo, "shop", q->lineage, &n, &err);

    return s == TIDE_OK && tide_pos_cmp(n.end, q->pos) >= 0;
}

void fake_world_wait_stored(struct fake_world *w, uint32_t lineage, struct tide_pos pos)
{
    struct stored_wait q = {.w = w, .lineage = lineage, .pos = pos};

    if (!fake_world_wait(is_stored, &q)) {
        (void)fprintf(stderr, "log up to %llx of lineage %u was not stored: %s\n", (unsigned long long)pos.lo,
                      lineage, w->last.problem);
        abort();
    }
}

void fake_world_check(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from,
                      struct tide_pos to)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct lineage_step step = {.lineage = lineage};
    struct log_source *source = NULL;
    struct tide_pos got;
    size_t len = (size_t)(to.lo - from.lo);
    uint8_t *stored = malloc(len + 1), *real = malloc(len + 1);

    tide_assert(stored != NULL && real != NULL);
    must(log_source_new(w->t->repo, "shop", &step, 1, &source, &err), "source", &err);
    if (len > 0) {
        must(log_source_read(source, from, to, stored, &got, &err), "reading stored log", &err);
        tide_assert(tide_pos_cmp(got, to) == 0);
        fake_read(w->server, branch, from, to, real);
        tide_assert(memcmp(stored, real, len) == 0);
    }
    log_source_free(source);
    free(stored);
    free(real);
}

static tide_status count(void *ctx, const struct store_entry *e, struct tide_err *err)
{
    (void)e;
    (void)err;
    ++*(size_t *)ctx;
    return TIDE_OK;
}

size_t fake_world_objects(struct fake_world *w, uint32_t lineage, unsigned level)
{
    struct tide_err err = TIDE_ERR_INIT;
    char folder[REPO_KEY_MAX];
    size_t n = 0;

    log_level_folder("shop", lineage, level, folder);
    tide_status s = store_list(repo_store(w->t->repo), folder, NULL, 0, count, &n, &err);
    tide_assert(s == TIDE_OK || s == TIDE_NOT_FOUND);
    return n;
}

uint32_t fake_world_lineage(struct fake_world *w, uint32_t parent, struct tide_pos start, uint64_t branch)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct lineage_set set = {0};
    char *evidence = fake_evidence(w->server, branch);
    uint32_t number = 0;

    must(lineage_load(w->t->repo, "shop", &set, &err), "lineages", &err);
    must(branch_create(w->t->repo, "shop", &set, &fake_plugin, lineage_find(&set, parent), start, branch, evidence,
                       &number, &err),
         "lineage", &err);
    lineage_set_clear(&set);
    free(evidence);
    return number;
}

struct log_name fake_world_store(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from,
                                 struct tide_pos to)
{
    struct tide_err err = TIDE_ERR_INIT;
    size_t len = (size_t)(to.lo - from.lo);
    char *evidence = fake_evidence(w->server, branch);
    uint8_t *bytes = malloc(len);
    struct collector *c = NULL;
    struct collector_options o = {.plugin = &fake_plugin,
                                  .host = &w->host.host,
                                  .evidence = evidence,
                                  .lineage = lineage,
                                  .object_bytes = 32 << 20,
                                  .start = from,
                                  .first_record = from.lo % FAKE_SEGMENT == 0 ? (struct tide_pos){0} : from};

    tide_assert(bytes != NULL);
    fake_read(w->server, branch, from, to, bytes);
    must(collector_new(&o, &c, &err), "collector", &err);
    must(collector_feed(c, from, to, bytes, len, &err), "feeding", &err);
    must(collector_cut(c, COLLECTOR_ALL, &err), "cutting", &err);
    struct log_piece *p = collector_take(c);
    tide_assert(p != NULL && p->info.bytes == len);
    struct log_name name = p->info.name;
    must(log_piece_put(w->t->repo, "shop", p, &err), "storing", &err);
    log_piece_free(p);
    collector_free(c);
    free(bytes);
    free(evidence);
    return name;
}
