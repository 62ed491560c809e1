/* SPDX-License-Identifier: MIT
 *
 * What: what another thread is doing right now, told by itself: a signal makes it write its tasklet and stack into the
 *       one answer.
 * Threads: ask: the watchdog; start and stop: the runtime's, while it does not run. The answer is written by the asked
 *       thread's signal handler.
 */
#ifndef PN_WATCHDOG_STACK_H
#define PN_WATCHDOG_STACK_H

#include <pthread.h>

#include "sched.h"

#define PN_STACK_DEPTH_MAX 32

typedef struct pn_stack_answer {
    bool has_tasklet;
    pn_tasklet tasklet; /* a copy, made between two of its instructions */
    uint64_t switches;  /* of its worker, at that moment; 0 on a thread without a scheduler */
    unsigned depth;
    uintptr_t addresses[PN_STACK_DEPTH_MAX]; /* innermost first */
} pn_stack_answer;

/* Install and remove the handler of PN_WATCHDOG_SIGNAL. 0 or the system's code. */
int pn_stack_asking_start(void);
void pn_stack_asking_stop(void);

/* Ask `thread`, which lives. `low` and `high` bound its own stack, for when no tasklet runs there. Returns the answer,
 * valid until the next call, or NULL when none came within 50 ms (it blocks the signal, or got no processor). */
const pn_stack_answer *pn_stack_ask(pthread_t thread, uintptr_t low, uintptr_t high);

#endif
