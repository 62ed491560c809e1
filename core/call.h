/* SPDX-License-Identifier: MIT
 *
 * What: a function runs in a tasklet of its own, and its outcome is told whatever becomes of that tasklet: for
 *       deferred_tasklet.c, processor.c, connections, looping calls and main.
 * Threads: the tasklet's home.
 */
#ifndef PN_CALL_H
#define PN_CALL_H

#include "sched.h"

/* In the tasklet: what a function came to that returned `code` and filled in `result`. A negative code fails the
 * result; the tasklet's last pirn_fail() of that code is then its failure, unless it has one. */
void pn_call_conclude(pirn_result *result, int code);

/* What runs when a tasklet ends. */
typedef struct pn_ending {
    void (*fn)(void *arg);
    void *arg;
} pn_ending;

/* Spawn on the calling thread's scheduler a tasklet whose ending runs once, whatever becomes of it: also when it is
 * struck before its first turn (then on the stack of who strikes) or gets no stack (then in the scheduler's context).
 * NULL: no memory, and nothing was started. */
pn_tasklet *pn_call_spawn(const pirn_spawn_options *options, pirn_fn fn, void *arg, const pn_ending *ending,
                          const char *file, int line);

#endif
