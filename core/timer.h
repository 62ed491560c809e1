/* SPDX-License-Identifier: MIT
 *
 * What: timers of one scheduler: a pairing heap ordered by deadline, first armed first among equals.
 * Threads: the owner. Arming never fails and never allocates (intrusive); arming and cancelling a timer that is not the
 *       next to fire, the common case, is a handful of pointer writes.
 * Invariants: (1) an armed timer is in the heap exactly once; (2) `fire` runs after the timer left the heap, so it may
 *       arm it again; (3) a timer never fires before its deadline.
 * Rejected: a binary heap in an array (arming could fail for memory); a wheel (the next deadline, which is the sleep's,
 *       costs a search, and nanoseconds cost levels).
 */
#ifndef PN_TIMER_H
#define PN_TIMER_H

#include <stdbool.h>

#include "base.h"

typedef struct pn_timer {
    struct pn_timer *child, *next, *prev; /* prev: the sibling before, or the parent for a first child    */
    pirn_time deadline;
    uint64_t order; /* arming number                                              */
    void (*fire)(struct pn_timer *timer);
    bool armed;
} pn_timer;

typedef struct pn_timers {
    pn_timer *root;
    uint64_t armed_count; /* ever: the source of `order`                                                 */
    unsigned count;
} pn_timers;

void pn_timers_init(pn_timers *timers);
void pn_timer_arm(pn_timers *timers, pn_timer *timer, pirn_time deadline, void (*fire)(pn_timer *));
/* A timer that is not armed is left alone. */
void pn_timer_disarm(pn_timers *timers, pn_timer *timer);
/* The next deadline, PIRN_FOREVER when none is armed. */
pirn_time pn_timers_next(const pn_timers *timers);
/* Fire all that are due at `now` and were armed before this call. Returns how many. */
unsigned pn_timers_run(pn_timers *timers, pirn_time now);

#endif
