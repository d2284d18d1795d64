#ifndef TIDE_REPOSITORY_TABLE_NODE_H
#define TIDE_REPOSITORY_TABLE_NODE_H

/* The layout of one node; for table_*.c only. */

#include "orchestrator/repository/table.h"

#define NODE_HEAD    8u
#define NODE_VERSION 1u
#define NODE_LEVELS  8u

/* A node in memory, proved. */
struct table_node {
    struct pack_ref ref;
    struct tide_buf plain;
    uint32_t *offsets; /* of the records in plain */
    uint32_t n;
    uint8_t level;
    unsigned users;
    bool kept;
    uint64_t used;
};

/* Version, level, type, number of records; then the records. */
void table_node_head(uint8_t out[NODE_HEAD], uint8_t level, enum table_type type, uint32_t n);
/* be16 key length, be32 value length, key, value. */
void table_record_encode(struct tide_buf *out, const void *key, size_t key_len, const void *value, size_t value_len);

/* Takes n->plain apart. */
tide_status table_node_parse(struct table_node *n, enum table_type type, struct tide_err *err) TIDE_MUST_CHECK;
struct table_record table_node_record(const struct table_node *n, uint32_t i);
/* The first record whose key is not less; n->n when there is none. */
uint32_t table_node_lower(const struct table_node *n, const void *key, size_t key_len);
/* The child that covers key: the last whose key is not greater, or the first. */
uint32_t table_node_child(const struct table_node *n, const void *key, size_t key_len);
bool table_node_child_ref(const struct table_node *n, uint32_t i, struct pack_ref *ref);

#endif
