/* SPDX-License-Identifier: MIT
 *
 * What: the gate between foreign threads and one run of the runtime.
 * Threads: start and stop: whoever runs the runtime's life.
 */
#ifndef PN_FOREIGN_H
#define PN_FOREIGN_H

#include <pirn/offload.h>

/* From now on pirn_foreign_open() works. After the workers exist; 0 or PIRN_ENOMEM. */
int pn_foreign_start(void);

/* The runtime has begun to end: no new tasklets from outside. Posts go on, for a tasklet that is about to end may wait
 * for one. */
void pn_foreign_refuse_spawns(void);

/* Shut the gate: calls give PIRN_ECLOSED from now on; returns when none is under way. While the workers still deliver:
 * what came through is in their inboxes. Handles that are still open stay valid, and count as outside things no more.
 * Calling it twice, or without a start, does nothing. */
void pn_foreign_stop(void);

/* The same for offload threads, which deliver until they are joined or disowned. */
void pn_foreign_stop_jobs(void);

/* Pass the gate without a handle, to runtime `run` (0: the one that runs). Returns its number; 0: it is over. Threads
 * of pirn's that the runtime's end waits for in any case pass freely. They nest. For core/hooks.h. */
uint32_t pn_foreign_enter(uint32_t run);
void pn_foreign_leave(void);

/* Count a message that a call from outside allocates; false: PIRN_FOREIGN_CALLS_MAX are under way. Each is counted down
 * once, when it is delivered. For core/hooks.h. */
bool pn_foreign_reserve(void);
void pn_foreign_unreserve(void);

#endif
