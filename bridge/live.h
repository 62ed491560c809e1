/* SPDX-License-Identifier: MIT
 *
 * What: what may still wake a tasklet from outside. Zero of all, with every worker idle and no message in flight, is a
 *       deadlock (deadlock.h).
 *
 * Two kinds, told apart by where they end:
 *   at home: a record or request handed over and not back, a job in an offload pool. Its home counts it before it is
 *       handed over, and down when its completion is delivered there (or it is withdrawn, which is decided there, too):
 *       plain numbers of that worker. So the worker that could have judged too early is awake at the count's end, and
 *       judges when it goes idle again: nobody else has to be told.
 *   anywhere: a listener, an open foreign handle, a signal's channel: anybody may be woken by them. One shared count.
 *       Who takes its last one back must be a worker, or make one look again, for the same reason (foreign.c).
 * Threads: records and jobs: the home worker; outside things: any.
 * Rejected: one shared count of everything (two contended operations per parked read; and ended by the performer, after
 *       the completion was posted, it let a home that was quicker see it still up, and go to sleep over a deadlock).
 */
#ifndef PN_LIVE_H
#define PN_LIVE_H

#include <stdint.h>

/* Home, in its worker's thread. */
void pn_record_begin(void);
void pn_record_end(void);
void pn_job_count_begin(void);
void pn_job_count_end(void);
unsigned pn_record_count(void); /* of the calling worker                                               */

void pn_outside_begin(void);
void pn_outside_end(void);
uint64_t pn_outside_count(void);

#endif
