#ifndef TIDE_REPOSITORY_LEASE_INTERNAL_H
#define TIDE_REPOSITORY_LEASE_INTERNAL_H

/* What a generation of a lease says, and who we are in it; for lease.c and lease_holder.c. */

#include "orchestrator/repository/lease.h"

#define LEASE_HOLDER_HEX   33
#define LEASE_PROCESS_SIZE 128

struct lease_record {
    char holder[LEASE_HOLDER_HEX]; /* random, one a lease_take */
    char host[256];
    char process[LEASE_PROCESS_SIZE]; /* boot, pid namespace, pid, start time: names a process for good; or "" */
    int64_t pid, taken_us, lease_us;
    bool released;
};

/* Fills in who this process is. */
tide_status lease_record_self(struct lease_record *rec, struct tide_err *err) TIDE_MUST_CHECK;
/* True only when the holder ran on this very system, in our view of processes, and is no more. */
bool lease_holder_is_gone(const struct lease_record *rec);

tide_status lease_record_put(struct repo *r, const char *folder, uint32_t generation, const struct lease_record *rec,
                             struct tide_err *err) TIDE_MUST_CHECK;
tide_status lease_record_get(struct repo *r, const char *folder, uint32_t generation, struct lease_record *rec,
                             struct tide_err *err) TIDE_MUST_CHECK;

#endif
