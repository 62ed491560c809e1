/* SPDX-License-Identifier: MIT
 *
 * What: never silent (rule 18 of docs/design.md): the judgement that nothing can ever wake anybody, and the census of
 *       tasklets stuck beside a program that lives on.
 * Threads: each worker for itself.
 */
#ifndef PN_DEADLOCK_H
#define PN_DEADLOCK_H

#include "worker.h"

/* Owner: it is about to sleep with no tasklet's timer, its doorbell announced, nothing of its inbox in hand. The last
 * to do so judges, and may find itself to be the one to tell: look at the inbox after this. */
void pn_idle_begin(pn_worker *worker);
void pn_idle_end(pn_worker *worker);

/* Owner: have the tasklets reported that are stuck, when it is time to look (census.c). Returns when to look again. */
pirn_time pn_census(pn_worker *worker);

#endif
