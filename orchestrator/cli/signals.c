#include "orchestrator/cli/signals.h"

#include <signal.h>
#include <unistd.h>

#define WORKER_LAST_RESORT_S 180u

static struct tide_cancel *the_cancel;
static volatile sig_atomic_t first_signal;
static volatile sig_atomic_t is_worker;

static void on_signal(int sig)
{
    if (first_signal == 0)
        first_signal = sig;
    if (is_worker)
        (void)alarm(WORKER_LAST_RESORT_S); /* SIGALRM ends a worker that hangs and whose parent cannot kill it */
    tide_cancel_set(the_cancel);
}

tide_status signals_install(bool worker, struct tide_cancel **out, struct tide_err *err)
{
    static const int wanted[] = {SIGINT, SIGTERM, SIGHUP};

    tide_status s = tide_cancel_new(&the_cancel, err);
    if (s != TIDE_OK)
        return s;
    is_worker = worker;
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        struct sigaction old, action = {.sa_handler = on_signal};
        sigemptyset(&action.sa_mask);
        if (sigaction(wanted[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
            continue;
        (void)sigaction(wanted[i], &action, NULL);
    }
    /* A reader that went away shows as EPIPE where we write. */
    (void)signal(SIGPIPE, SIG_IGN);
    *out = the_cancel;
    return TIDE_OK;
}

int signals_received(void)
{
    return (int)first_signal;
}

void signals_die_of(int sig)
{
    sigset_t set;

    (void)signal(sig, SIG_DFL);
    sigemptyset(&set);
    sigaddset(&set, sig);
    (void)sigprocmask(SIG_UNBLOCK, &set, NULL);
    (void)raise(sig);
}
