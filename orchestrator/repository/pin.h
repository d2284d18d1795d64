#ifndef TIDE_REPOSITORY_PIN_H
#define TIDE_REPOSITORY_PIN_H

/* pins/BACKUP/N, as backup_list.c needs them. */

#include "orchestrator/repository/backup.h"

/* Sets `kept` of every backup that has a pin; one listing, whatever their number. */
tide_status pins_apply(struct repo *r, const char *instance, struct backup_list *l,
                       struct tide_err *err) TIDE_MUST_CHECK;

#endif
