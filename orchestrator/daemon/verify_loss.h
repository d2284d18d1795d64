#ifndef TIDE_DAEMON_VERIFY_LOSS_H
#define TIDE_DAEMON_VERIFY_LOSS_H

/*
 * Which seconds are lost by what `verify` found bad.  A bad backup costs the
 * time that no older one can reach: from its end to the end of the next good
 * one.  Bad log costs everything behind it up to the end of the next good
 * backup taken after it.
 */

#include "orchestrator/daemon/job.h"
#include "wal/window.h"

struct verify_facts {
    struct lineage_set lineages;
    struct backup_list backups;
    struct window_set windows;
    bool *backup_is_bad; /* owned; parallel to backups */
    struct lost_log {
        uint32_t lineage;
        struct tide_pos from;
        int64_t from_us; /* TIDE_TIME_NONE: unknown */
    } * log;             /* owned */
    size_t n_log;
};

tide_status verify_facts_load(struct job *job, struct verify_facts *f, struct tide_err *err) TIDE_MUST_CHECK;
void verify_facts_clear(struct verify_facts *f);
void verify_lose_backup(struct verify_facts *f, const char *id);
void verify_lose_log(struct verify_facts *f, const struct log_range *r);
/* From where on the log of a lineage matters to any window; false: nowhere. */
bool verify_log_from(const struct verify_facts *f, const struct lineage *l, struct tide_pos *from);
/* Appends {"lineage","from","to"}; to null: up to the end of the window. */
void verify_losses(const struct verify_facts *f, json_t *list);

#endif
