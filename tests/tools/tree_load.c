/*
 * Backups of instances larger than a test machine, for tests/integration/bounded_memory_test.sh.
 *
 *   tree_load DIR init
 *   tree_load DIR backup|again small|sparse|dense N    a backup; again: against the one before
 *   tree_load DIR walk|verify|extract
 *
 * small: N files of up to 4 kB.  sparse: N files of 1 GiB with one block in each 64 MiB of hole, so N * 16 map
 * leaves. dense: N files of 64 MiB without a hole.  All files share the bytes of a few that exist; what is backed up
 * has N names. Each call prints its peak of resident memory in kB and its seconds.
 */

#include "orchestrator/base/cleanup.h"
#include "orchestrator/base/clock.h"
#include "tests/support/trees.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define INSTANCE "load"
#define KINDS    16u
#define JOBS     4u
#define MIB      (UINT64_C(1) << 20)

struct load {
    char dir[512], url[640], sources[640], target[640];
    struct tide_secret key;
    struct repo *repo;
};

static uint64_t size_of(const char *shape, unsigned i)
{
    if (strcmp(shape, "small") == 0)
        return 37 + 250 * (uint64_t)(i % KINDS);
    return strcmp(shape, "sparse") == 0 ? 1024 * MIB : 64 * MIB;
}

static void make_sources(const struct load *l, const char *shape)
{
    struct trees_random r = {.state = 3};
    struct tide_err err = TIDE_ERR_INIT;
    char name[64], path[1024];
    uint8_t block[8192];
    if (tide_mkdirs(l->sources, 0700, &err) != TIDE_OK)
        return;
    for (unsigned i = 0; i < KINDS; i++) {
        (void)snprintf(name, sizeof name, "%s%u", shape, i);
        (void)snprintf(path, sizeof path, "%s/%s", l->sources, name);
        if (access(path, F_OK) == 0)
            continue;
        trees_file(l->sources, name, strcmp(shape, "sparse") == 0 ? 0 : size_of(shape, i), false, &r);
        for (uint64_t at = 0; strcmp(shape, "sparse") == 0 && at < 1024 * MIB; at += 64 * MIB) {
            trees_fill(&r, block, sizeof block, true);
            trees_write(l->sources, name, at + trees_below(&r, 500) * TREE_BLOCK, block, sizeof block);
        }
        if (strcmp(shape, "sparse") == 0 && truncate(path, (off_t)(1024 * MIB)) != 0)
            perror(path);
    }
}

/* In no order: a directory is not read in that of its names. */
static tide_status hand_over(const struct load *l, struct tree_writer *w, const char *shape, unsigned n,
                             struct tide_err *err)
{
    tide_status s = TIDE_OK;
    for (unsigned i = 0; s == TIDE_OK && i < n; i++) {
        unsigned k = (unsigned)((uint64_t)i * 7919 % n);
        char name[128], source[1024];
        (void)snprintf(name, sizeof name, "base/%u/%08u", k % 3, k);
        (void)snprintf(source, sizeof source, "%s/%s%u", l->sources, shape, k % KINDS);
        const struct tide_file f = {.struct_size = sizeof f,
                                    .kind = TIDE_FILE_REGULAR,
                                    .mode = 0600,
                                    .name = name,
                                    .source = source,
                                    .size = size_of(shape, k),
                                    .mtime_us = k};
        s = tree_writer_file(w, &f, err);
    }
    return s;
}

static tide_status newest(const struct load *l, struct backup *out, struct tide_err *err)
{
    struct backup_list list;
    tide_status s = backup_list_load(l->repo, INSTANCE, &list, err);
    if (s != TIDE_OK)
        return s;
    s = list.n == 0 ? tide_fail(err, TIDE_NOT_FOUND, "there is no backup") : TIDE_OK;
    if (s == TIDE_OK)
        *out = TIDE_TAKE(list.items[list.n - 1]);
    backup_list_clear(&list);
    return s;
}

static tide_status back_up(const struct load *l, const char *shape, unsigned n, bool again, struct tide_err *err)
{
    TIDE_AUTO(backup_clear) struct backup parent = {.lineage = 0}, b = {.lineage = 1};
    struct tree_writer *w = NULL;
    tide_status s = again ? newest(l, &parent, err) : TIDE_OK;
    if (s == TIDE_OK)
        s = backup_new_id(tide_now_us(), b.id, err);
    const struct tree_writer_options o = {
        .repo = l->repo, .instance = INSTANCE, .id = b.id, .parent = again ? &parent : NULL, .jobs = JOBS};
    if (s == TIDE_OK)
        s = tree_writer_new(&o, &w, err);
    if (s == TIDE_OK)
        s = hand_over(l, w, shape, n, err);
    if (s == TIDE_OK)
        s = tree_writer_finish(w, &b, err);
    tree_writer_free(w);
    if (s == TIDE_OK)
        s = backup_commit(l->repo, INSTANCE, &b, err);
    if (s == TIDE_OK)
        printf("files %llu bytes %llu new_bytes %llu\n", (unsigned long long)b.totals.files,
               (unsigned long long)b.totals.bytes, (unsigned long long)b.totals.new_bytes);
    return s;
}

static tide_status count_entry(void *ctx, const struct tree_entry *e, struct tide_err *err)
{
    uint64_t *n = ctx;
    (void)e;
    (void)err;
    ++*n;
    return TIDE_OK;
}

static tide_status read_back(const struct load *l, const char *what, struct tide_err *err)
{
    TIDE_AUTO(backup_clear) struct backup b = {.lineage = 0};
    struct tree_reader *t = NULL;
    uint64_t n = 0;
    tide_status s = newest(l, &b, err);
    if (s == TIDE_OK)
        s = tree_reader_open(l->repo, INSTANCE, &b, JOBS, &t, err);
    if (s == TIDE_OK && strcmp(what, "walk") == 0)
        s = tree_reader_walk(t, count_entry, &n, err);
    else if (s == TIDE_OK && strcmp(what, "verify") == 0)
        s = tree_verify(t, 100, NULL, NULL, &n, err);
    else if (s == TIDE_OK)
        s = tree_extract(t, &(struct tree_extract_options){.root = l->target, .direct = true, .uid = -1, .gid = -1},
                         err);
    tree_reader_close(t);
    if (s == TIDE_OK)
        printf("%s %llu\n", what, (unsigned long long)n);
    return s;
}

static tide_status run(struct load *l, int argc, char **argv, struct tide_err *err)
{
    bool created = false, init = strcmp(argv[2], "init") == 0;
    tide_status s = tide_secret_set(&l->key, "0123456789abcdef0123456789ABCDEF", 32, err);
    const struct repo_options o = {.url = l->url, .key = &l->key, .codec = FRAME_ZSTD, .level = 1};
    if (s == TIDE_OK)
        s = init ? repo_init(&o, &created, &l->repo, err) : repo_open(&o, &l->repo, err);
    if (s != TIDE_OK || init)
        return s;
    if (argc == 3)
        return read_back(l, argv[2], err);
    make_sources(l, argv[3]);
    return back_up(l, argv[3], (unsigned)strtoul(argv[4], NULL, 10), strcmp(argv[2], "again") == 0, err);
}

int main(int argc, char **argv)
{
    struct tide_err err = TIDE_ERR_INIT;
    struct load l = {.repo = NULL};
    struct rusage use;
    if (argc != 3 && argc != 5)
        return 2;
    (void)snprintf(l.dir, sizeof l.dir, "%s", argv[1]);
    (void)snprintf(l.url, sizeof l.url, "file://%s/repo", l.dir);
    (void)snprintf(l.sources, sizeof l.sources, "%s/sources", l.dir);
    (void)snprintf(l.target, sizeof l.target, "%s/target", l.dir);
    int64_t begin = tide_monotonic_us();
    tide_status s = run(&l, argc, argv, &err);
    repo_close(l.repo);
    tide_secret_clear(&l.key);
    (void)getrusage(RUSAGE_SELF, &use);
    printf("rss_kb %ld seconds %.1f\n", use.ru_maxrss, (double)(tide_monotonic_us() - begin) / 1e6);
    if (s != TIDE_OK)
        (void)fprintf(stderr, "tree_load: %s: %s\n", tide_status_name(s), err.msg);
    return s == TIDE_OK ? 0 : 1;
}
