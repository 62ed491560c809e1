/* SPDX-License-Identifier: MIT
 *
 * What: the ticker, which has busy workers look at I/O and timers each millisecond, and the watchdog: one line, with
 *       the stack, for a tasklet that keeps its worker for too long without a park or yield, and for a callback that
 *       keeps a worker or the reactor so.
 * Threads: the one that starts and stops the runtime.
 * Signals: in single mode main runs tasklets, and its watchdog takes the process' signals for it: a handler then has a
 *       thread's stack and not a tasklet's, and a signal can't be left with a tasklet that parks (ThreadSanitizer keeps
 *       it for that fibre, for ever if it must).
 * Cost: a wake-up each millisecond while somebody is awake; none when all sleep.
 */
#ifndef PN_WATCHDOG_H
#define PN_WATCHDOG_H

#include <signal.h>
#include <stdbool.h>

#include <pirn/base.h>

/* Watch all workers and the reactor of pn_runtime_current, which live until pn_watchdog_stop(). In single mode on
 * worker 0's thread. PIRN_FOREVER: only the ticker. `signals`: NULL, or the mask of the thread in whose place the
 * watchdog takes the process' signals: what that one let in, it lets in. 0 or an error. */
int pn_watchdog_start(pirn_time slice_warn_ns, const sigset_t *signals);

/* Whether the watchdog's thread lets signal `number` in. From start to stop, on the thread that started it. */
bool pn_watchdog_takes(int number);

/* Before the first watched thread is joined. Without a start: nothing. */
void pn_watchdog_stop(void);

#endif
