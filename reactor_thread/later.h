/* SPDX-License-Identifier: MIT
 *
 * What: the end of the timer behind pirn_call_later.
 * Threads: the reactor's.
 */
#ifndef PN_LATER_H
#define PN_LATER_H

/* Close it. No call may be under way. */
void pn_laters_fini(void);

#endif
