#ifndef TIDE_PITR_TARGET_H
#define TIDE_PITR_TARGET_H

/* What a person types behind --to. */

#include "orchestrator/base/clock.h"

enum target_kind { TARGET_TIME, TARGET_LATEST, TARGET_BACKUP, TARGET_POSITION, TARGET_TRANSACTION, TARGET_NAME };

struct target {
    enum target_kind kind;
    int64_t time_us;
    struct tide_pos position; /* lsn: */
    uint64_t transaction;     /* xid: */
    char text[256];           /* backup id, restore point name; as typed otherwise */
    bool exclusive;           /* stop just before */
};

/* Times as tide_time_parse takes them; latest; backup:ID; lsn:0/3000028; xid:731; name:before_upgrade. */
tide_status target_parse(const char *text, bool exclusive, const char *default_zone, int64_t now_us,
                         const struct tide_plugin *plugin, struct target *out, struct tide_err *err) TIDE_MUST_CHECK;

#endif
