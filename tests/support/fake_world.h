#ifndef TIDE_TESTS_FAKE_WORLD_H
#define TIDE_TESTS_FAKE_WORLD_H

/* A repository, a fake server, and a shipper between them that the test starts, stops and watches. */

#include "tests/support/fake_engine.h"
#include "tests/support/repository.h"
#include "wal/fetch.h"
#include "wal/ship.h"

#include <pthread.h>

#define FAKE_T0 INT64_C(1700000000000000)

struct fake_world {
    struct test_repo *t;
    struct fake_server *server;
    struct fake_host host;
    struct repo *repo; /* of t, or one that fails on demand; not owned when it is t's */
    bool own_repo;
    char down_file[128], control[128], spool[128];

    struct wal_ship_options o;
    struct tide_cancel *cancel;
    pthread_t thread;
    bool running;
    tide_status status;
    struct tide_err err;
    pthread_mutex_t lock;
    struct wal_ship_state last; /* under lock; as reported */
};

struct fake_world *fake_world_new(void);
void fake_world_free(struct fake_world *w);
/* The repository from now on fails while the down file exists. */
void fake_world_faulty(struct fake_world *w);
void fake_world_down(struct fake_world *w, const char *how); /* NULL: up again */

/* Fast intervals; change w->o before starting. */
void fake_world_defaults(struct fake_world *w);
void fake_world_start(struct fake_world *w);
/* Returns when it has begun to stream. */
void fake_world_start_streaming(struct fake_world *w);
/* Cancels and joins; what wal_ship returned. */
tide_status fake_world_stop(struct fake_world *w);
/* Waits for its end without cancelling. */
tide_status fake_world_join(struct fake_world *w);
/* Polls until what is stored of the lineage reaches pos; fails the test after some seconds. */
void fake_world_wait_stored(struct fake_world *w, uint32_t lineage, struct tide_pos pos);
bool fake_world_wait(bool (*done)(void *ctx), void *ctx); /* at most 20 s */

/* Every stored byte of [from, to) equals the branch's. */
void fake_world_check(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from,
                      struct tide_pos to);
/* Counts of a lineage's objects at a level. */
size_t fake_world_objects(struct fake_world *w, uint32_t lineage, unsigned level);
/* Stores [from, to) of the server's branch as one object of level 0, times and positions from its commits. */
struct log_name fake_world_store(struct fake_world *w, uint32_t lineage, uint64_t branch, struct tide_pos from,
                                 struct tide_pos to);
uint32_t fake_world_lineage(struct fake_world *w, uint32_t parent, struct tide_pos start, uint64_t branch);

#endif
