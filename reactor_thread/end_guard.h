/* SPDX-License-Identifier: MIT
 *
 * What: the last bound of a runtime's end: a thread that ends the process with a line when the end has not come by its
 *       deadline, because some thread never came back from a slice or a callback. The line names what runs there.
 * Threads: worker 0's, one runtime at a time.
 */
#ifndef PN_END_GUARD_H
#define PN_END_GUARD_H

#include <pirn/base.h>

/* Start it, or move its deadline. Where no thread can be had, there is no guard. */
void pn_end_guard_set(pirn_time deadline);
/* The end has come. Without a start: nothing. */
void pn_end_guard_stop(void);

#endif
