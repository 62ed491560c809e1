/* SPDX-License-Identifier: MIT
 *
 * What: starting a thread: its name, its role, and its signal mask, which is right from the thread's first instruction.
 * Threads: any. A role is the calling thread's own.
 * Why all signals are blocked: a handler of the application's would run on whatever stack the thread is on, here a
 *       tasklet's of 64 KiB, and a signal frame alone takes 12 KB on some processors. The application's own threads,
 *       main first, get its signals; pirn listens to those it is asked for on the reactor. In single mode main itself
 *       runs tasklets, and the watchdog takes its signals (watchdog.h).
 * Lifetime: the start record is the new thread's from its first instruction on.
 */
#include "thread.h"

#include <string.h>

#include "alloc.h"
#include "base.h"

#define NAME_BYTES 16 /* the kernel's limit, with the terminator */

typedef struct start_record {
    pn_role role;
    char name[NAME_BYTES];
    void *(*main)(void *);
    void *arg;
} start_record;

static _Thread_local pn_role own_role;

void pn_thread_set_role(pn_role role) {
    own_role = role;
}

pn_role pn_thread_role(void) {
    return own_role;
}

const char *pn_thread_role_text(void) {
    static const char *const texts[] = {
        [PN_FOREIGN] = "a foreign thread",     [PN_WORKER] = "a callback",
        [PN_REACTOR] = "the reactor thread",   [PN_OFFLOAD] = "an offload thread",
        [PN_WATCHDOG] = "the watchdog thread",
    };
    return texts[own_role];
}

void pn_thread_mask(pn_role role, sigset_t *mask) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    sigfillset(mask);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        sigdelset(mask, faults[i]);
    }
    if (role == PN_WORKER || role == PN_REACTOR) {
        sigdelset(mask, PN_WATCHDOG_SIGNAL);
    }
}

static void *run(void *arg) {
    start_record *start = arg;
    start_record own = *start;
    pn_free(start);
    own_role = own.role;
    (void)pthread_setname_np(pthread_self(), own.name);
    return own.main(own.arg);
}

int pn_thread_start(pthread_t *thread, pn_role role, const char *name, void *(*main)(void *), void *arg) {
    start_record *start = pn_malloc(sizeof *start);
    if (!start) {
        return PIRN_ENOMEM;
    }
    *start = (start_record){.role = role, .main = main, .arg = arg};
    strncpy(start->name, name, NAME_BYTES - 1);

    /* The new thread inherits the mask: a signal has no moment to come in between. */
    sigset_t mask, before;
    pn_thread_mask(role, &mask);
    PN_ASSERT(pthread_sigmask(SIG_SETMASK, &mask, &before) == 0);
    int code = pthread_create(thread, NULL, run, start);
    PN_ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (code != 0) {
        pn_free(start);
    }
    return -code;
}
