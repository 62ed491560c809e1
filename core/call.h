/* SPDX-License-Identifier: MIT
 *
 * What: what deferred_tasklet.c and processor.c share: a user's function runs in a tasklet, and its outcome is told
 *       whatever becomes of that tasklet.
 * Threads: the tasklet's home.
 */
#ifndef PN_CALL_H
#define PN_CALL_H

#include "sched.h"

/* In the tasklet: what a function came to that returned `code` and filled in `result`. A negative code fails the
 * result; the tasklet's last pirn_fail() of that code is then its failure, unless it has one. */
void pn_call_conclude(pirn_result *result, int code);

/* Have `fn(arg)` run once when `tasklet`, which has not started, ends, also when it ends without having run: on its own
 * stack, or on that of whoever struck it. PIRN_ENOMEM or 0. */
int pn_call_at_end(pn_tasklet *tasklet, void (*fn)(void *arg), void *arg);

#endif
