/* SPDX-License-Identifier: MIT
 *
 * What: the runtime's side of offload pools: its own pool, and the end of them all.
 * Threads: start, refuse and stop: whoever runs the runtime's life, one call at a time.
 * Order at shutdown: refuse; go on delivering until the tasklets are over; stop. stop alone does both.
 */
#ifndef PN_OFFLOAD_H
#define PN_OFFLOAD_H

#include <pirn/offload.h>

/* As pirn_pool_create, with a thread more for each job that finds all threads busy, up to `threads_max` (64 at most).
 * The threads stay until the pool is closed. */
pirn_pool *pn_pool_create_growing(const char *name, unsigned threads, unsigned threads_max, unsigned queue_max);

/* Start the runtime's own pool. 0 or an error. */
int pn_offload_start(unsigned threads, unsigned queue_max);

/* Close every pool: refuse new jobs, fail those queued with PIRN_ECLOSED, interrupt those running. Does not wait. */
void pn_offload_refuse(void);

/* Refuse, then join the threads of all pools, the closed ones too. What still runs at `deadline` is named on stderr,
 * one line a job, and disowned: its deferred fails now, and its result is destroyed where it ends. Homes must still be
 * delivering afterwards: completions may be in their inboxes. Blocks the calling thread. */
void pn_offload_stop(pirn_time deadline);

#endif
