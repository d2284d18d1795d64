#ifndef TIDE_CLI_SIGNALS_H
#define TIDE_CLI_SIGNALS_H

/* SIGINT, SIGTERM and SIGHUP become a cancellation that every loop of ours can see. */

#include "orchestrator/base/thread.h"

/*
 * Once, before there are threads.  A signal that was ignored when we were started (nohup) stays so.  worker: the
 * process also ends for good some minutes after the first signal, whatever hangs in it.
 */
tide_status signals_install(bool worker, struct tide_cancel **out, struct tide_err *err) TIDE_MUST_CHECK;
/* The first one received, 0: none. */
int signals_received(void);
/* Dies of a signal, as if it had never been caught. */
void signals_die_of(int sig);

#endif
