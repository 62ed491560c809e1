/* SPDX-License-Identifier: MIT
 *
 * What: how many things outside of tasklets may still wake one: records handed to another thread, jobs, listeners,
 *       requests to the reactor, foreign handles. Zero, with every worker idle and no message in flight, is a deadlock
 *       (core/report.c).
 * Threads: any; begin comes before the thing is handed over, end after its completion message was posted or it ended
 *       for good.
 */
#ifndef PN_LIVE_H
#define PN_LIVE_H

#include <stdint.h>

void pn_outside_begin(void);
void pn_outside_end(void);
uint64_t pn_outside_count(void);

/* Records alone, for the inspector: operations handed over and not back. Included in the above. */
void pn_record_begin(void);
void pn_record_end(void);
void pn_records_end(unsigned count); /* that many at once, after all their completions were posted          */
uint64_t pn_record_count(void);

#endif
