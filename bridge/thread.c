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

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "alloc.h"
#include "base.h"
#include "reserve.h"

#define NAME_BYTES          16 /* the kernel's limit, with the terminator */
#define OWN_STACK_BYTES     ((size_t)1 << 20)
#define OFFLOAD_STACK_BYTES ((size_t)2 << 20) /* pirn/offload.h tells it */

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
    void *result = own.main(own.arg);
    pn_warn_flush();
    return result;
}

/* The default, mostly 8 MiB, is memory in a process that locks its own: tasklets have stacks of their own, so workers
 * and the reactor run only schedulers, callbacks and libraries' loops here. */
static size_t stack_bytes(pn_role role) {
    return role == PN_OFFLOAD ? OFFLOAD_STACK_BYTES : OWN_STACK_BYTES;
}

static int create(pthread_t *thread, size_t bytes, start_record *start) {
    pthread_attr_t attributes;
    int code = pthread_attr_init(&attributes);
    if (code != 0) {
        return code;
    }
    code = pthread_attr_setstacksize(&attributes, bytes);
    code = code != 0 ? code : pthread_create(thread, &attributes, run, start);
    (void)pthread_attr_destroy(&attributes);
    return code;
}

/* One line, and the code: of EAGAIN, which pthread_create says for every limit, PIRN_ELIMIT; PIRN_EAGAIN would say that
 * the call may be repeated later. */
static int refused(const char *name, pn_role role, int code) {
    char what[64];
    struct rlimit memory;
    bool bounded = getrlimit(RLIMIT_AS, &memory) == 0 && memory.rlim_cur != RLIM_INFINITY;
    (void)snprintf(what, sizeof what, "no thread for \"%s\"", name);
    if (code == EAGAIN && !bounded) {
        pn_warn(
            "%s: the system refuses one more. Raise the limit of threads (ulimit -u, pids.max of the cgroup, sysctl "
            "kernel.threads-max) or of locked memory (ulimit -l), or run with fewer workers",
            what);
    } else {
        pn_reserve_tell(what, stack_bytes(role), code);
    }
    return code == EAGAIN ? PIRN_ELIMIT : -code;
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
    int code = create(thread, stack_bytes(role), start);
    PN_ASSERT(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    if (code != 0) {
        pn_free(start);
        return refused(name, role, code);
    }
    return 0;
}
