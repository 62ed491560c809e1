/* SPDX-License-Identifier: MIT
 *
 * What: sums of a time and a duration that somebody chose. A duration may be PIRN_FOREVER, or so long that the sum
 *       does not fit: the deadline is PIRN_FOREVER then. A negative duration counts as none.
 * Threads: any. Nothing here has state.
 */
#ifndef PN_DEADLINE_H
#define PN_DEADLINE_H

#include <pirn/base.h>

/* The deadline `nanoseconds` after `from`, which is not negative. */
static inline pirn_time pn_deadline(pirn_time from, int64_t nanoseconds) {
    if (nanoseconds <= 0) {
        return from;
    }
    return nanoseconds >= PIRN_FOREVER - from ? PIRN_FOREVER : from + nanoseconds;
}

/* How long it is from `now` to `deadline`, which may be any number; 0: it is past. */
static inline int64_t pn_time_left(pirn_time deadline, pirn_time now) {
    return deadline > now ? deadline - now : 0;
}

#endif
