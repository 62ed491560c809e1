/* SPDX-License-Identifier: MIT
 *
 * What: the watchdog: one line, with the stack, for a tasklet that keeps its worker for too long without a park or
 *       yield, and for a callback that keeps a worker or the reactor so.
 * Threads: start and stop: whoever runs the runtime's life; notice: workers and the reactor.
 * Cost: two looks per slice_warn while somebody is awake; none when all sleep.
 */
#ifndef PN_WATCHDOG_H
#define PN_WATCHDOG_H

#include <pirn/base.h>

/* Watch all workers and the reactor of pn_runtime_current, which live until pn_watchdog_stop(). In single mode on
 * worker 0's thread. PIRN_FOREVER: no watchdog. 0 or an error. */
int pn_watchdog_start(pirn_time slice_warn_ns);

/* Before the first watched thread is joined. Without a start: nothing. */
void pn_watchdog_stop(void);

/* A worker came back from its sleep: one fence and one load, and a wake when the watchdog itself is asleep. */
void pn_watchdog_notice(void);

#endif
